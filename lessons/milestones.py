"""The papers that made the machine what it is: which part each changed, in our own words."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("milestones.toml")

PARTS = ("tokens", "embedding", "positions", "norm", "attention", "feed_forward", "residual", "sampling", "engine")
"""What a paper may have changed, as the text flows through the machine; ``engine`` is the whole of it."""


@dataclass(frozen=True, kw_only=True)
class Milestone:
    """One paper.

    Args:
        title, authors, venue: as published; a long list of authors is cut.
        year: when it first appeared.
        arxiv: its number there ("1706.03762"); empty where it is published elsewhere.
        step: the slug of the page that it is about. part: one of PARTS.
        zh, en: what it changed.
    """

    title: str
    authors: str
    year: int
    venue: str
    arxiv: str
    step: str
    part: str
    zh: str
    en: str

    @property
    def address(self) -> str:
        """The paper's page; empty where it is not on arXiv."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else ""


@cache
def milestones() -> tuple[Milestone, ...]:
    """Return all of them, oldest first."""
    with FILE.open("rb") as file:
        found = tuple(Milestone(**paper) for paper in tomllib.load(file)["paper"])
    return tuple(sorted(found, key=lambda paper: (paper.year, paper.arxiv or "9999")))
