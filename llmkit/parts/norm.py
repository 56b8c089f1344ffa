"""Norm: bring each token's vector back to one size, so that a deep stack neither explodes nor fades."""

import torch
from torch import Tensor, nn


class LayerNorm(nn.Module):
    """Take the mean away, divide by the standard deviation, then scale and shift by learned numbers.

    Source: Ba et al. 2016, "Layer Normalization", eq. 4; matches ``torch.nn.LayerNorm``.

    >>> import torch
    >>> LayerNorm(d_model=3)(torch.tensor([1.0, 2.0, 3.0]))
    tensor([-1.2247,  0.0000,  1.2247], grad_fn=<NativeLayerNormBackward0>)
    """

    def __init__(self, *, d_model: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Norm the last dimension: [..., d_model] → [..., d_model]."""
        return nn.functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class RMSNorm(nn.Module):
    """Divide by the root of the mean square, then scale: LayerNorm without mean and shift.

    The mean square is taken in float32 or better, because squares leave the range of float16.

    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", eq. 4; matches
    ``transformers.models.llama.modeling_llama.LlamaRMSNorm``.

    >>> import torch
    >>> RMSNorm(d_model=2)(torch.tensor([3.0, 4.0])).detach()
    tensor([0.8485, 1.1314])
    """

    def __init__(self, *, d_model: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Norm the last dimension: [..., d_model] → [..., d_model]."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(x.dtype)
