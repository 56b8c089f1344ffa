"""Nearest neighbours: the labels of the training texts that lie nearest vote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.task import Task
from llmkit.tune.ways.way import Name, Probs, Tick

KS = tuple(range(1, 32, 2))
"""How many may vote; odd, so that two labels never tie."""


class Neighbours:
    """Let the k nearest training texts vote; a label's probability is its share of the votes.

    Args:
        reader: reads the texts; nearness is the cosine of their vectors.

    Source: Cover and Hart 1967, "Nearest neighbor pattern classification"; matches sklearn's
    ``KNeighborsClassifier(k, metric="cosine")`` with uniform weights.
    """

    name: ClassVar[Name] = "neighbours"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.dial: tuple[str, ...] = ()
        self.place = 0
        self.cut = 0
        self.limit = reader.limit
        self.weights_bytes = reader.weights_bytes

    def learn(self, task: Task, tick: Tick) -> None:
        """Keep the training rows' vectors; the k that validation rows like best, the greater one of equals."""
        self._train, _ = self._reader.read([row.text for row in task.train], tick)
        self._votes = np.eye(len(task.labels), dtype=np.float64)[task.numbers(task.train)]  # [N_train, L]
        self.dial = tuple(str(k) for k in KS if k <= len(task.train))
        self.weights_bytes = self._reader.weights_bytes + self._train.nbytes
        truth = np.asarray(task.numbers(task.validation))
        right = (self.answer([row.text for row in task.validation], tick).argmax(-1) == truth).mean(-1)
        self.place = int(len(right) - 1 - right[::-1].argmax())

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        features, self.cut = self._reader.read(texts, tick)
        most = int(self.dial[-1])
        nearest = np.argsort(-(features.astype(np.float64) @ self._train.T), axis=1, kind="stable")[:, :most]
        votes = self._votes[nearest].cumsum(axis=1)  # [N, most, L]
        return np.stack([votes[:, int(k) - 1] / int(k) for k in self.dial]).astype(np.float32)
