"""A paper in a learner's hands: how far it is read, this week's pick, notes on it. All of it is the journal's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import streamlit as st

from components import kept
from components.frame import Page
from components.kept import link_here, now
from components.note_markdown import as_html
from llmkit import journal
from llmkit.journal.reading import STATES, State
from llmkit.journal.text import iso_week

_ERROR = "_papers_error"
PAPER = "paper"
"""The name under which a note's settings keep the paper that it is about."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the journal holds while the page is drawn.

    Args:
        me: whose it is. readings: by paper. picked: for this week. notes: those on a paper, by paper.
        topics: searches that are followed.
    """

    me: str
    readings: Mapping[str, journal.Reading]
    picked: journal.Reading | None
    notes: Mapping[str, list[journal.Note]]
    topics: tuple[str, ...]


def open_desk(page: Page) -> Desk | None:
    """Read the journal; None, and the reason on the page, where it cannot be opened."""
    with page.guard():
        if error := st.session_state.pop(_ERROR, None):
            raise error
    with page.guard():
        me = kept.whose().id
        notes: dict[str, list[journal.Note]] = {}
        for one in journal.notes(me, page=page.step.slug):
            notes.setdefault(str(one.settings.get(PAPER, "")), []).append(one)
        return Desk(
            me=me,
            readings={one.id: one for one in journal.readings(me)},
            picked=journal.picked(me, this_week()),
            notes=notes,
            topics=journal.topics(me),
        )
    page.lead("notebook")
    return None


def this_week() -> str:
    """Return the learner's own week, as ISO writes it."""
    return iso_week(now().date())


def draw_reading(page: Page, desk: Desk, work: journal.Work, *, place: str) -> None:
    """Draw what a learner can do with a paper: say how far it is read, pick it for this week, write a note on it.

    Args:
        place: where on the page; a paper may stand at several.
    """
    key = f"papers_{place}_{work.id}"
    here = desk.readings.get(work.id)
    mine = desk.picked is not None and desk.picked.id == work.id
    st.session_state[f"{key}_state"] = here.state if here else "unread"  # what the journal says, wherever it was said
    with st.container(horizontal=True, vertical_alignment="center", key=f"{key}_row"):
        st.segmented_control(
            page.say("papers.state"),
            STATES,
            format_func=lambda state: page.say(f"papers.state.{state}"),
            required=True,
            key=f"{key}_state",
            on_change=_set_state,
            args=(desk.me, work, f"{key}_state"),
            label_visibility="collapsed",
        )
        st.button(
            page.say("papers.unpick" if mine else "papers.pick"),
            key=f"{key}_pick",
            on_click=_try,
            args=(lambda: journal.unpick(desk.me, now=now()) if mine else journal.pick(desk.me, work, now=now()),),
        )
        _draw_notes(page, desk, work, key)


def _draw_notes(page: Page, desk: Desk, work: journal.Work, key: str) -> None:
    notes = desk.notes.get(work.id, [])
    with st.popover(page.say("papers.notes", n=len(notes)), key=f"{key}_notes"):
        for one in notes:
            st.html(f'<div class="pp-note">{as_html(one.text)}</div>')
        text = st.text_area(page.say("papers.note"), key=f"{key}_text", height=110)
        if st.button(page.say("papers.note.keep"), key=f"{key}_keep"):
            with page.guard():
                told = f"{_named(work)}\n\n{text}" if text.strip() else ""
                journal.add_note(desk.me, page.step.slug, told, link=link_here(), settings={PAPER: work.id}, now=now())
                st.rerun()


def _named(work: journal.Work) -> str:
    """A paper's name in a note: not its title, which is a stranger's and may hold anything."""
    return f"arXiv:{work.id}" if work.address.startswith("https://arxiv.org/") else work.id


def _set_state(profile: str, work: journal.Work, key: str) -> None:
    state: State = st.session_state[key]
    _try(lambda: journal.set_state(profile, work, state, now()))


def _try(write: Callable[[], object]) -> None:
    """Do what was pressed; why it could not be done is said when the page is drawn."""
    try:
        write()
    except journal.JournalError as error:
        st.session_state[_ERROR] = error
