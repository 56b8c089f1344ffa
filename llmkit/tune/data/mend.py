"""Mend a table: each mending by its name, in the order in which they were chosen; none touches the file."""

import html
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from llmkit.tune.data.checks import (
    CONTROL,
    FEWEST_OF_A_CLASS,
    MARKUP,
    MOJIBAKE,
    leaking,
    normalise,
    usual_spelling,
)
from llmkit.tune.data.columns import Columns, labels_of
from llmkit.tune.data.dataset import Table

if TYPE_CHECKING:
    import pandas as pd

Mend = Callable[["pd.DataFrame", Table, Columns], "pd.DataFrame"]


def apply(table: Table, mendings: Iterable[str], columns: Columns) -> "pd.DataFrame":
    """Return the table's frame with the mendings applied, in order; the table stays as it is.

    Args:
        table: as it was read. mendings: keys of MENDINGS. columns: what holds text and label.

    Raises:
        KeyError: there is no such mending.
    """
    frame = table.frame
    for name in mendings:
        frame = MENDINGS[name](frame, table, columns)
    return frame


def _drop_where(true: Callable[[str], object]) -> Mend:
    def mend(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
        return frame[[not true(text or "") for text in frame[columns.text]]]

    return mend


def _rewrite(change: Callable[[str], str]) -> Mend:
    def mend(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
        texts = [None if text is None else change(text) for text in frame[columns.text]]
        return frame.assign(**{columns.text: _column(texts, frame)})

    return mend


def _column(cells: "Sequence[str | None]", frame: "pd.DataFrame") -> "pd.Series[str]":
    import pandas as pd

    return pd.Series(list(cells), index=frame.index, dtype=object)


def _drop_rows(which: Callable[[Table], Iterable[int]]) -> Mend:
    return lambda frame, table, _columns: frame.drop(index=frame.index.intersection(list(which(table))))


def _drop_unlabelled(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    return frame[labels_of(frame, columns).notna()]


def _drop_duplicates(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    """Keep each text's first row."""
    return frame[~frame[columns.text].fillna("").duplicated()]


def _drop_near_duplicates(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    return frame[~frame[columns.text].fillna("").map(normalise).duplicated()]


def _drop_conflicts(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    """Take every row of a text out that stands there under two labels: nobody knows which is right."""
    keys = frame[columns.text].fillna("").map(normalise)
    different = labels_of(frame, columns).groupby(keys).nunique()
    return frame[~keys.isin(different.index[different > 1])]


def _drop_rare(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    labels = labels_of(frame, columns)
    counts = Counter(labels.dropna())
    return frame[~labels.isin({label for label, count in counts.items() if count < FEWEST_OF_A_CLASS})]


def _merge_labels(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    if columns.label is None or columns.threshold is not None:
        return frame
    usual = usual_spelling(Counter(labels_of(frame, columns).dropna()))
    cells = [usual.get(cell, cell) for cell in frame[columns.label]]
    return frame.assign(**{columns.label: _column(cells, frame)})


def _drop_leaks(frame: "pd.DataFrame", _table: Table, columns: Columns) -> "pd.DataFrame":
    return frame.drop(index=leaking(frame, columns))


def redecode(text: str) -> str:
    """Undo UTF-8 that was read as Latin-1; a text that does not come out whole stays as it is.

    >>> redecode("très bien".encode().decode("cp1252"))
    'très bien'
    """
    if not MOJIBAKE.search(text):
        return text
    for codec in ("cp1252", "latin-1"):
        try:
            return text.encode(codec).decode("utf-8")
        except UnicodeError:
            continue
    return text


def _without_markup(text: str) -> str:
    """Take tags out and write entities as characters, until nothing of either is left (``&amp;lt;`` is both)."""
    while MARKUP.search(text):
        plain = html.unescape(MARKUP.sub(lambda match: match[0] if match[0].startswith("&") else " ", text))
        if plain == text:
            break
        text = plain
    return text.strip()


MENDINGS: Mapping[str, Mend] = {
    "drop_foreign": _drop_rows(lambda table: table.otherwise),
    "drop_undecodable": _drop_rows(lambda table: table.undecodable),
    "drop_ragged": _drop_rows(lambda table: table.ragged),
    "drop_empty": _drop_where(lambda text: not CONTROL.sub("", text).strip()),
    "redecode": _rewrite(redecode),
    "drop_controls": _rewrite(lambda text: CONTROL.sub("", text)),
    "trim": _rewrite(str.strip),
    "drop_markup": _rewrite(_without_markup),
    "drop_unlabelled": _drop_unlabelled,
    "merge_labels": _merge_labels,
    "drop_rare": _drop_rare,
    "drop_duplicates": _drop_duplicates,
    "drop_near_duplicates": _drop_near_duplicates,
    "drop_conflicts": _drop_conflicts,
    "drop_leaks": _drop_leaks,
}
"""Every mending by name."""
