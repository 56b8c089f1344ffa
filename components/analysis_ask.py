"""Ask in words: rules propose a step, a box chooses one; it is shown before anything happens, and nothing else can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import analysis_editor as editor
from components import analysis_engine as found
from components import engine, prompts_engine
from components.analysis_engine import Work
from components.analysis_words import described, shower
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, plain, section
from components.job_panel import draw_job
from components.source import draw_source

if TYPE_CHECKING:
    from llmkit.analyse.operation import Operation

TOP = 5
"""Choices of the box that are drawn."""


@section
def draw_ask(page: Page, kept: Work) -> None:
    """Draw the question, what the rules make of it, and what a box chooses."""
    from llmkit.analyse.candidates import QUESTION_CHARACTERS, candidates, hear
    from llmkit.analyse.grammar import understand

    say, table = page.say, found.frame(kept)
    if st.session_state.get("_analysis_asked"):
        page.tick("do.ask")
    st.header(say("analysis.ask.title"))
    question = st.text_input(
        say("analysis.ask.question"),
        value=say("analysis.ask.first"),
        key=f"analysis_question_{page.bench.lang}",
        max_chars=QUESTION_CHARACTERS,
        persist_state="session",
    )
    heard = hear(question or "", table)
    by_rules, by_box = st.columns(2)
    with by_rules, st.container(border=True, key="analysis_rules"):
        st.subheader(say("analysis.ask.rules"), anchor=False)
        draw_note(say("analysis.ask.rules.what"))
        step = understand(question, table)
        if step is None:
            st.info(say("analysis.ask.nothing"))
        else:
            _draw_proposal(page, kept, step, key="rules")
    with by_box, st.container(border=True, key="analysis_box"):
        st.subheader(say("analysis.ask.box"), anchor=False)
        _draw_box(page, kept, question, candidates(table, heard))
    draw_source(page, understand)


def _draw_box(page: Page, kept: Work, question: str, choices: tuple[Operation, ...]) -> None:
    """Let a box choose among the operations."""
    from llmkit.analyse.candidates import phrase
    from llmkit.tune.ways.task import language

    say, own = page.say, page.bench.box_id
    with st.spinner(say("analysis.wait")):
        boxes = list(dict.fromkeys([*prompts_engine.promptable(own), *found.readers(own)]))
    boxes.sort(key=lambda one: one != found.ENCODER)
    box = st.selectbox(say("analysis.ask.with"), boxes, key=f"analysis_ask_box_{own}")
    if not choices or box is None:
        draw_note(say("analysis.ask.none"))
        return
    draw_note(say("analysis.ask.box.what", n=len(choices)))
    lang = language([question])
    settings = {
        "box_id": box,
        "fingerprint": engine.fingerprint(box),
        "device": engine.device(),
        "question": question,
        "lang": lang,
        "phrases": [phrase(one, lang) for one in choices],
    }
    made = draw_job(page, found.ASK, settings, label=say("analysis.ask.run"), key="analysis_ask")
    if made is None:
        return
    probs = np.asarray(made.value["probs"], dtype=np.float32)
    _draw_proposal(page, kept, choices[int(probs.argmax())], key="box", sure=float(probs.max()))
    _draw_choices(page, kept, choices, probs, made)


def _draw_choices(
    page: Page, kept: Work, choices: tuple[Operation, ...], probs: np.ndarray[Any, Any], made: engine.Made[Any]
) -> None:
    """Draw the likeliest choices with their probabilities."""
    show = shower(page, kept)
    best = np.argsort(-probs, kind="stable")[:TOP].tolist()
    told = [described(page, choices[at], show) for at in best]
    alt = page.say(
        "analysis.ask.alt",
        n=len(choices),
        listed=page.say("common.comma").join(
            page.say("analysis.ask.one", told=text, p=f"{probs[at]:.0%}") for text, at in zip(told, best, strict=True)
        ),
    )
    everything = pd.DataFrame({"operation": [described(page, one, show) for one in choices], "probability": probs})
    with st.expander(page.say("analysis.ask.choices", n=len(choices))):
        drawing = bars([("", probs[best].tolist())], told, x=page.say("analysis.ask.axis"), digits=2)
        page.figure(drawing, key="choices", badge=made.badge, alt=alt, data=everything)
        draw_note(page.say(f"analysis.ask.way.{made.value['way']}"))


def _draw_proposal(page: Page, kept: Work, step: Operation, *, key: str, sure: float | None = None) -> None:
    """Show a step in words; take it, or lay it into the editor."""
    say = page.say
    told = described(page, step, shower(page, kept))
    st.markdown(f"**{plain(told)}**")
    if sure is not None:
        draw_note(say("analysis.ask.sure", p=f"{sure:.0%}"))
    with st.container(horizontal=True):
        full = len(kept.steps) >= found.MOST_STEPS
        if st.button(say("analysis.ask.take"), key=f"analysis_take_{key}", type="primary", disabled=full):
            found.take(step)
            st.session_state["_analysis_asked"] = True
            st.rerun()
        if st.button(say("analysis.ask.edit"), key=f"analysis_edit_{key}", on_click=editor.fill, args=(step,)):
            st.rerun()
