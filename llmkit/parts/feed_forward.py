"""Feed-forward: each token alone passes a wide layer of neurons, where much of what the model knows sits."""

from torch import Tensor, nn

from llmkit.parts.tap import Tap, untouched


class FeedForward(nn.Module):
    """Widen, bend, narrow: ``down(gelu(up(x)))``.

    Args:
        d_model: width of the residual stream.
        d_mlp: how many neurons.
        tanh: use GELU's tanh approximation.
        bias: whether both matrices have biases.

    GELU is ``x · Φ(x)``, Φ the normal distribution function: a step made smooth. Its tanh approximation, off by
    at most about 5e-4, is what GPT-2 was trained with.

    Source: Vaswani et al. 2017, eq. 2; Hendrycks and Gimpel 2016, "Gaussian Error Linear Units". Matches
    ``GPT2MLP`` and ``BertIntermediate`` with ``BertOutput``'s dense.

    >>> import torch
    >>> FeedForward(d_model=4, d_mlp=16)(torch.zeros(1, 3, 4)).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, *, d_model: int, d_mlp: int, tanh: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_mlp, bias=bias)
        self.down = nn.Linear(d_mlp, d_model, bias=bias)
        self.approximate = "tanh" if tanh else "none"

    def forward(self, x: Tensor, *, tap: Tap = untouched) -> Tensor:
        """[B, T, d_model] → [B, T, d_model]; the tap sees pre, act and out."""
        pre = tap("pre", self.up(x))
        act = tap("act", nn.functional.gelu(pre, approximate=self.approximate))
        return tap("out", self.down(act))


class SwiGLU(nn.Module):
    """Two branches: one decides, through SiLU, how much of the other passes: ``down(silu(gate(x)) · up(x))``.

    Source: Shazeer 2020, "GLU Variants Improve Transformer", eq. 6; matches ``LlamaMLP``.

    >>> import torch
    >>> SwiGLU(d_model=4, d_mlp=16)(torch.zeros(1, 3, 4)).shape
    torch.Size([1, 3, 4])
    """

    def __init__(self, *, d_model: int, d_mlp: int, bias: bool = False) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_mlp, bias=bias)
        self.up = nn.Linear(d_model, d_mlp, bias=bias)
        self.down = nn.Linear(d_mlp, d_model, bias=bias)

    def forward(self, x: Tensor, *, tap: Tap = untouched) -> Tensor:
        """[B, T, d_model] → [B, T, d_model]; the tap sees pre (the gate's), up, act and out."""
        pre = tap("pre", self.gate(x))
        up = tap("up", self.up(x))
        act = tap("act", nn.functional.silu(pre) * up)
        return tap("out", self.down(act))
