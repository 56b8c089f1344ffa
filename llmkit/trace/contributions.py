"""Direct logit attribution: what every part adds to one logit, all of it adding up to that logit.

The residual stream is a sum: embeddings, every head's answer, every feed-forward's. The way from there to a logit is
linear but for the norms (and GELU in BERT's head); with those held at what they really did on this text, it is linear.
So the logit's direction is carried backwards through the machine, and each part's own vector is multiplied with it.

What is counted is the direct way alone: what a part did to later parts is counted there.

Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; frozen norms as in
``TransformerLens``'s ``apply_ln_to_stack``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from llmkit.parts import Block, LayerNorm, MaskedHeadTransform
from llmkit.reference import Assembled
from llmkit.trace.trace import Trace, Value

CONTRIBUTION_PARTS: tuple[Value, ...] = (
    "token_embeddings",
    "position_embeddings",
    "segment_embeddings",
    "residual_pre",
    "residual_mid",
    "residual_post",
    "head_values",
    "attention_out",
    "mlp_out",
    "final",
    "logits",
)
"""What the trace must have kept."""

Kind = Literal["token", "position", "segment", "head", "attention_bias", "mlp", "norm_bias", "unembedding_bias"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One addend of the sum.

    Args:
        kind: ``token``, ``position``, ``segment``: the embeddings' rows; ``head``: one head's answer through its part
            of the output projection; ``attention_bias``: that projection's bias; ``mlp``: a feed-forward, its
            biases with it; ``norm_bias``: a norm's learned shift; ``unembedding_bias``: what the head adds.
        layer: where it stands; None outside of the blocks.
        head: which head; None for all other kinds.
    """

    kind: Kind
    layer: int | None = None
    head: int | None = None


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """What each piece adds to each target at each position.

    Args:
        pieces: P pieces.
        values: [P, T, K] float64; summed over the pieces they give ``wholes``.
        wholes: [T, K] float64, the trace's own logits (or products with the target's direction).
    """

    pieces: tuple[Piece, ...]
    values: NDArray[np.float64]
    wholes: NDArray[np.float64]

    @property
    def error(self) -> float:
        """max |sum of the pieces - whole|."""
        return float(np.abs(self.values.sum(0) - self.wholes).max())


def logit_contributions(box: Assembled, trace: Trace, targets: NDArray[np.integer]) -> Contributions:
    """What each piece adds to the logits of some tokens.

    The difference of two targets' columns is what each piece adds to the one against the other.

    Args:
        box: what made the trace.
        trace: with CONTRIBUTION_PARTS.
        targets: [T, K] token ids: K tokens for each position.

    Raises:
        ValueError: when the box has no unembedding.
    """
    end = box.model.unembedding
    if end is None:
        raise ValueError(f"{box.box_id} has no unembedding: use direction_contributions")
    chosen = torch.as_tensor(targets.astype(np.int64), device=box.device)
    directions = end.weight[chosen].double()  # [T, K, D]
    pieces: list[tuple[Piece, Tensor]] = []
    if end.bias is not None:
        pieces.append((Piece(kind="unembedding_bias"), end.bias[chosen].double()))
    if end.transform is not None:
        x = _tensor(box, trace["final"])
        directions, added = _through_transform(cast(MaskedHeadTransform, end.transform), x, directions)
        pieces.append((Piece(kind="unembedding_bias"), added))
    wholes = np.take_along_axis(np.asarray(trace["logits"], dtype=np.float64), targets.astype(np.int64), axis=-1)
    return _collect(pieces, _walk_back(box, trace, directions), wholes)


def direction_contributions(box: Assembled, trace: Trace, direction: NDArray[np.floating]) -> Contributions:
    """What each piece adds to the final state along one direction: for a box that ends in states.

    Args:
        box: what made the trace.
        trace: with CONTRIBUTION_PARTS but for the logits.
        direction: [d_model].
    """
    along = torch.as_tensor(np.asarray(direction, dtype=np.float64), device=box.device)
    directions = along.expand(trace.seq_len, 1, -1)
    wholes = np.asarray(trace["final"], dtype=np.float64) @ np.asarray(direction, dtype=np.float64)
    return _collect([], _walk_back(box, trace, directions), wholes[:, None])


