"""What can be asked of a table: the operations that fit its columns and a question, each in words. All are valid."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from llmkit.analyse.columns import Kind, kinds
from llmkit.analyse.errors import AnalyseError
from llmkit.analyse.found import first_date
from llmkit.analyse.operation import Aggregate, Chart, Filter, Group, Operation, Sort, Test, Top, check

MOST_CANDIDATES = 160
MOST_COLUMNS = 12
"""Columns that operations are made of: those that the question names first."""

MOST_VALUES = 8
"""Values of a column that a filter is offered for, beside those that the question names."""

FEW_NUMBERS = 12
"""A column of numbers with at most so many different ones can be grouped by."""

QUESTION_CHARACTERS = 300
NAME_CHARACTERS = 60
"""A column's name or a value is cut to so much before it is put in words."""

WORDS = Path(__file__).with_name("ask.toml")
_QUOTED = re.compile(r"[\"“「『]([^\"”」』]{1,60})[\"”」』]")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?|(?<=[\u3400-\u9fff])\d+(?:\.\d+)?")


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A question, and what of the table it names.

    Args:
        text: the question, letters' case and width taken away. columns: names, in the order in which they are said.
        values: (column, value) of categories. numbers: as they are written. quoted: what stands in quotation marks.
        date: the first, as YYYY-MM-DD; "" for none.
    """

    text: str
    columns: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    quoted: str
    date: str


@cache
def words() -> Mapping[str, Any]:
    """The words of both languages, as ``ask.toml`` holds them."""
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


def hear(question: str, frame: pd.DataFrame) -> Heard:
    """Look what of the table a question names.

    Raises:
        AnalyseError: ``ask_empty`` or ``ask_too_long``.
    """
    if not question.strip():
        raise AnalyseError("ask_empty")
    if len(question) > QUESTION_CHARACTERS:
        raise AnalyseError("ask_too_long", n=len(question), limit=QUESTION_CHARACTERS)
    text = folded(question)
    found = kinds(frame)
    columns = _said({name: folded(name) for name in found}, text)
    values = []
    for name, kind in found.items():
        if kind == "category":
            values += [(name, value) for value in _said({v: folded(v) for v in frame[name].cat.categories}, text)]
    quoted = _QUOTED.search(unicodedata.normalize("NFKC", question))
    date = first_date(question)
    numbers = () if date else tuple(match[0] for match in _NUMBER.finditer(text))
    return Heard(
        text=text,
        columns=tuple(columns),
        values=tuple(values),
        numbers=numbers,
        quoted=quoted[1].strip() if quoted else "",
        date=date,
    )


def candidates(frame: pd.DataFrame, heard: Heard) -> tuple[Operation, ...]:
    """The operations to choose from, those of named columns and values first; each passes `check`."""
    all_kinds = kinds(frame)
    order = [*heard.columns, *(name for name in all_kinds if name not in heard.columns)][:MOST_COLUMNS]
    columns = {name: all_kinds[name] for name in order}
    found = dict.fromkeys(
        one
        for one in (*_filters(frame, columns, heard), *_groups(frame, columns), *_others(columns, heard))
        if _fits(one, all_kinds)
    )
    return tuple(found)[:MOST_CANDIDATES]


def groupable(frame: pd.DataFrame, name: str, kind: Kind) -> bool:
    """Whether rows can sensibly be grouped by a column."""
    return kind in ("category", "date") or (kind == "number" and frame[name].nunique() <= FEW_NUMBERS)


def phrase(operation: Operation, lang: str) -> str:
    """An operation in words, as a box reads it: plain text on one line, names cut.

    >>> phrase(Group(by="city", how="mean", column="price"), "en")
    'average price for each city'
    """
    said = words()["phrase"][lang]
    match operation:
        case Group():
            key = "group_count" if operation.how == "count" else "group"
            values = {"how": said.get(operation.how, ""), "column": operation.column, "by": operation.by}
        case Aggregate():
            key = "aggregate_count" if operation.how == "count" else "aggregate"
            values = {"how": said.get(operation.how, ""), "column": operation.column}
        case Sort():
            key, values = "sort_descending" if operation.descending else "sort", {"column": operation.column}
        case Top():
            key = "top_smallest" if operation.smallest else "top"
            values = {"column": operation.column, "n": str(operation.n)}
        case Chart():
            key, values = f"chart_{operation.picture}", {"x": operation.x, "y": operation.y}
        case Filter():
            key, values = f"filter_{operation.test}", {"column": operation.column, "value": operation.value}
    short = {name: " ".join(value.split())[:NAME_CHARACTERS] for name, value in values.items()}
    return re.sub(r"\{(\w+)\}", lambda match: short[match[1]], said[key])  # once: a name with braces stays a name


def folded(text: str) -> str:
    """A text without its letters' case and width."""
    return unicodedata.normalize("NFKC", text).casefold()


