"""How good a form still is: what it gives held-out text, beside the original."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.compress.row import Spread
from llmkit.compress.runner import Ids, Scores


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One window of text, judged.

    Args:
        nll: mean negative logarithm of the probability of its tokens, in nats; NaN for an encoder.
        kl: mean KL(original || form) over its positions, in nats. top1: share of positions where both find the same
            token likeliest. Both NaN for an encoder.
        cosine: of the mean of the final states with the original's; NaN for a decoder.
    """

    nll: float = math.nan
    kl: float = math.nan
    top1: float = math.nan
    cosine: float = math.nan


def judge_logits(logits: Scores, original: Scores, input_ids: Ids) -> Judged:
    """Judge what a form says of one window.

    Args:
        logits, original: [T, V], the form's and the original's. input_ids: [T].

    >>> import numpy as np
    >>> even = np.zeros((3, 4), dtype=np.float32)
    >>> judged = judge_logits(even, even, np.array([0, 1, 2]))
    >>> round(judged.nll, 4), judged.kl, judged.top1
    (1.3863, 0.0, 1.0)
    """
    ours, theirs = log_probs(logits), log_probs(original)
    at = np.arange(len(input_ids) - 1)
    kl = (np.exp(theirs) * (theirs - ours)).sum(-1)
    return Judged(
        nll=float(-ours[at, input_ids[1:]].mean()),
        kl=float(kl.mean()),
        top1=float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
    )


def judge_states(states: Scores, original: Scores) -> Judged:
    """Judge an encoder's final states [T, D] of one text by its sentence vector, their mean."""
    ours, theirs = states.mean(0, dtype=np.float64), original.mean(0, dtype=np.float64)
    return Judged(cosine=float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs))))


def perplexity(judged: Sequence[Judged]) -> Spread:
    """exp of the mean over windows; the interval is that of the mean, Student's t over windows, 95 %."""
    mean = mean_of([one.nll for one in judged])
    return Spread(median=_exp(mean.median), low=_exp(mean.low), high=_exp(mean.high), n=mean.n)


def mean_of(values: Sequence[float]) -> Spread:
    """The mean and its 95 % interval, Student's t.

    Source: ``scipy.stats.t.interval``.
    """
    from scipy import stats

    mean, n = float(np.mean(values)), len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    half = float(stats.t.ppf(0.975, n - 1)) * error if n > 1 else 0.0
    return Spread(median=mean, low=mean - half, high=mean + half, n=n)


def share_of(values: Sequence[float]) -> Spread:
    """``mean_of`` for what lies in [0, 1]."""
    found = mean_of(values)
    return Spread(median=found.median, low=max(found.low, 0.0), high=min(found.high, 1.0), n=found.n)


def log_probs(logits: Scores) -> NDArray[np.float64]:
    """log softmax in float64: [T, V]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    normed: NDArray[np.float64] = wide - np.log(np.exp(wide).sum(-1, keepdims=True))
    return normed


def _exp(nats: float) -> float:
    return math.exp(min(nats, 700.0))
