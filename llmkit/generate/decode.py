"""Decode: read the prompt once, choose a token, read that token, choose the next one, and so on.

Keys and values of what was read stay in a cache, so that each further token costs one token's forward pass.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from llmkit.generate.errors import GenerateError
from llmkit.generate.sampling import Sampling, draw, odds
from llmkit.parts import ALiBiPositions, KVCache, Transformer
from llmkit.reference import Assembled


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One token that was chosen.

    Args:
        token_id: its row in the vocabulary.
        logprob: natural logarithm of the probability that the model itself gave it, whatever ``choose`` did.
    """

    token_id: int
    logprob: float


class Choose(Protocol):
    """How the next token is taken from what the model says. The seam for temperature, top-k, top-p and penalties.

    Called with the logits of the next token, [vocab_size], and with all ids so far (the prompt's, then the chosen
    ones; not to be changed); returns the chosen id. It may keep what it was shown, so a picture of every step needs
    no second pass.
    """

    def __call__(self, logits: Tensor, ids: Sequence[int], /) -> int: ...


def greedy(logits: Tensor, _ids: Sequence[int] = (), /) -> int:
    """The likeliest token; of equals the one that the reference's ``argmax`` takes, too.

    >>> import torch
    >>> greedy(torch.tensor([0.1, 2.0, 0.3]))
    1
    """
    return int(logits.argmax())


def sampled(sampling: Sampling) -> Choose:
    """Return a choice by these settings, with a generator of its own that begins at their seed: one for each text.

    Where nothing is drawn and nothing is pushed down, it is ``greedy``.
    """
    if sampling.greedy and sampling.repetition_penalty == 1:
        return greedy
    generator = torch.Generator().manual_seed(sampling.seed)

    def choose(logits: Tensor, ids: Sequence[int], /) -> int:
        return draw(odds(logits, sampling, ids), generator)

    return choose


def stream(
    box: Assembled,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    choose: Choose = greedy,
) -> Iterator[Step]:
    """Go on with a prompt, token by token, as they are chosen.

    Args:
        box: an opened box that predicts the next token.
        prompt_ids: T ids, at least one.
        max_new_tokens: how many at most. The last one is chosen from ``max_seq_len`` tokens, so a text ends at
            ``max_seq_len + 1``.
        stop_ids: tokens that end the text; the one that did comes last.
        choose: takes the next token from the logits.

    Returns:
        the chosen tokens; nothing is computed before the first is asked for.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty`` or ``prompt_too_long``, at once.

    Source: ``transformers``' ``generate(do_sample=False)`` gives the same ids.
    """
    require_next_token(box)
    require_prompt(box, prompt_ids)
    ids, stops = tuple(prompt_ids), frozenset(stop_ids)
    return continue_ids(box.model, ids, max_new_tokens=max_new_tokens, stop_ids=stops, choose=choose)


def generate_batch(
    box: Assembled, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, stop_ids: Collection[int] = ()
) -> list[tuple[int, ...]]:
    """Go on with several prompts at once, greedily: for each what ``stream`` alone would give.

    Args:
        box, max_new_tokens, stop_ids: as for ``stream``.
        prompts: of any lengths.

    Returns:
        the new ids of each prompt, its stop token last where one ended it.

    Raises:
        GenerateError: as for ``stream``.
    """
    new: list[list[int]] = [[] for _ in prompts]
    for chosen in stream_batch(box, prompts, max_new_tokens=max_new_tokens, stop_ids=stop_ids):
        for row, token_id in chosen.items():
            new[row].append(token_id)
    return [tuple(ids) for ids in new]


def stream_batch(
    box: Assembled, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, stop_ids: Collection[int] = ()
) -> Iterator[dict[int, int]]:
    """``generate_batch`` step by step: prompt's number → its next token, for the prompts that have not ended.

    Raises:
        GenerateError: as for ``stream``, at once.
    """
    require_next_token(box)
    for prompt in prompts:
        require_prompt(box, prompt)
    return _stream_batch(box, [list(prompt) for prompt in prompts], max_new_tokens, frozenset(stop_ids))


def require_next_token(box: Assembled) -> None:
    """Raise ``no_next_token`` for a box that looks both ways, or that has no unembedding."""
    if not box.config.causal or box.model.unembedding is None:
        raise GenerateError("no_next_token", box=box.box_id)


def require_prompt(box: Assembled, prompt_ids: Sequence[int]) -> None:
    """Raise ``prompt_empty`` or ``prompt_too_long`` for a prompt that the box cannot read."""
    tokens, limit = len(prompt_ids), box.config.max_seq_len
    if not tokens:
        raise GenerateError("prompt_empty", box=box.box_id, limit=limit)
    if tokens > limit:
        raise GenerateError("prompt_too_long", box=box.box_id, tokens=tokens, limit=limit)


