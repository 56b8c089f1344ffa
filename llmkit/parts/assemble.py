"""Assemble: from a parts list to a machine, part by part."""

from torch import nn

from llmkit.parts.attention import Attention
from llmkit.parts.block import Block
from llmkit.parts.config import TransformerConfig
from llmkit.parts.embedding import SegmentEmbedding, TokenEmbedding
from llmkit.parts.feed_forward import FeedForward, SwiGLU
from llmkit.parts.norm import LayerNorm, RMSNorm
from llmkit.parts.positions import (
    ALiBiPositions,
    LearnedPositions,
    Positions,
    RotaryPositions,
    SinusoidalPositions,
)
from llmkit.parts.transformer import Transformer
from llmkit.parts.unembedding import MaskedHeadTransform, Unembedding


def assemble(config: TransformerConfig) -> Transformer:
    """Build the transformer that a parts list describes, with fresh weights.

    >>> from llmkit.parts import assemble, gpt2
    >>> machine = assemble(gpt2(vocab_size=100, d_model=8, n_layers=2, n_heads=2, max_seq_len=16))
    >>> sum(p.numel() for p in machine.parameters())
    2688
    """
    embedding = TokenEmbedding(vocab_size=config.vocab_size, d_model=config.d_model)
    return Transformer(
        embedding=embedding,
        positions=make_positions(config),
        segments=SegmentEmbedding(n_segments=config.n_segments, d_model=config.d_model) if config.n_segments else None,
        norm_embeddings=make_norm(config) if config.norm_embeddings else None,
        blocks=[make_block(config) for _ in range(config.n_layers)],
        norm_final=make_norm(config) if config.norm_final else None,
        unembedding=make_unembedding(config, embedding) if config.unembedding else None,
        causal=config.causal,
        max_seq_len=config.max_seq_len,
    )


def make_positions(config: TransformerConfig) -> Positions:
    """The positional encoding of a parts list."""
    if config.positions == "learned":
        return LearnedPositions(max_seq_len=config.max_seq_len, d_model=config.d_model)
    if config.positions == "sinusoidal":
        return SinusoidalPositions(d_model=config.d_model)
    if config.positions == "rotary":
        return RotaryPositions(head_dim=config.head_dim, theta=config.rope_theta, scaling=config.rope_scaling)
    if config.positions == "alibi":
        return ALiBiPositions(n_heads=config.n_heads)
    return Positions()


def make_norm(config: TransformerConfig, *, width: int | None = None) -> LayerNorm | RMSNorm:
    """A norm over ``width`` numbers (``d_model`` when not given)."""
    kind = LayerNorm if config.norm == "layer" else RMSNorm
    return kind(d_model=width or config.d_model, eps=config.norm_eps)


def make_block(config: TransformerConfig) -> Block:
    """One block, its parts made and handed in."""
    return Block(
        norm_1=make_norm(config),
        attention=Attention(
            d_model=config.d_model,
            n_heads=config.n_heads,
            n_kv_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            bias=config.attention_bias,
            output_bias=config.output_bias,
            norm_q=make_norm(config, width=config.head_dim) if config.norm_heads else None,
            norm_k=make_norm(config, width=config.head_dim) if config.norm_heads else None,
        ),
        norm_2=make_norm(config),
        feed_forward=make_feed_forward(config),
        norm_order=config.norm_order,
    )


def make_feed_forward(config: TransformerConfig) -> FeedForward | SwiGLU:
    """The feed-forward part of a parts list."""
    if config.feed_forward == "swiglu":
        return SwiGLU(d_model=config.d_model, d_mlp=config.d_mlp, bias=config.mlp_bias)
    tanh = config.feed_forward == "gelu_tanh"
    return FeedForward(d_model=config.d_model, d_mlp=config.d_mlp, tanh=tanh, bias=config.mlp_bias)


def make_unembedding(config: TransformerConfig, embedding: TokenEmbedding) -> Unembedding:
    """The unembedding: the embedding's own matrix when tied, else a fresh one of the same shape."""
    weight = embedding.weight
    if not config.tied:
        weight = nn.Parameter(nn.init.normal_(weight.detach().clone(), std=0.02))
    transform = None
    if config.unembedding_transform:
        transform = MaskedHeadTransform(
            d_model=config.d_model, eps=config.norm_eps, tanh=config.feed_forward == "gelu_tanh"
        )
    return Unembedding(weight=weight, transform=transform, bias=config.unembedding_transform)
