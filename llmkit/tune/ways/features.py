"""Features: each text as one vector, read by a frozen box; read once, whatever is done with them afterwards."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.reference import open_box
from llmkit.tune.classifier import Classifier, by_length, collate, encode_examples
from llmkit.tune.ways.way import Tick, silent

MOST_TOKENS = 256
"""Where a text is cut; less where the box reads less."""

BATCH = 16
FILE = "features.npz"

Floats = NDArray[np.float32]


class Reader:
    """Reads texts with a box's body: the mean of the last layer's states, scaled to length 1.

    Args:
        box_id: a box of any family. device: where it runs.

    Attributes:
        reused_s: what it would have cost to read again what was found already read.
        limit: tokens of a text that are read.

    Source: Reimers and Gurevych 2019, "Sentence-BERT", section 3; matches sentence-transformers' mean pooling and
    ``Normalize`` for all-MiniLM-L6-v2.
    """

    def __init__(self, box_id: str, *, device: str = "cpu") -> None:
        box = open_box(box_id, device=device)
        self._box = box
        with torch.random.fork_rng(devices=[]):
            self._body = Classifier(box.model.with_parts(unembedding=None), n_labels=1, pooling="mean")
        self._body.to(box.device).eval()
        self._kept: dict[tuple[str, ...], tuple[Floats, int, float]] = {}
        self.limit = min(MOST_TOKENS, box.config.max_seq_len)
        self.reused_s = 0.0
        self.weights_bytes = sum(p.numel() * p.element_size() for p in self._body.body.parameters())

    def read(self, texts: Sequence[str], tick: Tick = silent) -> tuple[Floats, int]:
        """Return each text's vector, [N, d_model], of length 1, and how many texts were cut.

        Raises:
            TokenizerError: a text cannot be cut into tokens.
        """
        key = tuple(texts)
        if key in self._kept:
            found, cut, seconds = self._kept[key]
            self.reused_s += seconds
            return found, cut
        began = time.perf_counter()
        examples = encode_examples(self._box, texts, [0] * len(texts), max_tokens=self.limit)
        found = np.zeros((len(texts), self._body.head.in_features), dtype=np.float32)
        for rows in by_length(examples, BATCH):
            batch = collate(examples, rows, self._box.device)
            with torch.inference_mode():
                states = self._body.features(batch.input_ids, batch.attention_mask)
                found[rows] = torch.nn.functional.normalize(states.float(), dim=-1).cpu().numpy()
            tick(len(rows))
        self._kept[key] = (found, examples.cut, time.perf_counter() - began)
        return found, examples.cut

    def keep(self, folder: Path, texts: Sequence[str]) -> None:
        """Write what was read of these texts, so that another process need not read them again."""
        found, cut, seconds = self._kept[tuple(texts)]
        np.savez(folder / FILE, features=found, cut=cut, seconds=seconds)

    def take(self, folder: Path, texts: Sequence[str]) -> bool:
        """Take over what another process has read of these very texts; whether it was there."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as file:
                found = file["features"]
                if found.shape != (len(texts), self._body.head.in_features):
                    return False
                self._kept[tuple(texts)] = (found, int(file["cut"]), float(file["seconds"]))
        except (OSError, ValueError, KeyError):
            return False
        return True
