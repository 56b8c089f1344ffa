"""The whole engine: token plate, position label, N blocks, final norm, unembedding."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.parts.attention import View
from llmkit.parts.block import Block
from llmkit.parts.cache import KVCache
from llmkit.parts.embedding import SegmentEmbedding, TokenEmbedding
from llmkit.parts.positions import Positions
from llmkit.parts.tap import Tap, inside, untouched
from llmkit.parts.unembedding import Unembedding


class Transformer(nn.Module):
    """GPT-2, BERT and LLaMA alike: only the parts handed in differ.

    Args:
        embedding: token rows.
        positions: the positional encoding; what it rotates or biases reaches every attention through its view.
        segments: sentence labels, or None.
        norm_embeddings: norm of the embeddings' sum, or None.
        blocks: the storeys, first to last.
        norm_final: norm after the last block, or None.
        unembedding: turns hidden states into logits; None ends in hidden states.
        causal: a token sees itself and what came before; otherwise all tokens.
        max_seq_len: the longest text, in tokens.

    Source: Vaswani et al. 2017; matches ``GPT2LMHeadModel``, ``BertForMaskedLM`` / ``BertModel``,
    ``LlamaForCausalLM``, ``Qwen3ForCausalLM``.
    """

    def __init__(
        self,
        *,
        embedding: TokenEmbedding,
        positions: Positions,
        segments: SegmentEmbedding | None,
        norm_embeddings: nn.Module | None,
        blocks: Sequence[Block],
        norm_final: nn.Module | None,
        unembedding: Unembedding | None,
        causal: bool,
        max_seq_len: int,
    ) -> None:
        super().__init__()
        self.embedding, self.positions, self.segments = embedding, positions, segments
        self.norm_embeddings = norm_embeddings
        self.layers = nn.ModuleList(blocks)
        self.norm_final, self.unembedding = norm_final, unembedding
        self.causal, self.max_seq_len = causal, max_seq_len

    def with_parts(self, **exchanged: Any) -> "Transformer":
        """The same machine with some parts exchanged, by the names of the arguments above; this one stays as it is.

        All other parts are shared, not copied.

        >>> from llmkit.parts import assemble, gpt2
        >>> whole = assemble(gpt2(vocab_size=100, d_model=8, n_layers=2, n_heads=2, max_seq_len=16))
        >>> headless = whole.with_parts(unembedding=None)
        >>> headless.unembedding is None, headless.embedding is whole.embedding
        (True, True)
        """
        parts = {
            "embedding": self.embedding,
            "positions": self.positions,
            "segments": self.segments,
            "norm_embeddings": self.norm_embeddings,
            "blocks": list(self.layers),
            "norm_final": self.norm_final,
            "unembedding": self.unembedding,
            "causal": self.causal,
            "max_seq_len": self.max_seq_len,
        }
        return Transformer(**{**parts, **exchanged})

    def forward(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        tap: Tap = untouched,
    ) -> Tensor:
        """Read tokens, give logits (or final hidden states, without an unembedding).

        Args:
            input_ids: [B, T] integers.
            attention_mask: [B, S], 1 for a real token and 0 for padding (S counts the cache's tokens too), or
                [B, T, S], 1 where a token may see another (several texts in one row); None when all are real.
            segment_ids: [B, T], which sentence each token belongs to; None for sentence 0.
            positions: [T] or [B, T]; None for 0, 1, 2 … (going on where the cache ends).
            cache: keys and values of earlier tokens; extended in place. Causal models only.
            tap: sees every intermediate value under its name (see ARCHITECTURE.md).

        Returns:
            [B, T, vocab_size], or [B, T, d_model] without an unembedding.

        Raises:
            ValueError: when the text is longer than ``max_seq_len``, or a cache is given to a model that
                looks both ways.
        """
        past = cache.seq_len if cache is not None else 0
        if cache is not None and not self.causal:
            raise ValueError("a model that looks both ways cannot use a cache: later tokens change earlier ones")
        if past + input_ids.shape[1] > self.max_seq_len:
            raise ValueError(f"{past + input_ids.shape[1]} tokens are more than the {self.max_seq_len} that fit")
        here = torch.arange(past, past + input_ids.shape[1], device=input_ids.device)
        x = self._embed(input_ids, segment_ids, here if positions is None else positions, tap)
        view = self._view(here, attention_mask, positions, past)
        for number, block in enumerate(self.layers):
            x = block(x, view, cache=cache, layer=number, tap=inside(tap, f"layers.{number}"))
        if self.norm_final is not None:
            x = self.norm_final(x)
        x = tap("final", x)
        return x if self.unembedding is None else tap("logits", self.unembedding(x))

    def _embed(self, input_ids: Tensor, segment_ids: Tensor | None, positions: Tensor, tap: Tap) -> Tensor:
        """Token row, plus segment row, plus position row, normed where the family norms: [B, T, d_model]."""
        x = tap("embeddings.token", self.embedding(input_ids))
        if self.segments is not None:
            which = torch.zeros_like(input_ids) if segment_ids is None else segment_ids
            x = x + tap("embeddings.segment", self.segments(which))
        added = self.positions.added(positions)
        if added is not None:
            x = x + tap("embeddings.position", added.to(x.dtype))
        return tap("embeddings", x if self.norm_embeddings is None else self.norm_embeddings(x))

    def _view(self, here: Tensor, attention_mask: Tensor | None, positions: Tensor | None, past: int) -> View:
        """Who may see whom, by place in the text; what positions do to it, by the positions given."""
        everyone = torch.arange(past + here.shape[0], device=here.device)
        visible = here[:, None] >= everyone if self.causal else None  # [T, S]
        if attention_mask is not None:
            real = attention_mask.bool()
            real = real[:, None, None] if real.dim() == 2 else real[:, None]  # [B, 1, 1 or T, S]
            itself = here[:, None] == everyone  # else padding before a text would see nothing, and its softmax be 0 / 0
            visible = real if visible is None else (visible & real) | itself
        query_pos, key_pos = here, everyone
        if positions is not None:
            query_pos = positions
            key_pos = torch.cat((everyone[:past].expand(*positions.shape[:-1], past), positions), dim=-1)
        return View(
            visible=visible,
            causal=self.causal and attention_mask is None and past == 0,
            rotation=self.positions.rotation(query_pos),
            bias=self.positions.bias(query_pos, key_pos),
        )
