"""A batch learned from by several threads at once: each takes its share, and their gradients are added.

A small model's matrices are too small to be split over cores: torch's threads would wait for one another in every one
of a step's thousand products. Here each core takes some of the windows through the whole model by itself, and they meet
once a step. All weights lie in one row of numbers, and so do all gradients, so that adding them up, measuring their
length and the optimizer's step are each one call.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from llmkit.parts import Transformer

MOST_SHARDS = 8
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""glibc's names for: memory left free at the heap's end before it is given back; and a block so large that it is
mapped by itself."""


class Shards:
    """A model with its weights in one row, that learns from a batch in several threads.

    Args:
        model: what learns; its parameters become views of `weights`.
        shards: how many threads; 1 on a GPU, which splits a batch by itself.

    Attributes:
        weights: [N], all numbers that learn. gradient: [N], of the last batch.
        matrices: how many of them, from the first on, belong to matrices; the rest to norms and biases.
    """

    def __init__(self, model: Transformer, shards: int) -> None:
        named = sorted(model.named_parameters(), key=lambda item: item[1].dim() < 2)  # matrices first
        self._names = [name for name, _ in named]
        self.matrices = sum(p.numel() for _, p in named if p.dim() >= 2)
        self.weights = torch.cat([p.detach().flatten() for _, p in named])
        self._gradients = [torch.zeros_like(self.weights) for _ in range(shards)]
        self.model = model
        self._models = [model, *(copy.deepcopy(model) for _ in range(shards - 1))]
        for one, gradient in zip(self._models, self._gradients, strict=True):
            self._lay(one, gradient)
        self._pool = ThreadPoolExecutor(max(shards - 1, 1), thread_name_prefix="shard")

    @property
    def gradient(self) -> Tensor:
        """[N], of the last batch that was learned from."""
        return self._gradients[0]

    def learn(self, batch: Tensor) -> float:
        """Guess, compare, and leave the gradient of the mean loss in `gradient`.

        Args:
            batch: [B, T + 1] token ids.

        Returns:
            The mean loss, in nats per token.
        """
        losses = self._each(batch, self._learn)
        for other in self._gradients[1 : len(losses)]:
            self.gradient.add_(other)
        return sum(losses)

    def measure(self, batch: Tensor) -> float:
        """The mean loss of [B, T + 1] token ids, in nats per token; nothing is learned."""
        return sum(self._each(batch, self._measure))

    def clip(self, longest: float = 1.0) -> float:
        """Shorten the gradient to this length where it is longer, as ``clip_grad_norm_`` does; return how long it was.

        A length that is no finite number leaves a gradient that must not be followed.
        """
        norm = self.gradient.norm()
        self.gradient.mul_((longest / (norm + 1e-6)).clamp(max=1.0))
        return float(norm)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _learn(self, at: int, share: Tensor, part: float) -> float:
        self._gradients[at].zero_()
        loss = mean_loss(self._models[at], share) * part
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    @torch.no_grad()  # here, since each thread has its own
    def _measure(self, at: int, share: Tensor, part: float) -> float:
        return mean_loss(self._models[at], share).item() * part

    def _each(self, batch: Tensor, work: Callable[[int, Tensor, float], float]) -> list[float]:
        """What each thread finds for its share of the windows; the shares' sizes are what their losses are weighed by.

        Shares and order are always the same, so that the same batch gives the same numbers to the last bit.
        """
        shares = batch.chunk(len(self._models))
        parts = [len(share) / len(batch) for share in shares]
        rest = [self._pool.submit(work, at, shares[at], parts[at]) for at in range(1, len(shares))]
        try:
            first = work(0, shares[0], parts[0])
        finally:
            others = [one.exception() for one in rest]  # all have ended before anything is raised
        for error in filter(None, others):
            raise error
        return [first, *(one.result() for one in rest)]

    def _lay(self, model: Transformer, gradient: Tensor) -> None:
        """Make a model's parameters, and their gradients, views of the rows."""
        parameters = dict(model.named_parameters())
        at = 0
        for name in self._names:
            parameter = parameters[name]
            end = at + parameter.numel()
            parameter.data = self.weights[at:end].view_as(parameter)
            parameter.grad = gradient[at:end].view_as(parameter)
            at = end


def mean_loss(model: Transformer, batch: Tensor) -> Tensor:
    """Mean cross entropy of each next token: [B, T + 1] ids → a scalar, in nats."""
    logits: Tensor = model(batch[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def usual_shards(batch_size: int, device: str = "cpu") -> int:
    """As many threads as there are cores, at most one a window; one on a GPU."""
    if device != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, batch_size, MOST_SHARDS))


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Let torch compute each operation with one thread while the shards share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def keep_memory() -> bool:
    """Let this process keep what it has freed: every step asks for the same blocks again, and getting a fresh one from
    the system costs more than filling it. For a process that does nothing but train; glibc only.

    Returns:
        Whether it could be done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30) and libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
    except (OSError, AttributeError):  # another C library
        return False