@torch.inference_mode()
def _walk_back(box: Assembled, trace: Trace, directions: Tensor) -> Iterator[tuple[Piece, Tensor]]:
    """From the final state to the embeddings: each piece with what it adds, [T, K].

    Args:
        directions: [T, K, d_model], what the final state is multiplied with.
    """
    model, config = box.model, box.config
    if model.norm_final is not None:
        directions, added = _through_norm(model.norm_final, _tensor(box, trace["residual_post"][-1]), directions)
        if isinstance(model.norm_final, LayerNorm):
            yield Piece(kind="norm_bias"), added
    for layer in reversed(range(config.n_layers)):
        block = cast(Block, model.layers[layer])
        mlp_out = _tensor(box, trace["mlp_out"][layer])
        attended = _tensor(box, trace["attention_out"][layer])
        if config.norm_order == "post":
            before = _tensor(box, trace["residual_mid"][layer]) + mlp_out
            directions, second = _through_norm(block.norm_2, before, directions)
        yield Piece(kind="mlp", layer=layer), _along(mlp_out, directions)
        if config.norm_order == "post":
            before = _tensor(box, trace["residual_pre"][layer]) + attended
            directions, first = _through_norm(block.norm_1, before, directions)
            yield Piece(kind="norm_bias", layer=layer), first + second
        if block.attention.out.bias is not None:
            yield Piece(kind="attention_bias", layer=layer), directions @ block.attention.out.bias.double()
        values = _heads(box, trace, layer, directions)
        for head in reversed(range(config.n_heads)):
            yield Piece(kind="head", layer=layer, head=head), values[head]
    yield from _embeddings(box, trace, directions)


def _embeddings(box: Assembled, trace: Trace, directions: Tensor) -> Iterator[tuple[Piece, Tensor]]:
    """The rows that were added up before layer 0."""
    named: dict[Kind, Value] = {
        "position": "position_embeddings",
        "segment": "segment_embeddings",
        "token": "token_embeddings",
    }
    rows = {kind: _tensor(box, trace[name]) for kind, name in named.items() if name in trace}
    if box.model.norm_embeddings is not None:
        whole = torch.stack([row.expand_as(rows["token"]) for row in rows.values()]).sum(0)
        directions, added = _through_norm(box.model.norm_embeddings, whole, directions)
        yield Piece(kind="norm_bias"), added
    for kind, row in rows.items():
        yield Piece(kind=kind), _along(row, directions)


def _heads(box: Assembled, trace: Trace, layer: int, directions: Tensor) -> Tensor:
    """What each head of a layer adds: [H, T, K]."""
    config = box.config
    values = _tensor(box, trace["head_values"][layer])  # [H, T, Dh]
    out = cast(Block, box.model.layers[layer]).attention.out.weight.double()  # [D, H · Dh]
    asked = (directions @ out).view(*directions.shape[:2], config.n_heads, config.head_dim)  # [T, K, H, Dh]
    return torch.einsum("tkhd,htd->htk", asked, values)


def _along(vectors: Tensor, directions: Tensor) -> Tensor:
    """[T, D] and [T, K, D] → [T, K]."""
    return torch.einsum("td,tkd->tk", vectors, directions)


def _through_norm(norm: nn.Module, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Carry directions behind a norm to before it, its statistics held at what they are for ``x``.

    Args:
        norm: LayerNorm or RMSNorm. x: [T, D], what went into it. directions: [T, K, D].

    Returns:
        the directions before the norm, and what its shift adds, [T, K].
    """
    weight, eps = cast(Tensor, norm.weight).double(), cast(float, norm.eps)
    scaled = directions * weight
    if isinstance(norm, LayerNorm):
        size = (x.var(-1, unbiased=False) + eps).sqrt()
        return (scaled - scaled.mean(-1, keepdim=True)) / size[:, None, None], directions @ norm.bias.double()
    size = (x.square().mean(-1) + eps).sqrt()
    return scaled / size[:, None, None], torch.zeros_like(directions[..., 0])


@torch.inference_mode()
def _through_transform(part: MaskedHeadTransform, x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Carry directions behind BERT's head to before it: its norm and the gates of its GELU held at what they are.

    GELU is ``x · Φ(x)``: with Φ(x) held, it is a product.
    """
    weight, bias = part.dense.weight.double(), part.dense.bias.double()
    turned = x @ weight.T + bias
    bent = nn.functional.gelu(turned, approximate=part.approximate)
    gates = torch.where(turned == 0, 0.5, bent / torch.where(turned == 0, 1.0, turned))
    directions, shift = _through_norm(part.norm, bent, directions)
    directions = directions * gates[:, None]
    return directions @ weight, shift + directions @ bias


def _collect(
    first: list[tuple[Piece, Tensor]], rest: Iterator[tuple[Piece, Tensor]], wholes: NDArray[np.float64]
) -> Contributions:
    """Add up pieces of one name, and put them in the order of the machine."""
    found: dict[Piece, Tensor] = {}
    for piece, value in [*first, *rest]:
        found[piece] = found[piece] + value if piece in found else value
    pieces = tuple(reversed(found))
    values = torch.stack([found[piece] for piece in pieces]).cpu().numpy()
    return Contributions(pieces=pieces, values=values, wholes=wholes)


def _tensor(box: Assembled, array: NDArray[np.floating]) -> Tensor:
    """A kept array as float64, so that the sum adds no rounding of its own."""
    return torch.tensor(np.asarray(array), dtype=torch.float64, device=box.device)
