"""KV cache: keys and values of the tokens already read, kept so that each is computed once."""

import torch
from torch import Tensor

SPARE = 128
"""Tokens for which room is made at a time, so that a further one is written, and all before it are not copied."""


class KVCache:
    """Grows by one piece of text at a time; each layer keeps its own keys and values.

    Why: a token's keys and values never change in a causal model, so generation needs only the new token's.

    What ``keys`` and ``values`` hold may be exchanged (rows picked, tokens cut off); it is then copied before it grows,
    so a cache that began as a part of another never writes into that one.

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
        self._rooms: dict[int, _Room] = {}

    @property
    def seq_len(self) -> int:
        """How many tokens are kept (those that layer 0 has seen)."""
        return self.keys[0].shape[2] if 0 in self.keys else 0

    @property
    def size_bytes(self) -> int:
        """Memory that keys and values of all layers take (room for tokens to come not counted)."""
        return sum(t.nbytes for kept in (self.keys, self.values) for t in kept.values())

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values [B, n_kv_heads, T, head_dim]; give back all of them."""
        if layer in self.keys:
            k, v = self._append(layer, k, v)
        self.keys[layer], self.values[layer] = k, v
        return k, v

    def _append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.keys[layer], self.values[layer]
        if k.requires_grad or v.requires_grad:  # a gradient wants the old tensors as they were
            return torch.cat((keys, k), dim=2), torch.cat((values, v), dim=2)
        room = self._rooms.get(layer)
        if room is None or not room.continues(keys, values, k.shape[2]):
            room = self._rooms[layer] = _Room(keys, values, k.shape[2])
        return room.append(k, v)


class _Room:
    """A layer's keys and values with spare room behind them."""

    def __init__(self, keys: Tensor, values: Tensor, more: int) -> None:
        B, K, S, Dh = keys.shape
        self.whole = keys.new_empty(2, B, K, S + more + SPARE, Dh)
        self.whole[0, :, :, :S], self.whole[1, :, :, :S] = keys, values
        self.keys, self.values, self.seq_len = keys, values, S

    def continues(self, keys: Tensor, values: Tensor, more: int) -> bool:
        """Whether these are the ones that were handed out last, and ``more`` tokens fit behind them."""
        return (
            keys is self.keys
            and values is self.values
            and self.seq_len + more <= self.whole.shape[3]
            and self.whole.is_inference() == torch.is_inference_mode_enabled()  # else it may not be written
        )

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write them behind; give back all, as views."""
        S, T = self.seq_len, k.shape[2]
        self.whole[0, :, :, S : S + T], self.whole[1, :, :, S : S + T] = k, v
        self.seq_len = S + T
        self.keys, self.values = self.whole[0, :, :, : S + T], self.whole[1, :, :, : S + T]
        return self.keys, self.values
