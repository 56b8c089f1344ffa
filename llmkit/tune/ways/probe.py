"""A linear probe: logistic regression on features of a box that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.task import Task
from llmkit.tune.ways.way import Name, Probs, Tick

CS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""How freely the weights may grow: 1 over the strength of the penalty on their squares."""

MOST_STEPS = 1000


class Probe:
    """Draw one straight border for each label through the space of features.

    Args:
        reader: reads the texts.

    Source: Alain and Bengio 2016, "Understanding intermediate layers using linear classifier probes"; the fit is
    sklearn's ``LogisticRegression`` (L2, lbfgs).
    """

    name: ClassVar[Name] = "probe"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.dial: tuple[str, ...] = tuple(f"{c:g}" for c in CS)
        self.place = 0
        self.cut = 0
        self.limit = reader.limit
        self.weights_bytes = reader.weights_bytes

    def learn(self, task: Task, tick: Tick) -> None:
        """Fit one probe for each C; the C that validation rows like best, the smaller one of equals."""
        from sklearn.linear_model import LogisticRegression

        features, _ = self._reader.read([row.text for row in task.train], tick)
        truth = task.numbers(task.train)
        self._labels = len(task.labels)
        self._probes = []
        for c in CS:
            self._probes.append(LogisticRegression(C=c, max_iter=MOST_STEPS).fit(features, truth))
            tick(0)
        kept = sum(part.nbytes for part in (self._probes[0].coef_, self._probes[0].intercept_))
        self.weights_bytes = self._reader.weights_bytes + kept
        held = np.asarray(task.numbers(task.validation))
        right = (self.answer([row.text for row in task.validation], tick).argmax(-1) == held).mean(-1)
        self.place = int(right.argmax())

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        features, self.cut = self._reader.read(texts, tick)
        found = np.zeros((len(self._probes), len(texts), self._labels), dtype=np.float32)
        for at, probe in enumerate(self._probes):
            found[at][:, probe.classes_] = probe.predict_proba(features)  # a label without a row stays at 0
        return found
