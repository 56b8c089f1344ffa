"""Pruning step by step: what is gone at each of a few shares, and the machine that is left there.

Every matrix gives up the same share of its weights, and every layer as many heads or neurons: so a smaller machine is
one that the reference's configurations can describe. What is gone at one step is gone at all later ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from llmkit.compress.errors import FormError
from llmkit.compress.prune import keep_masks, prunable
from llmkit.compress.prune_order import SINGLE, Kind
from llmkit.compress.prune_structured import Keep, head_counts, smaller
from llmkit.parts import Transformer, TransformerConfig, assemble

SHARES = tuple(tenths / 10 for tenths in range(10))
"""Nothing, then a tenth more at each step, up to nine tenths."""

NEVER = 255


@dataclass(frozen=True, kw_only=True, eq=False)
class Ladder:
    """What goes, step by step.

    Args:
        kind: what is pruned. shares: of it that is gone at each step, ascending; the first is 0.
        gone: uint8, the step from which a weight, head, neuron or layer is gone, ``NEVER`` where it stays; by the
            names and of the shapes of ``prune_order.scores``.
    """

    kind: Kind
    shares: tuple[float, ...]
    gone: Mapping[str, Tensor]

    def keeps(self, step: int) -> dict[str, Tensor]:
        """bool, True for what stays at a step."""
        return {name: gone > step for name, gone in self.gone.items()}


def make_ladder(kind: Kind, scores: Mapping[str, Tensor], config: TransformerConfig) -> Ladder:
    """Order by score, the lowest first.

    Raises:
        FormError: ``form_unsupported`` where the rows of a matrix cannot be cut into fours.
    """
    if kind == "weights":
        return Ladder(kind=kind, shares=SHARES, gone={name: _steps(score) for name, score in scores.items()})
    if kind == "two_four":
        odd = [name for name, score in scores.items() if score.shape[1] % 4]
        if odd:
            detail = f"{odd[0]}: rows of {scores[odd[0]].shape[1]} cannot be cut into fours"
            raise FormError("form_unsupported", form="2:4", box="", detail=detail)
        kept = keep_masks(scores, "two_four")
        gone = {name: torch.where(keep, NEVER, 1).to(torch.uint8) for name, keep in kept.items()}
        return Ladder(kind=kind, shares=(0.0, 0.5), gone=gone)
    return _units_ladder(kind, scores[kind], config)


def _units_ladder(kind: Kind, score: Tensor, config: TransformerConfig) -> Ladder:
    groups = 1
    if kind == "heads":
        groups = config.n_kv_heads if config.n_kv_heads < config.n_heads else 1
    if kind == "layers":
        score = score.T  # all layers are ranked together
    counts = unit_counts(kind, config)
    units = score.shape[1]
    gone = torch.full(score.shape, NEVER, dtype=torch.uint8)
    ranks = score.view(len(score), groups, -1).argsort(-1).argsort(-1).view(score.shape)  # 0 goes first
    for step in range(len(counts) - 1, 0, -1):
        gone[ranks < (units - counts[step]) // groups] = step
    shares = tuple(1 - count / units for count in counts)
    return Ladder(kind=kind, shares=shares, gone={kind: gone.T if kind == "layers" else gone})


def unit_counts(kind: Kind, config: TransformerConfig) -> tuple[int, ...]:
    """How many heads, neurons or layers stay at each step, from all of them down to a tenth.

    >>> from llmkit.parts import llama
    >>> unit_counts("heads", llama(d_model=576, n_heads=9, n_kv_heads=3))
    (9, 6, 3)
    """
    units = {"heads": config.n_heads, "neurons": config.d_mlp, "layers": config.n_layers}[kind]
    able = head_counts(config) if kind == "heads" else tuple(range(1, units + 1))
    wanted = (min(able, key=lambda count, share=share: abs(count - units * (1 - share))) for share in SHARES)  # type: ignore[misc]
    return tuple(dict.fromkeys(wanted))


def pruned(
    model: Transformer, config: TransformerConfig, ladder: Ladder, step: int
) -> tuple[Transformer, TransformerConfig]:
    """The machine at a step, and its parts list; the one given stays as it is.

    Single weights become zero and keep their place; heads, neurons and layers are really taken out.
    """
    keeps = ladder.keeps(step)
    if ladder.kind in SINGLE:
        return _zeroed(model, config, keeps), config
    keep = keeps[ladder.kind]
    every = tuple(range(config.n_layers))
    layers = _numbers(keep[:, 0]) if ladder.kind == "layers" else every
    heads = [_numbers(row) for row in keep] if ladder.kind == "heads" else [tuple(range(config.n_heads))] * len(every)
    neurons = [_numbers(row) for row in keep] if ladder.kind == "neurons" else [tuple(range(config.d_mlp))] * len(every)
    kept = Keep(layers=layers, heads=tuple(heads[at] for at in layers), neurons=tuple(neurons[at] for at in layers))
    return smaller(model, config, kept)


def zeros_share(model: Transformer) -> float:
    """Of the weights in the layers' matrices, the share that is zero."""
    weights = prunable(model).values()
    return sum(int((weight == 0).sum()) for weight in weights) / max(sum(weight.numel() for weight in weights), 1)


def _steps(score: Tensor) -> Tensor:
    """The step from which each weight of one matrix is gone."""
    order = score.flatten().argsort()
    gone = torch.full((score.numel(),), NEVER, dtype=torch.uint8)
    for step in range(len(SHARES) - 1, 0, -1):
        gone[order[: round(SHARES[step] * score.numel())].cpu()] = step
    return gone.view(score.shape)


def _zeroed(model: Transformer, config: TransformerConfig, keeps: Mapping[str, Tensor]) -> Transformer:
    tensors = dict(model.state_dict())
    for name in prunable(model):
        tensors[name] = tensors[name] * keeps[name].to(tensors[name].device)
    with torch.device("meta"):
        made = assemble(config)
    made.load_state_dict(tensors, assign=True)
    if config.tied and made.unembedding is not None:
        made.unembedding.weight = made.embedding.weight
    return made.eval().requires_grad_(False)


def _numbers(keep: Tensor) -> tuple[int, ...]:
    return tuple(keep.nonzero().flatten().tolist())
