"""A question as each place wants it: a forum's Markdown, an issue on GitHub, or a post on X."""

import re
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from llmkit.question.facts import Facts
from llmkit.question.redact import Redacted, redact

Kind = Literal["forum", "github", "x"]
KINDS: tuple[Kind, ...] = ("forum", "github", "x")
X_MOST = 280
"""Weighted characters of a post on X."""
_X_LINK = 23
"""What any link counts there, whatever its length."""
_X_SINGLE = ((0x0000, 0x10FF), (0x2000, 0x200D), (0x2010, 0x201F), (0x2032, 0x2037))
"""Code points that count once; all others, Chinese among them, count twice."""
_URL = re.compile(r"https?://\S+")


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked.

    Args:
        tried, expected, happened: in the learner's words; any may be empty.
        error: what the guide said, and its code; empty where nothing went wrong. page: the sheet's number and title.
        settings: the page's address with what it was set to. facts: the machine and the box.
    """

    tried: str
    expected: str
    happened: str
    error: str
    page: str
    settings: str
    facts: Facts


def written(question: Question, kind: Kind, words: Mapping[str, str]) -> str:
    """Return a question ready to be posted.

    Args:
        words: the headings, in the language of the reader: ``app, title, page, tried, expected, happened, error,
            versions, machine, box, form, differ, nothing``.
    """
    if kind == "x":
        return _short(question, words)
    head, fold = ("##", False) if kind == "forum" else ("###", True)
    told = [
        (words["tried"], question.tried or words["nothing"]),
        (words["expected"], question.expected or words["nothing"]),
        (words["happened"], question.happened or words["nothing"]),
    ]
    if question.error:
        told.append((words["error"], fenced(question.error)))
    told.append((words["page"], f"{one_line(question.page)}\n\n{inline_code(question.settings)}"))
    parts = [f"{head} {title}\n\n{text}" for title, text in told]
    told_facts = fenced("\n".join(f"{name}: {value}" for name, value in _listed(question.facts, words)))
    if fold:
        summary = f"<details><summary>{words['versions']}</summary>"
        parts.append(f"{summary}\n\n{told_facts}\n\n</details>")
    else:
        parts.append(f"{head} {words['versions']}\n\n{told_facts}")
    return "\n\n".join([f"# {title_of(question, words)}", *parts]) + "\n"


def ready(
    question: Question, kind: Kind, words: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> Redacted:
    """Return a question as `written`, without what must not be posted. Each answer is cleaned before it is fitted in.

    Args:
        environment: as `redact`.
    """
    hidden: Counter[str] = Counter()

    def clean(text: str) -> str:
        found = redact(text, environment)
        hidden.update(found.hidden)
        return found.text

    bare = replace(
        question,
        tried=clean(question.tried),
        expected=clean(question.expected),
        happened=clean(question.happened),
        error=clean(question.error),
        settings=clean(question.settings),
        facts=replace(question.facts, box=clean(question.facts.box)),
    )
    return Redacted(text=written(bare, kind, words), hidden=dict(hidden))


def title_of(question: Question, words: Mapping[str, str]) -> str:
    """Return the question's title in one line: the error, else what happened, else what was tried."""
    said = next((text for text in (question.error, question.happened, question.tried) if text.strip()), words["title"])
    return f"[{words['app']} {one_line(question.page).split(' ')[0]}] {cut(one_line(said), 100)}"


def _listed(facts: Facts, words: Mapping[str, str]) -> list[tuple[str, str]]:
    rows = [
        (words["box"], facts.box),
        (words["form"], facts.form),
        (words["versions"], facts.versions),
        (words["machine"], f"{facts.system}, {facts.machine}"),
    ]
    if facts.differ:
        rows.append((words["differ"], ", ".join(f"{name} {version}" for name, version in facts.differ)))
    return [(name, one_line(value)) for name, value in rows]


def _short(question: Question, words: Mapping[str, str]) -> str:
    """What fits into a post: where, with what, and as much of the error as there is room for."""
    versions = " ".join(f"{name} {version}" for name, version in question.facts.packages[:2])
    foot = f"{one_line(question.facts.box)} · {question.facts.form} · {versions}"
    head = f"{words['app']} {one_line(question.page)}:"
    said = next((one for one in (question.happened, question.error, question.tried) if one.strip()), words["title"])
    room = X_MOST - weighted_length(f"{head} \n{foot}")
    if room < 20:  # a box of one's own may have any name
        foot = cut_weighted(foot, 80)
        room = X_MOST - weighted_length(f"{head} \n{foot}")
    return cut_weighted(f"{head} {cut_weighted(one_line(said), max(room, 1))}\n{foot}", X_MOST)


def weighted_length(text: str) -> int:
    """Count a text as X does: Chinese and emoji twice, a link as 23. An emoji of several code points may count more.

    >>> weighted_length("abc"), weighted_length("詞元"), weighted_length("see https://example.com/" + "a" * 50)
    (3, 4, 27)
    """
    text = unicodedata.normalize("NFC", text)
    bare = _URL.sub("", text)
    links = len(_URL.findall(text))
    return _X_LINK * links + sum(1 if _counts_once(ord(char)) else 2 for char in bare)


def _counts_once(code: int) -> bool:
    return any(low <= code <= high for low, high in _X_SINGLE)


def cut_weighted(text: str, most: int) -> str:
    """Return a text that counts at most so much on X, with … where something is missing."""
    if weighted_length(text) <= most:
        return text
    length = bisect_right(range(len(text)), most - 2, key=lambda end: weighted_length(text[:end])) - 1  # … counts twice
    while length > 0 and weighted_length(text[:length]) > most - 2:  # half a link may count more than all of it
        length -= 1
    return text[: max(length, 0)].rstrip() + "…"


def fenced(text: str) -> str:
    """Return a text as a block of code that nothing in it can close.

    >>> print(fenced("a ``` b"))
    ````text
    a ``` b
    ````
    """
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip(chr(10))}\n{fence}"


def inline_code(text: str) -> str:
    """Return a text as code within a line."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    mark, space = "`" * (longest + 1), " " if longest else ""
    return f"{mark}{space}{one_line(text)}{space}{mark}"


def one_line(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def cut(text: str, most: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
