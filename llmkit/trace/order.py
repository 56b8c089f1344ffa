"""What order is worth to a model: read its words shuffled, its positions taken away, or both."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import regex
import torch
from numpy.typing import NDArray

from llmkit.parts import Positions, Tap, Transformer, untouched
from llmkit.reference import Assembled
from llmkit.tokens import Encoding
from llmkit.trace.trace import Recorder, Value

FEWEST_WORDS = 3
"""The last word stays in its place, and at least two others must change theirs."""

_KEPT: tuple[Value, ...] = ("final",)
_HAN = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")


class OrderError(ValueError):
    """A text has too few words for another order.

    Args:
        words: how many it has.
    """

    def __init__(self, words: int) -> None:
        super().__init__(f"{words} words; at least {FEWEST_WORDS} are needed")
        self.words = words


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a box made of its tokens in one order, with or without its positions.

    Args:
        order: [T], which token of the text stands at each place.
        states: [T, d_model], what each token became, in the order of the text, whatever order was read.
        loss: mean surprise at each next token, in nats; None for a box that predicts no next token, or one token.
        probs: [V], the probability of each token to come next; None likewise.
    """

    order: tuple[int, ...]
    states: NDArray[np.float64]
    loss: float | None
    probs: NDArray[np.float64] | None


def word_spans(encoding: Encoding) -> tuple[tuple[int, int], ...]:
    """Half-open spans of token indices that stay together when words are shuffled; special tokens are left out.

    A word is what the box's tokenizer takes for one, but every ideograph is a word of its own; the tokens of a
    character are never torn apart.
    """
    spans: list[tuple[int, int]] = []
    for start, end in encoding.groups:
        if encoding.special[start]:
            continue
        word, before = encoding.word_ids[start], encoding.word_ids[start - 1] if start else None
        joined = bool(spans) and spans[-1][1] == start and word is not None and word == before
        if joined and not (_written(encoding, start, _HAN) or _written(encoding, start - 1, _HAN)):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return tuple(spans)


def shuffle_words(encoding: Encoding, *, seed: int) -> tuple[int, ...]:
    """Return another order of the words; the last word and special tokens keep their places.

    Args:
        encoding: the text's tokens. seed: the same seed gives the same order.

    Returns:
        [T], which token of the text stands at each place.

    Raises:
        OrderError: the text has fewer than FEWEST_WORDS words.
    """
    spans = word_spans(encoding)
    if len(spans) < FEWEST_WORDS:
        raise OrderError(len(spans))
    mixed, generator = list(spans[:-1]), random.Random(seed)
    while tuple(mixed) == spans[:-1]:
        generator.shuffle(mixed)
    moved = iter([at for start, end in (*mixed, spans[-1]) for at in range(start, end)])
    free = {at for start, end in spans for at in range(start, end)}
    return tuple(next(moved) if at in free else at for at in range(len(encoding)))


def without_positions(model: Transformer) -> Transformer:
    """Return the same machine with its positional encoding left out; every other part is shared, none is changed."""
    return model.with_parts(positions=Positions())


def read_in_order(
    box: Assembled, ids: Sequence[int], order: Sequence[int], *, positions: bool = True, tap: Tap = untouched
) -> Reading:
    """Read tokens in an order of their own.

    Args:
        box: an opened box. ids: [T], the text's tokens, at most the box's ``max_seq_len``.
        order: [T], which of them stands at each place. positions: False takes the positional encoding away.
        tap: an intervention on the values on their way.
    """
    recorder = Recorder(_KEPT, tap)
    model = box.model if positions else without_positions(box.model)
    read = torch.tensor([[ids[at] for at in order]], device=box.device)
    with torch.inference_mode():
        out = model(read, tap=recorder)[0].double()  # [T, V], or [T, d_model] without an unembedding
        states = recorder.once["final"][0].double()
        back = torch.tensor(order, device=box.device).argsort()
        loss = probs = None
        if box.config.causal and model.unembedding is not None:
            probs = out[-1].softmax(-1).cpu().numpy()
            if len(ids) > 1:
                loss = float(torch.nn.functional.cross_entropy(out[:-1], read[0, 1:]))
    return Reading(order=tuple(order), states=states[back].cpu().numpy(), loss=loss, probs=probs)


def change(one: Reading, other: Reading) -> NDArray[np.float64]:
    """How far each token's final state turned between two readings: 1 minus their cosine, [T], from 0 to 2."""
    product = (one.states * other.states).sum(1)
    length = np.linalg.norm(one.states, axis=1) * np.linalg.norm(other.states, axis=1)
    turned: NDArray[np.float64] = 1 - product / length
    return turned


def _written(encoding: Encoding, at: int, pattern: regex.Pattern[str]) -> bool:
    start, end = encoding.offsets[at]
    return pattern.search(encoding.text[start:end]) is not None
