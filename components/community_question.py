"""The question template, filled in by what this machine and this session know, and the check of a draft."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from urllib.parse import parse_qsl, urlencode

import streamlit as st

from components import kept
from components.copying import draw_copying
from components.figure import draw_note
from components.frame import Page, Verdict, plain, short
from lessons import LANGUAGES, Words, words
from lessons.registry import Step
from llmkit import journal
from llmkit.compress import FORMS
from llmkit.journal import Mistake
from llmkit.journal.text import query
from llmkit.question import KINDS, PIECES, Question, describe, found_in, missing, names_of_boxes, ready, weighted_length
from llmkit.question.formats import X_MOST

MOST_ERRORS = 20
MOST_CHARACTERS = 4_000
SAID = ("title", "page", "tried", "expected", "happened", "error", "nothing")
FACTS = ("versions", "machine", "box", "form", "differ")
ENDS = {"forum": "md", "github": "md", "x": "txt"}


def draw_template(page: Page, step: Step) -> None:
    """Draw what the learner has to say, and below it the whole question, ready to be posted by hand."""
    st.html(f"<h2>{escape(page.say('community.template'))}</h2>")
    said = {
        name: st.text_area(
            page.say(f"community.{name}"),
            key=f"community_{name}",
            height=80,
            max_chars=MOST_CHARACTERS,
            persist_state="session",
        )
        for name in ("tried", "happened", "expected")
    }
    if (said["tried"] or "").strip() and (said["happened"] or "").strip():
        page.tick("do.fill")
    met = _draw_error(page)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        form = st.selectbox(page.say("community.form"), [one.id for one in FORMS], key="community_form", width=220)
        lang = st.segmented_control(
            page.say("community.lang"), tuple(LANGUAGES), default=page.bench.lang, required=True, key="community_lang"
        )
        kind = st.segmented_control(
            page.say("community.kind"),
            KINDS,
            default=KINDS[0],
            required=True,
            format_func=lambda one: page.say(f"community.shape.{one}"),
            key="community_kind",
        )
        with_sentence = st.toggle(page.say("community.sentence"), value=True, key="community_sentence")
    say = words(lang)
    question = Question(
        tried=said["tried"] or "",
        expected=said["expected"] or "",
        happened=said["happened"] or "",
        error=_said(met, say) if met else "",
        page=f"{step.number} {say(step.key('title'))}",
        settings=_settings(page, step, met, with_sentence=with_sentence),
        facts=describe(page.bench.box_id, form),
    )
    headings = {name: say(f"community.post.{name}") for name in (*SAID, *FACTS)} | {"app": say("common.app")}
    found = ready(question, kind, headings)
    _draw_ready(page, found.text, found.hidden, kind)


def _draw_ready(page: Page, text: str, hidden: Mapping[str, int], kind: str) -> None:
    page.count("part.hidden", sum(hidden.values()))
    if hidden:
        told = page.say("common.comma").join(f"{page.say(f'community.hidden.{one}')} {n}" for one, n in hidden.items())
        draw_note(page.say("community.hidden", told=told))
    if kind == "x":
        draw_note(page.say("community.weight", n=weighted_length(text), most=X_MOST))
    copied = draw_copying(
        text,
        page.bench.say,
        name=page.say("community.template"),
        label=page.say("community.copy"),
        key="community_ready",
    )
    name = f"question.{ENDS[kind]}"
    saved = st.download_button(page.say("community.save"), text, name, "text/plain", key="community_save")
    if copied or saved:
        page.tick("do.take")


def _draw_error(page: Page) -> Mistake | None:
    """Let the learner choose an error that the guide has met; the latest is chosen at first."""
    met: dict[str, Mistake] = {}
    with page.guard():
        me = kept.whose().id
        both = (*journal.mistakes(me, "offered"), *journal.mistakes(me, "kept"))
        met = {one.id: one for one in sorted(both, key=lambda one: -one.last_at)[:MOST_ERRORS]}
    if not met:
        return None
    chosen = st.selectbox(
        page.say("community.error"),
        (*met, ""),
        format_func=lambda one: (
            short(_said(met[one], page.bench.say), 80) if one in met else page.say("community.no_error")
        ),
        key="community_error",
    )
    return met.get(chosen)


def _said(one: Mistake, say: Words) -> str:
    """Return an error as the guide says it in a language, with its code; or what the learner has written of it."""
    try:
        told = say(f"common.error.{one.code}").format(**one.details) if one.code else one.what
    except (KeyError, IndexError, ValueError):  # an older guide's error, with other values
        told = ""
    return ": ".join(piece for piece in (one.code, told) if piece)


def _settings(page: Page, step: Step, met: Mistake | None, *, with_sentence: bool) -> str:
    """Return the sheet's address with what it was set to: when the error was met, else when it was last looked at."""
    mine = met is not None and met.page == step.slug and bool(met.link)
    link = met.link if met is not None and mine else kept.last_visits().get(step.slug, "")
    pairs = dict(parse_qsl(query(link), keep_blank_values=True))
    pairs.setdefault("box", page.bench.box_id)
    if with_sentence:
        pairs.setdefault("sentence", page.bench.sentence)
    else:
        pairs.pop("sentence", None)
    return f"{step.slug}?{urlencode(pairs)}"


def draw_check(page: Page) -> None:
    """Let the learner write a question, say what a helper will ask back for first, and look for it."""
    draft = st.text_area(
        page.say("community.draft"),
        value=page.say("community.draft.first"),
        key=f"community_draft_{page.bench.lang}",
        max_chars=MOST_CHARACTERS,
        height=110,
    )
    options: dict[str, str] = {piece: page.say(f"community.piece.{piece}") for piece in (*PIECES, "none")}

    def run() -> Verdict:
        boxes = names_of_boxes()
        found, lacks = found_in(draft or "", boxes), missing(draft or "", boxes)
        between = page.say("common.comma")
        shown = between.join(f"{options[piece]} {plain(text)}" for piece, text in found.items())
        told = page.say(
            "community.check.because",
            found=shown or page.say("community.nothing"),
            lacks=between.join(options[piece] for piece in lacks) or page.say("community.nothing"),
        )
        return Verdict(answer=lacks[0] if lacks else "none", explanation=told)

    asked = page.say("community.check", draft=plain(short(draft or "", 60)), n=len(draft or ""))
    page.check("lacks", question=asked, options=options, run=run)
