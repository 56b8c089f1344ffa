"""Score: how probable a box finds answers that are given, with the text that they share read once.

Sixteen examples before a question are hundreds of tokens, and every question and every answer behind them would read
them again. In a causal model their keys and values never change, so they are read once and every question goes on from
there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.generate.decode import require_next_token
from llmkit.generate.errors import GenerateError
from llmkit.parts import KVCache
from llmkit.reference import Assembled
from llmkit.tokens import Tokenizer

CACHE_BYTES = 400_000_000
"""The most that keys and values of one batch of questions may take; more questions go into the next batch."""

Ids = tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prefix:
    """A text that was read, so that others can go on from it.

    Args:
        ids: its tokens.
        cache: their keys and values; whoever goes on from here takes a fork, so it never changes.
    """

    ids: Ids
    cache: KVCache


@dataclass(frozen=True, kw_only=True)
class Question:
    """What stands between the prefix and the answers.

    Args:
        ids: at least one token; the last one predicts the first of every answer.
        answers: the answers' tokens, at least one each.
    """

    ids: Ids
    answers: tuple[Ids, ...]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """One line of a batch: a question, and as much of an answer as has to be read to predict its rest."""

    question: int
    ids: Ids


def label_logprobs(
    box: Assembled, prefix_ids: Sequence[int], continuations: Sequence[Sequence[int]]
) -> NDArray[np.float64]:
    """Return how probable each continuation is after the prefix, the prefix read once.

    Args:
        box: an opened box that predicts the next token.
        prefix_ids: at least one token. ``split_at_seam`` cuts a text and its answers so that nothing is torn.
        continuations: n of them, at least one token each.

    Returns:
        [n], the sum of the log-probabilities (nats) of each one's tokens: not divided by their number.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_empty``, ``answer_empty``, or ``prompt_too_long`` (the continuation
            counts, but for its last token, which is predicted and not read).
    """
    ids = tuple(prefix_ids)
    question = Question(ids=ids[-1:], answers=tuple(tuple(answer) for answer in continuations))
    return answer_logprobs(box, read_prefix(box, ids[:-1]), (question,))[0]


def read_prefix(box: Assembled, ids: Sequence[int], *, after: Prefix | None = None) -> Prefix:
    """Read a text; of what it has in common with one that was read before, nothing is read again.

    Args:
        box: an opened box that predicts the next token. ids: the text's tokens; may be none.
        after: a text read by the same box, such as the same prompt with fewer examples. It stays as it is.

    Raises:
        GenerateError: ``no_next_token``, or ``prompt_too_long``.
    """
    require_next_token(box)
    ids = tuple(ids)
    _require_room(box, len(ids))
    shared = common(after.ids, ids) if after is not None else 0
    cache = _fork(after.cache, seq_len=shared) if after is not None else KVCache()
    if shared < len(ids):
        with torch.inference_mode():
            box.model.with_parts(unembedding=None)(torch.tensor([ids[shared:]], device=box.device), cache=cache)
    return Prefix(ids=ids, cache=cache)


def answer_logprobs(box: Assembled, prefix: Prefix, questions: Sequence[Question]) -> list[NDArray[np.float64]]:
    """Return how probable each answer of each question is, all behind one prefix.

    Rows of a batch are padded on the right: a causal model sees no later token, so padding reaches no number.

    Args:
        box: the box that read the prefix. prefix: what all questions follow. questions: any number.

    Returns:
        for each question [n], the log-probability (nats) of each answer, summed over its tokens in float64.

    Raises:
        GenerateError: ``prompt_empty`` for a question without a token, ``answer_empty``, ``prompt_too_long``.
    """
    rows: list[_Row] = []
    for at, question in enumerate(questions):
        _require(box, prefix, question)
        rows += [_Row(question=at, ids=question.ids + head) for head in _heads(question.answers)]
    rows.sort(key=lambda row: len(row.ids))  # rows of one length need no padding
    found = [np.full(len(question.answers), np.nan) for question in questions]
    start = 0
    while start < len(rows):
        batch = rows[start : start + _batch(box, prefix, rows, start)]
        _score(box, prefix, questions, batch, found)
        start += len(batch)
    return found


def split_at_seam(
    tokenizer: Tokenizer, prompt: str, answers: Sequence[str], *, specials: bool = False
) -> tuple[Ids, tuple[Ids, ...]]:
    """Cut a prompt and its answers where tokens really end.

    A model reads prompt and answer as one text, whose tokens need not end where the prompt ends ("good:" and ")" may
    be one token), and then the two cut apart are a text that the model has never seen. So they are cut together, and
    the prompt's tokens are kept as far as every answer leaves them as they are; what is left belongs to the answers.

    Args:
        tokenizer: of the box that will be asked. prompt: what is sent. answers: what may follow.
        specials: begin with the box's own first token, where it has one; a chat template writes its own.

    Returns:
        the prompt's tokens, at most all of them; and each answer's, at least one each.

    Raises:
        GenerateError: ``answer_empty`` when an answer has no token, ``prompt_empty`` when nothing is left to begin
            with.
        TokenizerError: when a text cannot be cut.

    Source: the same idea as in EleutherAI's lm-evaluation-harness (``_encode_pair``), without its care for blanks.
    """
    if not all(answers):
        raise GenerateError("answer_empty", box="")
    before = tokenizer.before if specials else ()
    own = before + tokenizer.encode(prompt, specials=False).ids
    whole = [before + tokenizer.encode(prompt + answer, specials=False).ids for answer in answers]
    seam = min((min(common(own, ids), len(ids) - 1) for ids in whole), default=len(own))
    if seam < 1:
        raise GenerateError("prompt_empty", box="")
    return own[:seam], tuple(ids[seam:] for ids in whole)


def kv_bytes(box: Assembled, tokens: int) -> int:
    """Bytes of a text's keys and values: ``2 · n_layers · n_kv_heads · head_dim · tokens`` numbers of its dtype."""
    config = box.config
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * tokens * box.dtype.itemsize


