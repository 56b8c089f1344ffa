"""Zero-shot by prompt: ask outright. Nothing is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from llmkit.tune.ways.asking import Asker
from llmkit.tune.ways.task import Task
from llmkit.tune.ways.way import Name, Probs, Tick


class ZeroShot:
    """Ask with no example before the question.

    Args:
        asker: asks.
    """

    name: ClassVar[Name] = "prompt"

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self.dial: tuple[str, ...] = ("",)
        self.place = self.cut = 0
        self.limit = asker.limit
        self.weights_bytes = asker.weights_bytes

    def learn(self, task: Task, tick: Tick) -> None:
        """Take the labels' names."""
        self._asker.prepare(task)
        self.limit = self._asker.limit

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        probs = self._asker.ask(texts, tick)
        self.cut = self._asker.cut
        return probs
