"""What the Generate page computes and keeps: the prompt, the next token's odds, texts, beams; once for all sessions."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from components import engine, how_engine, tokens_engine
from components.attention_engine import encode
from components.badge import Badge
from components.engine import Made

if TYPE_CHECKING:
    from llmkit.generate.beams import BeamTree
    from llmkit.generate.live import Live, Steps, Written
    from llmkit.generate.next_token import Odds
    from llmkit.generate.sampling import Sampling
    from llmkit.reference import Assembled

Floats = NDArray[np.float32]
Ids = tuple[int, ...]

KEPT_TEXTS = 256
"""Finished texts that the app remembers."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A prompt, ready to be gone on with.

    Args:
        box_id: who writes. fingerprint: of its files. text: the prompt. ids: its tokens.
        stop_ids: tokens that end a text. limit: tokens of context. kv_per_token: bytes of one token's keys and values.
    """

    box_id: str
    fingerprint: str
    text: str
    ids: Ids
    stop_ids: Ids
    limit: int
    kv_per_token: int

    @property
    def room(self) -> int:
        """How many tokens can be written at most; the last one is chosen from a full context."""
        return self.limit - len(self.ids) + 1


@dataclass(frozen=True, kw_only=True)
class Asked:
    """All that decides what is written: the key under which it is remembered.

    Args:
        task: the prompt and the box. sampling: how each token is chosen. length: how many at most.
        dtype, device: what it is computed with.
    """

    task: Task
    sampling: Sampling
    length: int
    dtype: str
    device: str


@dataclass(frozen=True, kw_only=True)
class Logits:
    """The next token's logits.

    Args:
        values: [V], float32. order: [V], ids from the likeliest on; of equals the one with the lower id first.
        packed: the values in that order, bytes in base64.
    """

    values: Floats
    order: NDArray[np.int64]
    packed: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """A text, as it is shown: finished now or before, or still being written.

    Args:
        asked: what was asked for. written: how far it is. cached: whether it was found, not written for this reader.
    """

    asked: Asked
    written: Written
    cached: bool


def task(box_id: str, text: str) -> Task:
    """Return the prompt for `how_engine.predictor(box_id)`.

    Raises:
        GenerateError: ``prompt_empty``, ``prompt_too_long``. TokenizerError: ``text_not_unicode``.
    """
    chosen = how_engine.predictor(box_id)
    return _task(chosen, engine.fingerprint(chosen), text).value


def asked(task: Task, sampling: Sampling, length: int) -> Asked:
    """Return the key of a text: without what decides nothing, and no longer than there is room."""
    if sampling.greedy:
        sampling = replace(sampling, seed=0, top_k=0, top_p=1.0, min_p=0.0)
    length = min(length, task.room)
    return Asked(task=task, sampling=sampling, length=length, dtype=engine.DTYPE, device=engine.device())


def write(asked: Asked) -> Live | Told:
    """Return a finished text where the app remembers one, else begin to write it."""
    from llmkit.generate.live import Live

    known = finished(asked)
    if known is not None:
        return known
    kept, box = _kept(), engine.open_box(asked.task.box_id)  # here: the thread that writes belongs to no session
    return Live(lambda: _steps(box, asked), done=lambda written: kept.put(asked, written))


def finished(asked: Asked) -> Told | None:
    """Return a text that was written before, by whomever."""
    written = _kept().get(asked)
    return None if written is None else Told(asked=asked, written=written, cached=True)


def speed(task: Task) -> tuple[float, float] | None:
    """Return the box's last measured tokens a second and seconds to the first token; None where none was measured."""
    return _kept().speed(task.box_id, task.fingerprint)


def logits(task: Task, more: Ids = ()) -> Made[Logits]:
    """Return the logits after the prompt and some tokens that go on with it.

    Raises:
        GenerateError: the text has no room for another token.
    """
    return _logits(task.box_id, task.fingerprint, engine.DTYPE, engine.device(), task.ids + more)


def odds(task: Task, sampling: Sampling) -> Made[tuple[Odds, ...]]:
    """Return the odds of the next token before and after each filter."""
    return _odds(task, sampling, engine.DTYPE, engine.device())


def beams(task: Task, width: int, length: int) -> Made[BeamTree]:
    """Return the tree of a beam search."""
    return _beams(task, width, length, engine.DTYPE, engine.device())


