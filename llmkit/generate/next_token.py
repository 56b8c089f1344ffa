"""The next token: its logits as a plain array, and its odds filter by filter, for whoever has no tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.generate.decode import read_on, require_next_token, require_prompt, sampled
from llmkit.generate.sampling import Sampling, StageName, stages
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


@torch.inference_mode()
def next_logits(box: Assembled, ids: Sequence[int]) -> Floats:
    """Return the logits of the token that follows `ids`, [V] float32: one forward pass.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty``, ``prompt_too_long``.
    """
    require_next_token(box)
    require_prompt(box, ids)
    logits = read_on(box.model, torch.tensor([list(ids)], device=box.device), KVCache())[0]
    return logits.float().cpu().numpy()


def filtered(logits: Floats, sampling: Sampling, ids: Sequence[int] = ()) -> tuple[Odds, ...]:
    """Return what `stages` does, as plain arrays.

    Args:
        logits: [V], for the next token. sampling: the settings. ids: of the text so far.
    """
    return tuple(
        Odds(name=one.name, logits=one.logits.numpy(), probs=one.probs.numpy(), kept=one.kept)
        for one in stages(torch.from_numpy(np.array(logits)), sampling, ids)
    )


def draw_next(logits: Floats, sampling: Sampling, ids: Sequence[int]) -> int:
    """Return the token that a text with these settings would begin with.

    Args:
        logits: [V], for the next token. sampling: the settings. ids: of the text so far.
    """
    return sampled(sampling)(torch.from_numpy(np.array(logits)), ids)
