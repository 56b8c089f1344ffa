"""What a room of people predicts: a guest's guess goes to the room, and the instructor's check shows all as bars."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import pictograms
from components.badge import Badge
from llmkit import workshop

if TYPE_CHECKING:
    from components.frame import Page

POLL_S = 2.0
TOUCH_S = 5.0

CODE = "_room_code"
GUEST, LABEL = "_room_guest", "_room_label"
KEY = "_room_key"
"""Who this session is in the room of that code: a guest's id and name, or the instructor's key."""

_TOUCHED = "_room_touched"


def guest_id() -> str | None:
    """Return the id of this session's guest; None where it is no guest of a room."""
    found: str | None = st.session_state.get(GUEST)
    return found


def label() -> str | None:
    """Return what this session's guest is called in the journal ("K7QM 3f2a1c"); None where it is no guest."""
    found: str | None = st.session_state.get(LABEL)
    return found


def is_joining() -> bool:
    """Whether this session has come by a room's link and the browser has not said yet who it is."""
    return CODE in st.session_state and not teaches() and guest_id() is None


def teaches() -> bool:
    """Whether this session is the room's instructor."""
    return KEY in st.session_state


def question_id(slug: str, name: str, options: Sequence[str]) -> str:
    """Return the name of a question: guests with another box or sentence may be asked something else."""
    return f"{slug}.{name}.{hashlib.sha256(repr(sorted(options)).encode()).hexdigest()[:12]}"


def touch(slug: str) -> None:
    """Let the room know that this guest has just done something."""
    guest, now = guest_id(), time.monotonic()
    if guest is not None and now - st.session_state.get(_TOUCHED, 0.0) > TOUCH_S:
        st.session_state[_TOUCHED] = now
        with suppress(workshop.WorkshopError):  # the bar above the page says what is wrong with the room
            workshop.seen(guest, slug, moved=True)


def tell(question: str, widget: str) -> None:
    """Tell the room what this guest has just chosen in `widget`."""
    guest, answer = guest_id(), st.session_state.get(widget)
    if guest is not None and isinstance(answer, str):
        with suppress(workshop.WorkshopError):
            workshop.predict(guest, question, answer)


def draw_bars(page: Page, question: str, options: Mapping[str, str], answer: str | None) -> None:
    """Draw how many guests chose each option, as they choose; for the instructor alone.

    Args:
        question: of `question_id`.
        options: answer → its text in the page's language.
        answer: the right one, once it is known.
    """
    if not teaches():
        return

    @st.fragment(run_every=POLL_S)
    def watch() -> None:
        try:
            counts = workshop.predictions(question)
        except workshop.WorkshopError as error:
            st.error(page.error_text(error.code, error.values))
            return
        numbers = [counts.get(option, 0) for option in options]
        told = page.say("workshop.bars.told", n=sum(numbers))
        texts = list(options.values())
        alt = page.say("common.comma").join([told, *(f"{text} {n}" for text, n in zip(texts, numbers, strict=True))])
        data = pd.DataFrame({"option": texts, "guests": numbers})
        with page.shown(key=f"audience_{question}", badge=Badge.live(), alt=alt, data=data):
            st.html(bars(options, counts, answer) + f'<p class="note">{escape(told)}</p>')

    watch()


def bars(options: Mapping[str, str], counts: Mapping[str, int], answer: str | None) -> str:
    """Return the bars as HTML: one row an option, the right one marked once it is known.

    >>> "width:75%" in bars({"a": "up", "b": "down"}, {"a": 3, "b": 1}, None)
    True
    """
    everyone = max(sum(counts.get(option, 0) for option in options), 1)
    rows = ""
    for option, text in options.items():
        n = counts.get(option, 0)
        mark = pictograms.picture("check", size="small") if option == answer else ""
        rows += (
            f'<li class="{"right" if option == answer else ""}"><span>{escape(text)}{mark}</span>'
            f'<i><i style="width:{n / everyone:.0%}"></i></i><b>{n}</b></li>'
        )
    return f'<ul class="audience">{rows}</ul>'
