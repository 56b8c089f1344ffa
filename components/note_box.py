"""The notes box at the foot of a page: what is written in it is in the journal once the learner leaves the box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import audience, kept, place
from llmkit import journal

if TYPE_CHECKING:
    from components.frame import Page


def draw_note_box(page: Page) -> None:
    """Draw the box, and under it whether its note is kept or why not; an empty box begins the next note."""
    slug, state = page.step.slug, _state(page.step.slug)
    st.text_area(
        page.say("common.notes"),
        key=f"notes_{slug}",
        persist_state="session",
        height=110,
        on_change=_keep,
        args=(slug, {"box": page.bench.box_id, "lang": page.bench.lang, "sentence": page.bench.sentence}),
    )
    if "error" in state:
        with page.guard():
            raise state["error"]
    elif "note" in state:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(page.say("common.notes.kept"))
            page.lead("notebook")
            st.button(page.say("common.notes.next"), key=f"next_{slug}", type="tertiary", on_click=_begin, args=(slug,))


def _state(slug: str) -> dict[str, Any]:
    """Return what the box of this page remembers: "note" (whose, its id) or "error"."""
    state: dict[str, Any] = st.session_state.setdefault(f"_note_{slug}", {})
    return state


def _keep(slug: str, bench: Mapping[str, str]) -> None:
    """Write the box into the journal: a new note, or anew the one that the box holds."""
    state, text = _state(slug), st.session_state[f"notes_{slug}"] or ""
    state.pop("error", None)
    if audience.is_joining():
        return  # whose journal it is will be known in a moment; the box keeps its text
    if not text.strip():
        state.pop("note", None)
        return
    settings = {**bench, **place.chosen()}
    try:
        me = kept.whose().id
        if state.get("note", ("", ""))[0] == me:
            try:
                journal.edit_note(me, state["note"][1], text, kept.now())
                return
            except journal.JournalError as error:
                if error.code != "journal_unknown":  # else it was deleted in the notebook: this is a new one
                    raise
        made = journal.add_note(me, slug, text, link=kept.link_here(), settings=settings, now=kept.now())
        state["note"] = (me, made.id)
    except journal.JournalError as error:
        state["error"] = error


def _begin(slug: str) -> None:
    """Empty the box for the next note; the one that it held stays in the journal."""
    st.session_state[f"notes_{slug}"] = ""
    _state(slug).clear()
