"""Where a page's data come from: a data box, a file of one's own, or what is pasted; what was given is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from components.frame import Page

KINDS = ("box", "file", "paste")
LIMIT_MB = 50
"""Megabytes of a file; `llmkit.tune.data.dataset.MAX_BYTES` and `.streamlit/config.toml` say the same."""

REVIEWS = {"zh-TW": "reviews-zh-tw", "en": "reviews-en"}
"""The data box that lies there first, by the page's language."""


def draw_kind(label: str, names: Mapping[str, str], *, key: str, given: str) -> str:
    """Let the learner choose where the data come from; return one of `KINDS`.

    Args:
        names: what each kind is called. given: where in the session a file's source name is kept.
    """
    kind = st.segmented_control(
        label,
        KINDS,
        default="file" if st.session_state.get(given) else "box",
        format_func=lambda name: names.get(name, name),
        required=True,
        key=key,
        persist_state="session",
    )
    return str(kind)


def draw_box(page: Page, label: str, *, none: str, key: str, **more: Any) -> str | None:
    """Let the learner choose a data box of this machine; None, and the words `none`, where there is none."""
    from llmkit import shelf

    here = shelf.boxes_here("data")
    if not here:
        st.info(none)
        return None
    usual = REVIEWS[page.bench.lang]
    box: str = st.selectbox(label, here, index=here.index(usual) if usual in here else 0, key=key, **more)
    return box


def draw_upload(page: Page, label: str, *, key: str, place: str) -> str | None:
    """Take a file; return the source name that stands at `place` in the session, None as long as there is none."""
    given = st.file_uploader(label, max_upload_size=LIMIT_MB, key=key)
    if given is not None and st.session_state.get(f"{place}_id") != given.file_id:
        _keep(page, place, given.getvalue(), given.name)
        if place in st.session_state:
            st.session_state[f"{place}_id"] = given.file_id
    return st.session_state.get(place)


def draw_paste(page: Page, label: str, *, use: str, name: str, key: str, place: str) -> str | None:
    """Take pasted lines when the button `use` is pressed; return the source name at `place`, as `draw_upload` does."""
    typed = st.text_area(label, key=f"{key}_paste", persist_state="session", height=200)
    if st.button(use, key=f"{key}_use", disabled=not typed) and typed:
        _keep(page, place, typed.encode("utf-8", errors="replace"), name)
    return st.session_state.get(place)


def _keep(page: Page, place: str, content: bytes, name: str) -> None:
    """Keep bytes under their digest, so that a page turn does not lose them; `place` is empty where that fails."""
    from llmkit.tune.data.source import keep_file

    st.session_state.pop(place, None)
    with page.guard():
        st.session_state[place] = keep_file(content, name)
