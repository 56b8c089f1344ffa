"""What the bench says of one form of one box: one row, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A quantity measured more than once.

    Args:
        median: of the runs. low, high: the least and the greatest; for a mean over texts, its 95 % interval.
        n: how many runs or texts it comes from.
    """

    median: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One form of one box, measured.

    Args:
        box, form: their ids.
        size_bytes: of the files that it needs to run, on the disk.
        peak_memory_bytes: the most that a process of its own held while it opened, read and wrote.
        prefill_tokens_s, decode_tokens_s: by the number of texts at once, "1" and "8". Empty decode: an encoder.
        first_token_ms: from a prompt of ``prompt_tokens`` to the first new token, one text.
        perplexity: of held-out text; None for an encoder.
        kl_nats: KL(original || form) a token, over the same text; None for an encoder.
        top1_agreement: how often the likeliest token is the original's, 0 to 1; None for an encoder.
        cosine: of an encoder's sentence vectors with the original's; None for a decoder.
        prompt, text: the same prompt for all, and what this form goes on with (greedy).
        noisy: whether the machine did other work meanwhile, so that times say little.
        missing: the FormError's code and values where it cannot run here; the measured fields are then None.
        about: processor or GPU, threads, dtype, versions, date, seconds that making it took.
    """

    box: str
    form: str
    size_bytes: int | None = None
    peak_memory_bytes: int | None = None
    prefill_tokens_s: Mapping[str, Spread] | None = None
    decode_tokens_s: Mapping[str, Spread] | None = None
    first_token_ms: Spread | None = None
    prompt_tokens: int | None = None
    perplexity: Spread | None = None
    kl_nats: Spread | None = None
    top1_agreement: Spread | None = None
    cosine: Spread | None = None
    prompt: str | None = None
    text: str | None = None
    noisy: bool = False
    missing: Mapping[str, Any] | None = None
    about: Mapping[str, Any]
