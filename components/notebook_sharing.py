"""The notebook leaves the house and comes back: study partners, export, import."""

from __future__ import annotations

from html import escape

import streamlit as st

from components.frame import Page, plain
from components.kept import now
from components.note_markdown import as_html
from llmkit import journal

_MADE = "_notebook_imported"


def draw_partners(page: Page, me: journal.Profile) -> None:
    """Draw partners' days and notes beside one's own; give and take a partner's file."""
    st.html(f"<h2>{escape(page.say('notebook.partners'))}</h2>")
    for one in journal.partners(me.id):
        told = page.say(
            "notebook.partner",
            name=plain(one.name or one.id[:8]),
            steps=len(one.progress),
            streak=journal.streak(one.days, now()).current,
            notes=len(one.notes),
        )
        with st.expander(told, key=f"notebook_partner_{one.id}"):
            for note in one.notes[:50]:
                st.html(as_html(note.text))
            if st.button(page.say("notebook.delete"), key=f"notebook_leave_{one.id}", type="tertiary"):
                journal.forget_partner(me.id, one.id)
                st.rerun()
    st.download_button(
        page.say("notebook.partner.give"),
        lambda: journal.export_for_partner(me.id),
        file_name="llm-notebook-for-partner.zip",
        mime="application/zip",
        key="notebook_partner_give",
        on_click="ignore",
    )
    with st.expander(page.say("notebook.partner.take"), key="notebook_partner_take"):
        given = st.file_uploader(page.say("notebook.zip"), type="zip", key="notebook_partner_file")
    if given is not None and st.session_state.get("_notebook_partner") != given.file_id:
        with page.guard():
            journal.keep_partner(me.id, given.getvalue(), now())
            st.session_state["_notebook_partner"] = given.file_id
            st.rerun()


def draw_files(page: Page, me: journal.Profile) -> None:
    """Let the whole notebook be taken away, and brought back: first shown, then done, then undone if need be."""
    st.html(f"<h2>{escape(page.say('notebook.files'))}</h2>")
    with st.container(horizontal=True):
        for name, make, mime in (
            ("zip", lambda: journal.export_all(me.id), "application/zip"),
            ("md", lambda: journal.export_markdown(me.id).encode(), "text/markdown"),
        ):
            if st.download_button(
                page.say(f"notebook.export.{name}"), make, f"llm-notebook.{name}", mime, key=f"notebook_export_{name}"
            ):
                page.tick("do.save")
    with st.expander(page.say("notebook.import"), key="notebook_import_take"):
        given = st.file_uploader(page.say("notebook.zip"), type="zip", key="notebook_import_file")
    if given is not None and st.session_state.get(_MADE, {}).get("file") != given.file_id:
        with page.guard():
            shown = journal.read_import(me.id, given.getvalue())
            counts = {"added": sum(shown.added.values()), "replaced": sum(shown.replaced.values()), "same": shown.same}
            st.info(page.say("notebook.import.shown", **counts))
            if st.button(page.say("notebook.import.do"), key="notebook_import_do"):
                number = journal.apply_import(me.id, shown, now())
                st.session_state[_MADE] = {"file": given.file_id, "number": number}
                st.rerun()
    made = st.session_state.get(_MADE)
    if made and "number" in made and st.button(page.say("notebook.import.undo"), key="notebook_import_undo"):
        with page.guard():
            journal.undo_import(me.id, made.pop("number"))
            st.rerun()
