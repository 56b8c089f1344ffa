"""What each part takes and costs: shapes, parameters, floating-point work, memory. Counted from the parts list alone.

Conventions, the same for every part:

- floating-point work is that of matrix products only, ``2 · m · n · k`` for ``[m, k] @ [k, n]``: a multiplication
  and an addition each. A bias, a norm, an activation, a softmax, a rotation and an addition are left out; so is
  the half of the attention table that a causal mask throws away, because it is computed all the same;
- activations are the values that the part makes for this text, each kept, as a trace keeps them;
- the KV cache is what a causal model keeps of each token so as not to read it again.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

from llmkit.parts.config import TransformerConfig

PartName = Literal[
    "embedding",
    "segments",
    "positions",
    "norm_embeddings",
    "norm_1",
    "attention",
    "add_1",
    "norm_2",
    "feed_forward",
    "add_2",
    "norm_final",
    "unembedding",
    "softmax",
]
"""Every part that a transformer may have; those of a block stand once for each layer."""

IN_BLOCK: frozenset[PartName] = frozenset({"norm_1", "attention", "add_1", "norm_2", "feed_forward", "add_2"})

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class PartCount:
    """One part, at one place.

    Args:
        name: which part.
        places: at how many places it stands; all other numbers are of one of them.
        takes, gives: shapes of what goes in and what comes out, without the batch.
        weights: its own weights, by their names in the part's ``state_dict``, with shapes.
        shared: weights that it borrows from another part and that are counted there.
        flops: floating-point operations for the text (see the module).
        activation_bytes: memory of the values that it makes for the text.
        kv_cache_bytes: memory of the keys and values that it keeps.
        bytes_per_number: of weights and values alike.
    """

    name: PartName
    places: int
    takes: Shape
    gives: Shape
    weights: tuple[tuple[str, Shape], ...]
    shared: tuple[tuple[str, Shape], ...]
    flops: int
    activation_bytes: int
    kv_cache_bytes: int
    bytes_per_number: int

    @property
    def parameters(self) -> int:
        """Numbers that were learned, at one place; borrowed ones are not counted again."""
        return sum(prod(shape) for _, shape in self.weights)

    @property
    def weight_bytes(self) -> int:
        """Memory of the part's own weights, at one place."""
        return self.parameters * self.bytes_per_number