def _score(
    box: Assembled,
    prefix: Prefix,
    questions: Sequence[Question],
    batch: Sequence[_Row],
    found: list[NDArray[np.float64]],
) -> None:
    """Read one batch behind the prefix and write what it tells into ``found``."""
    longest = max(len(row.ids) for row in batch)
    padded = torch.tensor([row.ids + (0,) * (longest - len(row.ids)) for row in batch], device=box.device)  # [B, T]
    cache = _fork(prefix.cache, seq_len=len(prefix.ids), batch=len(batch))
    with torch.inference_mode():
        hidden = box.model.with_parts(unembedding=None)(padded, cache=cache)  # [B, T, d_model]
        for number, row in enumerate(batch):
            question = questions[row.question]
            first = len(question.ids) - 1  # predicts an answer's first token
            head = row.ids[first + 1 :]
            logits: Tensor = cast(torch.nn.Module, box.model.unembedding)(hidden[number, first : len(row.ids)])
            log_probs = logits.double().log_softmax(-1)  # [1 + len(head), vocab_size]
            for at, answer in enumerate(question.answers):
                if answer[:-1] == head[: len(answer) - 1]:
                    places = torch.arange(len(answer), device=box.device)
                    found[row.question][at] = float(log_probs[places, torch.tensor(answer, device=box.device)].sum())


def _heads(answers: Sequence[Ids]) -> list[Ids]:
    """What must be read of the answers: each without its last token, but not what another one begins with anyway."""
    heads = {answer[:-1] for answer in answers}
    return sorted(head for head in heads if not any(len(o) > len(head) and o[: len(head)] == head for o in heads))


def _batch(box: Assembled, prefix: Prefix, rows: Sequence[_Row], start: int) -> int:
    """How many rows from ``start`` on fit into CACHE_BYTES together; at least one."""
    count = 0
    for row in rows[start:]:  # sorted: the last is the longest
        if count and (count + 1) * kv_bytes(box, len(prefix.ids) + len(row.ids)) > CACHE_BYTES:
            break
        count += 1
    return count


def _fork(cache: KVCache, *, seq_len: int, batch: int = 1) -> KVCache:
    """A cache that begins as the first ``seq_len`` tokens of another; extending it leaves the other as it is."""
    fork = KVCache()
    if seq_len:
        fork.keys = {layer: k[:, :, :seq_len].expand(batch, -1, -1, -1) for layer, k in cache.keys.items()}
        fork.values = {layer: v[:, :, :seq_len].expand(batch, -1, -1, -1) for layer, v in cache.values.items()}
    return fork


def _require(box: Assembled, prefix: Prefix, question: Question) -> None:
    require_next_token(box)
    if not question.ids:
        raise GenerateError("prompt_empty", box=box.box_id, limit=box.config.max_seq_len)
    if not question.answers or not all(question.answers):
        raise GenerateError("answer_empty", box=box.box_id)
    _require_room(box, len(prefix.ids) + len(question.ids) + max(map(len, question.answers)) - 1)


def _require_room(box: Assembled, tokens: int) -> None:
    limit = box.config.max_seq_len
    if tokens > limit:
        raise GenerateError("prompt_too_long", box=box.box_id, tokens=tokens, limit=limit)


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
