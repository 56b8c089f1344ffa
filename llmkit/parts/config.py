"""The parts list: everything that must be known to assemble one transformer."""

from dataclasses import dataclass
from typing import Literal

Positions = Literal["learned", "sinusoidal", "rotary", "alibi", "none"]
Norm = Literal["layer", "rms"]
FeedForwardKind = Literal["gelu", "gelu_tanh", "swiglu"]
RopeScalingKind = Literal["linear", "dynamic", "yarn", "llama3"]


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How rotary positions are stretched beyond the length that the model was trained on.

    Args:
        kind: ``linear`` (Chen et al. 2023), ``dynamic`` (NTK-aware, grows with the text),
            ``yarn`` (Peng et al. 2023) or ``llama3`` (Llama 3.1).
        factor: how many times longer the context becomes, >= 1.
        original_max_seq_len: the length in pre-training, in tokens. For ``dynamic`` it is where growth begins.
        low_freq_factor, high_freq_factor: ``llama3`` only; the band that is blended.
        beta_fast, beta_slow: ``yarn`` only; turns over the original length that bound the blend.
        attention_factor: ``yarn`` only; scales cos and sin. None: ``0.1 ln(factor) + 1``.
        truncate: ``yarn`` only; round the bounds of the blend to whole pairs.

    Raises:
        ValueError: when a number is out of its range.
    """

    kind: RopeScalingKind
    factor: float
    original_max_seq_len: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1, not {self.factor}")
        if self.original_max_seq_len < 1:
            raise ValueError(f"original_max_seq_len must be at least 1, not {self.original_max_seq_len}")
        if self.kind == "llama3" and not self.low_freq_factor < self.high_freq_factor:
            raise ValueError("low_freq_factor must be below high_freq_factor")


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """One transformer's parts list. GPT-2, BERT and LLaMA differ in nothing else.

    Args:
        vocab_size: how many tokens the vocabulary has.
        d_model: width of the residual stream.
        n_layers: how many blocks are stacked.
        n_heads: query heads in each attention.
        n_kv_heads: key/value heads; ``n_heads`` is MHA, 1 is MQA, between is GQA.
        head_dim: width of one head.
        d_mlp: width of the feed-forward layer.
        max_seq_len: the longest text, in tokens.
        positions: which positional encoding; ``rotary`` turns q and k, ``alibi`` biases the scores.
        norm: LayerNorm or RMSNorm; ``norm_eps`` is added to the variance.
        norm_order: ``pre`` norms what enters a part, ``post`` the sum that leaves it.
        norm_embeddings: norm the sum of the embeddings before layer 0 (BERT).
        norm_final: norm the residual stream after the last block.
        norm_heads: norm each query and key head (Qwen3).
        causal: a token sees itself and what came before; otherwise all tokens.
        attention_bias, output_bias, mlp_bias: whether q, k, v; attention's output; feed-forward have biases.
        feed_forward: ``gelu`` (exact), ``gelu_tanh`` (GPT-2's approximation) or ``swiglu``.
        n_segments: how many sentence labels (BERT's token types); 0 for none.
        unembedding: whether the machine ends in logits (False: in the final hidden states).
        tied: the unembedding uses the token embedding's own matrix.
        unembedding_transform: BERT's dense, GELU and norm before the unembedding, and a bias after it.
        rope_theta: base of the rotary wavelengths.
        rope_scaling: how rotary positions are stretched; None for not at all.

    Raises:
        ValueError: when two parts do not fit together, with the reason.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_mlp: int
    max_seq_len: int
    positions: Positions
    norm: Norm
    norm_eps: float
    norm_order: Literal["pre", "post"]
    causal: bool
    feed_forward: FeedForwardKind
    attention_bias: bool
    output_bias: bool
    mlp_bias: bool
    norm_embeddings: bool = False
    norm_final: bool = True
    norm_heads: bool = False
    n_segments: int = 0
    unembedding: bool = True
    tied: bool = True
    unembedding_transform: bool = False
    rope_theta: float = 10_000.0
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "d_model", "n_heads", "n_kv_heads", "head_dim", "d_mlp", "max_seq_len"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.n_layers < 0 or self.n_segments < 0:
            raise ValueError("n_layers and n_segments cannot be negative")
        if self.n_heads % self.n_kv_heads:
            raise ValueError(f"{self.n_heads} query heads cannot share {self.n_kv_heads} key/value heads evenly")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ValueError(f"rotary positions turn pairs: head_dim must be even, not {self.head_dim}")
        if self.rope_scaling is not None and self.positions != "rotary":
            raise ValueError("rope_scaling needs rotary positions")
        if self.norm_eps <= 0:
            raise ValueError(f"norm_eps must be positive, not {self.norm_eps}")


def gpt2(
    *,
    vocab_size: int = 50_257,
    d_model: int = 768,
    n_layers: int = 12,
    n_heads: int = 12,
    max_seq_len: int = 1_024,
    d_mlp: int | None = None,
    norm_eps: float = 1e-5,
    feed_forward: FeedForwardKind = "gelu_tanh",
    tied: bool = True,
) -> TransformerConfig:
    """GPT-2's parts list: learned positions, pre-norm LayerNorm, causal MHA with biases, GELU (tanh).

    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; matches
    ``transformers.GPT2LMHeadModel``.
    """
    return TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=_split(d_model, n_heads),
        d_mlp=d_mlp or 4 * d_model,
        max_seq_len=max_seq_len,
        positions="learned",
        norm="layer",
        norm_eps=norm_eps,
        norm_order="pre",
        causal=True,
        feed_forward=feed_forward,
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
        tied=tied,
    )


def bert(
    *,
    vocab_size: int = 30_522,
    d_model: int = 768,
    n_layers: int = 12,
    n_heads: int = 12,
    d_mlp: int = 3_072,
    max_seq_len: int = 512,
    n_segments: int = 2,
    norm_eps: float = 1e-12,
    feed_forward: FeedForwardKind = "gelu",
    unembedding: bool = True,
) -> TransformerConfig:
    """BERT's parts list: learned positions and segments, post-norm LayerNorm, MHA both ways, exact GELU.

    Source: Devlin et al. 2019, "BERT"; matches ``transformers.BertForMaskedLM`` (``BertModel`` without
    unembedding).
    """
    return TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=_split(d_model, n_heads),
        d_mlp=d_mlp,
        max_seq_len=max_seq_len,
        positions="learned",
        norm="layer",
        norm_eps=norm_eps,
        norm_order="post",
        norm_embeddings=True,
        norm_final=False,
        causal=False,
        feed_forward=feed_forward,
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
        n_segments=n_segments,
        unembedding=unembedding,
        unembedding_transform=unembedding,
    )


