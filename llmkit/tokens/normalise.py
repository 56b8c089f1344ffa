"""Change a text before it is cut, and remember where each character came from."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Aligned:
    """A changed text that still knows its origin.

    Args:
        text: what the tokenizer goes on with.
        starts, ends: for each character of ``text`` its half-open span in the original, in characters.
    """

    text: str
    starts: tuple[int, ...] | range
    ends: tuple[int, ...] | range


Normaliser = Callable[[str], Aligned]


def keep(text: str) -> Aligned:
    """Change nothing (GPT-2, SmolLM2)."""
    return Aligned(text=text, starts=range(len(text)), ends=range(1, len(text) + 1))


def compose(text: str) -> Aligned:
    """Unicode normal form C: a letter and its loose accents become one character (Qwen2, Qwen3).

    Characters that are composed together share one span, from the first to the last of them.

    >>> compose("cafe\\u0301").text
    'café'
    """
    if unicodedata.is_normalized("NFC", text):
        return keep(text)
    composed: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    begin = 0
    for at in range(1, len(text) + 1):
        if at < len(text) and not _breaks_before(text[begin:at], text[at]):
            continue
        chunk = text[begin:at]
        normal = unicodedata.normalize("NFC", chunk)
        same = normal == chunk
        composed.append(normal)
        starts.extend(begin + i if same else begin for i in range(len(normal)))
        ends.extend(begin + i + 1 if same else at for i in range(len(normal)))
        begin = at
    return Aligned(text="".join(composed), starts=tuple(starts), ends=tuple(ends))


def _breaks_before(chunk: str, char: str) -> bool:
    """Whether ``char`` starts anew: no mark on what stands before, and not composed with it."""
    if unicodedata.combining(char):
        return False
    alone = unicodedata.normalize("NFC", chunk) + unicodedata.normalize("NFC", char)
    return alone == unicodedata.normalize("NFC", chunk + char)
