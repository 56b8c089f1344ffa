"""The papers that made the machine what it is: which part each changed, in our own words."""

from __future__ import annotations

import re
import tomllib
import unicodedata
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
        arxiv: its number there ("1706.03762"); empty where it is published elsewhere. url: where that is.
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
    url: str = ""

    @property
    def address(self) -> str:
        """The paper's page."""
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.url

    @property
    def key(self) -> str:
        """Its name in a bibliography: first author, year, first word of the title that says something."""
        first = self.authors.split(",")[0].split()[-1]
        words = re.findall(r"[^\W_]+", self.title)
        telling = next((word for word in words if len(word) > 4), words[0])
        plain = unicodedata.normalize("NFKD", f"{first}{self.year}{telling}")
        return re.sub(r"[^a-z0-9]", "", plain.encode("ascii", "ignore").decode().lower())

    @property
    def id(self) -> str:
        """arXiv's number; elsewhere the key."""
        return self.arxiv or self.key

    @property
    def citation(self) -> str:
        """All of it in one line."""
        where = f"arXiv:{self.arxiv}" if self.arxiv else self.url
        return f"{self.authors} ({self.year}). {self.title}. {self.venue}. {where}"

    @property
    def bibtex(self) -> str:
        """The same as a BibTeX entry; the title keeps its capitals."""
        names = self.authors.replace(", and others", ", others").replace(", ", " and ")
        fields = {"title": f"{{{_tex(self.title)}}}", "author": _tex(names), "year": str(self.year)}
        fields |= {"eprint": self.arxiv, "archivePrefix": "arXiv"} if self.arxiv else {}
        fields |= {"note": _tex(self.venue), "url": self.address}
        lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
        return f"@misc{{{self.key},\n{lines}}}"


@cache
def milestones() -> tuple[Milestone, ...]:
    """Return all of them, oldest first."""
    with FILE.open("rb") as file:
        found = tuple(Milestone(**paper) for paper in tomllib.load(file)["paper"])
    return tuple(sorted(found, key=lambda paper: (paper.year, paper.arxiv or "9999")))


def _tex(text: str) -> str:
    return re.sub(r"([&%$#_])", r"\\\1", text)
