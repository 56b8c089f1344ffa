"""What each column holds: numbers, dates, a few categories, or texts; told from its cells by pandas."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, get_args

import pandas as pd

Kind = Literal["number", "date", "category", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_CATEGORIES = 50
"""Different values above which a column is no category but a text."""

CATEGORY_CHARACTERS = 60
"""A category is short; what is longer was written to be read."""

_DATE = (
    r"^\s*(?P<year>\d{4})[-/.年](?P<month>\d{1,2})[-/.月](?P<day>\d{1,2})日?"
    r"(?:[ T](?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?[^\s]*)?\s*$"
)
_LEADING_ZERO = re.compile(r"[+-]?0\d")
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d+)?")


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Give each column of text cells its kind: float64, datetime64, category or object.

    Args:
        frame: cells as text, None where there is nothing, as `llmkit.tune.data.dataset.read_table` gives them.

    Returns:
        the same columns and rows, numbered from 0.
    """
    made = {name: _typed(frame[name]) for name in frame.columns}
    return pd.DataFrame(made)


def kind_of(column: pd.Series) -> Kind:
    """What a typed column holds.

    >>> kind_of(pd.Series([1.0, 2.0])), kind_of(pd.Series(["a", "b"], dtype="category"))
    ('number', 'category')
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "category"
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "date"
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return "number"
    return "text"


def kinds(frame: pd.DataFrame) -> dict[str, Kind]:
    """The kind of each column, in order."""
    return {name: kind_of(frame[name]) for name in frame.columns}


def as_categories(values: pd.Series) -> pd.Series:
    """A column of text as categories where it has few short values, else as it is."""
    different = values.dropna().unique()
    few = 0 < len(different) <= min(MAX_CATEGORIES, max(len(values) // 2, 2))
    if few and all(len(value) <= CATEGORY_CHARACTERS for value in different):
        return values.astype(pd.CategoricalDtype(sorted(different)))
    return values


def _typed(cells: pd.Series) -> pd.Series:
    cells = cells.reset_index(drop=True)
    blank = cells.map(lambda cell: cell is None or not str(cell).strip()).astype(bool)
    cells = cells.astype(object).where(~blank, None)
    filled = cells[~blank].map(lambda cell: unicodedata.normalize("NFKC", cell).strip() if len(cell) < 40 else cell)
    if filled.empty:
        return cells
    numbers = _numbers(filled)
    if numbers is not None:
        return numbers.reindex(cells.index)
    dates = _dates(filled)
    if dates is not None:
        return dates.reindex(cells.index)
    return as_categories(cells)


def _numbers(filled: pd.Series) -> pd.Series | None:
    """The cells as numbers; None where one is none, or is written like a telephone's or a member's number."""
    different = dict.fromkeys(filled)
    if any(not _NUMBER.fullmatch(cell) or _LEADING_ZERO.match(cell) for cell in different):
        return None
    try:
        values = {cell: float(cell.replace(",", "")) for cell in different}
    except ValueError:  # "", ".", "e5"
        return None
    if any(abs(value) == float("inf") for value in values.values()):
        return None
    return filled.map(values).astype("float64")


def _dates(filled: pd.Series) -> pd.Series | None:
    """The cells as dates, as a clock on the wall shows them; None where one is none."""
    found = filled.astype(str).str.extract(_DATE)
    if found[["year", "month", "day"]].isna().any(axis=None):
        return None
    pieces = found.fillna("0").astype("int64")
    dates = pd.to_datetime(pieces, errors="coerce")
    return None if dates.isna().any() else dates
