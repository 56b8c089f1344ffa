"""How often a reading says what a column of labels says, with its 95 % interval, in all and in parts of the table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmkit.generate.few_shot import wilson
from llmkit.tune.ways.measure import confusion

MOST_PARTS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Answers beside labels.

    Args:
        right, n: rows that agree, of those with both. low, high: 95 % interval of the share (Wilson).
        labels: that occur in either, sorted. table: [label, answer], rows.
    """

    right: int
    n: int
    low: float
    high: float
    labels: tuple[str, ...]
    table: NDArray[np.int64]

    @property
    def share(self) -> float:
        """Of the rows that agree."""
        return self.right / self.n


def agreement(answers: pd.Series, labels: pd.Series) -> Agreement | None:
    """Compare a reading with labels; None where no row has both.

    Args:
        answers, labels: [rows], None where there is none; compared as text.
    """
    both = (answers.notna() & labels.notna()).to_numpy()
    said, true = answers[both].astype(str).to_numpy(), labels[both].astype(str).to_numpy()
    if not len(said):
        return None
    names = tuple(sorted({*said, *true}))
    places = {name: at for at, name in enumerate(names)}
    truth = np.array([places[one] for one in true])
    judged = np.array([places[one] for one in said])
    right, n = int((truth == judged).sum()), len(truth)
    low, high = wilson(right, n)
    table = confusion(truth, judged, labels=len(names))
    return Agreement(right=right, n=n, low=low, high=high, labels=names, table=table)


def by_part(answers: pd.Series, labels: pd.Series, parts: pd.Series) -> dict[str, Agreement]:
    """The same for each value of a column, the commonest first."""
    found = {}
    for value in parts.value_counts().index[:MOST_PARTS]:
        rows = (parts == value).to_numpy()
        one = agreement(answers[rows], labels[rows])
        if one is not None:
            found[str(value)] = one
    return found
