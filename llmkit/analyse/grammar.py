"""A question becomes an operation by rules alone: the words that it holds, the columns and values that it names.

The baseline beside the box: it understands little, the same every time, and says so where it understands nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from llmkit.analyse.candidates import Heard, groupable, hear, mentions, words
from llmkit.analyse.columns import Kind, kinds
from llmkit.analyse.errors import AnalyseError
from llmkit.analyse.operation import Aggregate, Chart, Filter, Group, How, Operation, Period, Sort, Test, Top, check

_HOWS: tuple[How, ...] = ("mean", "median", "sum", "count", "max", "min")
"""In the order in which they are listened for: "the highest average" asks for an average."""


def understand(question: str, frame: pd.DataFrame) -> Operation | None:
    """The operation that a question asks for; None where the rules cannot say.

    Raises:
        AnalyseError: ``ask_empty`` or ``ask_too_long``.
    """
    heard = hear(question, frame)
    found = kinds(frame)
    for rule in (_chart, _sort, _compare, _top, _reckon, _only):
        operation = rule(heard, frame, found)
        if operation is not None:
            try:
                check(operation, found)
            except AnalyseError:
                continue
            return operation
    return None


def says(heard: Heard, idea: str) -> bool:
    """Whether the question holds one of the words for an idea."""
    return any(mentions(heard.text, word) >= 0 for word in words()["words"][idea])


def _first(heard: Heard, found: Mapping[str, Kind], *wanted: Kind) -> str | None:
    return next((name for name in heard.columns if found[name] in wanted), None)


def _number(heard: Heard, found: Mapping[str, Kind], but: str | None = None) -> str | None:
    """The column of numbers that is named, or the only one that there is."""
    numbers = [name for name, kind in found.items() if kind == "number" and name != but]
    named = [name for name in heard.columns if name in numbers]
    return named[0] if named else numbers[0] if len(numbers) == 1 else None


def _by(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> str | None:
    """What rows are grouped by: a named column that has few values; one of numbers only where nothing else is."""
    named = [name for name in heard.columns if groupable(frame, name, found[name])]
    return next((name for name in named if found[name] != "number"), named[0] if len(named) == 1 else None)


def _chart(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> Operation | None:
    number = _number(heard, found)
    date = _first(heard, found, "date") or next((name for name, kind in found.items() if kind == "date"), None)
    if says(heard, "histogram") and number:
        return Chart(picture="histogram", x=number)
    if says(heard, "line") and date and number:
        return Chart(picture="line", x=date, y=number)
    if not says(heard, "chart") or says(heard, "mean") or says(heard, "sum"):
        return None
    category = _first(heard, found, "category")
    if category:
        return Chart(picture="bar", x=category)
    return Chart(picture="histogram", x=number) if number and number in heard.columns else None


def _sort(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> Operation | None:
    if not says(heard, "sort") or not heard.columns:
        return None
    down = says(heard, "descending") or (says(heard, "max") and not says(heard, "ascending"))
    return Sort(column=heard.columns[0], descending=down)


def _top(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> Operation | None:
    column = _first(heard, found, "number", "date")
    whole = [number for number in heard.numbers if number.isdigit() and 0 < int(number) <= 1000]
    if column is None or not whole or says(heard, "mean") or says(heard, "sum"):
        return None
    least = says(heard, "min") or says(heard, "bottom")
    if not least and not says(heard, "max") and not says(heard, "top"):
        return None
    return Top(column=column, n=int(whole[0]), smallest=least)


def _compare(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> Operation | None:
    tests: tuple[Test, ...] = ("at_least", "at_most", "above", "below")
    test = next((test for test in tests if says(heard, test)), None)
    if test is None:
        return None
    if heard.date:
        date = _first(heard, found, "date") or next((name for name, kind in found.items() if kind == "date"), None)
        return Filter(column=date, test=test, value=heard.date) if date else None
    number = _number(heard, found)
    return Filter(column=number, test=test, value=heard.numbers[0]) if number and heard.numbers else None


def _reckon(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> Operation | None:
    """Groups and single numbers."""
    how = next((how for how in _HOWS if says(heard, how)), None)
    by = _by(heard, frame, found)
    grouped = by is not None and (found[by] != "number" or says(heard, "group") or how == "count")
    if heard.values and (how is None or how == "count"):
        return None  # "how many from Taipei" is a filter first
    if how is None and not grouped:
        return None
    period: Period = "year" if says(heard, "year") else "day" if says(heard, "day") else "month"
    number = _number(heard, found, but=by if grouped else None)
    if how is None or how == "count":
        return Group(by=by, period=period) if grouped and by else Aggregate(how="count") if how else None
    if number is None:
        return None
    if grouped and by and by != number:
        return Group(by=by, how=how, column=number, period=period)
    return Aggregate(how=how, column=number)


def _only(heard: Heard, frame: pd.DataFrame, found: Mapping[str, Kind]) -> Operation | None:
    """Rows that hold a value, or a quoted text."""
    if heard.values:
        column, value = heard.values[0]
        return Filter(column=column, test="is_not" if says(heard, "not") else "is", value=value)
    number = _first(heard, found, "number")
    if number and heard.numbers:
        return Filter(column=number, test="is", value=heard.numbers[0])
    text = _first(heard, found, "text") or next((name for name, kind in found.items() if kind == "text"), None)
    if heard.quoted and text:
        return Filter(column=text, test="contains", value=heard.quoted)
    return None
