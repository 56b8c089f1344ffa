"""What a pruned machine is measured by, for boxes that write and for encoders: the lower, the better.

A box that writes is asked for the next token: the mean loss in nats. An encoder has no such head, so its sentence
vectors are laid beside the unpruned box's: the distance is 1 less their cosine, 0 where nothing has changed. That has
no slope at 0; so slopes are taken of another loss, the kind that sentence encoders are trained with: which whole text
a beginning belongs to, among a few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from llmkit import shelf
from llmkit.compress.held_out import TEXTS, languages_of, windows
from llmkit.parts import Tap, Transformer, untouched
from llmkit.reference import Assembled
from llmkit.tune.adapter_train import held_out_loss, next_token_loss
from llmkit.tune.corpus import is_held_out

TOKENS = 64
"""Of a text that is read, at most."""

SHORTEST = 20
"""Tokens that an encoder's text must have at least, so that its beginning says what it is about."""

PAIRS = 16
"""Beginnings and texts that are told apart at once."""

TEMPERATURE = 0.05
"""What cosines are divided by; sentence-transformers' ``MultipleNegativesRankingLoss`` multiplies by 20."""

Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What is read.

    Args:
        rows: tokens of each text. Of an encoder: a beginning and its whole text, in turns.
        words: the whole texts themselves, one a pair; empty for a box that writes.
    """

    rows: tuple[tuple[int, ...], ...]
    words: tuple[str, ...] = ()

    @property
    def paired(self) -> bool:
        """Whether rows are an encoder's pairs."""
        return bool(self.words)

    @property
    def tokens(self) -> int:
        """How many are read."""
        return sum(map(len, self.rows))

    def batches(self, size: int) -> Iterator[Rows]:
        """So many rows at a time; pairs always ``PAIRS`` together, because they are told apart from one another."""
        step = 2 * PAIRS if self.paired else size
        for at in range(0, len(self.rows), step):
            yield self.rows[at : at + step]


def texts_for(box: Assembled, *, held_out: bool, count: int) -> Texts:
    """Texts of the data boxes in the box's languages: those that training here holds out, or none of them.

    Args:
        count: of windows for a box that writes, of pairs for an encoder (whole batches of ``PAIRS``, at least one).

    Raises:
        ShelfError: ``box_missing``, the data box is not here.
    """
    if box.config.causal and box.model.unembedding is not None:
        length = min(TOKENS, box.config.max_seq_len)
        found = windows(box.box_id, box.folder, tokens=length, count=count, held_out=held_out)
        return Texts(rows=tuple(map(tuple, found.tolist())))
    rows: list[tuple[int, ...]] = []
    words: list[str] = []
    wanted = max(count // PAIRS, 1) * PAIRS
    put, cut = box.tokenizer, min(TOKENS, box.config.max_seq_len - 2)
    for language in languages_of(box.box_id):
        for row in shelf.open_data(TEXTS[language]).rows:
            if len(words) == wanted:
                break
            if is_held_out(row.text) != held_out:
                continue
            ids = tuple(put.encode(row.text, specials=False).ids[:cut])
            if len(ids) >= min(SHORTEST, cut):
                rows += [(*put.before, *ids[: len(ids) // 2], *put.after), (*put.before, *ids, *put.after)]
                words.append(row.text)
    return Texts(rows=tuple(rows), words=tuple(words))


def loss_of(model: Transformer, rows: Rows, *, paired: bool, tap: Tap = untouched) -> Tensor:
    """What slopes are taken of, one batch in nats: next tokens, or which text a beginning belongs to.

    Args:
        paired: whether rows are an encoder's pairs. tap: sees every value on its way.

    Source: van den Oord et al. 2018, "Representation Learning with Contrastive Predictive Coding", equation 4, both
    ways as in CLIP.
    """
    if not paired:
        read = model if tap is untouched else cast(nn.Module, partial(model, tap=tap))
        return next_token_loss(read, rows, model.embedding.weight.device)
    units = vectors(model, rows, tap=tap)
    alike = units[0::2] @ units[1::2].T / TEMPERATURE  # [pairs, pairs]
    own = torch.arange(len(alike), device=alike.device)
    both = nn.functional.cross_entropy(alike, own) + nn.functional.cross_entropy(alike.T, own)
    return both / 2


def vectors(model: Transformer, rows: Rows, *, tap: Tap = untouched) -> Tensor:
    """Sentence vectors of length 1, [B, d_model]: the mean of the final states; matches ``trace.sentence_vectors``."""
    device, longest = model.embedding.weight.device, max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    real = torch.zeros(len(rows), longest)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(list(row))
        real[at, : len(row)] = 1
    ids, real = ids.to(device), real.to(device)
    states = model.with_parts(unembedding=None)(ids, attention_mask=real.int(), tap=tap)
    share = real[..., None].to(states.dtype)
    return nn.functional.normalize((states * share).sum(1) / share.sum(1), dim=-1)


class Measure:
    """How much worse than a box the machines are that come of it.

    Args:
        model: of the box, as it was. texts: to measure on.
    """

    def __init__(self, model: Transformer, texts: Texts) -> None:
        self.texts = texts
        self.before = all_vectors(model, texts) if texts.paired else None

    @torch.no_grad()
    def loss(self, machine: Transformer, found: Tensor | None = None) -> float:
        """Mean loss of the next token in nats, or mean distance of an encoder's sentence vectors.

        Args:
            found: the machine's own vectors, where they are known.
        """
        if self.before is None:
            return held_out_loss(machine, self.texts.rows, machine.embedding.weight.device, batch=8)
        found = all_vectors(machine, self.texts) if found is None else found
        return 1 - float((found * self.before).sum(-1).mean())


@torch.no_grad()
def all_vectors(model: Transformer, texts: Texts) -> Tensor:
    """Sentence vectors of all texts, [rows, d_model]."""
    return torch.cat([vectors(model, rows) for rows in texts.batches(32)])
