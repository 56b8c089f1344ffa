"""Self-attention: each token asks all it may see, weighs the answers, and takes their mixture."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmkit.parts.cache import KVCache
from llmkit.parts.positions import Rotation
from llmkit.parts.tap import Tap, untouched


@dataclass(frozen=True, kw_only=True)
class View:
    """What each token may see, and how its position changes what it sees. The same for every layer.

    Args:
        visible: bool, broadcastable to [B, 1, T, S]; None when every token sees every other.
        causal: True when ``visible`` is nothing but the triangle, so that a fused kernel may draw it itself.
        rotation: what queries and keys are turned by, or None.
        bias: added to the scores, broadcastable to [B, H, T, S], or None.
    """

    visible: Tensor | None = None
    causal: bool = False
    rotation: Rotation | None = None
    bias: Tensor | None = None


class Attention(nn.Module):
    """Scaled dot-product attention over several heads.

    ``softmax(q kᵀ / sqrt(head_dim)) v`` in each head, and one more matrix that mixes the heads' answers.
    With fewer key/value heads than query heads, neighbouring query heads share one (GQA; MQA with one).

    Args:
        d_model, n_heads, n_kv_heads, head_dim: see ``TransformerConfig``.
        bias, output_bias: whether q, k, v and the output have biases.
        norm_q, norm_k: norms over ``head_dim`` for each query and key head (Qwen3), or None.

    Source: Vaswani et al. 2017, section 3.2; Ainslie et al. 2023, "GQA". Matches
    ``GPT2Attention``, ``BertSelfAttention`` with ``BertSelfOutput``'s dense, ``LlamaAttention``.

    >>> import torch
    >>> part = Attention(d_model=8, n_heads=4, n_kv_heads=2, head_dim=2)
    >>> part(torch.zeros(1, 3, 8), View()).shape
    torch.Size([1, 3, 8])
    """

    def __init__(
        self,
        *,
        d_model: int,
        n_heads: int,
        n_kv_heads: int,
        head_dim: int,
        bias: bool = True,
        output_bias: bool = True,
        norm_q: nn.Module | None = None,
        norm_k: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = n_heads, n_kv_heads, head_dim
        self.q = nn.Linear(d_model, n_heads * head_dim, bias=bias)
        self.k = nn.Linear(d_model, n_kv_heads * head_dim, bias=bias)
        self.v = nn.Linear(d_model, n_kv_heads * head_dim, bias=bias)
        self.out = nn.Linear(n_heads * head_dim, d_model, bias=output_bias)
        self.norm_q, self.norm_k = norm_q, norm_k

    def forward(
        self, x: Tensor, view: View, *, cache: KVCache | None = None, layer: int = 0, tap: Tap = untouched
    ) -> Tensor:
        """Ask, weigh, mix.

        Args:
            x: [B, T, d_model].
            view: what each token may see.
            cache: keys and values of earlier tokens; extended in place.
            layer: this attention's place in the cache.
            tap: sees q, k, v, scores, weights, head_values and out.

        Returns:
            [B, T, d_model].
        """
        q = self._heads(self.q(x), self.n_heads)  # [B, H, T, Dh]
        k = self._heads(self.k(x), self.n_kv_heads)  # [B, K, T, Dh]
        v = self._heads(self.v(x), self.n_kv_heads)
        if self.norm_q is not None and self.norm_k is not None:
            q, k = self.norm_q(q), self.norm_k(k)
        q, k = tap("q_unrotated", q), tap("k_unrotated", k)
        if view.rotation is not None:
            q, k = view.rotation.turn(q), view.rotation.turn(k)
        if cache is not None:
            k, v = cache.extend(layer, k, v)
        q, k, v = tap("q", q), tap("k", k), tap("v", v)

        head_values = self._fused(q, k, v, view) if tap is untouched else self._step_by_step(q, k, v, view, tap)
        return tap("out", self.out(head_values.transpose(1, 2).flatten(2)))

    def _step_by_step(self, q: Tensor, k: Tensor, v: Tensor, view: View, tap: Tap) -> Tensor:
        """The formula as it is written; the [T, S] table is really made. Returns [B, H, T, Dh]."""
        k, v = self._shared(k), self._shared(v)  # [B, H, S, Dh]
        scores = (q / math.sqrt(self.head_dim)) @ k.transpose(2, 3)  # [B, H, T, S]
        if view.bias is not None:
            scores = scores + view.bias
        if view.visible is not None:
            scores = scores.masked_fill(~view.visible, torch.finfo(scores.dtype).min)
        weights = tap("weights", tap("scores", scores).softmax(-1))
        return tap("head_values", weights @ v)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, view: View) -> Tensor:
        """The same sum in one kernel that never makes the [T, S] table. Returns [B, H, T, Dh]."""
        mask, triangle = view.visible, view.causal and view.bias is None
        if view.bias is not None:
            bias = view.bias.to(q.dtype)
            mask = bias if mask is None else bias.masked_fill(~mask, torch.finfo(q.dtype).min)
        return nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if triangle else mask,
            is_causal=triangle,
            enable_gqa=self.n_kv_heads < self.n_heads,
        )

    def _heads(self, x: Tensor, n_heads: int) -> Tensor:
        """[B, T, n_heads · Dh] → [B, n_heads, T, Dh]."""
        return x.view(*x.shape[:-1], n_heads, self.head_dim).transpose(1, 2)

    def _shared(self, x: Tensor) -> Tensor:
        """Give each query head its key/value head: [B, K, S, Dh] → [B, H, S, Dh]."""
        return x if self.n_kv_heads == self.n_heads else x.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1)