def llama(
    *,
    vocab_size: int = 32_000,
    d_model: int = 2_048,
    n_layers: int = 22,
    n_heads: int = 32,
    n_kv_heads: int = 4,
    d_mlp: int = 5_632,
    max_seq_len: int = 2_048,
    head_dim: int | None = None,
    norm_eps: float = 1e-5,
    tied: bool = False,
    attention_bias: bool = False,
    mlp_bias: bool = False,
    norm_heads: bool = False,
    rope_theta: float = 10_000.0,
    rope_scaling: RopeScaling | None = None,
) -> TransformerConfig:
    """LLaMA's parts list: rotary positions, pre-norm RMSNorm, causal GQA, SwiGLU. Qwen3 adds ``norm_heads``.

    Source: Touvron et al. 2023, "LLaMA"; matches ``transformers.LlamaForCausalLM`` and
    ``transformers.Qwen3ForCausalLM``.
    """
    return TransformerConfig(
        vocab_size=vocab_size,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim or _split(d_model, n_heads),
        d_mlp=d_mlp,
        max_seq_len=max_seq_len,
        positions="rotary",
        norm="rms",
        norm_eps=norm_eps,
        norm_order="pre",
        norm_heads=norm_heads,
        causal=True,
        feed_forward="swiglu",
        attention_bias=attention_bias,
        output_bias=attention_bias,
        mlp_bias=mlp_bias,
        tied=tied,
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
    )


def _split(d_model: int, n_heads: int) -> int:
    if n_heads < 1 or d_model % n_heads:
        raise ValueError(f"{n_heads} heads cannot share a width of {d_model} evenly")
    return d_model // n_heads
