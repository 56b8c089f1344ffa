"""How good a way is, how sure that is, and whether two ways can be told apart on so few rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.generate.few_shot import wilson

RESAMPLES = 1000
SEED = 0
ALPHA = 0.05
"""Two ways are told apart where so great a difference would come by luck less often than this."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one way did at one place of its dial.

    Args:
        right, n: rows judged right, of how many. accuracy, low, high: and its 95 % interval (Wilson).
        f1, f1_low, f1_high: mean F1 of the labels, and its 95 % interval (bootstrap).
    """

    right: int
    n: int
    accuracy: float
    low: float
    high: float
    f1: float
    f1_low: float
    f1_high: float


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Two ways on the same rows.

    Args:
        only_first, only_second: rows that only one of them judged right. p: how likely so uneven a split is by luck.
    """

    only_first: int
    only_second: int
    p: float


def score(truth: Ints, judged: Ints, *, labels: int, resamples: int = RESAMPLES, seed: int = SEED) -> Score:
    """Measure answers against the truth.

    Args:
        truth, judged: [N], labels as numbers. labels: how many there are. resamples, seed: of the bootstrap.
    """
    right, n = int((truth == judged).sum()), len(truth)
    low, high = wilson(right, n)
    f1, f1_low, f1_high = bootstrap_f1(truth, judged, labels=labels, resamples=resamples, seed=seed)
    return Score(right=right, n=n, accuracy=right / n, low=low, high=high, f1=f1, f1_low=f1_low, f1_high=f1_high)


def confusion(truth: Ints, judged: Ints, *, labels: int) -> Ints:
    """How many rows of each label were judged as each label, [truth, judged]."""
    return np.bincount(truth * labels + judged, minlength=labels * labels).reshape(labels, labels)


def macro_f1(tables: Ints, *, present: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean F1 of the labels that occur.

    Args:
        tables: [..., L, L], confusion. present: [L], the labels whose mean is taken.

    Returns:
        [...], from 0 to 1; a label without any row and any answer counts as 0. Matches sklearn's
        ``f1_score(average="macro", zero_division=0)`` where ``present`` are the labels in truth or answers.
    """
    hits = np.diagonal(tables, axis1=-2, axis2=-1)
    both = tables.sum(-1) + tables.sum(-2)  # rows of the label, and rows judged so
    f1 = 2 * hits / np.maximum(both, 1)
    mean: NDArray[np.float64] = f1[..., present].mean(-1)
    return mean


def bootstrap_f1(truth: Ints, judged: Ints, *, labels: int, resamples: int, seed: int) -> tuple[float, float, float]:
    """Macro-F1 and its 95 % interval: the 2.5th and 97.5th percentile over rows drawn again.

    Source: Efron 1979; matches ``scipy.stats.bootstrap(method="percentile")`` but for the draw itself.
    """
    codes = truth * labels + judged
    counts = np.bincount(codes, minlength=labels * labels)
    table = counts.reshape(labels, labels)
    present = (table.sum(0) + table.sum(1)) > 0
    drawn = np.random.default_rng(seed).multinomial(len(truth), counts / len(truth), size=resamples)
    again = macro_f1(drawn.reshape(resamples, labels, labels), present=present)
    low, high = np.percentile(again, (2.5, 97.5))
    return float(macro_f1(table, present=present)), float(low), float(high)


def duel(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Duel:
    """Compare two ways by the rows that only one of them judged right.

    Args:
        first, second: [N], whether each row was judged right.

    Source: McNemar 1947, in its exact form: a two-sided binomial test with one half; matches
    ``scipy.stats.binomtest(only_first, only_first + only_second)``.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    total = only_first + only_second
    tail = sum(math.comb(total, k) for k in range(min(only_first, only_second) + 1))
    return Duel(only_first=only_first, only_second=only_second, p=min(1.0, float(2 * tail / 2**total)))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """Probabilities of several tests, made larger because there were several.

    Source: Holm 1979; matches ``statsmodels.stats.multitest.multipletests(method="holm")``.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = [0.0] * len(ps)
    highest = 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda at: ps[at])):
        highest = max(highest, min(1.0, ps[at] * (len(ps) - rank)))
        adjusted[at] = highest
    return tuple(adjusted)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Who wins, and who cannot be told from the winner.

    Args:
        winner: the way that judged the most rows right. tied: the others that did as well, row for row or in sum.
        duels: each other way's duel with the winner. p: their probabilities after Holm's correction.
        unclear: the ways that cannot be told from the winner on these rows.
    """

    winner: str
    tied: tuple[str, ...]
    duels: Mapping[str, Duel]
    p: Mapping[str, float]
    unclear: tuple[str, ...]


def rank(right: Mapping[str, NDArray[np.bool_]]) -> Ranking:
    """Rank ways by the rows that each judged right; of equals the first given wins.

    Args:
        right: way → [N]; at least one.
    """
    totals = {name: int(rows.sum()) for name, rows in right.items()}
    winner = max(totals, key=lambda name: totals[name])
    others = [name for name in right if name != winner]
    duels = {name: duel(right[winner], right[name]) for name in others}
    adjusted = dict(zip(others, holm([duels[name].p for name in others]), strict=True))
    return Ranking(
        winner=winner,
        tied=tuple(name for name in others if totals[name] == totals[winner]),
        duels=duels,
        p=adjusted,
        unclear=tuple(name for name in others if adjusted[name] >= ALPHA),
    )
