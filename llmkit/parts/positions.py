"""Positional encoding: attention alone cannot tell the order of its tokens; a position must be put in.

There are three places where that can be done, and each encoding uses one: *add* a vector to the
embeddings, *rotate* queries and keys, or *bias* the scores. ``Positions`` does none of them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmkit.parts.config import RopeScaling


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """How far each pair of numbers turns at each position: cos and sin, [T, head_dim] or [B, 1, T, head_dim]."""

    cos: Tensor
    sin: Tensor

    def turn(self, x: Tensor) -> Tensor:
        """Turn queries or keys: [B, H, T, head_dim] → the same shape."""
        first, second = x.chunk(2, dim=-1)
        return x * self.cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * self.sin.to(x.dtype)


class Positions(nn.Module):
    """No positional encoding at all, and the base of the others: each overrides the one place it acts in."""

    def added(self, positions: Tensor) -> Tensor | None:
        """What is added to the embeddings: positions [T] or [B, T] → [..., d_model], or None."""
        return None

    def rotation(self, positions: Tensor) -> Rotation | None:
        """What queries and keys are turned by: positions [T] or [B, T] → their rotation, or None."""
        return None

    def bias(self, query_pos: Tensor, key_pos: Tensor) -> Tensor | None:
        """What is added to the scores: [T] and [S] → [H, T, S] ([B, T] and [B, S] → [B, H, T, S]), or None."""
        return None


class LearnedPositions(Positions):
    """One learned row for each position, added to the token's row.

    Source: Gehring et al. 2017; Radford et al. 2018 (GPT); Devlin et al. 2019 (BERT). Matches GPT-2's ``wpe``.

    >>> import torch
    >>> LearnedPositions(max_seq_len=8, d_model=4).added(torch.arange(3)).shape
    torch.Size([3, 4])
    """

    def __init__(self, *, max_seq_len: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(max_seq_len, d_model), std=0.02))

    def added(self, positions: Tensor) -> Tensor:
        return nn.functional.embedding(positions, self.weight)


class SinusoidalPositions(Positions):
    """Waves of geometrically growing length, added to the token's row; nothing is learned.

    ``PE[pos, 2i] = sin(pos / base^(2i / d_model))`` and ``PE[pos, 2i + 1] = cos(…)``.

    Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.5.

    >>> import torch
    >>> SinusoidalPositions(d_model=4).added(torch.arange(2))
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """

    def __init__(self, *, d_model: int, base: float = 10_000.0) -> None:
        super().__init__()
        self.d_model = d_model
        self.base = base

    def added(self, positions: Tensor) -> Tensor:
        even = torch.arange(0, self.d_model, 2, dtype=torch.float64, device=positions.device)
        angles = positions.double()[..., None] * self.base ** (-even / self.d_model)  # [..., T, D/2]
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)  # sin and cos alternate
        return waves[..., : self.d_model].to(torch.get_default_dtype())


class RotaryPositions(Positions):
    """Turn each pair of a query's and a key's numbers by an angle that grows with the position.

    Pair ``i`` is made of dimensions ``i`` and ``i + head_dim / 2`` and turns by ``position · theta^(-2i / head_dim)``
    radians. The product of a turned query and a turned key then depends on their distance alone.
    Angles are float32 whatever the dtype, as in the reference.

    Source: Su et al. 2021, "RoFormer", eq. 15 and 34; matches
    ``transformers.models.llama.modeling_llama.LlamaRotaryEmbedding``.

    >>> import torch
    >>> rotary = RotaryPositions(head_dim=2)
    >>> x = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    >>> rotary.rotation(torch.arange(2)).turn(x)
    tensor([[[[1.0000, 0.0000],
              [0.5403, 0.8415]]]])
    """

    def __init__(self, *, head_dim: int, theta: float = 10_000.0, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.theta = theta
        self.scaling = scaling

    def frequencies(self, seq_len: int = 0) -> Tensor:
        """Radians per position for each pair: [head_dim / 2], float32.

        Args:
            seq_len: length of the text in tokens; only ``dynamic`` scaling looks at it.
        """
        plain = rotary_frequencies(self.head_dim, self.theta)
        return plain if self.scaling is None else _scaled(plain, self.head_dim, self.theta, self.scaling, seq_len)

    def angles(self, positions: Tensor) -> Tensor:
        """Angle in radians of each pair at each position: [..., T] → [..., T, head_dim / 2], float32."""
        seq_len = int(positions.max()) + 1 if self.scaling and self.scaling.kind == "dynamic" else 0
        return positions.float()[..., None] * self.frequencies(seq_len).to(positions.device)

    def rotation(self, positions: Tensor) -> Rotation:
        angles = self.angles(positions)
        angles = torch.cat((angles, angles), dim=-1)  # both members of a pair turn by the same angle
        if angles.dim() == 3:
            angles = angles[:, None]  # [B, 1, T, head_dim]: the same for all heads
        return Rotation(cos=angles.cos() * self.magnitude(), sin=angles.sin() * self.magnitude())

    def magnitude(self) -> float:
        """What cos and sin are multiplied by: 1 but for YaRN, which sharpens attention over long texts."""
        if self.scaling is None or self.scaling.kind != "yarn":
            return 1.0
        if self.scaling.attention_factor is not None:
            return self.scaling.attention_factor
        return 0.1 * math.log(self.scaling.factor) + 1.0


class ALiBiPositions(Positions):
    """Lower a score by a fixed slope times the distance between query and key; each head has its own slope.

    Source: Press et al. 2022, "Train Short, Test Long", section 3; slopes as in the paper's own code for head
    counts that are no power of two. Matches ``transformers.models.bloom.modeling_bloom.build_alibi_tensor``.

    >>> import torch
    >>> ALiBiPositions(n_heads=2).bias(torch.arange(2), torch.arange(2))[0]
    tensor([[-0.0000, -0.0625],
            [-0.0625, -0.0000]])
    """

    def __init__(self, *, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads

    def slopes(self) -> Tensor:
        """One slope a head: [n_heads], float32, each in (0, 1)."""
        whole = 2 ** math.floor(math.log2(self.n_heads))
        slopes = [2 ** (-8 * (head + 1) / whole) for head in range(whole)]
        slopes += [2 ** (-4 * (2 * extra + 1) / whole) for extra in range(self.n_heads - whole)]
        return torch.tensor(slopes)

    def bias(self, query_pos: Tensor, key_pos: Tensor) -> Tensor:
        distance = (query_pos[..., :, None] - key_pos[..., None, :]).abs()
        return -self.slopes().to(distance.device)[:, None, None] * distance[..., None, :, :]


def rotary_frequencies(head_dim: int, theta: float | Tensor) -> Tensor:
    """``theta^(-2i / head_dim)`` for each pair i: [head_dim / 2], float32, falling from 1."""
    return 1.0 / theta ** (torch.arange(0, head_dim, 2).float() / head_dim)


def _scaled(plain: Tensor, head_dim: int, theta: float, scaling: RopeScaling, seq_len: int) -> Tensor:
    """The pairs' frequencies after scaling, each kind as its own paper has it."""
    if scaling.kind == "linear":  # Chen et al. 2023: squeeze the positions
        return plain / scaling.factor
    if scaling.kind == "dynamic":  # NTK-aware: a larger base for a longer text
        tokens = torch.tensor(max(seq_len, scaling.original_max_seq_len))
        longer = scaling.factor * tokens / scaling.original_max_seq_len - (scaling.factor - 1)
        return rotary_frequencies(head_dim, theta * longer ** (head_dim / (head_dim - 2)))
    if scaling.kind == "llama3":  # keep fast pairs, slow the slow ones down, blend between
        turns = scaling.original_max_seq_len * plain / (2 * math.pi)  # over the original length
        keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
        return torch.lerp(plain / scaling.factor, plain, keep.clamp(0, 1))
    # YaRN, Peng et al. 2023, eq. 17-23: the same idea, blended evenly over the pairs' numbers
    low, high = (
        head_dim * math.log(scaling.original_max_seq_len / (turns * 2 * math.pi)) / (2 * math.log(theta))
        for turns in (scaling.beta_fast, scaling.beta_slow)
    )
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    pair = torch.arange(head_dim // 2).float()
    keep = 1 - ((pair - low) / (high - low if high > low else 0.001)).clamp(0, 1)
    return plain / scaling.factor * (1 - keep) + plain * keep
