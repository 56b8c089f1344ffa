"""What changed between two versions of a text, word by word."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORDS = re.compile(r"\s+|[\u3400-\u9fff\uf900-\ufaff]|[^\W_]+|.", re.DOTALL)
"""Blanks, one Chinese character, a run of letters and digits, any other sign."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A run of words. What is ``same`` or ``gone`` makes the first version, what is ``same`` or ``new`` the second."""

    kind: Literal["same", "gone", "new"]
    text: str


def changes(before: str, after: str) -> tuple[Change, ...]:
    """Return how one version becomes the other.

    >>> [(one.kind, one.text) for one in changes("Tell me now", "Tell him now")]
    [('same', 'Tell '), ('gone', 'me'), ('new', 'him'), ('same', ' now')]
    """
    return tuple(_changes(_WORDS.findall(before), _WORDS.findall(after)))


def _changes(before: list[str], after: list[str]) -> Iterator[Change]:
    for tag, i, j, m, n in SequenceMatcher(a=before, b=after, autojunk=False).get_opcodes():
        if tag == "equal":
            yield Change(kind="same", text="".join(before[i:j]))
            continue
        if j > i:
            yield Change(kind="gone", text="".join(before[i:j]))
        if n > m:
            yield Change(kind="new", text="".join(after[m:n]))
