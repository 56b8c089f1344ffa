"""Which column is the text, which the label, and what a rating means as a label."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.tune.data.dataset import LABEL_NAMES, TEXT_NAMES, Table, is_number

if TYPE_CHECKING:
    import pandas as pd

MAX_CLASSES = 50
"""Different labels above which a column is no label but a text, an id or a rating."""

LOOK_ROWS = 2_000
"""Rows that are looked at to guess."""

NOTHING = frozenset(("", "nan", "na", "n/a", "null", "none", "-", "?", "#n/a", "<na>"))
"""What people write where there is no label."""

NEGATIVE, POSITIVE = "negative", "positive"
"""Labels of a rating at or below its threshold, and above it."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """How a table is read as texts with labels; everything but the text may be missing.

    Args:
        text: the column of texts.
        label: the column of labels or ratings.
        threshold: where the label is a rating: above it is positive, else negative. None: labels as they are.
        part: a column that says which rows are for training and which for testing, where the source has one.
    """

    text: str
    label: str | None = None
    threshold: float | None = None
    part: str | None = None


def guess_columns(table: Table) -> Columns:
    """Guess the columns: by their names, else the longest texts and the fewest different values."""
    head = table.frame.iloc[:: max(len(table) // LOOK_ROWS, 1)]
    lengths = {name: head[name].map(lambda cell: len(cell or "")).mean() for name in table.columns}
    wordy = {name: length for name, length in lengths.items() if not _all_numbers(head[name])} or lengths
    called = [name for name in wordy if name.strip().lower() in TEXT_NAMES]
    text = called[0] if called else max(wordy, key=lambda name: wordy[name])
    rest = [name for name in table.columns if name != text]
    named = [name for name in rest if name.strip().lower() in LABEL_NAMES]
    few = [name for name in rest if 1 < head[name].nunique() <= min(MAX_CLASSES, max(len(head) // 2, 2))]
    label = next(iter(named or few), None)
    threshold = guess_threshold(table.frame[label]) if label is not None else None
    part = next((name for name in rest if name != label and is_part(head[name])), None)
    return Columns(text=text, label=label, threshold=threshold, part=part)


def guess_threshold(cells: "pd.Series[str]") -> float | None:
    """Return where a rating turns from negative to positive; None where the labels are names or few numbers.

    Ratings on both sides of 0 turn at 0, others in the middle of their range. Two different numbers are two classes.
    """
    values = [cell for cell in cells.dropna().unique() if cell.strip().lower() not in NOTHING]
    if not values or not all(is_number(value) for value in values):
        return None
    numbers = [float(value) for value in values]
    low, high = min(numbers), max(numbers)
    if low < 0 < high:
        return 0.0
    if len(numbers) < 5:
        return None
    return (low + high) / 2


def is_part(cells: "pd.Series[str]") -> bool:
    """Whether a column says which rows are for training and which for testing."""
    values = {str(value).strip().lower() for value in cells.dropna().unique()[:20]}
    return bool(values & TRAIN) and bool(values & HELD_OUT) and values <= TRAIN | HELD_OUT


TRAIN = frozenset(("train", "training", "訓練", "训练"))
HELD_OUT = frozenset(("test", "testing", "validation", "valid", "val", "dev", "eval", "測試", "驗證", "测试", "验证"))


def labels_of(frame: "pd.DataFrame", columns: Columns) -> "pd.Series[str]":
    """Each row's label, None where there is none; a rating becomes negative or positive."""
    import pandas as pd

    if columns.label is None:
        return pd.Series([None] * len(frame), index=frame.index, dtype=object)
    threshold = columns.threshold

    def label(cell: str | None) -> str | None:
        if cell is None or cell.strip().lower() in NOTHING:
            return None
        if threshold is None:
            return cell
        if not is_number(cell):
            return None
        return POSITIVE if float(cell) > threshold else NEGATIVE

    cells = frame[columns.label]
    seen = {cell: label(cell) for cell in cells.unique() if isinstance(cell, str)}
    return pd.Series([seen.get(cell) for cell in cells], index=frame.index, dtype=object)


def _all_numbers(cells: "pd.Series[str]") -> bool:
    values = cells.dropna().unique()[:200]
    return bool(len(values)) and all(is_number(value) for value in values)
