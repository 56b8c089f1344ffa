"""Step 2-6, the text: a data box, a file of one's own, or what is pasted."""

from __future__ import annotations

import streamlit as st

from components import pretrain_engine as found
from components.figure import draw_note
from components.frame import Page
from components.pretrain_engine import Source

KINDS = ("box", "file", "paste")
LIMIT_MB = 50
"""Megabytes of a file; `llmkit.tune.data.dataset.MAX_BYTES` and `.streamlit/config.toml` say the same."""

REVIEWS = {"zh-TW": "reviews-zh-tw", "en": "reviews-en"}
SHOWN = 400
_FILE, _PASTED = "_pretrain_file", "_pretrain_pasted"


def draw_text(page: Page) -> Source | None:
    """Draw where the text comes from and how it begins; return its source, None as long as there is none."""
    say = page.say
    st.header(say("pretrain.text.title"))
    kind = st.segmented_control(
        say("pretrain.text.from"),
        KINDS,
        default="file" if st.session_state.get(_FILE) else "box",
        format_func=lambda name: say(f"pretrain.from.{name}"),
        required=True,
        key="pretrain_kind",
        persist_state="session",
    )
    name = {"box": _draw_box, "file": _draw_upload, "paste": _draw_paste}[str(kind)](page)
    if not name:
        return None
    with page.guard():
        return _draw_facts(page, name)
    return None


def _draw_box(page: Page) -> str | None:
    from llmkit import shelf

    here = shelf.boxes_here("data")
    if not here:
        st.info(page.say("pretrain.text.no_box"))
        return None
    usual = REVIEWS[page.bench.lang]
    return st.selectbox(
        page.say("pretrain.from.box"), here, index=here.index(usual) if usual in here else 0, key="pretrain_box"
    )


def _draw_upload(page: Page) -> str | None:
    given = st.file_uploader(page.say("pretrain.text.file", mb=LIMIT_MB), max_upload_size=LIMIT_MB, key="pretrain_file")
    if given is not None and st.session_state.get("_pretrain_file_id") != given.file_id:
        _keep(page, _FILE, given.getvalue(), given.name)
        st.session_state["_pretrain_file_id"] = given.file_id
    kept: str | None = st.session_state.get(_FILE)
    return kept


def _draw_paste(page: Page) -> str | None:
    typed = st.text_area(page.say("pretrain.text.paste"), key="pretrain_paste", persist_state="session", height=200)
    if st.button(page.say("pretrain.text.use"), key="pretrain_use", disabled=not typed) and typed:
        _keep(page, _PASTED, typed.encode("utf-8", errors="replace"), page.say("pretrain.text.pasted"))
    kept: str | None = st.session_state.get(_PASTED)
    return kept


def _keep(page: Page, place: str, content: bytes, name: str) -> None:
    """Keep bytes under their digest, so that a page turn does not lose them."""
    from llmkit.tune.data.source import keep_file

    st.session_state.pop(place, None)
    with page.guard():
        st.session_state[place] = keep_file(content, name)


def _draw_facts(page: Page, name: str) -> Source:
    """Say how much text there is, and show its beginning."""
    from llmkit.tune.data.encoding import CODECS
    from llmkit.tune.data.source import fingerprint

    say, encoding = page.say, None
    if name.startswith("file:"):
        asked = st.session_state.get(f"pretrain_encoding_{name[5:13]}")
        encoding = asked or None
    source = Source(source=name, fingerprint=fingerprint(name), encoding=encoding)
    with st.spinner(say("pretrain.text.wait")):
        try:
            text = found.text(source)
        finally:
            if name.startswith("file:"):
                st.selectbox(
                    say("pretrain.text.encoding"),
                    ("", *CODECS),
                    format_func=lambda one: one or say("pretrain.text.auto"),
                    key=f"pretrain_encoding_{name[5:13]}",
                )
    line = say(
        "pretrain.text.facts",
        name=text.name,
        n=f"{text.characters:,}",
        held=f"{text.held_out_characters:,}",
        different=f"{text.different:,}",
    )
    draw_note(line)
    if text.cut_off:
        draw_note(say("pretrain.text.cut", n=f"{text.cut_off:,}"))
    with st.expander(say("pretrain.text.look"), key="pretrain_look"):
        st.code("\n".join(text.train[:8])[:SHOWN], language=None, wrap_lines=True)
    if name != REVIEWS[page.bench.lang]:
        page.tick("do.text")
    return source