def at_once(task: Task, sampling: Sampling, length: int) -> Made[Written]:
    """Return a short text whole; remembered like every other.

    Raises:
        Exception: what went wrong while it was written.
    """
    made = write(asked(task, sampling, length))
    if isinstance(made, Told):
        return Made(value=made.written, badge=Badge.cached())
    made.join()
    written = made.read()
    if written.error is not None:
        raise written.error
    return Made(value=written, badge=Badge.live())


def drawn(task: Task, more: Ids, sampling: Sampling) -> int:
    """Return the token that the settings draw after the prompt and what goes on with it."""
    from llmkit.generate.next_token import draw_next

    return draw_next(logits(task, more).value.values, sampling, task.ids + more)


def bytes_of(box_id: str, ids: Ids) -> list[bytes]:
    """Return each token's bytes; a token that ends a text has none to show."""
    tokenizer = tokens_engine.open_tokenizer(box_id)
    ends = {token.token_id for token in tokenizer.added if token.special}
    return [b"" if one in ends else how_engine.token_data(tokenizer, one) for one in ids]


def _steps(box: Assembled, asked: Asked) -> Steps:
    """Begin to write, in the batch that all sessions share: the only place that says by which engine."""
    from llmkit.generate.together import together

    task = asked.task
    stream = together(box).stream
    return stream(task.ids, max_new_tokens=asked.length, stop_ids=task.stop_ids, sampling=asked.sampling)


class _Kept:
    """Finished texts, the least recently used forgotten first; and how fast each box wrote last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: OrderedDict[Asked, Written] = OrderedDict()
        self._speeds: dict[tuple[str, str], tuple[float, float]] = {}

    def put(self, asked: Asked, written: Written) -> None:
        with self._lock:
            self._texts[asked] = written
            while len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
            if written.per_second is not None and written.first_s is not None:
                self._speeds[asked.task.box_id, asked.task.fingerprint] = (written.per_second, written.first_s)

    def get(self, asked: Asked) -> Written | None:
        with self._lock:
            if asked in self._texts:
                self._texts.move_to_end(asked)
            return self._texts.get(asked)

    def speed(self, box_id: str, fingerprint: str) -> tuple[float, float] | None:
        with self._lock:
            return self._speeds.get((box_id, fingerprint))


@st.cache_resource(show_spinner=False)
def _kept() -> _Kept:
    return _Kept()


@engine.remembered(max_entries=64)
def _task(box_id: str, fingerprint: str, text: str) -> Task:
    from llmkit.generate.decode import require_prompt
    from llmkit.generate.score import kv_bytes

    box = engine.open_box(box_id)
    ids = box.tokenizer.before + box.tokenizer.encode(text, specials=False).ids
    require_prompt(box, ids)
    return Task(
        box_id=box_id,
        fingerprint=fingerprint,
        text=text,
        ids=tuple(ids),
        stop_ids=tuple(sorted(token.token_id for token in box.tokenizer.added if token.special)),
        limit=box.config.max_seq_len,
        kv_per_token=kv_bytes(box, 1),
    )


@engine.remembered(max_entries=32)
def _logits(box_id: str, fingerprint: str, dtype: str, device: str, ids: Ids) -> Logits:
    from llmkit.generate.next_token import next_logits

    values = next_logits(engine.open_box(box_id), ids)
    order = np.argsort(-values, kind="stable")
    return Logits(values=values, order=order, packed=encode(values[order]))


@engine.remembered(max_entries=64)
def _odds(task: Task, sampling: Sampling, dtype: str, device: str) -> tuple[Odds, ...]:
    from llmkit.generate.next_token import filtered

    return filtered(logits(task).value.values, sampling, task.ids)


@engine.remembered(max_entries=32)
def _beams(task: Task, width: int, length: int, dtype: str, device: str) -> BeamTree:
    from llmkit.generate.beams import beam_search

    box = engine.open_box(task.box_id)
    return beam_search(box, task.ids, width=width, max_new_tokens=length, stop_ids=task.stop_ids)


def plain_settings(task: Task, length: int) -> dict[str, Any]:
    """Return what the job ``kv_compare`` is given."""
    return {
        "box_id": task.box_id,
        "fingerprint": task.fingerprint,
        "ids": list(task.ids),
        "max_new_tokens": length,
        "device": engine.device(),
    }
