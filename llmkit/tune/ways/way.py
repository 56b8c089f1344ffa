"""What every way to classify is: it learns from rows, or does not, and then says how probable each label is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from llmkit.tune.ways.task import Task

Name = Literal["similarity", "prompt", "few_shot", "neighbours", "probe", "finetuned"]
NAMES: tuple[Name, ...] = get_args(Name)
"""The ways, from the one that needs nothing to the one that needs the most."""

Tick = Callable[[int], None]
"""Told how many texts were read since it was last told; raises `llmkit.jobs.Cancelled`."""

Probs = NDArray[np.float32]


class Way(Protocol):
    """One way to classify.

    A way may have a dial, such as how many neighbours vote; then it answers for every place of it at once, because
    what is dear (reading the texts) is the same for all.

    Attributes:
        name: which of NAMES. dial: what each place of it is called; a single "" where there is none.
        place: where it stands: chosen on validation rows where these decide, never on test rows.
        cut: how many of the texts it was last asked about were too long and lost their end. limit: to how many tokens.
        weights_bytes: of what it must keep in memory to answer.
    """

    name: ClassVar[Name]
    dial: tuple[str, ...]
    place: int
    cut: int
    limit: int
    weights_bytes: int

    def learn(self, task: Task, tick: Tick) -> None:
        """Take from the training rows what this way takes; choose the dial's place on the validation rows."""

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        """Say how probable each label is, [places of the dial, texts, labels]; each row adds up to 1."""


def softmax(scores: NDArray[np.float64]) -> Probs:
    """Scores along the last axis as probabilities, in float64 until the end."""
    grown = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(grown / grown.sum(-1, keepdims=True), dtype=np.float32)


def silent(count: int) -> None:
    """A tick that tells nobody."""
