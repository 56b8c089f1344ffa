"""KV cache: keys and values of the tokens already read, kept so that each is computed once."""

import torch
from torch import Tensor


class KVCache:
    """Grows by one piece of text at a time; each layer keeps its own keys and values.

    Why: a token's keys and values never change in a causal model, so generation needs only the new token's.

    Source: Shazeer 2019, "Fast Transformer Decoding"; like ``transformers.DynamicCache``.

    >>> import torch
    >>> cache = KVCache()
    >>> piece = torch.zeros(1, 2, 3, 4)  # [B, n_kv_heads, T, head_dim]
    >>> cache.extend(0, piece, piece)[0].shape, cache.extend(0, piece, piece)[0].shape, cache.seq_len
    (torch.Size([1, 2, 3, 4]), torch.Size([1, 2, 6, 4]), 6)
    """

    def __init__(self) -> None:
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    @property
    def seq_len(self) -> int:
        """How many tokens are kept (those that layer 0 has seen)."""
        return self.keys[0].shape[2] if 0 in self.keys else 0

    @property
    def size_bytes(self) -> int:
        """Memory that keys and values of all layers take."""
        return sum(t.nbytes for kept in (self.keys, self.values) for t in kept.values())

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values [B, n_kv_heads, T, head_dim]; give back all of them."""
        if layer in self.keys:
            k, v = torch.cat((self.keys[layer], k), dim=2), torch.cat((self.values[layer], v), dim=2)
        self.keys[layer], self.values[layer] = k, v
        return k, v
