"""Beam search: follow the likeliest few texts at once, and keep the whole tree of what was followed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmkit.generate.decode import read_on, require_next_token, require_prompt
from llmkit.parts import KVCache
from llmkit.reference import Assembled


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """One token of the tree.

    Args:
        token_id: the token. parent: number of the branch that it goes on from; None where it follows the prompt.
        depth: how many tokens follow the prompt, this one included.
        logprob: natural logarithm of the token's own probability. total: of all tokens from the prompt to here.
        ended: a stop token, or the last one that was allowed.
    """

    token_id: int
    parent: int | None
    depth: int
    logprob: float
    total: float
    ended: bool


@dataclass(frozen=True, kw_only=True)
class BeamTree:
    """What a beam search has followed.

    Args:
        branches: every token that was kept at its step, parents before children.
        found: numbers of the branches at which the best texts end, best first.
        scores: of these texts: total log-probability over length to the power of the length penalty.
    """

    branches: tuple[Branch, ...]
    found: tuple[int, ...]
    scores: tuple[float, ...]

    def path(self, end: int) -> tuple[int, ...]:
        """The numbers of the branches from the prompt to `end`."""
        way = [end]
        while (parent := self.branches[way[-1]].parent) is not None:
            way.append(parent)
        return tuple(reversed(way))

    def text_ids(self, end: int) -> tuple[int, ...]:
        """The token ids from the prompt to `end`."""
        return tuple(self.branches[at].token_id for at in self.path(end))


@torch.inference_mode()
def beam_search(
    box: Assembled,
    prompt_ids: Sequence[int],
    *,
    width: int,
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    length_penalty: float = 1.0,
    on_step: Callable[[int], None] = lambda step: None,
) -> BeamTree:
    """Go on with a prompt along the `width` likeliest ways.

    Args:
        box: an opened box that predicts the next token. prompt_ids: at least one.
        width: how many texts are followed at once. max_new_tokens: at most, and no more than the box has room for.
        stop_ids: tokens that end a text. length_penalty: above 0 favours long texts, below 0 short ones.
        on_step: told after every step how many are done; what it raises ends the search.

    Raises:
        GenerateError: as for ``stream``. ValueError: a width or a length below 1.

    Source: ``transformers``' ``generate(num_beams=width, do_sample=False)`` finds the same texts and scores.
    """
    require_next_token(box)
    require_prompt(box, prompt_ids)
    if width < 1 or max_new_tokens < 1:
        raise ValueError("a beam search needs a width and a length of at least 1")
    room = min(max_new_tokens, box.config.max_seq_len - len(prompt_ids) + 1)
    branches: list[Branch] = []
    ended: list[tuple[float, int]] = []  # score, branch
    alive: list[int | None] = [None]
    totals = torch.zeros(1, dtype=torch.float32, device=box.device)
    cache, unread = KVCache(), torch.tensor([list(prompt_ids)], device=box.device)
    for depth in range(1, room + 1):
        logprobs = read_on(box.model, unread, cache).float().log_softmax(-1)  # [W, V]
        candidates = _likeliest(totals, logprobs, 2 * width)
        rows: list[int] = []
        following: list[int | None] = []
        for rank, (row, token_id, total) in enumerate(candidates):
            stops = token_id in stop_ids or depth == room
            if (stops and rank >= width) or (not stops and len(following) == width):
                continue
            branches.append(
                Branch(
                    token_id=token_id,
                    parent=alive[row],
                    depth=depth,
                    logprob=float(logprobs[row, token_id]),
                    total=total,
                    ended=stops,
                )
            )
            number = len(branches) - 1
            if stops:
                ended.append((total / depth**length_penalty, number))
            else:
                rows.append(row)
                following.append(number)
        ended = sorted(ended, key=lambda one: -one[0])[:width]
        on_step(depth)
        if not following or _cannot_get_better(branches, following, ended, width, depth, length_penalty):
            break
        alive = following
        kept = [branches[at] for at in following if at is not None]
        totals = torch.tensor([one.total for one in kept], device=box.device)
        unread = torch.tensor([[one.token_id] for one in kept], device=box.device)
        _follow(cache, rows)
    return BeamTree(
        branches=tuple(branches),
        found=tuple(number for _, number in ended),
        scores=tuple(score for score, _ in ended),
    )


def _likeliest(totals: Tensor, logprobs: Tensor, count: int) -> list[tuple[int, int, float]]:
    """The best continuations of all rows: (row, token id, total log-probability), best first."""
    reached = (totals[:, None] + logprobs).flatten()
    best = reached.topk(min(count, len(reached)))
    V = logprobs.shape[1]
    return [(at // V, at % V, total) for total, at in zip(best.values.tolist(), best.indices.tolist(), strict=True)]


def _cannot_get_better(
    branches: Sequence[Branch],
    following: Sequence[int | None],
    ended: Sequence[tuple[float, int]],
    width: int,
    depth: int,
    length_penalty: float,
) -> bool:
    """Whether enough texts have ended, and the best that goes on would, ended here, not beat the worst of them."""
    if len(ended) < width:
        return False
    best = max(branches[at].total for at in following if at is not None)
    worst, _ = ended[-1]
    return bool(best / depth**length_penalty <= worst)


def _follow(cache: KVCache, rows: list[int]) -> None:
    """Each text that is followed takes the keys and values of the one that it goes on from."""
    for kept in (cache.keys, cache.values):
        for layer in kept:
            kept[layer] = kept[layer][rows]
