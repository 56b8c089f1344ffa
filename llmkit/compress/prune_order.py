"""In which order things go: by the size of their weights, or by what the loss says they are worth.

Importance of a weight, a head or a neuron is the first-order change of the loss when it becomes zero: ``|w ∂L/∂w|``,
for a head or a neuron with a gate of 1 before what it hands on; the mean over calibration texts, each taken by itself,
because over all together the gains and losses of a trained box cancel out. Importance of a layer is measured: the
loss without it, less the loss with it.

Source: Molchanov et al. 2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference", equation 7
(weights, neurons); Michel et al. 2019, "Are Sixteen Heads Really Better than One?", equation 2 (heads).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from llmkit.compress.prune import prunable
from llmkit.compress.prune_loss import Measure, Rows, Texts, loss_of
from llmkit.parts import Transformer, TransformerConfig

Kind = Literal["weights", "two_four", "heads", "neurons", "layers"]
Order = Literal["size", "importance"]
KINDS: tuple[Kind, ...] = ("weights", "two_four", "heads", "neurons", "layers")
ORDERS: tuple[Order, ...] = ("size", "importance")
SINGLE: frozenset[Kind] = frozenset({"weights", "two_four"})
"""Kinds that zero single weights; the others take whole rows away."""

Tell = Callable[[int, int], None]
_GATED = re.compile(r"layers\.(\d+)\.(attention\.head_values|feed_forward\.act)")
_PLACE = {"heads": "attention.head_values", "neurons": "feed_forward.act"}


def scores(
    kind: Kind,
    order: Order,
    model: Transformer,
    config: TransformerConfig,
    texts: Texts | None = None,
    *,
    tell: Tell = lambda done, total: None,
) -> dict[str, Tensor]:
    """A number for everything that can go; the lowest goes first.

    Args:
        texts: to calibrate on; needed for importance alone, and never those that the result is measured on.
        tell: how many texts, or layers, of how many are done.

    Returns:
        for single weights one tensor a matrix, of its shape and by its name; else one by the kind's name: [layers,
        heads], [layers, neurons] or [layers, 1].
    """
    if order == "size":
        return sizes(kind, model, config)
    if texts is None:
        raise ValueError("importance is measured on texts")
    if kind == "layers":
        return {kind: layers_worth(model, texts, tell=tell)}
    if kind in SINGLE:
        return weights_worth(model, texts, tell=tell)
    return {kind: gates_worth(model, config, texts, tell=tell)[kind]}


def sizes(kind: Kind, model: Transformer, config: TransformerConfig) -> dict[str, Tensor]:
    """|w| of each weight; the length (L2) of all the weights that go with a head, a neuron or a layer."""
    if kind in SINGLE:
        return {name: weight.detach().abs() for name, weight in prunable(model).items()}
    squares = [
        {name: weight.detach().double().square() for name, weight in layer.named_parameters() if weight.ndim == 2}
        for layer in model.layers
    ]
    if kind == "layers":
        return {kind: torch.tensor([[float(sum(s.sum() for s in one.values()))] for one in squares]).sqrt()}
    if kind == "neurons":
        rows = [
            sum(s.sum(1) for name, s in one.items() if name.endswith(("gate.weight", "up.weight"))) for one in squares
        ]
        columns = [one["feed_forward.down.weight"].sum(0) for one in squares]
        return {kind: torch.stack([r + c for r, c in zip(rows, columns, strict=True)]).sqrt()}
    owned = ("q",) if config.n_kv_heads < config.n_heads else ("q", "k", "v")  # shared keys and values stay
    found = []
    for one in squares:
        each = one["attention.out.weight"].sum(0)
        for name in owned:
            each = each + one[f"attention.{name}.weight"].sum(1)
        found.append(each.view(config.n_heads, config.head_dim).sum(1))
    return {kind: torch.stack(found).sqrt()}


def weights_worth(model: Transformer, texts: Texts, *, tell: Tell = lambda done, total: None) -> dict[str, Tensor]:
    """``|w ∂L/∂w|`` of each weight, the mean over texts."""
    weights = prunable(model)
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    batches = list(texts.batches(1))
    with _learning(weights):
        for done, rows in enumerate(batches):
            tell(done, len(batches))
            grads = torch.autograd.grad(loss_of(model, rows, paired=texts.paired), list(weights.values()))
            with torch.no_grad():
                for (name, weight), grad in zip(weights.items(), grads, strict=True):
                    found[name] += (weight * grad).abs() / len(batches)
    return found


def gates_worth(
    model: Transformer, config: TransformerConfig, texts: Texts, *, tell: Tell = lambda done, total: None
) -> dict[str, Tensor]:
    """``|∂L/∂gate|`` of every head and neuron at gate 1, the mean over texts: [layers, heads], [layers, neurons]."""
    found = {
        "heads": torch.zeros(config.n_layers, config.n_heads),
        "neurons": torch.zeros(config.n_layers, config.d_mlp),
    }
    batches = list(texts.batches(1))
    for done, rows in enumerate(batches):
        tell(done, len(batches))
        for kind, slopes in gate_slopes(model, config, rows, paired=texts.paired).items():
            found[kind] += slopes.abs().cpu() / len(batches)
    return found


def gate_slopes(model: Transformer, config: TransformerConfig, rows: Rows, *, paired: bool) -> dict[str, Tensor]:
    """``∂L/∂gate`` of one batch: a gate multiplies what its head or neuron hands on, so it is the sum of value times
    gradient."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor, /) -> Tensor:
        if not _GATED.fullmatch(name):
            return value
        seen[name] = value if value.requires_grad else value.detach().requires_grad_(True)
        return seen[name]

    with torch.enable_grad():
        loss = loss_of(model, rows, paired=paired, tap=keep)
        grads = dict(zip(seen, torch.autograd.grad(loss, list(seen.values())), strict=True))
    slopes = {}
    for kind, place in _PLACE.items():
        each = []
        for layer in range(config.n_layers):
            name = f"layers.{layer}.{place}"
            product = seen[name].detach() * grads[name]
            each.append(product.sum((0, 2, 3)) if kind == "heads" else product.flatten(0, -2).sum(0))
        slopes[kind] = torch.stack(each)
    return slopes


def layers_worth(model: Transformer, texts: Texts, *, tell: Tell = lambda done, total: None) -> Tensor:
    """The loss (an encoder: the distance) without a layer, less that with it: [layers, 1]."""
    layers, measure = list(model.layers), Measure(model, texts)
    whole, found = measure.loss(model), []
    for at in range(len(layers)):
        tell(at, len(layers))
        found.append([measure.loss(model.with_parts(blocks=layers[:at] + layers[at + 1 :])) - whole])
    return torch.tensor(found)


@contextmanager
def _learning(weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Let these weights have gradients for a while; whoever opened the box owns it."""
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        yield
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
