"""The transformer from nothing: one concept a file, torch only, readable from top to bottom."""

from llmkit.parts.assemble import assemble
from llmkit.parts.attention import Attention, View
from llmkit.parts.block import Block
from llmkit.parts.cache import KVCache
from llmkit.parts.config import RopeScaling, TransformerConfig, bert, gpt2, llama
from llmkit.parts.embedding import SegmentEmbedding, TokenEmbedding
from llmkit.parts.feed_forward import FeedForward, SwiGLU
from llmkit.parts.norm import LayerNorm, RMSNorm
from llmkit.parts.positions import (
    ALiBiPositions,
    LearnedPositions,
    Positions,
    RotaryPositions,
    Rotation,
    SinusoidalPositions,
    rotary_frequencies,
)
from llmkit.parts.tap import Tap, inside, untouched
from llmkit.parts.transformer import Transformer
from llmkit.parts.unembedding import MaskedHeadTransform, Unembedding

__all__ = [
    "ALiBiPositions",
    "Attention",
    "Block",
    "FeedForward",
    "KVCache",
    "LayerNorm",
    "LearnedPositions",
    "MaskedHeadTransform",
    "Positions",
    "RMSNorm",
    "RopeScaling",
    "RotaryPositions",
    "Rotation",
    "SegmentEmbedding",
    "SinusoidalPositions",
    "SwiGLU",
    "Tap",
    "TokenEmbedding",
    "Transformer",
    "TransformerConfig",
    "Unembedding",
    "View",
    "assemble",
    "bert",
    "gpt2",
    "inside",
    "llama",
    "rotary_frequencies",
    "untouched",
]
