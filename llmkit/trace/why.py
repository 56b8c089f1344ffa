"""Why this token: what the box held likely at one place of a text, and what each layer would have said there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.reference import Assembled
from llmkit.trace.errors import TraceError
from llmkit.trace.trace import Recorder

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Why:
    """One place of a text. Row 0 is what enters layer 0, row l + 1 what leaves layer l; the last is the box's answer.

    Args:
        logits: [V] float32, for the token that comes next.
        layers: [n_layers + 1] int32, what each layer finds likeliest. layer_probs: and how likely.
        chosen_ranks: [n_layers + 1] int32, of the token that came, from 1. chosen_probs: its probability there.
    """

    logits: Floats
    layers: NDArray[np.int32]
    layer_probs: Floats
    chosen_ranks: NDArray[np.int32]
    chosen_probs: Floats


@torch.inference_mode()
def why(box: Assembled, ids: Sequence[int], chosen: int) -> Why:
    """Read a text once and look at its last place, layer by layer.

    Args:
        box: an opened box that predicts the next token. ids: the text up to the token in question.
        chosen: the token that came.

    Raises:
        TraceError: ``text_empty``, ``text_too_long``.
        ValueError: the box predicts no next token.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; the last row is the model's own softmax.
    """
    end, norm, limit = box.model.unembedding, box.model.norm_final, box.config.max_seq_len
    if end is None or not box.config.causal:
        raise ValueError(f"{box.box_id} predicts no next token")
    if not ids:
        raise TraceError("text_empty", tokens=0, limit=limit)
    if len(ids) > limit:
        raise TraceError("text_too_long", tokens=len(ids), limit=limit)
    recorder = Recorder(("residual_pre", "residual_post", "final"))
    headless = box.model.with_parts(unembedding=None)
    headless(torch.tensor([list(ids)], device=box.device), tap=recorder)
    states = [recorder.each_layer["residual_pre"][0]]
    states += [state for _, state in sorted(recorder.each_layer["residual_post"].items())]
    places = torch.cat(states[:-1])[:, -1]  # [n_layers, d_model]
    read = end(places if norm is None else norm(places))
    logits = torch.cat([read, end(recorder.once["final"][:, -1])]).float()  # [n_layers + 1, V]
    whole = logits.double().logsumexp(-1)
    best, of_chosen = logits.max(-1), logits[:, chosen]
    return Why(
        logits=logits[-1].cpu().numpy(),
        layers=best.indices.cpu().numpy().astype(np.int32),
        layer_probs=(best.values.double() - whole).exp().float().cpu().numpy(),
        chosen_ranks=((logits > of_chosen[:, None]).sum(-1) + 1).cpu().numpy().astype(np.int32),
        chosen_probs=(of_chosen.double() - whole).exp().float().cpu().numpy(),
    )
