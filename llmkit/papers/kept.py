"""The list of papers fetched last, for each search, with its date: it is what there is without a network."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from llmkit.home import home
from llmkit.papers.arxiv import CATEGORIES, Paper, fetch, question

WEEK = timedelta(days=7)
FRESH = timedelta(minutes=10)
"""A list that is younger is not asked for again: a class that presses the button together asks once."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """The newest papers of one search.

    Args:
        papers: newest first. fetched: when arXiv was asked.
    """

    papers: tuple[Paper, ...]
    fetched: datetime

    def since(self, age: timedelta = WEEK) -> tuple[Paper, ...]:
        """Those that were new in the time before they were fetched."""
        return tuple(paper for paper in self.papers if paper.published >= self.fetched - age)


def refresh(words: str = "", *, categories: Sequence[str] = CATEGORIES, most: int = 50) -> Listed:
    """Ask arXiv now, and keep the answer.

    Raises:
        PapersError: no list could be had; the one kept before stays.
        OSError: the disk is full, or may not be written.
    """
    listed = Listed(papers=fetch(words, categories=categories, most=most), fetched=datetime.now(UTC))
    target = _place(words, categories)
    target.parent.mkdir(parents=True, exist_ok=True)
    data = {"fetched": listed.fetched.isoformat(), "papers": [_plain(paper) for paper in listed.papers]}
    handle, half = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(data, out, ensure_ascii=False)
        Path(half).replace(target)
    finally:
        Path(half).unlink(missing_ok=True)
    return listed


def newest(words: str = "", *, categories: Sequence[str] = CATEGORIES, most: int = 50) -> Listed:
    """Return the list kept for this search while it is fresh, else ask arXiv.

    Raises:
        PapersError, OSError: as `refresh`.
    """
    kept = last_list(words, categories=categories)
    if kept is not None and timedelta(0) <= datetime.now(UTC) - kept.fetched < FRESH:
        return kept
    return refresh(words, categories=categories, most=most)


def last_list(words: str = "", *, categories: Sequence[str] = CATEGORIES) -> Listed | None:
    """The list that was fetched last for this search; None where there is none that can be read."""
    try:
        data = json.loads(_place(words, categories).read_text(encoding="utf-8"))
        papers = tuple(
            Paper(**{**one, "authors": tuple(one["authors"]), "published": datetime.fromisoformat(one["published"])})
            for one in data["papers"]
        )
        return Listed(papers=papers, fetched=datetime.fromisoformat(data["fetched"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _place(words: str, categories: Sequence[str]) -> Path:
    name = hashlib.sha256(question(words, categories).encode()).hexdigest()[:16]
    return home() / "papers" / f"{name}.json"


def _plain(paper: Paper) -> dict[str, object]:
    return {**asdict(paper), "published": paper.published.isoformat()}
