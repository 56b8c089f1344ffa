"""The next token: its logits as a plain array, its odds filter by filter, and a choice by the sampling settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.generate.decode import Choose, greedy, require_next_token, require_prompt
from llmkit.generate.errors import GenerateError
from llmkit.generate.sampling import Sampling, StageName, draw, stages
from llmkit.parts import KVCache
from llmkit.reference import Assembled

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Odds:
    """A `Stage` as plain arrays.

    Args:
        name: which filter has just acted.
        logits: [V]; minus infinity where a token has been taken out. probs: [V], their softmax.
        kept: how many tokens are still in.
    """

    name: StageName
    logits: Floats
    probs: Floats
    kept: int


def next_logits(box: Assembled, ids: Sequence[int]) -> Floats:
    """Return the logits of the token that follows `ids`, [V] float32: one forward pass, no cache.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty``, ``prompt_too_long``.
    """
    require_next_token(box)
    require_prompt(box, ids)
    return last_logits(box, ids).float().cpu().numpy()


def odds(logits: Floats, sampling: Sampling, history: Sequence[int] = ()) -> tuple[Odds, ...]:
    """Return what `stages` does, as plain arrays.

    Args:
        logits: [V], for the next token. sampling: the settings. history: ids of the text so far.
    """
    return tuple(
        Odds(name=one.name, logits=one.logits.numpy(), probs=one.probs.numpy(), kept=one.kept)
        for one in stages(torch.from_numpy(np.array(logits)), sampling, history)
    )


def chooser(sampling: Sampling) -> Choose:
    """Return a `Choose` that draws by the settings, with a generator of its own: the same seed, the same text."""
    if sampling.greedy:
        return greedy if sampling.repetition_penalty == 1 else _Drawn(sampling)
    return _Drawn(sampling)


def draw_next(logits: Floats, sampling: Sampling, ids: Sequence[int]) -> int:
    """Return the one token that `chooser` would begin with.

    Args:
        logits: [V], for the next token. sampling: the settings. ids: of the text so far.
    """
    return chooser(sampling)(torch.from_numpy(np.array(logits)), ids)


class _Drawn:
    """Draws from what the filters leave."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def __call__(self, logits: Tensor, ids: Sequence[int], /) -> int:
        last = stages(logits, self._sampling, ids)[-1]
        return int(last.logits.argmax()) if self._sampling.greedy else draw(last.probs, self._generator)


@torch.inference_mode()
def last_logits(box: Assembled, ids: Sequence[int], cache: KVCache | None = None) -> Tensor:
    """Return the logits after the last of `ids`, [V]; the unembedding reads that place alone.

    Args:
        box: an opened box that predicts the next token. ids: at least one; with a cache, what it has not seen yet.
        cache: what was read before; `ids` are added to it.

    Raises:
        GenerateError: ``no_next_token``.
    """
    unembedding = box.model.unembedding
    if unembedding is None:
        raise GenerateError("no_next_token", box=box.box_id)
    hidden = box.model.with_parts(unembedding=None)(torch.tensor([list(ids)], device=box.device), cache=cache)
    logits: Tensor = unembedding(hidden[0, -1])
    return logits
