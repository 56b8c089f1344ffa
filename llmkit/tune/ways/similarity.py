"""Zero-shot by similarity: the label whose words lie nearest to the text. Nothing is learned."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.task import Task, short_labels
from llmkit.tune.ways.way import Name, Probs, Tick, softmax

SCALE = 20.0
"""What a cosine is multiplied with before softmax; all-MiniLM-L6-v2 was trained with this scale."""

WORDS = Path(__file__).with_name("words.toml")


class Similarity:
    """Compare a text with its labels, written as a name or as a sentence.

    Args:
        reader: reads texts and labels alike.

    Source: Yin, Hay and Roth 2019, "Benchmarking Zero-shot Text Classification"; the scale is that of
    sentence-transformers' ``MultipleNegativesRankingLoss``.
    """

    name: ClassVar[Name] = "similarity"

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.dial: tuple[str, ...] = ("name", "sentence")
        self.place = 1
        self.cut = 0
        self.limit = reader.limit
        self.weights_bytes = reader.weights_bytes

    def learn(self, task: Task, tick: Tick) -> None:
        """Read the labels, in the words of the texts' language."""
        self._labels = [self._reader.read(words)[0] for words in label_texts(task)]

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        features, self.cut = self._reader.read(texts, tick)
        cosines = np.stack([features.astype(np.float64) @ labels.T for labels in self._labels])  # [2, N, L]
        return softmax(SCALE * cosines)


def label_texts(task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Each label's name, and each label as a sentence, as they are compared with the texts."""
    words = tomllib.loads(WORDS.read_text(encoding="utf-8"))["similarity"][task.lang]
    if task.rated:
        return tuple(words["names"]), tuple(words["sentences"])
    names = short_labels(task.labels)
    return names, tuple(words["sentence"].replace("{label}", name) for name in names)
