"""Step 2-6, the text: a data box, a file of one's own, or what is pasted."""

from __future__ import annotations

import streamlit as st

from components import data_given as given
from components import pretrain_engine as found
from components.figure import draw_note
from components.frame import Page
from components.pretrain_engine import Source

SHOWN = 400
_FILE, _PASTED = "_pretrain_file", "_pretrain_pasted"


def draw_text(page: Page) -> Source | None:
    """Draw where the text comes from and how it begins; return its source, None as long as there is none."""
    say = page.say
    st.header(say("pretrain.text.title"))
    names = {one: say(f"pretrain.from.{one}") for one in given.KINDS}
    kind = given.draw_kind(say("pretrain.text.from"), names, key="pretrain_kind", given=_FILE)
    name = _draw_given(page, kind)
    if not name:
        return None
    with page.guard():
        return _draw_facts(page, name)
    return None


def _draw_given(page: Page, kind: str) -> str | None:
    """Draw one kind of source; return its name, None as long as nothing was given."""
    say = page.say
    if kind == "box":
        return given.draw_box(page, say("pretrain.from.box"), none=say("pretrain.text.no_box"), key="pretrain_box")
    if kind == "file":
        return given.draw_upload(page, say("pretrain.text.file", mb=given.LIMIT_MB), key="pretrain_file", place=_FILE)
    words = {"use": say("pretrain.text.use"), "name": say("pretrain.text.pasted")}
    return given.draw_paste(page, say("pretrain.text.paste"), **words, key="pretrain", place=_PASTED)


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
    if name != given.REVIEWS[page.bench.lang]:
        page.tick("do.text")
    return source
