"""A written text as blocks: title, points of a list, paragraphs. All of it is data; nothing in it is ever run."""

import re
from dataclasses import dataclass
from typing import Literal

TITLE_LIMIT = 60
"""Characters of a first line that can still be a title."""

_TITLE = re.compile(r"\s{0,3}#{1,3}\s+(.*\S)\s*")
_POINT = re.compile(r"\s*(?:[-*•·‧]|\d{1,2}[.)、．]|[（(]?[一二三四五六七八九十]{1,3}[、)）])\s*(?=\S)")
_NUMBER = re.compile(r"\s*(?:\d|[（(]?[一二三四五六七八九十])")
_CLOSES = tuple(".!?。！？…,，;；:：、")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A line of the text, or lines that belong together.

    Args:
        kind: ``title``, ``point`` (of a list), ``number`` (of a numbered list) or ``paragraph``.
        text: without what marks it.
        start, end: half-open span in the text, marks and all.
    """

    kind: Literal["title", "point", "number", "paragraph"]
    text: str
    start: int
    end: int


def blocks(text: str) -> tuple[Block, ...]:
    """Cut a text into blocks: a line that begins with ``#``, or a short first line that is closed by no sign and has
    a blank line or more text below, is a title.

    >>> [(one.kind, one.text) for one in blocks("Picnic\\n\\nCome.\\n- bring tea\\n2. be on time")]
    [('title', 'Picnic'), ('paragraph', 'Come.'), ('point', 'bring tea'), ('number', 'be on time')]
    """
    made: list[Block] = []
    at = 0
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line)
        stripped = line.strip()
        if not stripped:
            continue
        end = start + len(line.rstrip())
        title, point = _TITLE.fullmatch(line.rstrip()), _POINT.match(line)
        if title:
            made.append(Block(kind="title", text=title[1], start=start, end=end))
        elif point and point.end() > 0 and _marks(line, point.end()):
            kind: Literal["number", "point"] = "number" if _NUMBER.match(line) else "point"
            made.append(Block(kind=kind, text=line[point.end() :].strip(), start=start, end=end))
        elif not made and _is_title(stripped, below=text[at:]):
            made.append(Block(kind="title", text=stripped, start=start, end=end))
        else:
            made.append(Block(kind="paragraph", text=stripped, start=start, end=end))
    return tuple(made)


def _marks(line: str, end: int) -> bool:
    """Whether what begins a line marks a point: a hyphen or star of Latin text has a blank behind it."""
    return line[end - 1].isspace() or line[:end].strip()[-1:] not in "-*.)" or not line[end].isascii()


def _is_title(line: str, *, below: str) -> bool:
    return len(line) <= TITLE_LIMIT and not line.endswith(_CLOSES) and bool(below.strip())
