"""Which part of the machine a new paper may be about: a guess by our own list of words, and nothing more."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

FILE = Path(__file__).with_name("part_words.toml")

TITLE, ABSTRACT = 3, 1
"""What a word of the list counts where it stands; each counts once."""
LEAST = 2
"""Below this a guess would be a coin: one word, somewhere in an abstract."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """What one page is about, in words.

    Args:
        step: the page's slug. part: one of `milestones.PARTS`. words: as the file writes them.
    """

    step: str
    part: str
    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A guess: the page and the part, and the words of the paper that spoke for them."""

    step: str
    part: str
    found: tuple[str, ...]


@cache
def topics() -> tuple[Topic, ...]:
    """Return the list, in the order of the file."""
    with FILE.open("rb") as file:
        return tuple(Topic(**{**one, "words": tuple(one["words"])}) for one in tomllib.load(file)["topic"])


@lru_cache(maxsize=1024)
def guess(title: str, abstract: str = "") -> Guess | None:
    """Return the likeliest topic of a paper; None where too few words of the list stand in it.

    >>> guess("Rotary embeddings for long texts").step
    'positions'
    >>> guess("On cats") is None
    True
    """
    best, most = None, LEAST - 1
    for topic, words in zip(topics(), _patterns(), strict=True):
        in_title = {match.group().lower() for match in words.finditer(title)}
        in_abstract = {match.group().lower() for match in words.finditer(abstract)} - in_title
        score = TITLE * len(in_title) + ABSTRACT * len(in_abstract)
        if score > most:
            found = tuple(sorted(in_title) + sorted(in_abstract))
            best, most = Guess(step=topic.step, part=topic.part, found=found), score
    return best


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """One pattern a topic; longer words first, so that "self-attention" is not found as "attention"."""
    return tuple(
        re.compile(
            r"\b(?:" + "|".join(_pattern(word) for word in sorted(topic.words, key=len, reverse=True)) + r")\b", re.I
        )
        for topic in topics()
    )


def _pattern(word: str) -> str:
    stem = r"[\s-]+".join(re.escape(piece) for piece in word.rstrip("*").split())
    return stem + r"\w*" if word.endswith("*") else stem
