"""One dial: depth. How wide, how many heads, how long a text, how fast to learn and how long all follow from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from llmkit.parts import TransformerConfig, gpt2
from llmkit.tune.pretrain_errors import PretrainError

LEAST_DEPTH, MOST_DEPTH = 1, 12
WIDTH_A_LAYER = 32
HEAD_DIM = 32
TOKENS_A_STEP = 1_024
TOKENS_A_PARAMETER = 2.0
"""Tokens read for each number in the blocks. Hoffmann et al. 2022 found about 20 to be the best use of a computer; a
tenth of it is enough to see a small model learn while one waits."""

LEAST_STEPS = 200


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a training from nothing, besides the text.

    Args:
        vocab_size, d_model, n_layers, n_heads, max_seq_len: the GPT-2 parts list.
        batch_size: windows a step. max_steps: how many steps.
        learning_rate: its highest value; it rises for `warmup_steps` and falls along a cosine to `least_rate`.
        weight_decay, beta1, beta2: AdamW's; only matrices are pulled towards zero.
        clip: the longest that a step's gradient may be.
        evaluate_every, sample_every: steps between two measurements, and between two samples.
        seed: of the weights and of the windows that are read.

    Raises:
        PretrainError: ``pretrain_setting`` when a number is out of its range.
    """

    vocab_size: int
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4
    max_seq_len: int = 64
    batch_size: int = 12
    max_steps: int = 2_000
    learning_rate: float = 1e-3
    least_rate: float = 1e-4
    warmup_steps: int = 100
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    clip: float = 1.0
    evaluate_every: int = 100
    sample_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("vocab_size", 2, 1_000_000),
            ("n_layers", 1, 48),
            ("n_heads", 1, 64),
            ("d_model", 1, 4_096),
            ("max_seq_len", 4, 4_096),
            ("batch_size", 1, 1_024),
            ("max_steps", 1, 200_000),
            ("learning_rate", 1e-9, 1e6),
            ("least_rate", 0.0, 1e6),
            ("warmup_steps", 0, 10_000_000),
            ("evaluate_every", 1, 10_000_000),
            ("sample_every", 1, 10_000_000),
            ("seed", 0, 2**31 - 1),
        ):
            asked = getattr(self, name)
            if not low <= asked <= high:  # a NaN is in no range
                raise PretrainError("pretrain_setting", setting=name, asked=asked, low=low, high=high)
        if self.d_model % self.n_heads:
            raise PretrainError("pretrain_setting", setting="n_heads", asked=self.n_heads, low=1, high=self.d_model)

    @property
    def parts(self) -> TransformerConfig:
        """The parts list. The exact GELU: on a CPU it is three times as fast as GPT-2's approximation of it."""
        return gpt2(
            vocab_size=self.vocab_size,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            max_seq_len=self.max_seq_len,
            feed_forward="gelu",
        )

    @property
    def tokens_a_step(self) -> int:
        """Tokens that a step learns from."""
        return self.batch_size * self.max_seq_len

    @property
    def block_parameters(self) -> int:
        """Numbers in the blocks' matrices: 12 · n_layers · d_model²."""
        return 12 * self.n_layers * self.d_model**2

    @property
    def parameters(self) -> int:
        """All numbers that learn: blocks with their norms and biases, the token and position tables, the last norm."""
        d = self.d_model
        return self.n_layers * (12 * d**2 + 13 * d) + (self.vocab_size + self.max_seq_len + 2) * d

    @property
    def flops_a_token(self) -> int:
        """Multiplications and additions that one token costs, forward and back.

        Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1: six for each number in a
        matrix, and attention's own.
        """
        return 6 * (self.block_parameters + self.vocab_size * self.d_model) + 12 * self.n_layers * (
            self.max_seq_len * self.d_model
        )

    def rate(self, step: int) -> float:
        """The learning rate of a step: up in a line, down along half a cosine. Loshchilov and Hutter 2017, eq. 5.

        >>> recipe = Recipe(vocab_size=65)
        >>> [round(recipe.rate(step), 6) for step in (0, 99, 100, 1050, 2000)]
        [1e-05, 0.00099, 0.001, 0.00055, 0.0001]
        """
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / (self.warmup_steps + 1)
        share = min(1.0, (step - self.warmup_steps) / max(1, self.max_steps - self.warmup_steps))
        return self.least_rate + 0.5 * (1 + math.cos(math.pi * share)) * (self.learning_rate - self.least_rate)


def from_depth(depth: int, *, vocab_size: int, **asked: Any) -> Recipe:
    """The recipe of a depth.

    A layer more is 32 wider and one head more, from the fifth on 16 tokens further; the learning rate falls with the
    root of the width; the steps are what reads `TOKENS_A_PARAMETER` tokens for each number in the blocks.

    Args:
        depth: layers. vocab_size: of the tokenizer. asked: fields of `Recipe` that shall be otherwise; what depends on
            them follows.

    Raises:
        PretrainError: ``pretrain_setting``.

    Source: the one dial is nanochat's (Karpathy 2025); the rate's fall with the width, its own.

    >>> one = from_depth(4, vocab_size=300)
    >>> one.d_model, one.n_heads, one.max_seq_len, one.batch_size, one.max_steps
    (128, 4, 64, 16, 1536)
    """
    if not LEAST_DEPTH <= depth <= MOST_DEPTH:
        raise PretrainError("pretrain_setting", setting="depth", asked=depth, low=LEAST_DEPTH, high=MOST_DEPTH)
    d_model = WIDTH_A_LAYER * depth
    context = int(asked.pop("max_seq_len", None) or min(max(16 * depth, 64), 192))
    batch = int(asked.pop("batch_size", None) or max(1, TOKENS_A_STEP // context))
    rate = float(asked.pop("learning_rate", None) or 2e-3 * math.sqrt(128 / d_model))
    tokens = TOKENS_A_PARAMETER * 12 * depth * d_model**2
    steps = int(asked.pop("max_steps", None) or max(LEAST_STEPS, round(tokens / max(batch * context, 1))))
    return Recipe(
        vocab_size=vocab_size,
        n_layers=depth,
        d_model=d_model,
        n_heads=max(1, d_model // HEAD_DIM),
        max_seq_len=context,
        batch_size=batch,
        max_steps=steps,
        learning_rate=rate,
        least_rate=rate / 10,
        warmup_steps=min(100, steps // 10),
        evaluate_every=max(1, steps // 20),
        sample_every=max(1, steps // 10),
        **asked,
    )
