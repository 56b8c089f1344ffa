"""arXiv's API: a question put to it, and its Atom feed read.

Source: https://info.arxiv.org/help/api/user-manual.html
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree

import httpx

from llmkit.home import offline
from llmkit.papers.errors import PapersError

API = "https://export.arxiv.org/api/query"
CATEGORIES = ("cs.CL", "cs.LG")
MOST_BYTES = 8_000_000
"""A list of 200 papers takes about half a megabyte."""

TIMEOUT_S = 20.0
PAUSE_S = 3.0
"""Between two questions, whoever asks them: arXiv wants no more from one machine."""

_one_at_a_time = threading.Lock()
_asked_at = [float("-inf")]
_ATOM, _ARXIV = "{http://www.w3.org/2005/Atom}", "{http://arxiv.org/schemas/atom}"
_ID = re.compile(r"arxiv\.org/abs/(?P<id>[\w.-]+?(?:/\d+)?)(?:v\d+)?$")
_WORD = re.compile(r"[\w-]+")


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One paper, as arXiv lists it.

    Args:
        id: without its version ("1706.03762"). title, summary: one line each, plain text of a stranger.
        authors: in their order. published: when its first version came. category: its first one.
    """

    id: str
    title: str
    summary: str
    authors: tuple[str, ...]
    published: datetime
    category: str

    @property
    def address(self) -> str:
        """The paper's page."""
        return f"https://arxiv.org/abs/{self.id}"


def question(words: str = "", categories: Sequence[str] = CATEGORIES) -> str:
    """The ``search_query``: papers of any of the categories whose title or abstract has every word.

    Punctuation is left out: it has a meaning of its own in arXiv's language.

    Raises:
        PapersError: ``papers_query`` where there is neither a word nor a category.

    >>> question("low-rank adapter")
    '(cat:cs.CL OR cat:cs.LG) AND all:low-rank AND all:adapter'
    """
    wanted = [
        f"all:{word}" for word in _WORD.findall(words) if word.strip("-_") and word not in ("AND", "OR", "ANDNOT")
    ]
    fields = [" OR ".join(f"cat:{category}" for category in categories)] if categories else []
    asked = " AND ".join([*(f"({field})" for field in fields), *wanted])
    if not asked:
        raise PapersError("papers_query")
    return asked


def fetch(words: str = "", *, categories: Sequence[str] = CATEGORIES, most: int = 50) -> tuple[Paper, ...]:
    """Ask arXiv for the newest papers.

    Args:
        words: every one of them must be in the title or the abstract.
        categories: at least one of them must be the paper's.
        most: how many papers at most.

    Raises:
        PapersError: see its codes.
    """
    if offline():
        raise PapersError("papers_offline")
    asked = {
        "search_query": question(words, categories),
        "sortBy": "submittedDate",
        "sortOrder": "descending",
        "max_results": str(most),
    }
    try:
        return parse(_get(asked))
    except httpx.HTTPError as error:
        raise PapersError("papers_unreachable", detail=type(error).__name__) from error


def _get(asked: dict[str, str]) -> bytes:
    with _one_at_a_time:
        time.sleep(max(_asked_at[0] + PAUSE_S - time.monotonic(), 0.0))
        try:
            return _read(asked)
        finally:
            _asked_at[0] = time.monotonic()


def _read(asked: dict[str, str]) -> bytes:
    with httpx.stream("GET", API, params=asked, timeout=TIMEOUT_S) as answer:
        if answer.status_code != httpx.codes.OK:
            raise PapersError("papers_refused", status=answer.status_code)
        body = b""
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise PapersError("papers_garbled", detail=f"> {MOST_BYTES:,} B")
    return body


def parse(feed: bytes) -> tuple[Paper, ...]:
    """Read an Atom feed of arXiv's; entries that are not papers, or come twice, are left out.

    Raises:
        PapersError: ``papers_garbled`` where it is none, ``papers_refused`` where arXiv reports an error in it.
    """
    if b"<!DOCTYPE" in feed[:2000] or b"<!ENTITY" in feed:  # arXiv's has none; a stranger's could be a bomb
        raise PapersError("papers_garbled", detail="DOCTYPE")
    try:
        root = ElementTree.fromstring(feed)
    except ElementTree.ParseError as error:
        raise PapersError("papers_garbled", detail=str(error)) from error
    if root.tag != f"{_ATOM}feed":
        raise PapersError("papers_garbled", detail=root.tag[:80])
    entries = root.findall(f"{_ATOM}entry")
    if len(entries) == 1 and "/api/errors" in _text(entries[0], "id"):
        raise PapersError("papers_refused", status=_text(entries[0], "summary")[:200])
    found: dict[str, Paper] = {}
    for paper in map(_paper, entries):
        if paper is not None:
            found.setdefault(paper.id, paper)
    return tuple(found.values())


def _paper(entry: ElementTree.Element) -> Paper | None:
    named, published = _ID.search(_text(entry, "id")), _text(entry, "published")
    title = _text(entry, "title")
    primary = entry.find(f"{_ARXIV}primary_category")
    if named is None or not title:
        return None
    try:
        when = datetime.fromisoformat(published)
    except ValueError:
        return None
    if when.tzinfo is None:
        return None
    return Paper(
        id=named["id"],
        title=title,
        summary=_text(entry, "summary"),
        authors=tuple(" ".join((name.text or "").split()) for name in entry.iterfind(f"{_ATOM}author/{_ATOM}name")),
        published=when,
        category="" if primary is None else primary.get("term", ""),
    )


def _text(entry: ElementTree.Element, tag: str) -> str:
    """An element's text in one line: arXiv breaks titles and abstracts for a terminal's width."""
    return " ".join((entry.findtext(f"{_ATOM}{tag}") or "").split())
