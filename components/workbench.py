"""The workbench: one language, one box and one sentence, kept from page to page and in the address bar."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from components import engine
from lessons import DEFAULT_LANGUAGE, LANGUAGES, Words, words

DEFAULT_BOX = "gpt2-starter"
SENTENCE_LIMIT = 2_000
"""Characters of a sentence: an address much longer than this is refused by servers, and no picture could show it."""

_FILL = "_workbench_fill"
_NOTICES = "_workbench_notices"


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """What lies on the workbench.

    Args:
        lang: the language of the page, "zh-TW" or "en".
        box_id: the model box, one that is on this machine.
        sentence: the text that every picture is about; never empty, at most SENTENCE_LIMIT characters.
    """

    lang: str
    box_id: str
    sentence: str

    @property
    def say(self) -> Words:
        """The words of the guide in this language."""
        return words(self.lang)


def words_now() -> Words:
    """Return the words of the language that the workbench has, or is about to have; draws nothing."""
    state = st.session_state
    asked = (state.get(_FILL, {}).get("lang"), state.get("lang"), st.query_params.get("lang"))
    known = [str(lang) for lang in asked if lang in LANGUAGES]
    return words(known[0] if known else _reader_language())


def lay_out() -> Workbench:
    """Draw the workbench into the sidebar and return what lies on it; call it once, from app.py.

    What the address bar asks for and cannot be had (no such language, no such box here, a sentence that is too
    long) is replaced by the default, and a notice says so in the page's language.
    """
    st.session_state.update(st.session_state.pop(_FILL, {}))
    asked = {key: st.query_params.get(key) for key in ("lang", "box", "sentence")}
    boxes = engine.boxes_here(DEFAULT_BOX, st.session_state.get("box") or asked["box"])
    lang, box_id, sentence = _draw(words_now(), boxes)
    bench = _settle(lang=lang, box_id=box_id, sentence=sentence, asked=asked)
    for key, value in st.session_state.get(_NOTICES, []):
        st.sidebar.warning(bench.say(key, value=value))
    return bench


def current() -> Workbench:
    """Return the workbench as app.py laid it out in this run."""
    state = st.session_state
    return Workbench(lang=state["lang"], box_id=state["box"], sentence=state["sentence"])


def _draw(say: Words, boxes: tuple[str, ...]) -> tuple[str | None, str | None, str | None]:
    """Draw the three widgets; None is what nobody has chosen yet, or a choice that does not exist."""
    with st.sidebar:
        lang = st.segmented_control(
            say("common.language"), tuple(LANGUAGES), required=True, key="lang", bind="query-params"
        )
        box_id = st.selectbox(
            say("common.box"),
            boxes,
            index=None,
            key="box",
            bind="query-params",
            on_change=_forget_notices,
        )
        sentence = st.text_area(
            say("common.sentence"),
            value=None,
            key="sentence",
            bind="query-params",
            height=110,
            on_change=_cut_sentence,
            help=say("common.sentence.help", limit=SENTENCE_LIMIT),
        )
    return lang, box_id, sentence


def _settle(*, lang: str | None, box_id: str | None, sentence: str | None, asked: dict[str, str | None]) -> Workbench:
    """Return the workbench, or lay the defaults where something is missing and run again."""
    fill: dict[str, str] = {}
    notices: list[tuple[str, object]] = []
    if lang is None:
        fill["lang"] = _reader_language()
        if asked["lang"]:
            notices.append(("common.notice.language", _short(asked["lang"])))
    if box_id is None:
        fill["box"] = DEFAULT_BOX
        if asked["box"]:
            notices.append(("common.notice.box", _short(asked["box"])))
    if not sentence:
        fill["sentence"] = words(lang or fill["lang"])("common.sentence.default")
    elif len(sentence) > SENTENCE_LIMIT:
        fill["sentence"] = sentence[:SENTENCE_LIMIT]
        notices.append(("common.notice.sentence", SENTENCE_LIMIT))
    if fill:
        st.session_state[_FILL] = fill
        st.session_state[_NOTICES] = st.session_state.get(_NOTICES, []) + notices
        st.rerun()
    return current()


def _cut_sentence() -> None:
    """Keep the sentence within its limit before it reaches the address bar."""
    _forget_notices()
    sentence = st.session_state["sentence"] or ""
    if len(sentence) > SENTENCE_LIMIT:
        st.session_state["sentence"] = sentence[:SENTENCE_LIMIT]
        st.session_state[_NOTICES] = [("common.notice.sentence", SENTENCE_LIMIT)]


def _forget_notices() -> None:
    st.session_state.pop(_NOTICES, None)


def _reader_language() -> str:
    """Return English where the browser asks for it first, else Taiwan's Chinese."""
    locale = st.context.locale or ""
    return "en" if locale.lower().startswith("en") else DEFAULT_LANGUAGE


def _short(text: str) -> str:
    """Return what the address bar asked for, plain and short enough for one line; no markup survives."""
    plain = "".join(char for char in text if char.isalnum() or char in "-_./ ")
    return plain[:40] + ("…" if len(plain) > 40 else "")
