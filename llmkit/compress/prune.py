"""Unstructured pruning: which single weights of a box's matrices become zero. Their place stays: no byte is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from llmkit.parts import Transformer

Scope = Literal["global", "matrix", "two_four"]


def prunable(model: Transformer) -> dict[str, Tensor]:
    """The matrices of all layers, by name: attention's and feed-forward's; no embedding, norm, bias or unembedding."""
    return {
        f"layers.{name}.weight": module.weight
        for name, module in model.layers.named_modules()
        if isinstance(module, nn.Linear)
    }


def keep_masks(scores: Mapping[str, Tensor], scope: Scope, share: float = 0.5) -> dict[str, Tensor]:
    """Say which weights stay.

    Args:
        scores: a number for each weight, the lower the sooner it goes: its size, or |weight · gradient|.
        scope: ``global`` compares all weights of all matrices; ``matrix`` takes the same share of each; ``two_four``
            takes two of every four neighbours in a row, the pattern that sparse tensor cores compute with.
        share: of the weights, 0 to 1; ``two_four`` is always one half.

    Returns:
        bool masks of the matrices' shapes, True where a weight stays.

    Raises:
        ValueError: the share is out of range, or rows cannot be cut into fours.

    Source: Han et al. 2015, "Learning both Weights and Connections"; Mishra et al. 2021, "Accelerating Sparse Deep
    Neural Networks" (2:4). Matches ``torch.nn.utils.prune.l1_unstructured`` and ``global_unstructured``.

    >>> keep_masks({"w": torch.tensor([[3.0, 1.0, 2.0, 4.0]])}, "two_four")["w"].tolist()
    [[True, False, False, True]]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, not {share}")
    if scope == "matrix":
        return {name: _keep(score.flatten(), share).view_as(score) for name, score in scores.items()}
    if scope == "global":
        row = torch.cat([score.flatten() for score in scores.values()])
        cut = torch.split(_keep(row, share), [score.numel() for score in scores.values()])
        return {name: one.view_as(scores[name]) for name, one in zip(scores, cut, strict=True)}
    return {name: _two_of_four(score) for name, score in scores.items()}


def _keep(scores: Tensor, share: float) -> Tensor:
    keep = torch.ones_like(scores, dtype=torch.bool)
    keep[scores.topk(round(share * scores.numel()), largest=False, sorted=False).indices] = False
    return keep


def _two_of_four(scores: Tensor) -> Tensor:
    if scores.shape[1] % 4:
        raise ValueError(f"rows of {scores.shape[1]} cannot be cut into fours")
    fours = scores.reshape(-1, 4)
    keep = torch.zeros_like(fours, dtype=torch.bool)
    return keep.scatter_(1, fours.topk(2, dim=1).indices, True).view_as(scores)