@dataclass(frozen=True, kw_only=True)
class Counts:
    """All parts of a transformer, in the order in which a text passes them.

    Args:
        seq_len: tokens that are read. past_len: tokens read before, whose keys and values are in the cache.
        parts: one row a part.
    """

    seq_len: int
    past_len: int
    parts: tuple[PartCount, ...]

    def __getitem__(self, name: PartName) -> PartCount:
        """The part of that name.

        Raises:
            KeyError: when this transformer has no such part.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)

    def __contains__(self, name: PartName) -> bool:
        return any(part.name == name for part in self.parts)

    @property
    def parameters(self) -> int:
        """Of the whole transformer."""
        return sum(part.places * part.parameters for part in self.parts)

    @property
    def flops(self) -> int:
        """Of the whole transformer, for this text."""
        return sum(part.places * part.flops for part in self.parts)

    @property
    def weight_bytes(self) -> int:
        """Memory of all weights."""
        return sum(part.places * part.weight_bytes for part in self.parts)

    @property
    def activation_bytes(self) -> int:
        """Memory of all values, if every one is kept."""
        return sum(part.places * part.activation_bytes for part in self.parts)

    @property
    def kv_cache_bytes(self) -> int:
        """Memory of the cache; equals ``KVCache.size_bytes``."""
        return sum(part.places * part.kv_cache_bytes for part in self.parts)


def count_parts(config: TransformerConfig, *, seq_len: int, past_len: int = 0, bytes_per_number: int = 4) -> Counts:
    """Count every part of a transformer for one text.

    Args:
        config: the parts list.
        seq_len: tokens that are read, at least 1.
        past_len: tokens that are in the KV cache already.
        bytes_per_number: 4 for float32, 2 for bfloat16 and float16, 8 for float64.

    Raises:
        ValueError: when there is no token, or more than ``max_seq_len``.

    >>> from llmkit.parts import gpt2
    >>> counts = count_parts(gpt2(), seq_len=8)
    >>> counts.parameters, counts["attention"].parameters, counts["unembedding"].parameters
    (124439808, 2362368, 0)
    >>> counts["feed_forward"].flops == 2 * 8 * 768 * 3072 * 2
    True
    """
    if seq_len < 1 or past_len < 0 or past_len + seq_len > config.max_seq_len:
        raise ValueError(f"{past_len + seq_len} tokens; from 1 to {config.max_seq_len} fit")
    counter = _Counter(config, seq_len, past_len, bytes_per_number)
    attention, feed_forward = counter.attention(), counter.feed_forward()
    norm_1, norm_2, add_1, add_2 = (
        counter.norm("norm_1"),
        counter.norm("norm_2"),
        counter.add("add_1"),
        counter.add("add_2"),
    )
    if config.norm_order == "pre":
        block = [norm_1, attention, add_1, norm_2, feed_forward, add_2]
    else:
        block = [attention, add_1, norm_1, feed_forward, add_2, norm_2]
    parts = [*counter.entry(), *block]
    if config.norm_final:
        parts.append(counter.norm("norm_final"))
    if config.unembedding:
        parts += [counter.unembedding(), counter.part("softmax", gives=(seq_len, config.vocab_size), made=[])]
    return Counts(seq_len=seq_len, past_len=past_len, parts=tuple(parts))


class _Counter:
    """Counts the parts of one parts list for one text: T tokens read, S tokens seen."""

    def __init__(self, config: TransformerConfig, seq_len: int, past_len: int, bytes_per_number: int) -> None:
        self.config, self.T, self.S, self.bytes = config, seq_len, seq_len + past_len, bytes_per_number
        self.stream: Shape = (seq_len, config.d_model)

    def part(
        self,
        name: PartName,
        *,
        takes: Shape | None = None,
        gives: Shape | None = None,
        weights: tuple[tuple[str, Shape], ...] = (),
        shared: tuple[tuple[str, Shape], ...] = (),
        flops: int = 0,
        made: list[Shape] | None = None,
        kept: int = 0,
    ) -> PartCount:
        """One row; ``made`` are the shapes of the values it makes (what it gives, when not said)."""
        gives = gives or self.stream
        values = [gives] if made is None else made or [gives]
        return PartCount(
            name=name,
            places=self.config.n_layers if name in IN_BLOCK else 1,
            takes=takes or (self.stream if name != "softmax" else gives),
            gives=gives,
            weights=weights,
            shared=shared,
            flops=flops,
            activation_bytes=self.bytes * sum(prod(shape) for shape in values),
            kv_cache_bytes=self.bytes * kept,
            bytes_per_number=self.bytes,
        )

    def entry(self) -> list[PartCount]:
        """Token row, segment row, position row, and the norm of their sum."""
        config = self.config
        rows = (("weight", (config.vocab_size, config.d_model)),)
        parts = [self.part("embedding", takes=(self.T,), weights=rows)]
        if config.n_segments:
            table = (("weight", (config.n_segments, config.d_model)),)
            parts.append(self.part("segments", takes=(self.T,), weights=table))
        if config.positions == "learned":
            labels = (("weight", (config.max_seq_len, config.d_model)),)
            parts.append(self.part("positions", takes=(self.T,), weights=labels))
        elif config.positions == "sinusoidal":
            parts.append(self.part("positions", takes=(self.T,)))
        if config.norm_embeddings:
            parts.append(self.norm("norm_embeddings"))
        return parts

    def norm(self, name: PartName) -> PartCount:
        return self.part(name, weights=self._norm_weights(self.config.d_model))

    def add(self, name: PartName) -> PartCount:
        return self.part(name)

    def attention(self) -> PartCount:
        """Four projections, every query with every key, every weight with every value."""
        c, T, S = self.config, self.T, self.S
        q, kv, D = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim, c.d_model
        weights = [
            *_linear("q", D, q, bias=c.attention_bias),
            *_linear("k", D, kv, bias=c.attention_bias),
            *_linear("v", D, kv, bias=c.attention_bias),
            *_linear("out", q, D, bias=c.output_bias),
        ]
        if c.norm_heads:
            for which in ("norm_q", "norm_k"):
                weights += [(f"{which}.{name}", shape) for name, shape in self._norm_weights(c.head_dim)]
        tables: list[Shape] = [(c.n_heads, T, S), (c.n_heads, T, S)]  # scores and weights
        made = [(T, q), (T, kv), (T, kv), *tables, (T, q), self.stream]
        if c.positions == "rotary":
            made += [(T, q), (T, kv)]  # before they are turned
        return self.part(
            "attention",
            weights=tuple(weights),
            flops=2 * T * D * (q + 2 * kv) + 2 * 2 * T * S * q + 2 * T * q * D,
            made=made,
            kept=2 * S * kv if c.causal else 0,
        )

    def feed_forward(self) -> PartCount:
        """Two matrices, or three with a gate."""
        c, T = self.config, self.T
        gated = c.feed_forward == "swiglu"
        weights = [*_linear("gate", c.d_model, c.d_mlp, bias=c.mlp_bias)] if gated else []
        weights += _linear("up", c.d_model, c.d_mlp, bias=c.mlp_bias)
        weights += _linear("down", c.d_mlp, c.d_model, bias=c.mlp_bias)
        wide = (T, c.d_mlp)
        return self.part(
            "feed_forward",
            weights=tuple(weights),
            flops=(3 if gated else 2) * 2 * T * c.d_model * c.d_mlp,
            made=[wide, wide, *([wide] if gated else []), self.stream],
        )

    def unembedding(self) -> PartCount:
        """The product with every token's row; before it BERT's dense and norm, after it a bias."""
        c, T = self.config, self.T
        rows: tuple[tuple[str, Shape], ...] = (("weight", (c.vocab_size, c.d_model)),)
        logits, flops = (T, c.vocab_size), 2 * T * c.d_model * c.vocab_size
        weights: list[tuple[str, Shape]] = [] if c.tied else [*rows]
        made: list[Shape] = [logits]
        if c.unembedding_transform:
            weights += _linear("transform.dense", c.d_model, c.d_model, bias=True)
            weights += [("transform.norm.weight", (c.d_model,)), ("transform.norm.bias", (c.d_model,))]
            weights.append(("bias", (c.vocab_size,)))
            flops += 2 * T * c.d_model * c.d_model
            made += [self.stream] * 3  # dense, GELU, norm
        return self.part(
            "unembedding",
            gives=logits,
            weights=tuple(weights),
            shared=rows if c.tied else (),
            flops=flops,
            made=made,
        )

    def _norm_weights(self, width: int) -> tuple[tuple[str, Shape], ...]:
        scale: tuple[str, Shape] = ("weight", (width,))
        return (scale, ("bias", (width,))) if self.config.norm == "layer" else (scale,)


def _linear(name: str, takes: int, gives: int, *, bias: bool) -> list[tuple[str, Shape]]:
    """A matrix as PyTorch keeps it, [gives, takes], and its bias."""
    weight: tuple[str, Shape] = (f"{name}.weight", (gives, takes))
    return [weight, (f"{name}.bias", (gives,))] if bias else [weight]
