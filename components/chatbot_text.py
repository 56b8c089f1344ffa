"""What is said, as HTML that nothing in it can bring to life; a token's surprise as its ground."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from components.generate_text import readable
from llmkit.chat.conversation import Answer, Token
from llmkit.tokens.written import pieces

MOST_BITS = 12.0
"""From so many bits on, a token has the deepest colour."""


def said(text: str) -> str:
    """Return what a person has said."""
    return f'<div class="chat-said"><bdi>{readable(_bytes(text))}</bdi></div>'


def answered(tokens: Sequence[Token], text: str, *, waiting: bool = False) -> str:
    """Return an answer, each piece of it coloured by how surprising it was, as far as that is known.

    Args:
        tokens: of the answer. text: the same as text, for an answer without tokens. waiting: draw a cursor behind it.
    """
    cursor = '<i class="gen-cursor"></i>' if waiting else ""
    if not tokens:
        return f'<div class="chat-said"><bdi>{readable(_bytes(text))}</bdi>{cursor}</div>'
    drawn = ""
    for piece in pieces([token.data for token in tokens]):
        bits = [token.bits for token in tokens[piece.start : piece.end]]
        known = [one for one in bits if one is not None]
        content = readable(piece.data)
        if len(known) < len(bits) or not content:
            drawn += content
            continue
        drawn += f'<span style="--bits:{share(sum(known)):.0%}" title="{sum(known):.1f}">{content}</span>'
    return f'<div class="chat-said tinted"><bdi>{drawn}</bdi>{cursor}</div>'


def share(bits: float) -> float:
    """Return how deep a colour is, 0 to 1.

    >>> share(3.0), share(40.0)
    (0.25, 1.0)
    """
    return min(bits / MOST_BITS, 1.0)


def mean_bits(answer: Answer) -> float | None:
    """Return an answer's bits a token; None where nobody has told them."""
    bits = [token.bits for token in answer.tokens]
    known = [one for one in bits if one is not None]
    return sum(known) / len(known) if known and len(known) == len(bits) else None


def facts_html(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and values in one line."""
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    return f'<dl class="chat-facts">{cells}</dl>'


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")