@torch.inference_mode()
def continue_ids(
    model: Transformer,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    choose: Choose = greedy,
) -> Iterator[Step]:
    """``stream`` for a model that is in no box (yet); that it predicts, and that the prompt fits, is for the caller."""
    device, ids = model.embedding.weight.device, list(prompt_ids)
    cache, unread = KVCache(), ids
    for _ in range(min(max_new_tokens, model.max_seq_len - len(ids) + 1)):
        logits = read_on(model, torch.tensor([unread], device=device), cache)[0]  # [vocab_size]
        token_id = choose(logits, ids)
        ids, unread = [*ids, token_id], [token_id]
        yield Step(token_id=token_id, logprob=float(wide(logits).log_softmax(-1)[token_id]))
        if token_id in stop_ids:
            return


def read_on(
    model: Transformer,
    input_ids: Tensor,
    cache: KVCache,
    *,
    attention_mask: Tensor | None = None,
    positions: Tensor | None = None,
) -> Tensor:
    """Read [B, T] tokens behind the cache's; give the logits of the last alone, [B, vocab_size].

    Of a prompt nothing but its last token's logits is wanted, and in a small model they are the dearest part.
    """
    body = model if input_ids.shape[1] == 1 else model.with_parts(unembedding=None)
    last: Tensor = body(input_ids, attention_mask=attention_mask, positions=positions, cache=cache)[:, -1]
    return last if body is model else unembed(model, last)


def unembed(model: Transformer, hidden: Tensor) -> Tensor:
    """Final hidden states [..., d_model] → logits [..., vocab_size], of a model that has an unembedding."""
    logits: Tensor = cast(torch.nn.Module, model.unembedding)(hidden)
    return logits


@torch.inference_mode()
def _stream_batch(
    box: Assembled, prompts: list[list[int]], max_new_tokens: int, stop_ids: frozenset[int]
) -> Iterator[dict[int, int]]:
    """Padding stands on the left, so that every row's next token comes from the last column."""
    longest = max(map(len, prompts), default=0)
    padding = torch.tensor([longest - len(prompt) for prompt in prompts], device=box.device)  # [B]
    unread = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=box.device)  # [B, T]
    rooms = [min(max_new_tokens, box.config.max_seq_len - len(prompt) + 1) for prompt in prompts]
    rows = list(range(len(prompts))) if max_new_tokens > 0 else []
    cache, made = KVCache(), 0
    while rows:
        last = read_rows(box.model, unread, padding, cache)  # [B, vocab_size]
        chosen = dict(zip(rows, last.argmax(-1).tolist(), strict=True))
        made += 1
        yield chosen
        staying = [at for at, row in enumerate(rows) if made < rooms[row] and chosen[row] not in stop_ids]
        if len(staying) < len(rows):
            padding = _drop_ended(cache, padding, staying)
            rows = [rows[at] for at in staying]
        unread = torch.tensor([[chosen[row]] for row in rows], device=box.device)


def read_rows(model: Transformer, unread: Tensor, padding: Tensor, cache: KVCache) -> Tensor:
    """Read the next columns of all rows of a batch: [B, T] → logits of the last, [B, vocab_size].

    Args:
        padding: [B], how many columns at the left of each row are no text.
    """
    past, T = cache.seq_len, unread.shape[1]
    columns = torch.arange(past + T, device=unread.device)
    real = columns >= padding[:, None]  # [B, past + T]
    positions = (columns[past:] - padding[:, None]).clamp(min=0)  # [B, T]; a row's own text begins at 0
    return read_on(
        model,
        unread,
        cache,
        attention_mask=real if bool(padding.any()) else None,
        # ALiBi counts distances between columns, which padding does not change
        positions=None if isinstance(model.positions, ALiBiPositions) else positions,
    )


def _drop_ended(cache: KVCache, padding: Tensor, staying: list[int]) -> Tensor:
    """Take ended rows out of the cache, and columns that no row needs any more; returns the padding that is left.

    Rows then never pay for one that has ended, and a short one keeps its whole context beside a long one.
    """
    padding = padding[staying]
    spare = int(padding.min()) if staying else 0
    for kept in (cache.keys, cache.values):
        for layer in kept:
            kept[layer] = kept[layer][staying, :, spare:]
    return padding - spare


def wide(logits: Tensor) -> Tensor:
    """Half precision is too narrow for a sum over the vocabulary."""
    return logits if logits.dtype is torch.float64 else logits.float()
