"""Let a model go on with a text, for its model card: plain sampling, repeatable by seed."""

import codecs
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from llmkit.parts import KVCache, Transformer
from llmkit.tokens.byte_level_bpe import to_bytes
from llmkit.tune.corpus import END_OF_TEXT


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn.

    Args:
        temperature: divides the logits; below 1 the likely becomes likelier.
        top_k: only so many of the likeliest tokens are drawn from.
        max_new_tokens: where to stop when the text does not end by itself.

    Raises:
        ValueError: when a number is out of its range.
    """

    temperature: float = 0.8
    top_k: int = 40
    max_new_tokens: int = 60

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.top_k < 1 or self.max_new_tokens < 1:
            raise ValueError("temperature must be positive, top_k and max_new_tokens at least 1")


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a model went on with.

    Args:
        seed: of the draw. text: what comes after the prompt; a byte that is no UTF-8 is written ``\\xNN``.
        ended: the model itself ended the document; otherwise ``max_new_tokens`` cut it.
    """

    seed: int
    text: str
    ended: bool


@torch.no_grad()
def continue_text(
    model: Transformer, tokenizer: Tokenizer, prompt: str, *, seed: int, sampling: Sampling | None = None
) -> Continuation:
    """Draw one continuation of a prompt, which is given as it is: no token is put before it.

    Args:
        prompt: not empty, at most ``max_seq_len`` tokens. The text is cut where the model has no more positions.
        seed: the same seed draws the same text on the same machine.

    Raises:
        ValueError: when the prompt is empty or does not fit.
    """
    sampling = sampling or Sampling()
    end = tokenizer.token_to_id(END_OF_TEXT)
    new_ids: list[int] = []
    cache, generator = KVCache(), torch.Generator().manual_seed(seed)
    ids = torch.tensor([tokenizer.encode(prompt, add_special_tokens=False).ids])
    if not 1 <= ids.shape[1] <= model.max_seq_len:
        raise ValueError(f"a prompt has 1 to {model.max_seq_len} tokens, not {ids.shape[1]}")
    room = model.max_seq_len - ids.shape[1] + 1  # the last token drawn is not read again
    while len(new_ids) < min(sampling.max_new_tokens, room):
        logits = model(ids, cache=cache)[0, -1].float() / sampling.temperature  # [vocab_size]
        likeliest = logits.topk(min(sampling.top_k, len(logits)))
        drawn = torch.multinomial(likeliest.values.softmax(-1), 1, generator=generator)
        next_id = int(likeliest.indices[drawn])
        if next_id == end:
            return Continuation(seed=seed, text=_text(new_ids, tokenizer), ended=True)
        new_ids.append(next_id)
        ids = torch.tensor([[next_id]])
    return Continuation(seed=seed, text=_text(new_ids, tokenizer), ended=False)


def _text(ids: list[int], tokenizer: Tokenizer) -> str:
    """Tokens as text; a character that is not finished at the end is left out."""
    data = b"".join(to_bytes(tokenizer.id_to_token(i) or "") for i in ids)
    return codecs.getincrementaldecoder("utf-8")(errors="backslashreplace").decode(data, final=False)
