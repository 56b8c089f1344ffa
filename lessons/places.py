"""Where to ask and where to learn more: what each place is for, and which pages it serves."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("places.toml")

KINDS = ("ask", "course", "read", "code", "follow")
LEVELS = ("start", "middle", "deep")
COSTS = ("free", "both", "paid")
EVERY = "*"
"""In a place's steps: it serves every page."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place.

    Args:
        name, address: as it calls itself, and where it is. kind, level, cost: one of KINDS, LEVELS, COSTS.
        lang: the languages spoken there ("zh-TW", "zh-CN", "en").
        steps: slugs of the pages that it serves, the best first; EVERY for all.
        zh, en: what it is for.
    """

    name: str
    address: str
    kind: str
    lang: tuple[str, ...]
    level: str
    cost: str
    steps: tuple[str, ...]
    zh: str
    en: str

    def rank(self, step: str) -> int | None:
        """Return how well it serves a page, 0 the best; None where it does not."""
        for name in (step, EVERY):
            if name in self.steps:
                return self.steps.index(name)
        return None


@cache
def places() -> tuple[Place, ...]:
    """Return all places, in the order of the file."""
    with FILE.open("rb") as file:
        found = tomllib.load(file)["place"]
    return tuple(Place(**{**one, "lang": tuple(one["lang"]), "steps": tuple(one["steps"])}) for one in found)


def serving(step: str, lang: str) -> tuple[Place, ...]:
    """Return the places that serve a page: those in the reader's language first, then the best for it.

    >>> serving("quantise", "en")[0].name
    'MIT 6.5940: TinyML and Efficient Deep Learning'
    """
    ranked = [
        (lang not in one.lang, rank, at, one) for at, one in enumerate(places()) if (rank := one.rank(step)) is not None
    ]
    return tuple(one for *_, one in sorted(ranked, key=lambda found: found[:3]))
