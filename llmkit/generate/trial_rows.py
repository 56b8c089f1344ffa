"""Test sets for prompts: rows of variables with the answer that is right. Small ones of our own, or the learner's."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from llmkit.generate.answer_score import Score, json_object
from llmkit.generate.reasoning import read_answer
from llmkit.generate.trial_errors import TrialError

MOST_ROWS = 60
"""Rows of a test set: what a small box answers in a few minutes on two cores."""

EXPECTED = ("expected", "answer", "label", "答案", "標籤")
"""Names of the column that says what is right, the first that is there."""

_FILE = Path(__file__).with_name("trial_sets.toml")


@dataclass(frozen=True, kw_only=True)
class TestRow:
    """One row. values: variable → text. expected: what is right."""

    __test__ = False  # not for pytest

    values: Mapping[str, str]
    expected: str


@dataclass(frozen=True, kw_only=True)
class TrialSet:
    """A test set, and two prompts to begin with.

    Args:
        id: its name. lang: of its texts. score: how answers to it are judged.
        vague, precise: prompts with its variables; empty for the learner's own.
        rows: at least one; all have the same variables.
        tokens: that an answer needs at most.
    """

    id: str
    lang: str
    score: Score
    vague: str
    precise: str
    rows: tuple[TestRow, ...]
    tokens: int

    @property
    def variables(self) -> tuple[str, ...]:
        """The names that a prompt can use."""
        return tuple(self.rows[0].values)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every answer that is expected of some row, each once."""
        return tuple(dict.fromkeys(row.expected for row in self.rows))


@cache
def sets(lang: str) -> tuple[TrialSet, ...]:
    """Return our own test sets in a language ("en", "zh-TW")."""
    listed = tomllib.loads(_FILE.read_text(encoding="utf-8"))["set"]
    return tuple(_read(entry) for entry in listed if entry["lang"] == lang)


def from_table(columns: Sequence[str], cells: Sequence[Sequence[str | None]]) -> tuple[TestRow, ...]:
    """Return rows of a learner's table: the column called like one of `EXPECTED` is what is right, the others are
    variables.

    Raises:
        TrialError: ``trial_no_expected``, ``trial_no_rows``, ``trial_too_many_rows`` or ``trial_cell_empty``.
    """
    names = [name.strip() for name in columns]
    wanted = next((name for name in EXPECTED if name in (one.casefold() for one in names)), None)
    if wanted is None or len(names) < 2:
        raise TrialError("trial_no_expected", columns=", ".join(names)[:100], names=", ".join(EXPECTED))
    if not cells:
        raise TrialError("trial_no_rows")
    if len(cells) > MOST_ROWS:
        raise TrialError("trial_too_many_rows", n=len(cells), limit=MOST_ROWS)
    place = [name.casefold() for name in names].index(wanted)
    rows: list[TestRow] = []
    for number, row in enumerate(cells, start=1):
        texts = [(cell or "").strip() for cell in row]
        if not all(texts):
            raise TrialError("trial_cell_empty", row=number, column=names[texts.index("")])
        values = {name: text for at, (name, text) in enumerate(zip(names, texts, strict=True)) if at != place}
        rows.append(TestRow(values=values, expected=texts[place]))
    return tuple(rows)


def require_scorable(rows: Sequence[TestRow], score: Score) -> None:
    """Refuse rows whose right answer the score cannot read.

    Raises:
        TrialError: ``trial_expected_bad``.
    """
    for number, row in enumerate(rows, start=1):
        unread = (score == "number" and read_answer(row.expected) is None) or (
            score == "json" and json_object(row.expected) is None
        )
        if unread:
            raise TrialError("trial_expected_bad", row=number, expected=row.expected[:60], score=score)


def as_data(rows: Sequence[TestRow]) -> list[dict[str, Any]]:
    """Rows as plain data, for a job's settings."""
    return [asdict(row) for row in rows]


def _read(entry: Mapping[str, Any]) -> TrialSet:
    names = entry["variables"]
    rows = tuple(TestRow(values=dict(zip(names, row[:-1], strict=True)), expected=row[-1]) for row in entry["rows"])
    return TrialSet(
        id=entry["id"],
        lang=entry["lang"],
        score=entry["score"],
        vague=entry["vague"],
        precise=entry["precise"],
        rows=rows,
        tokens=entry["tokens"],
    )
