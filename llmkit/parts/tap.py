"""The tap: a place in the machine where a value can be read, or exchanged for another.

Every intermediate value of the model passes one, under a name such as ``layers.3.attention.scores``.
A tap that returns what it was given is a recorder; one that returns another tensor is an intervention.
"""

from typing import Protocol

from torch import Tensor


class Tap(Protocol):
    """Called with a value's name and the value; what it returns goes on through the machine."""

    def __call__(self, name: str, value: Tensor, /) -> Tensor: ...


def untouched(_name: str, value: Tensor, /) -> Tensor:
    """Let every value pass as it is. Attention takes its fused path when it sees this tap.

    >>> import torch
    >>> untouched("logits", torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    return value


def inside(tap: Tap, place: str) -> Tap:
    """The same tap seen from inside a part: each name gets ``place.`` in front.

    >>> import torch
    >>> names = []
    >>> def write_down(name, value):
    ...     names.append(name)
    ...     return value
    >>> _ = inside(write_down, "layers.3")("residual_pre", torch.zeros(1))
    >>> names
    ['layers.3.residual_pre']
    """
    if tap is untouched:
        return tap

    def placed(name: str, value: Tensor, /) -> Tensor:
        return tap(f"{place}.{name}", value)

    return placed
