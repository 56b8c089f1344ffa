"""Tokens as a reader may see them: true bytes, visible blanks, characters put together again.

A token is a run of bytes, and a character may be spread over several tokens. Such tokens are grouped, and
what is not a whole character is written as bytes, so that the replacement character never stands for
something else.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

GlyphKind = Literal["text", "space", "control", "byte"]

_BLANKS = {" ": "·", "\n": "⏎", "\t": "⇥", "\u3000": "␣"}

# ASCII's own names; few fonts have the control pictures of U+2400, so they are drawn from letters.
# fmt: off
_CONTROLS = (
    "NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI",
    "DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
)
# fmt: on

# Controls, formats, private and unassigned characters, blanks without a mark of their own, fillers, variation
# selectors, and the replacement character, which may stand in a text in its own right.
_SHAPELESS = regex.compile(r"[\p{C}\p{Z}\uFFFD\p{Default_Ignorable_Code_Point}]")
_MARK = regex.compile(r"\p{M}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Glyph:
    """Something to draw.

    Args:
        shown: what to draw; never empty, never itself invisible.
        kind: ``text`` as it is; ``space`` a mark for a blank; ``control`` a name for what has no
            shape (``ESC``, ``U+200D``); ``byte`` two hexadecimal digits for a byte that is no whole
            character.
    """

    shown: str
    kind: GlyphKind


def glyphs(data: bytes) -> tuple[Glyph, ...]:
    """Make every byte of a token visible.

    Args:
        data: the token's bytes; need not be whole characters.

    Returns:
        runs of text, blanks, controls and single bytes, in order.

    >>> [g.shown for g in glyphs(" 你".encode()[:3])]
    ['·', 'E4', 'BD']
    """
    made: list[Glyph] = []
    rest = data
    while rest:
        try:
            good, bad, rest = rest.decode(), b"", b""
        except UnicodeDecodeError as error:
            good, bad, rest = rest[: error.start].decode(), rest[error.start : error.end], rest[error.end :]
        for char in good:
            glyph = _glyph(char, after_text=bool(made) and made[-1].kind == "text")
            if glyph.kind == "text" and made and made[-1].kind == "text":
                glyph = Glyph(shown=made.pop().shown + glyph.shown, kind="text")
            made.append(glyph)
        made.extend(Glyph(shown=f"{byte:02X}", kind="byte") for byte in bad)
    return tuple(made)


def visible(data: bytes) -> str:
    """The same as one line of text; bytes and controls stand in angle brackets.

    >>> visible(b"a b"), visible(b"\\xe4\\xbd"), visible("\\u200d".encode())
    ('a·b', '⟨E4⟩⟨BD⟩', '⟨U+200D⟩')
    """
    return "".join(glyph.shown if glyph.kind in ("text", "space") else f"⟨{glyph.shown}⟩" for glyph in glyphs(data))


def group_tokens(offsets: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Group the tokens that share a character.

    Args:
        offsets: each token's half-open character span, in order of the text.

    Returns:
        half-open spans of token indices that cover all tokens; most hold one token.

    >>> group_tokens([(0, 1), (1, 2), (1, 2), (2, 3)])
    ((0, 1), (1, 3), (3, 4))
    """
    groups: list[tuple[int, int]] = []
    reach = 0
    for index, (start, end) in enumerate(offsets):
        if groups and start < reach and start < end:
            groups[-1] = (groups[-1][0], index + 1)
        else:
            groups.append((index, index + 1))
        reach = max(reach, end)
    return tuple(groups)


def join(pieces: Iterable[bytes]) -> str:
    """Put the bytes of a group together; what is still no whole character is written as bytes.

    >>> join([b"\\xe4\\xbd", b"\\xa0"])
    '你'
    """
    return visible(b"".join(pieces))


def _glyph(char: str, *, after_text: bool) -> Glyph:
    if char in _BLANKS:
        return Glyph(shown=_BLANKS[char], kind="space")
    code = ord(char)
    if code < len(_CONTROLS):
        return Glyph(shown=_CONTROLS[code], kind="control")
    if code == 0x7F:
        return Glyph(shown="DEL", kind="control")
    if _SHAPELESS.match(char):
        return Glyph(shown=f"U+{code:04X}", kind="control")
    if not after_text and _MARK.match(char):
        return Glyph(shown=f"◌{char}", kind="text")  # a mark wants something to sit on
    return Glyph(shown=char, kind="text")
