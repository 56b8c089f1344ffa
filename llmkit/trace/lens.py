"""The logit lens: what the machine would answer if it stopped at each layer; and how near each state is to the last.

The residual stream keeps one form from the first layer to the last, so the end of the machine (final norm and
unembedding) can be put behind any layer. Early layers were never trained to be read so: an answer that appears there
is a hint, its absence is not.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.reference import Assembled
from llmkit.trace.trace import Trace, Value

LENS_PARTS: tuple[Value, ...] = ("residual_pre", "residual_post", "logits")
"""What the trace must have kept."""

_TOGETHER = 64
"""Places that are read at once: the unembedding's weights then pass through the processor's cache less often."""


@dataclass(frozen=True, kw_only=True)
class Lens:
    """What every layer would answer at every position. Row 0 is what enters layer 0, row l + 1 what leaves layer l.

    Args:
        ids: [n_layers + 1, T, k] int32, the likeliest tokens, falling.
        probs: [n_layers + 1, T, k] float32, their probabilities.
        entropy_bits: [n_layers + 1, T] float32, of the whole distribution: 0 is certain, log2(V) knows nothing.
        answers: [T] int32, what the whole machine finds likeliest.
        ranks: [n_layers + 1, T] int32, of that answer among all V tokens; 1 is first.
        answer_probs: [n_layers + 1, T] float32, of that answer.
    """

    ids: NDArray[np.int32]
    probs: NDArray[np.float32]
    entropy_bits: NDArray[np.float32]
    answers: NDArray[np.int32]
    ranks: NDArray[np.int32]
    answer_probs: NDArray[np.float32]

    def first_layer(self, position: int) -> int:
        """The first row from which on the answer stays in front, up to the last: 0 … n_layers."""
        behind = np.flatnonzero(self.ranks[:, position] != 1)
        return int(behind[-1]) + 1 if len(behind) else 0


def read_lens(box: Assembled, trace: Trace, *, k: int = 5) -> Lens:
    """Put final norm and unembedding behind every layer; the logits of _TOGETHER places are in memory at a time.

    BERT's unembedding brings its own dense, GELU and norm; they go along, and an answer is then the token that the
    head would write at this place, not the next one.

    Args:
        box: what made the trace.
        trace: with LENS_PARTS.
        k: how many tokens a place are kept.

    Raises:
        ValueError: when the box has no unembedding.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    end = box.model.unembedding
    if end is None:
        raise ValueError(f"{box.box_id} has no unembedding: there is no answer to read off")
    norm = box.model.norm_final
    last = torch.tensor(np.asarray(trace["logits"]), device=box.device)
    answers = last.argmax(-1)  # [T]
    places = torch.tensor(np.concatenate(states(trace)[:-1]), device=box.device, dtype=box.dtype)  # [L * T, D]
    rows = []
    with torch.inference_mode():
        aimed = answers.repeat(box.config.n_layers)
        for x, answer in zip(torch.split(places, _TOGETHER), torch.split(aimed, _TOGETHER), strict=True):
            rows.append(_read(end(x if norm is None else norm(x)), answer, k))
        rows.append(_read(last, answers, k))  # the last row is the machine's own answer
    T = len(answers)
    columns = (np.concatenate(column) for column in zip(*rows, strict=True))
    ids, probs, entropy, ranks, answer_probs = (column.reshape(-1, T, *column.shape[1:]) for column in columns)
    return Lens(
        ids=ids.astype(np.int32),
        probs=probs.astype(np.float32),
        entropy_bits=entropy.astype(np.float32),
        answers=answers.cpu().numpy().astype(np.int32),
        ranks=ranks.astype(np.int32),
        answer_probs=answer_probs.astype(np.float32),
    )


def states(trace: Trace) -> tuple[NDArray[np.float32], ...]:
    """What enters layer 0, and what leaves each layer: n_layers + 1 of [T, d_model]."""
    return (trace["residual_pre"][0], *trace["residual_post"])


def nearness(trace: Trace) -> NDArray[np.float32]:
    """Cosine of each layer's state to what leaves the last layer, token by token: for a box without an unembedding.

    Args:
        trace: with ``residual_pre`` and ``residual_post``.

    Returns:
        [n_layers + 1, T] float32, in [-1, 1]; the last row is 1.
    """
    stacked = np.stack([np.asarray(state, dtype=np.float64) for state in states(trace)])  # [L + 1, T, D]
    unit = stacked / np.maximum(np.linalg.norm(stacked, axis=-1, keepdims=True), 1e-12)
    near: NDArray[np.float32] = (unit * unit[-1]).sum(-1).astype(np.float32)
    return near


def _read(logits: Tensor, answers: Tensor, k: int) -> tuple[NDArray[np.generic], ...]:
    """Logits [N, V]: likeliest ids and their probabilities, entropy, the answer's rank and probability."""
    of_answer = logits.gather(-1, answers[:, None])  # [N, 1]
    ranks = torch.count_nonzero(logits > of_answer, dim=-1) + 1
    top = logits.topk(min(k, logits.shape[-1]), dim=-1)
    best = top.values[:, :1]
    below = logits - best
    weights = below.exp()  # each softmax's numerator: the one exponential of [N, V]
    total = weights.sum(-1, keepdim=True)
    whole = best + total.log()
    entropy = (total.log() - weights.mul_(below).sum(-1, keepdim=True) / total)[:, 0] / math.log(2)
    found = (top.indices, (top.values - whole).exp(), entropy.clamp_min(0), ranks, (of_answer - whole).exp()[:, 0])
    return tuple(value.cpu().numpy() for value in found)
