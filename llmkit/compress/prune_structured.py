"""Structured pruning: whole heads, neurons and layers are taken out, so that the matrices really become smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llmkit.parts import Transformer, TransformerConfig, assemble


@dataclass(frozen=True, kw_only=True)
class Keep:
    """What stays of a transformer.

    Args:
        layers: numbers of the layers that stay, ascending.
        heads: for each of them the query heads that stay, ascending: as many in every layer, and as many of every
            group that shares one key/value head.
        neurons: for each of them the neurons that stay, ascending, as many in every layer.
    """

    layers: tuple[int, ...]
    heads: tuple[tuple[int, ...], ...]
    neurons: tuple[tuple[int, ...], ...]


def head_counts(config: TransformerConfig) -> tuple[int, ...]:
    """How many query heads a layer may keep: each key/value head must keep as many of its own.

    >>> from llmkit.parts import llama
    >>> head_counts(llama(d_model=576, n_heads=9, n_kv_heads=3))
    (3, 6, 9)
    """
    return tuple(
        range(config.n_kv_heads if config.n_kv_heads < config.n_heads else 1, config.n_heads + 1, _step(config))
    )


def _step(config: TransformerConfig) -> int:
    return config.n_kv_heads if config.n_kv_heads < config.n_heads else 1


def smaller(model: Transformer, config: TransformerConfig, keep: Keep) -> tuple[Transformer, TransformerConfig]:
    """Build the transformer that is left; the one given stays as it is.

    Returns:
        the smaller machine, in evaluation mode, and its parts list. What was not touched is copied.

    Raises:
        ValueError: layers differ in what they keep, or a group of heads does.

    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?" (heads); rows and columns as in
    ``transformers.pytorch_utils.prune_linear_layer``.
    """
    n_heads, d_mlp = _one(keep.heads), _one(keep.neurons)
    grouped = config.n_kv_heads < config.n_heads
    if grouped:
        _require_even_groups(config, keep.heads)
    new = replace(
        config,
        n_layers=len(keep.layers),
        n_heads=n_heads,
        n_kv_heads=config.n_kv_heads if grouped else n_heads,
        d_mlp=d_mlp,
    )
    old, fitted = model.state_dict(), {}
    for name, tensor in old.items():
        if not name.startswith("layers."):
            fitted[name] = tensor.clone()
    for at, layer in enumerate(keep.layers):
        heads, neurons = torch.tensor(keep.heads[at]), torch.tensor(keep.neurons[at])
        rows = (heads[:, None] * config.head_dim + torch.arange(config.head_dim)).flatten()
        prefix = f"layers.{layer}."
        for name, tensor in old.items():
            if name.startswith(prefix):
                place = name.removeprefix(prefix)
                fitted[f"layers.{at}.{place}"] = _cut(place, tensor, rows, neurons, grouped=grouped)
    with torch.device("meta"):
        made = assemble(new)
    made.load_state_dict(fitted, assign=True)
    if new.tied and made.unembedding is not None:
        made.unembedding.weight = made.embedding.weight
    return made.eval().requires_grad_(False), new


def _cut(place: str, tensor: Tensor, rows: Tensor, neurons: Tensor, *, grouped: bool) -> Tensor:
    """Take rows or columns out of one of a layer's tensors; a bias has rows alone, an output's bias stays whole."""
    part, _, which = place.partition(".")
    matrix, _, kind = which.partition(".")
    if part == "attention" and matrix in (("q",) if grouped else ("q", "k", "v")):
        return tensor[rows.to(tensor.device)]
    if part == "feed_forward" and matrix in ("gate", "up"):
        return tensor[neurons.to(tensor.device)]
    if kind == "weight" and (part, matrix) == ("attention", "out"):
        return tensor[:, rows.to(tensor.device)]
    if kind == "weight" and (part, matrix) == ("feed_forward", "down"):
        return tensor[:, neurons.to(tensor.device)]
    return tensor.clone()


def _one(kept: Sequence[Sequence[int]]) -> int:
    counts = {len(one) for one in kept}
    if len(counts) != 1:
        raise ValueError(f"every layer must keep as many, not {sorted(counts)}")
    return counts.pop()


def _require_even_groups(config: TransformerConfig, heads: Sequence[Sequence[int]]) -> None:
    size = config.n_heads // config.n_kv_heads
    for kept in heads:
        if len({sum(head // size == group for head in kept) for group in range(config.n_kv_heads)}) != 1:
            raise ValueError(f"each of {config.n_kv_heads} groups must keep as many heads, not {tuple(kept)}")
