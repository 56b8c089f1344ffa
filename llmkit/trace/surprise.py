"""Surprise: how many bits each token of a text is worth to a box that has read what comes before it.

``−log2 p``: 0 bits when the box was certain, 1 bit for a coin toss, ``log2 V`` when it knows nothing at all. Training
pushes exactly this down. One forward pass gives it for every token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.reference import Assembled
from llmkit.trace.errors import TraceError

_TOGETHER = 256
"""Places whose logits are in memory at a time: of a long text and a large vocabulary all of them are gigabytes."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Surprise:
    """What a box expected at each place of a text. Row t is about token t + 1; nothing comes before token 0.

    Args:
        ids: T token ids.
        bits: [T - 1], surprise of the token that came.
        ranks: [T - 1], its place among all V tokens, from 1.
        top_ids: [T - 1, k], what the box held likeliest, likeliest first.
        top_probs: [T - 1, k], and how likely.
    """

    ids: tuple[int, ...]
    bits: Floats
    ranks: Ints
    top_ids: Ints
    top_probs: Floats

    @property
    def hits(self) -> NDArray[np.bool_]:
        """[T - 1], whether the box's first guess was the token that came."""
        came: NDArray[np.bool_] = self.top_ids[:, 0] == np.asarray(self.ids[1:])
        return came

    @property
    def mean_bits(self) -> float:
        """Bits per token that was predicted."""
        return float(self.bits.mean())


def surprise(box: Assembled, ids: Sequence[int], *, top: int = 5) -> Surprise:
    """Read a text once and say how surprising each of its tokens was.

    Args:
        box: an opened box that predicts the next token.
        ids: T token ids, at least two.
        top: k, how many of the likeliest tokens to keep at each place.

    Raises:
        TraceError: ``text_short`` below two tokens, ``text_too_long`` above the box's ``max_seq_len``.
        ValueError: the box looks both ways, or ends in hidden states.

    Source: Shannon 1951, "Prediction and Entropy of Printed English"; averaged, in nats: the reference's loss.
    """
    if not box.config.causal or box.model.unembedding is None:
        raise ValueError(f"{box.box_id} predicts no next token")
    limit = box.config.max_seq_len
    if len(ids) < 2:
        raise TraceError("text_short", tokens=len(ids), limit=limit)
    if len(ids) > limit:
        raise TraceError("text_too_long", tokens=len(ids), limit=limit)
    came = torch.tensor(list(ids[1:]), device=box.device)[:, None]  # [T - 1, 1]
    with torch.inference_mode():
        headless = box.model.with_parts(unembedding=None)
        hidden = headless(torch.tensor([list(ids)], device=box.device))[0, :-1]  # [T - 1, d_model]
        rows = [
            _read(cast(torch.nn.Module, box.model.unembedding)(places), tokens, top)
            for places, tokens in zip(torch.split(hidden, _TOGETHER), torch.split(came, _TOGETHER), strict=True)
        ]
    bits, ranks, top_ids, top_probs = (np.concatenate(column) for column in zip(*rows, strict=True))
    return Surprise(ids=tuple(ids), bits=bits, ranks=ranks, top_ids=top_ids, top_probs=top_probs)


def _read(logits: Tensor, came: Tensor, top: int) -> tuple[NDArray[Any], ...]:
    """Logits [N, V] and the tokens that came [N, 1]: bits, ranks, likeliest ids and their probabilities."""
    own = logits.gather(1, came)  # [N, 1]
    total = logits.double().logsumexp(-1, keepdim=True)
    likeliest = logits.topk(min(top, logits.shape[1]), dim=-1)
    found = (
        (total - own.double())[:, 0] / np.log(2),
        (logits > own).sum(-1) + 1,
        likeliest.indices,
        (likeliest.values.double() - total).exp(),
    )
    return tuple(value.cpu().numpy() for value in found)