def mentions(text: str, word: str) -> int:
    """Where a word stands in a folded text, -1 for nowhere; Latin words as wholes, an English plural counts.

    >>> mentions("all ratings", "rating"), mentions("operating", "rating"), mentions("平均評分", "評分")
    (4, -1, 2)
    """
    if not word:
        return -1
    left = r"(?<![a-z0-9_])" if word[0].isascii() and word[0].isalnum() else ""
    right = r"(?:e?s)?(?![a-z0-9_])" if word[-1].isascii() and word[-1].isalnum() else ""
    match = re.search(left + re.escape(word) + right, text)
    return match.start() if match else -1


def _said(names: Mapping[str, str], text: str) -> list[str]:
    """The names that a text says, in its order; the longest first, so that a part of a longer one is not heard."""
    found: list[tuple[int, str]] = []
    for name in sorted(names, key=lambda name: -len(names[name])):
        at = mentions(text, names[name])
        if at >= 0:
            found.append((at, name))
            text = text[:at] + "\x00" * len(names[name]) + text[at + len(names[name]) :]
    return [name for _, name in sorted(found)]


def _fits(operation: Operation, columns: Mapping[str, Kind]) -> bool:
    try:
        check(operation, columns)
    except AnalyseError:
        return False
    return True


def _filters(frame: pd.DataFrame, columns: Mapping[str, Kind], heard: Heard) -> Iterator[Filter]:
    compared: Sequence[Test] = ("at_least", "at_most", "above", "below", "is")
    for column, value in heard.values:
        yield Filter(column=column, test="is", value=value)
        yield Filter(column=column, test="is_not", value=value)
    for column, kind in columns.items():
        for number in heard.numbers if kind == "number" else ():
            yield from (Filter(column=column, test=test, value=number) for test in compared)
        if kind == "date" and heard.date:
            yield from (Filter(column=column, test=test, value=heard.date) for test in compared)
        if kind in ("text", "category") and heard.quoted:
            yield Filter(column=column, test="contains", value=heard.quoted)
    for column, kind in columns.items():
        if kind == "category":
            for value in frame[column].value_counts().index[:MOST_VALUES]:
                yield Filter(column=column, test="is", value=str(value))


def _groups(frame: pd.DataFrame, columns: Mapping[str, Kind]) -> Iterator[Operation]:
    numbers = [name for name, kind in columns.items() if kind == "number"]
    for by in (name for name, kind in columns.items() if groupable(frame, name, kind)):
        yield Group(by=by)
        for number in numbers:
            if number != by:
                yield from (Group(by=by, how=how, column=number) for how in ("mean", "sum", "max", "min"))
    yield Aggregate(how="count")
    for number in numbers:
        yield from (Aggregate(how=how, column=number) for how in ("mean", "sum", "max", "min"))


def _others(columns: Mapping[str, Kind], heard: Heard) -> Iterator[Operation]:
    count = next((int(one) for one in heard.numbers if one.isdigit() and 0 < int(one) <= 1000), 5)
    dates = [name for name, kind in columns.items() if kind == "date"]
    for column, kind in columns.items():
        if kind in ("number", "date"):
            yield from (Sort(column=column, descending=down) for down in (True, False))
            yield from (Top(column=column, n=count, smallest=least) for least in (False, True))
        if kind == "category":
            yield Chart(picture="bar", x=column)
        if kind == "number":
            yield Chart(picture="histogram", x=column)
            yield from (Chart(picture="line", x=date, y=column) for date in dates)
