"""The operations on a table: a fixed, safe set. Each is plain data, checked against the table's columns, run by pandas.

Nothing here evaluates a text: a column's name is looked up, a value is compared, and that is all.
"""

from __future__ import annotations

import datetime
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

import pandas as pd

from llmkit.analyse.columns import Kind, kind_of, kinds
from llmkit.analyse.errors import AnalyseError

How = Literal["count", "mean", "sum", "median", "min", "max"]
HOWS: tuple[How, ...] = get_args(How)
Test = Literal["is", "is_not", "contains", "at_least", "at_most", "above", "below", "empty", "filled"]
TESTS: tuple[Test, ...] = get_args(Test)
Period = Literal["year", "month", "day"]
PERIODS: tuple[Period, ...] = get_args(Period)
Picture = Literal["bar", "line", "scatter", "histogram"]
PICTURES: tuple[Picture, ...] = get_args(Picture)

COMPARED = ("at_least", "at_most", "above", "below")
MOST_ROWS = 10_000
"""The most that ``top`` takes."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Keep the rows whose cell passes a test. Letters' case and width do not count in ``contains``.

    Args:
        column: whose cells. test: which. value: what they are compared with; a date as YYYY-MM-DD.
    """

    op: ClassVar[str] = "filter"
    column: str
    test: Test
    value: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One row for each value of a column, the greatest result first; dates stay in their order.

    Args:
        by: the column. how: what is told of each group. column: whose numbers; "" for ``count``.
        period: of a column of dates: what counts as one.
    """

    op: ClassVar[str] = "group"
    by: str
    how: How = "count"
    column: str = ""
    period: Period = "month"


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """One number for the whole column.

    Args:
        how: which. column: whose numbers; "" for ``count``.
    """

    op: ClassVar[str] = "aggregate"
    how: How
    column: str = ""


@dataclass(frozen=True, kw_only=True)
class Sort:
    """Order all rows by a column; empty cells come last, equal ones stay in order."""

    op: ClassVar[str] = "sort"
    column: str
    descending: bool = False


@dataclass(frozen=True, kw_only=True)
class Top:
    """The rows with the greatest, or the smallest, numbers or dates."""

    op: ClassVar[str] = "top"
    column: str
    n: int = 10
    smallest: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    """How the table is drawn; no row changes.

    Args:
        picture: which. x: across. y: up; "" where rows are counted.
    """

    op: ClassVar[str] = "chart"
    picture: Picture
    x: str
    y: str = ""


Operation = Filter | Group | Aggregate | Sort | Top | Chart
OPERATIONS: Mapping[str, type[Operation]] = {kind.op: kind for kind in (Filter, Group, Aggregate, Sort, Top, Chart)}


def as_dict(operation: Operation) -> dict[str, Any]:
    """An operation as plain data, for a link or a job."""
    return {"op": operation.op, **asdict(operation)}


def from_dict(data: object) -> Operation:
    """Read an operation back from plain data, from anywhere.

    Raises:
        AnalyseError: ``op_bad_value`` where it is none of ours.
    """
    if not isinstance(data, Mapping) or str(data.get("op")) not in OPERATIONS:
        raise AnalyseError("op_bad_value", value=str(data)[:60])
    fields = {name: value for name, value in data.items() if name != "op"}
    try:
        made = OPERATIONS[str(data["op"])](**fields)
    except TypeError as error:
        raise AnalyseError("op_bad_value", value=str(data)[:60]) from error
    for name, value in asdict(made).items():
        wanted = bool if name in ("descending", "smallest") else int if name == "n" else str
        if type(value) is not wanted:
            raise AnalyseError("op_bad_value", value=str(value)[:60])
    return made


def check(operation: Operation, columns: Mapping[str, Kind]) -> None:
    """Say whether an operation can be run on a table with these columns.

    Raises:
        AnalyseError: ``op_no_column``, ``op_wrong_kind`` or ``op_bad_value``.
    """
    match operation:
        case Filter():
            _check_filter(operation, columns)
        case Group():
            _require(operation.by, columns)
            _one_of(operation.period, PERIODS)
            _check_how(operation.how, operation.column, columns)
        case Aggregate():
            _check_how(operation.how, operation.column, columns)
        case Sort():
            _require(operation.column, columns)
        case Top():
            _require(operation.column, columns, "number", "date")
            if not 1 <= operation.n <= MOST_ROWS:
                raise AnalyseError("op_bad_value", value=operation.n)
        case Chart():
            _check_chart(operation, columns)


def apply(frame: pd.DataFrame, operation: Operation) -> pd.DataFrame:
    """Run one operation; the frame that it is given stays as it is.

    Args:
        frame: typed columns, as `llmkit.analyse.table.open_table` gives them.

    Raises:
        AnalyseError: as `check` does.
    """
    check(operation, kinds(frame))
    match operation:
        case Filter():
            return frame[_passes(frame[operation.column], operation)].reset_index(drop=True)
        case Group():
            return _group(frame, operation)
        case Aggregate():
            return pd.DataFrame({result_name(operation): [_one_number(frame, operation)]})
        case Sort():
            ordered = frame.sort_values(operation.column, ascending=not operation.descending, kind="stable")
            return ordered.reset_index(drop=True)
        case Top():
            ordered = frame.sort_values(operation.column, ascending=operation.smallest, kind="stable")
            return ordered.dropna(subset=[operation.column]).head(operation.n).reset_index(drop=True)
        case Chart():
            return frame


def run(frame: pd.DataFrame, operations: Sequence[Operation]) -> pd.DataFrame:
    """Run operations one after another.

    Raises:
        AnalyseError: as `check` does, for the first that cannot be run.
    """
    for operation in operations:
        frame = apply(frame, operation)
    return frame


def result_name(operation: Group | Aggregate) -> str:
    """What the column of results is called; another name where the groups' own column is called so.

    >>> result_name(Group(by="city", how="mean", column="price")), result_name(Group(by="count"))
    ('mean price', 'count 2')
    """
    name = f"{operation.how} {operation.column}".strip()
    return f"{name} 2" if isinstance(operation, Group) and name == operation.by else name


def fitting(test: Test, kind: Kind) -> bool:
    """Whether a test can be made on a kind of column."""
    if test in COMPARED:
        return kind in ("number", "date")
    return test != "contains" or kind in ("text", "category")


def _require(name: str, columns: Mapping[str, Kind], *wanted: Kind) -> Kind:
    if name not in columns:
        raise AnalyseError("op_no_column", column=name)
    if wanted and columns[name] not in wanted:
        raise AnalyseError("op_wrong_kind", column=name)
    return columns[name]


def _one_of(value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise AnalyseError("op_bad_value", value=value)


def _check_how(how: How, column: str, columns: Mapping[str, Kind]) -> None:
    _one_of(how, HOWS)
    if how != "count":
        _require(column, columns, "number")
    elif column:
        raise AnalyseError("op_bad_value", value=column)


def _check_filter(operation: Filter, columns: Mapping[str, Kind]) -> None:
    kind = _require(operation.column, columns)
    _one_of(operation.test, TESTS)
    if not fitting(operation.test, kind):
        raise AnalyseError("op_wrong_kind", column=operation.column)
    if operation.test not in ("empty", "filled"):
        _value(operation.value, kind)


def _check_chart(operation: Chart, columns: Mapping[str, Kind]) -> None:
    _one_of(operation.picture, PICTURES)
    number: tuple[Kind, ...] = ("number",)
    if operation.picture == "histogram":
        _require(operation.x, columns, *number)
    elif operation.picture == "scatter":
        _require(operation.x, columns, "number", "date")
        _require(operation.y, columns, *number)
        if operation.x == operation.y:
            raise AnalyseError("op_bad_value", value=operation.y)
    elif operation.picture == "line":
        _require(operation.x, columns, "number", "date")
    else:
        _require(operation.x, columns)
    if operation.y and operation.picture != "histogram":
        _require(operation.y, columns, *number)


def _value(text: str, kind: Kind) -> Any:
    """What a cell is compared with, in its column's kind."""
    if kind == "number":
        try:
            return float(text.replace(",", ""))
        except ValueError as error:
            raise AnalyseError("op_bad_value", value=text) from error
    if kind == "date":
        try:
            return pd.Timestamp(datetime.date.fromisoformat(text.strip()))
        except ValueError as error:
            raise AnalyseError("op_bad_value", value=text) from error
    return text


