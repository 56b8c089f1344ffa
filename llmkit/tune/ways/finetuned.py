"""Fine-tuned: a box whose weights were changed for these labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from llmkit.tune.classifier import collate, encode_examples
from llmkit.tune.classifier_box import open_classifier
from llmkit.tune.errors import TuneError
from llmkit.tune.ways.task import Task
from llmkit.tune.ways.way import Name, Probs, Tick

BATCH = 16
MOST_TOKENS = 256


class FineTuned:
    """Ask a classifier box.

    Args:
        box_id: a box that was tuned to classify. device: where it runs.

    Raises:
        TuneError: ``no_head``.
    """

    name: ClassVar[Name] = "finetuned"

    def __init__(self, box_id: str, *, device: str = "cpu") -> None:
        self._tuned = open_classifier(box_id, device=device)
        classifier = self._tuned.classifier
        self._box_id = box_id
        self.dial: tuple[str, ...] = ("",)
        self.place = self.cut = 0
        most = int(self._tuned.facts.get("max_tokens") or MOST_TOKENS)
        self.limit = min(most, self._tuned.box.config.max_seq_len)
        self.weights_bytes = sum(p.numel() * p.element_size() for p in classifier.parameters())

    def learn(self, task: Task, tick: Tick) -> None:
        """It has learned before; its labels are put into the task's order.

        Raises:
            TuneError: ``other_labels``: it tells other labels apart.
        """
        if sorted(self._tuned.labels) != sorted(task.labels):
            raise TuneError("other_labels", box=self._box_id)
        self._order = [self._tuned.labels.index(label) for label in task.labels]

    def answer(self, texts: Sequence[str], tick: Tick) -> Probs:
        box, classifier = self._tuned.box, self._tuned.classifier
        examples = encode_examples(box, texts, [0] * len(texts), max_tokens=self.limit)
        self.cut = examples.cut
        found = np.zeros((1, len(texts), len(self._order)), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(examples.ids[row]))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            batch = collate(examples, rows, box.device)
            with torch.inference_mode():
                probs = classifier(batch.input_ids, batch.attention_mask).float().softmax(-1).cpu().numpy()
            found[0, rows] = probs[:, self._order]
            tick(len(rows))
        return found
