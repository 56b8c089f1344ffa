"""The Content page's second half: the draft that was kept, edited, checked again, taken back, and taken away."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import streamlit as st

from components import content_picture as picture
from components import kept as learner
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, plain, section, short
from llmkit.journal import JournalError
from llmkit.write import Brief, Kept, WriteError, check, forget, keep, kept, to_docx, to_markdown
from llmkit.write.kept_texts import Place

PLACE: Place = "drafts"
LIMIT = 20_000
"""Characters of a text in the editor."""

STEPS_BACK = 50
SHOWN = 10
_KEY = "content_editor"
_STATE = "_content_editor"


def take(text: str, brief: Brief, box_id: str) -> None:
    """Keep a draft and lay it into the editor; called before anything is drawn."""
    state = _state()
    _replace(text)
    state["box"], state["new"] = box_id, True
    _keep(text, brief, box_id)


def has_new() -> bool:
    """Return, once, whether a draft was taken since the editor was drawn."""
    return bool(_state().pop("new", False))


@section
def draw_editor(page: Page, brief: Brief) -> None:
    """Draw the editor with its check, undo and the files to take away; and what was kept before."""
    state = _state()
    st.header(page.say("content.edit.title"))
    text = st.text_area(
        page.say("content.edit.label"),
        key=_KEY,
        persist_state="session",
        height=220,
        max_chars=LIMIT,
        placeholder=page.say("content.edit.empty"),
        on_change=_remember,
    )
    text = text or ""
    state["last"] = text
    with st.container(horizontal=True, gap="small"):
        st.button(page.say("content.undo"), key="content_undo", disabled=not state["back"], on_click=_undo)
        st.button(page.say("content.redo"), key="content_redo", disabled=not state["again"], on_click=_redo)
        st.button(
            page.say("content.edit.keep"),
            key="content_edit_keep",
            disabled=not text.strip(),
            on_click=_keep,
            args=(text, brief, state.get("box", "")),
        )
        if text.strip():
            _draw_files(page, text, brief)
    if "error" in state:
        with page.guard():
            raise state.pop("error")
    if text.strip():
        _draw_checked(page, text, brief)
    if state.get("kept"):
        page.tick("do.keep")
    if state.get("exported"):
        page.tick("do.export")
    with page.guard():
        _draw_kept(page)


def _draw_checked(page: Page, text: str, brief: Brief) -> None:
    demands = check(text, brief)
    met = sum(one.met for one in demands)
    alt = page.say("content.edit.alt", met=met, all=len(demands))
    table = pd.DataFrame([{"demand": d.kind, "word": d.word, "met": d.met, "found": d.found} for d in demands])
    with page.shown(key="edited", badge=Badge.live(), alt=alt, data=table):
        st.html(picture.card(page.say("content.edit.checked"), text, demands, brief, page.bench.say))
    draw_note(page.say("content.edit.brief"))


def _draw_files(page: Page, text: str, brief: Brief) -> None:
    """Offer the text as Markdown and as a Word file."""
    name = "draft"
    st.download_button(
        page.say("content.markdown"),
        lambda: to_markdown(text).encode(errors="replace"),
        file_name=f"{name}.md",
        mime="text/markdown",
        key="content_markdown",
        on_click=_exported,
    )
    st.download_button(
        page.say("content.docx"),
        lambda: to_docx(text, lang=brief.lang, title=brief.topic, now=learner.now()),
        file_name=f"{name}.docx",
        mime="application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        key="content_docx",
        on_click=_exported,
    )


def _draw_kept(page: Page) -> None:
    """Draw what was kept, the newest first: open it, or delete it; the last deletion can be taken back."""
    state = _state()
    texts = kept(learner.whose().id, PLACE)
    gone: Kept | None = state.get("gone")
    if gone is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            draw_note(page.say("content.kept.deleted", text=short(gone.text, 40)))
            st.button(page.say("content.kept.back"), key="content_kept_back", on_click=_bring_back)
    if not texts:
        return
    with st.expander(page.say("content.kept", n=len(texts))):
        for one in texts[: state.get("shown", SHOWN)]:
            with st.container(horizontal=True, vertical_alignment="center", key=f"content_kept_{one.id}"):
                box = str(one.about.get("box", ""))
                st.markdown(f"{plain(one.at[:16].replace('T', ' '))} · {plain(box)} · {plain(short(one.text, 70))}")
                st.button(
                    page.say("content.kept.open"), key=f"content_open_{one.id}", on_click=_replace, args=(one.text,)
                )
                st.button(
                    page.say("content.kept.delete"), key=f"content_delete_{one.id}", on_click=_delete, args=(one.id,)
                )
        if len(texts) > state.get("shown", SHOWN):
            st.button(page.say("content.kept.more"), key="content_kept_more", on_click=_more)


def _state() -> dict[str, Any]:
    """What this session remembers: texts to go back to and on to, the last one, what was deleted or went wrong."""
    state: dict[str, Any] = st.session_state.setdefault(_STATE, {"back": [], "again": [], "last": ""})
    return state


def _remember() -> None:
    """Know what stood there before the learner's change."""
    state = _state()
    state["back"] = [*state["back"], state["last"]][-STEPS_BACK:]
    state["again"] = []


def _replace(text: str) -> None:
    _remember()
    st.session_state[_KEY] = text


def _undo() -> None:
    state = _state()
    state["again"].append(st.session_state[_KEY] or "")
    st.session_state[_KEY] = state["back"].pop()


def _redo() -> None:
    state = _state()
    state["back"].append(st.session_state[_KEY] or "")
    st.session_state[_KEY] = state["again"].pop()


def _exported() -> None:
    _state()["exported"] = True


def _more() -> None:
    state = _state()
    state["shown"] = state.get("shown", SHOWN) + SHOWN


def _keep(text: str, brief: Brief, box_id: str) -> None:
    state, about = _state(), {"brief": asdict(brief), "box": box_id}
    try:
        keep(learner.whose().id, PLACE, name=brief.topic, text=text, now=learner.now(), about=about)
        state["kept"] = True
    except (WriteError, JournalError) as error:
        state["error"] = error


def _delete(kept_id: str) -> None:
    state = _state()
    try:
        state["gone"] = forget(learner.whose().id, PLACE, kept_id)
    except (WriteError, JournalError) as error:
        state["error"] = error


def _bring_back() -> None:
    state = _state()
    gone: Kept = state.pop("gone")
    try:
        keep(learner.whose().id, PLACE, name=gone.name, text=gone.text, now=learner.now(), about=gone.about)
    except (WriteError, JournalError) as error:
        state["error"] = error
