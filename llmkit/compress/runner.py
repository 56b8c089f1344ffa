"""What every form can do once it is open, whatever library computes it: the bench and the server know nothing else."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Scores = NDArray[np.float32]


class Reading(Protocol):
    """A batch of texts, read so far; it holds their keys and values. Several may live at once on one runner."""

    @property
    def logits(self) -> Scores:
        """Of the token that comes next in each text: [B, V]."""
        ...

    def step(self, tokens: Ids) -> None:
        """Append one token to each text ([B]) and compute the next logits from the cache."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...


class Runner(Protocol):
    """One form of one box, open. Not safe for two threads at once: whoever shares it holds a lock."""

    def scores(self, input_ids: Ids) -> Scores:
        """All of a text at once, without a cache: [B, T] -> logits [B, T, V]; an encoder's final states [B, T, D]."""
        ...

    def read(self, input_ids: Ids) -> Reading:
        """Read texts of one length ([B, T]) and keep what later steps need. An encoder raises FormError."""
        ...

    def close(self) -> None:
        """Give the memory back."""
        ...
