"""The notes box at the foot of a page: what is written in it is in the journal once the learner leaves the box.

A figure that stands on the page may go with the note: its alt text, its badge and its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import audience, kept, place
from components.drawn import MOST_NAME, Drawn
from llmkit import journal
from llmkit.journal.text import quoted

if TYPE_CHECKING:
    from components.frame import Page

_DRAWN = "_drawn"


def draw_note_box(page: Page) -> None:
    """Draw the box, and under it whether its note is kept or why not; an empty box begins the next note."""
    slug, state = page.step.slug, _state(page.step.slug)
    bench = {"box": page.bench.box_id, "lang": page.bench.lang, "sentence": page.bench.sentence}
    st.text_area(
        page.say("common.notes"),
        key=f"notes_{slug}",
        persist_state="session",
        height=110,
        on_change=_keep,
        args=(slug, bench),
    )
    st.session_state[_DRAWN] = page.drawn  # this page's alone: another page's numbers are let go
    _draw_figures(page, bench)
    if "error" in state:
        with page.guard():
            raise state["error"]
    elif "note" in state:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(page.say("common.notes.kept"))
            page.lead("notebook")
            st.button(page.say("common.notes.next"), key=f"next_{slug}", type="tertiary", on_click=_begin, args=(slug,))


def _draw_figures(page: Page, bench: Mapping[str, str]) -> None:
    """Let a figure of the page be chosen; one that is kept stays on the list where it is drawn no more."""
    slug, state = page.step.slug, _state(page.step.slug)
    names = page.drawn.names()
    if state.get("kept"):
        names.setdefault(*state["kept"])
    if not names:
        return
    numbers = {key: n for n, key in enumerate(names, 1)}
    key = f"notes_figure_{slug}"
    chosen = state.get("chosen", "")
    wanted = chosen if chosen in names else ""  # its words may have changed since it was chosen
    if st.session_state.get(key) != wanted:  # what is written here replaces a choice that is on its way
        st.session_state[key] = wanted
    st.selectbox(
        page.say("common.notes.figure"),
        ("", *names),
        format_func=lambda one: (
            f"{numbers[one]} · {names[one]}" if one in names else page.say("common.notes.no_figure")
        ),
        key=key,
        on_change=_choose,
        args=(slug, bench),
    )


def _state(slug: str) -> dict[str, Any]:
    """Return what the box of this page remembers.

    "note" (whose, its id), "chosen" (a figure's key), "kept" (key and name of the figure that the journal has with the
    note) or "error".
    """
    state: dict[str, Any] = st.session_state.setdefault(f"_note_{slug}", {})
    return state


def _keep(slug: str, bench: Mapping[str, str]) -> None:
    """Write the box into the journal: a new note, or anew the one that the box holds."""
    _write(slug, bench, lambda me, note, text: journal.edit_note(me, note, text, kept.now()))


def _choose(slug: str, bench: Mapping[str, str]) -> None:
    """Keep the chosen figure with the note that the box holds; without one it waits for the note."""
    state = _state(slug)
    chosen = state["chosen"] = st.session_state[f"notes_figure_{slug}"] or ""

    def change(me: str, note: str, _: str) -> None:
        if chosen != (state.get("kept") or ("",))[0]:
            figure = _drawn().figure(chosen)
            settings = {**bench, **place.chosen()}
            journal.set_figure(me, note, figure, link=kept.link_here(), settings=settings, now=kept.now())
            state["kept"] = _named(figure)

    if "note" in state:
        _write(slug, bench, change)


def _write(slug: str, bench: Mapping[str, str], change: Callable[[str, str, str], object]) -> None:
    """Change the note that the box holds; where it holds none, or none of this learner's, make it."""
    state, text = _state(slug), st.session_state[f"notes_{slug}"] or ""
    state.pop("error", None)
    if audience.is_joining():
        return  # whose journal it is will be known in a moment; the box keeps its text
    if not text.strip():
        state.pop("note", None)
        state.pop("kept", None)
        return
    try:
        me = kept.whose().id
        if state.get("note", ("", ""))[0] == me:
            try:
                change(me, state["note"][1], text)
                return
            except journal.JournalError as error:
                if error.code != "journal_unknown":  # else it was deleted in the notebook: this is a new one
                    raise
        figure = _drawn().figure(state.get("chosen", ""))
        settings = {**bench, **place.chosen()}
        made = journal.add_note(me, slug, text, link=kept.link_here(), settings=settings, figure=figure, now=kept.now())
        state["note"] = (me, made.id)
        state["kept"] = _named(figure)
        state["chosen"] = figure.key if figure else ""
    except journal.JournalError as error:
        state["error"] = error


def _drawn() -> Drawn:
    """Return what the page drew that was drawn last."""
    drawn: Drawn = st.session_state[_DRAWN]
    return drawn


def _named(figure: journal.Figure | None) -> tuple[str, str] | None:
    return (figure.key, quoted(figure.name, most=MOST_NAME)) if figure else None


def _begin(slug: str) -> None:
    """Empty the box for the next note; the one that it held stays in the journal."""
    st.session_state[f"notes_{slug}"] = ""
    _state(slug).clear()
