"""Text while it is being written: tokens put together into whole characters, blanks and controls told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmkit.tokens.pieces import Glyph, glyphs

_BLANKS = {"·": " ", "⏎": "\n", "⇥": "\t", "␣": "\u3000"}
_JOINERS = {"U+200D": "\u200d", "U+FE0F": "\ufe0f"}
"""Parts of an emoji that have no shape of their own, and are seen all the same."""


_CLOSING = ".!?。！？…"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Tokens that end where a character ends.

    Args:
        start, end: half-open span of tokens. data: their bytes.
    """

    start: int
    end: int
    data: bytes


def pieces(token_bytes: Sequence[bytes]) -> tuple[Piece, ...]:
    """Put tokens together until each piece ends with a whole character; the last one may still lack bytes.

    >>> [piece.data for piece in pieces([b" a", b"\\xe4", b"\\xbd\\xa0", b"!"])]
    [b' a', b'\\xe4\\xbd\\xa0', b'!']
    """
    made: list[Piece] = []
    start, data = 0, b""
    for at, one in enumerate(token_bytes):
        data += one
        if not _lacks_bytes(data):
            made.append(Piece(start=start, end=at + 1, data=data))
            start, data = at + 1, b""
    if data:
        made.append(Piece(start=start, end=len(token_bytes), data=data))
    return tuple(made)


def left_open(sentence: str) -> str:
    """Return a sentence without the signs that close it: after them a model would rather end the text than go on.

    >>> left_open("The movie was good."), left_open("。。。")
    ('The movie was good', '。。。')
    """
    return sentence.rstrip().rstrip(_CLOSING) or sentence


def to_read(data: bytes) -> tuple[Glyph, ...]:
    """Return what `glyphs` does, with blanks and the joints of emoji as the text that they are.

    >>> [(glyph.kind, glyph.shown) for glyph in to_read(b"a b\\xe4")]
    [('text', 'a'), ('text', ' '), ('text', 'b'), ('byte', 'E4')]
    """
    made: list[Glyph] = []
    for glyph in glyphs(data):
        if glyph.kind == "space":
            made.append(Glyph(shown=_BLANKS.get(glyph.shown, glyph.shown), kind="text"))
        elif glyph.kind == "control" and glyph.shown in _JOINERS:
            made.append(Glyph(shown=_JOINERS[glyph.shown], kind="text"))
        else:
            made.append(glyph)
    return tuple(made)


def _lacks_bytes(data: bytes) -> bool:
    """Whether data end in the first bytes of a character that may still become whole."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.end == len(data)
    return False
