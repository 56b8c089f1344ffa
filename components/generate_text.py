"""Written text as HTML: characters put together from tokens, their probability as a tint, nothing of it ever run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from llmkit.tokens.written import pieces, to_read

TINTS = (0.02, 0.1, 0.4)
"""Probabilities between which the tint changes: the less likely, the deeper."""


def readable(data: bytes) -> str:
    """Return bytes as HTML to read: blanks as they are, controls by name, what is no whole character as bytes."""
    return "".join(
        escape(glyph.shown) if glyph.kind == "text" else f'<span class="gen-byte">{escape(glyph.shown)}</span>'
        for glyph in to_read(data)
    )


def written(
    prompt: bytes,
    token_bytes: Sequence[bytes],
    logprobs: Sequence[float],
    *,
    waiting: bool = False,
    end: str = "",
    small: bool = False,
) -> str:
    """Return a prompt and its continuation as HTML, each piece tinted by how probable the model found it.

    Args:
        prompt: its bytes. token_bytes: of each new token. logprobs: natural logarithms, one a token.
        waiting: draw a cursor behind it. end: why the text is over, where that needs saying. small: for a narrow place.
    """
    drawn = ""
    for piece in pieces(token_bytes):
        p = math.exp(sum(logprobs[piece.start : piece.end]))
        tint = sum(p >= least for least in TINTS)
        drawn += f'<span class="gen-{tint}" title="{p:.3f}">{readable(piece.data)}</span>'
    cursor = '<i class="gen-cursor"></i>' if waiting else ""
    mark = f' <em class="gen-end">{escape(end)}</em>' if end else ""
    given = f'<span class="gen-given">{readable(prompt)}</span>'
    kind = "gen-text small" if small else "gen-text"
    return f'<p class="{kind}"><bdi>{given}{drawn}</bdi>{cursor}{mark}</p>'
