"""The app's access to llmkit: opened boxes and traces, shared by all sessions and never edited in place.

Nothing here imports torch before a page asks for a model.
"""

from __future__ import annotations

import contextvars
import functools
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

import streamlit as st

from components.badge import Badge

if TYPE_CHECKING:
    from llmkit.reference import Assembled
    from llmkit.trace import Trace, Value

P = ParamSpec("P")
T = TypeVar("T")

DTYPE = "float32"
MAX_TOKENS = 256
"""Tokens that one picture may hold by default; more does not fit on a page, and a trace grows with the square."""

_computed_now: contextvars.ContextVar[bool] = contextvars.ContextVar("_computed_now", default=False)
_one_at_a_time = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class Made(Generic[T]):
    """A value together with where it comes from: live when this very call computed it, cached afterwards."""

    value: T
    badge: Badge


def remembered(*, max_entries: int = 16) -> Callable[[Callable[P, T]], Callable[P, Made[T]]]:
    """Decorate a function so that the app computes each result once, for all sessions, and knows its provenance.

    The function's arguments are the whole key: everything that changes the result must be among them, and none
    may begin with an underscore. The result is shared and must not be changed by whoever gets it.

        @engine.remembered(max_entries=8)
        def projection(box_id: str, method: str) -> np.ndarray: ...

        made = projection(bench.box_id, "pca")
        page.figure(plot(made.value), badge=made.badge, ...)
    """

    def decorate(function: Callable[P, T]) -> Callable[P, Made[T]]:
        @functools.wraps(function)
        def compute(*args: P.args, **kwargs: P.kwargs) -> T:
            _computed_now.set(True)
            return function(*args, **kwargs)

        kept = st.cache_resource(max_entries=max_entries, show_spinner=False)(compute)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Made[T]:
            token = _computed_now.set(False)
            try:
                value = kept(*args, **kwargs)
                badge = Badge.live() if _computed_now.get() else Badge.cached()
            finally:
                _computed_now.reset(token)
            return Made(value=value, badge=badge)

        return call

    return decorate


def boxes_here(default: str, asked: str | None = None) -> tuple[str, ...]:
    """Return the ids of the model boxes on this machine.

    Args:
        default: always among them, first: it comes with the guide.
        asked: a box that is not in the catalogue (``folder:/path``, ``hub:owner/name``); added where it is here.
    """
    from llmkit import shelf

    found = dict.fromkeys((default, *shelf.boxes_here("model")))
    if asked and asked not in found and ":" in asked:
        try:
            if shelf.locate(asked) is not None:
                found[asked] = None
        except shelf.ShelfError:
            pass  # not the name of any box; the workbench says so
    return tuple(found)


def device() -> str:
    """Return where models run: "cuda" where there is a GPU, else "cpu". Imports torch."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def open_box(box_id: str) -> Assembled:
    """Return the box, assembled from our parts, its weights loaded. Shared: read it, never change it.

    Raises:
        Exception: with a `.code`, where the box is missing or broken; the sheet shows it to the learner.
    """
    return _open_box(box_id, fingerprint(box_id), DTYPE, device()).value


def trace(box_id: str, text: str, parts: tuple[Value, ...], *, max_tokens: int = MAX_TOKENS) -> Made[Trace]:
    """Return one forward pass of `text` through the box, with the chosen parts kept.

    Args:
        box_id: a box on this machine.
        text: what goes in.
        parts: which values to keep, by the names of `llmkit.trace.Value`: ("q", "k", "attention_weights").
        max_tokens: refuse longer texts.

    Raises:
        Exception: with a `.code`, where the text has too many tokens or the box cannot be opened.
    """
    return _trace(box_id, fingerprint(box_id), DTYPE, device(), text, parts, max_tokens)


def fingerprint(box_id: str) -> str:
    """Return what changes when the box's files change; part of every cache key.

    Raises:
        ShelfError: there can be no such box, or it is not here.
    """
    from llmkit import shelf

    return shelf.fingerprint(box_id)


def settle() -> None:
    """Take what is loaded now out of the garbage collector's sight; call it after loading what stays.

    Streamlit collects after every run, of every session, and nothing else runs meanwhile: without this, twenty
    sessions wait for one another's walks through every module and model.
    """
    gc.collect()
    gc.freeze()


@remembered(max_entries=4)
def _open_box(box_id: str, fingerprint: str, dtype: str, device: str) -> Assembled:
    import torch

    from llmkit.reference import open_box as load

    with _one_at_a_time:
        box = load(box_id, dtype=getattr(torch, dtype), device=device)
        settle()
    return box


@remembered(max_entries=16)
def _trace(
    box_id: str,
    fingerprint: str,
    dtype: str,
    device: str,
    text: str,
    parts: tuple[Value, ...],
    max_tokens: int,
) -> Trace:
    from llmkit.trace import trace_model

    box = _open_box(box_id, fingerprint, dtype, device).value
    with _one_at_a_time:
        return trace_model(box, text, parts=parts, max_tokens=max_tokens)
