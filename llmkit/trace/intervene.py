"""Interventions: taps that change a value on its way, so that what it is good for can be seen."""

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from llmkit.parts import Tap

_HEAD_VALUES = re.compile(r"layers\.(\d+)\.attention\.head_values")
_ACTIVATIONS = re.compile(r"layers\.(\d+)\.feed_forward\.act")
_FEED_FORWARD_OUT = re.compile(r"layers\.(\d+)\.feed_forward\.out")


def switch_off_heads(pairs: Collection[tuple[int, int]]) -> Tap:
    """Silence heads: what they would hand to the output projection becomes zero.

    The other heads of the layer, the biases and the residual stream stay as they are.

    Args:
        pairs: (layer, head), both counted from 0. No pair: nothing changes.

    Returns:
        A tap. It raises IndexError during the forward pass when a layer has no such head.

    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?", equation 3 with a mask of zero.

    >>> import torch
    >>> tap = switch_off_heads({(0, 1)})
    >>> tap("layers.0.attention.head_values", torch.ones(1, 2, 1, 3))[0, :, 0].tolist()
    [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """
    heads: Mapping[int, list[int]] = {layer: sorted(head for at, head in pairs if at == layer) for layer, _ in pairs}

    def silence(name: str, value: Tensor, /) -> Tensor:
        place = _HEAD_VALUES.fullmatch(name)
        off = heads.get(int(place[1])) if place else None
        if not off:
            return value
        return value.index_fill(1, torch.tensor(off, device=value.device), 0.0)  # [B, H, T, Dh]

    return silence


def switch_off_neurons(pairs: Collection[tuple[int, int]]) -> Tap:
    """Silence neurons: their activations, which would enter the down projection, become zero.

    The other neurons of the layer, the biases and the residual stream stay as they are.

    Args:
        pairs: (layer, neuron), both counted from 0. No pair: nothing changes.

    Returns:
        A tap. It raises IndexError during the forward pass when a layer has no such neuron.

    Source: zero ablation, as in Michel et al. 2019, for neurons; equals a zero column in the down projection.

    >>> import torch
    >>> tap = switch_off_neurons({(0, 1)})
    >>> tap("layers.0.feed_forward.act", torch.ones(1, 2, 3))[0].tolist()
    [[1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    """
    neurons: Mapping[int, list[int]] = {layer: sorted(one for at, one in pairs if at == layer) for layer, _ in pairs}

    def silence(name: str, value: Tensor, /) -> Tensor:
        place = _ACTIVATIONS.fullmatch(name)
        off = neurons.get(int(place[1])) if place else None
        if not off:
            return value
        return value.index_fill(-1, torch.tensor(off, device=value.device), 0.0)  # [B, T, d_mlp]

    return silence


def switch_off_feed_forward(layers: Collection[int]) -> Tap:
    """Silence the whole feed-forward part of these layers, bias and all: it adds nothing to the residual stream.

    >>> import torch
    >>> switch_off_feed_forward({2})("layers.2.feed_forward.out", torch.ones(1, 1, 2)).tolist()
    [[[0.0, 0.0]]]
    """
    silent = frozenset(layers)

    def silence(name: str, value: Tensor, /) -> Tensor:
        place = _FEED_FORWARD_OUT.fullmatch(name)
        return torch.zeros_like(value) if place and int(place[1]) in silent else value

    return silence


def chain(*taps: Tap) -> Tap:
    """Several taps as one: each gets what the one before it returned.

    >>> import torch
    >>> twice = chain(lambda name, value: value + 1, lambda name, value: value * 10)
    >>> twice("logits", torch.tensor([1.0]))
    tensor([20.])
    """

    def all_in_order(name: str, value: Tensor, /) -> Tensor:
        for tap in taps:
            value = tap(name, value)
        return value

    return all_in_order
