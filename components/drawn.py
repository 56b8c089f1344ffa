"""The figures that stand on a page right now, so that one of them can be kept with a note."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.figure import as_csv
from llmkit import journal
from llmkit.journal.text import quoted

if TYPE_CHECKING:
    import pandas as pd

MOST_NAME = 60
"""Characters of what a figure shows, in a list."""
MOST_BYTES = 200_000
"""Of a figure's numbers as CSV, kept with a note."""
MOST_ROWS = 20_000
"""Rows that are looked at for it: no more have room where a row takes ten bytes."""


@dataclass(frozen=True, kw_only=True)
class _Picture:
    badge: str
    alt: str
    data: pd.DataFrame
    sections: tuple[int, ...]


class Drawn:
    """The figures of one page, by key, as they were drawn last.

    It lives as long as its page; a section that is drawn again takes back what it drew before. Numbers are only
    referred to: nothing is copied or written as CSV before a figure is kept.
    """

    def __init__(self) -> None:
        self._pictures: dict[str, _Picture] = {}
        self._sections: list[int] = []
        self._count = 0

    def next_section(self) -> int:
        """Return the number of a section that is drawn for the first time."""
        self._count += 1
        return self._count

    @contextmanager
    def inside(self, section: int | None) -> Iterator[None]:
        """Know that what is drawn now is all that this section draws; None: that it belongs to no section of its own.

        A drawing that is cut off takes nothing back: what it would have drawn stands there still.
        """
        if section is None:
            yield
            return
        before = {key: one for key, one in self._pictures.items() if section in one.sections}
        self._sections.append(section)
        try:
            yield
        finally:
            self._sections.remove(section)
        for key, one in before.items():
            if self._pictures.get(key) is one:
                del self._pictures[key]

    def add(self, key: str, *, badge: str, alt: str, data: pd.DataFrame) -> None:
        """Remember a figure: where its numbers come from, in words; the picture in words; its numbers."""
        self._pictures[key] = _Picture(badge=badge, alt=alt, data=data, sections=tuple(self._sections))

    def names(self) -> dict[str, str]:
        """Return each figure's key and what it shows, in short, in the order of the page."""
        return {key: quoted(one.alt, most=MOST_NAME) for key, one in self._pictures.items()}

    def figure(self, key: str) -> journal.Figure | None:
        """Return a figure for the journal; None where the page draws none of that key."""
        one = self._pictures.get(key)
        if one is None:
            return None
        content, left_out = _capped_csv(one.data)
        return journal.Figure(kind="csv", name=one.alt, content=content, key=key, badge=one.badge, left_out=left_out)


def _capped_csv(data: pd.DataFrame) -> tuple[bytes, int]:
    """Return the first rows as CSV, as many as the cap lets in, and how many rows are left out."""
    rows = min(len(data), MOST_ROWS)
    content = as_csv(data.head(rows))
    while len(content) > MOST_BYTES and rows:
        rows = int(rows * 0.95 * MOST_BYTES / len(content))
        content = as_csv(data.head(rows))
    return content.replace(b"\0", b""), len(data) - rows  # a sentence may hold what no text file does
