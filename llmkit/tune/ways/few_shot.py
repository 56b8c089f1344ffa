"""Few-shot by prompt: ask with examples before the question. No weight changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from llmkit.tune.ways.asking import Asker, choose_shots
from llmkit.tune.ways.task import Task
from llmkit.tune.ways.way import Name, Probs, Tick

SHOTS = (2, 4, 8, 16)
SHOT_COUNT = 8


class FewShot:
    """Ask with training rows as examples.

    Args:
        asker: asks. shots: how many examples; fewer where the box has no room. seed: which, and in which order.
    """

    name: ClassVar[Name] = "few_shot"

    def __init__(self, asker: Asker, *, shots: int, seed: int) -> None:
        self._asker, self._shots, self._seed = asker, shots, seed
        self.dial: tuple[str, ...] = ("",)
        self.place = self.cut = 0
        self.limit = asker.limit
        self.weights_bytes = asker.weights_bytes
        self.used = shots

    def learn(self, task: Task, tick: Tick) -> None:
        """Choose the examples; ``used`` says how many there was room for."""
        self.used = self._asker.prepare(task, choose_shots(task, self._shots, seed=self._seed))
        self.limit = self._asker.limit

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        probs = self._asker.ask(texts, tick)
        self.cut = self._asker.cut
        return probs
