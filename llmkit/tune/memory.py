"""How much memory a stretch of work takes at its highest, measured on the process itself."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil
import torch

EVERY_S = 0.01
"""How often the system is asked. What is taken and given back in between is not seen."""


class PeakMemory:
    """The highest memory while a ``with`` block runs: the process's resident memory, or the GPU's allocator's.

    Attributes:
        before_bytes: when the block began. peak_bytes: the highest since; it can be read while the block runs.

    Args:
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, device: str) -> None:
        self.cuda = device.startswith("cuda")
        self.before_bytes = self.peak_bytes = 0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._process = psutil.Process()

    def __enter__(self) -> PeakMemory:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        self.before_bytes = self.peak_bytes = self._now()
        self._watch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._watch.join()
        self.peak_bytes = max(self.peak_bytes, self._now())

    def _now(self) -> int:
        return torch.cuda.max_memory_allocated() if self.cuda else int(self._process.memory_info().rss)

    def _look(self) -> None:
        while not self._over.wait(EVERY_S):
            self.peak_bytes = max(self.peak_bytes, self._now())
