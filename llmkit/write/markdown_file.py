"""A text as Markdown that a program may draw: titles, lists and paragraphs, and nothing that runs, loads or links."""

import re
import unicodedata

from llmkit.write.blocks import Block, blocks

_SIGNS = re.compile(r"[\\`*_{}\[\]<>&|~$@]")
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]*):", re.IGNORECASE)
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)
_NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of controls, halves of surrogate pairs, and line ends that are none here."""

_BEGINS = re.compile(r"^([#+=-]+|\d+(?=[.)]))")


def to_markdown(text: str) -> str:
    """Return a text as Markdown, one block a paragraph; every sign that Markdown would read is written as text.

    Also bare addresses stay text: where a program links them by itself, their colon or point is escaped.

    >>> print(to_markdown("Hi <b>you</b>.\\n- see http://x.y"))
    Hi \\<b\\>you\\</b\\>.
    <BLANKLINE>
    - see http\\://x.y
    <BLANKLINE>
    """
    made: list[str] = []
    before: Block | None = None
    number = 0
    for block in blocks(text):
        number = number + 1 if block.kind == "number" else 0
        mark = {"title": "# ", "point": "- ", "number": f"{number}. ", "paragraph": ""}[block.kind]
        if before is not None and not (block.kind == before.kind and block.kind in ("point", "number")):
            made.append("")
        made.append(mark + _escape(block.text))
        before = block
    return "\n".join(made) + "\n"


def _escape(text: str) -> str:
    text = "".join(char for char in text if char == "\t" or unicodedata.category(char) not in _NOT_TEXT)
    text = _SIGNS.sub(r"\\\g<0>", text)
    text = _ADDRESS.sub(r"\1\\:", text)
    text = _WWW.sub(lambda found: found[0][:-1] + "\\.", text)
    return _BEGINS.sub(lambda found: "\\" + found[0] if not found[0][0].isdigit() else found[0] + "\\", text)