def _passes(column: pd.Series, operation: Filter) -> pd.Series:
    """[rows] of bool; an empty cell passes nothing but ``empty`` and ``is_not``."""
    test, kind = operation.test, kind_of(column)
    if test in ("empty", "filled"):
        return column.isna() if test == "empty" else column.notna()
    value = _value(operation.value, kind)
    if test == "contains":
        text = column.astype(object).where(column.notna(), "").astype(str).str.normalize("NFKC").str.casefold()
        found: pd.Series[bool] = text.str.contains(_folded(value), regex=False)
        return found
    if kind == "date":
        column = column.dt.normalize()  # a day is a day at any hour
    if test == "is":
        same: pd.Series[bool] = column == value
        return same
    if test == "is_not":
        other: pd.Series[bool] = column != value
        return other
    compare = {"at_least": column.ge, "at_most": column.le, "above": column.gt, "below": column.lt}[test]
    passed: pd.Series[bool] = compare(value)
    return passed


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _group(frame: pd.DataFrame, operation: Group) -> pd.DataFrame:
    name, kind = result_name(operation), kind_of(frame[operation.by])
    keys = frame[operation.by]
    if kind == "date":
        unit = {"year": "Y", "month": "M", "day": "D"}[operation.period]
        keys = keys.dt.to_period(unit).dt.to_timestamp()
    if operation.how == "count":
        made = keys.groupby(keys, observed=True).size()
    else:
        made = frame[operation.column].groupby(keys, observed=True).agg(operation.how)
    found = pd.DataFrame({operation.by: made.index, name: made.to_numpy().astype("float64")})
    if isinstance(found[operation.by].dtype, pd.CategoricalDtype):
        found[operation.by] = found[operation.by].cat.remove_unused_categories()
    if kind != "date":
        found = found.sort_values(name, ascending=False, kind="stable")
    return found.reset_index(drop=True)


def _one_number(frame: pd.DataFrame, operation: Aggregate) -> float:
    if operation.how == "count":
        return float(len(frame))
    return float(frame[operation.column].agg(operation.how))
