"""Let a model go on with a text, for its model card: plain sampling, repeatable by seed."""

import codecs
from dataclasses import dataclass, replace

from tokenizers import Tokenizer

from llmkit.generate.decode import continue_ids, sampled
from llmkit.generate.sampling import Sampling
from llmkit.parts import Transformer
from llmkit.tokens.byte_level_bpe import to_bytes
from llmkit.tune.corpus import END_OF_TEXT

SAMPLING = Sampling(temperature=0.8, top_k=40)
"""How a small young model is sampled when nothing else is said: its unlikely tokens are mostly mistakes."""

MAX_NEW_TOKENS = 60
"""Where a text is cut that does not end by itself."""


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


def continue_text(
    model: Transformer,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    seed: int,
    sampling: Sampling = SAMPLING,
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Continuation:
    """Draw one continuation of a prompt, which is given as it is: no token is put before it.

    Args:
        prompt: not empty, at most ``max_seq_len`` tokens. The text is cut where the model has no more positions.
        seed: the same seed draws the same text on the same machine; it stands in for ``sampling.seed``.

    Raises:
        ValueError: when the prompt is empty or does not fit.
    """
    end = tokenizer.token_to_id(END_OF_TEXT)
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    if not 1 <= len(ids) <= model.max_seq_len:
        raise ValueError(f"a prompt has 1 to {model.max_seq_len} tokens, not {len(ids)}")
    choose = sampled(replace(sampling, seed=seed))
    steps = continue_ids(
        model, ids, max_new_tokens=max_new_tokens, stop_ids=() if end is None else (end,), choose=choose
    )
    new_ids = [step.token_id for step in steps]
    ended = bool(new_ids) and new_ids[-1] == end
    return Continuation(seed=seed, text=_text(new_ids[:-1] if ended else new_ids, tokenizer), ended=ended)


def _text(ids: list[int], tokenizer: Tokenizer) -> str:
    """Tokens as text; a character that is not finished at the end is left out."""
    data = b"".join(to_bytes(tokenizer.id_to_token(i) or "") for i in ids)
    return codecs.getincrementaldecoder("utf-8")(errors="backslashreplace").decode(data, final=False)
