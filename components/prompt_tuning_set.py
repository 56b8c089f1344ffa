"""The Prompt tuning page's first part: which box answers, and which test set it is asked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import data_given, engine
from components import prompt_tuning_engine as found
from components import prompts_engine as boxes
from components.classify_engine import languages
from components.figure import draw_note
from components.frame import Page, short
from components.material_choice import current_data
from components.theme import own_style
from lessons import LANGUAGES

if TYPE_CHECKING:
    from llmkit.generate.answer_score import Score
    from llmkit.generate.trial_rows import TestRow, TrialSet

_FILE = "_prompt_tuning_file"
_LANGS = tuple(LANGUAGES)


def draw_box(page: Page) -> str | None:
    """Let the learner choose the box that answers; None, and the way out, where none here can."""
    bench = page.bench
    st.html(own_style("prompt_tuning"))
    with page.guard(), st.spinner(page.say("prompt_tuning.opening")):
        engine.open_box(bench.box_id)  # a broken box on the workbench is said, whatever answers below
        here = boxes.promptable(bench.box_id)
        if not here:
            st.info(page.say("prompt_tuning.no_box"))
            page.lead("unbox")
            return None
        box_id = st.selectbox(
            page.say("prompt_tuning.box"),
            here,
            index=here.index(boxes.usual(bench.box_id, here)),
            key=f"prompt_tuning_box_{bench.box_id}",
            persist_state="session",
            width=340,
        )
        if not boxes.facts(box_id).instruct:
            draw_note(page.say("prompt_tuning.base", box=box_id))
        elif box_id != bench.box_id:
            draw_note(page.say("prompt_tuning.other_box", own=bench.box_id, box=box_id))
        return str(box_id)
    return None


def draw_lang(page: Page, box_id: str | None, label: str, *, key: str) -> str:
    """Let the learner choose in which language the box is asked; first lies the page's, where the box knows it."""
    known = languages(box_id) if box_id else ()
    usual = page.bench.lang if not known or page.bench.lang in known else "en"
    lang = st.segmented_control(
        label,
        _LANGS,
        default=usual,
        required=True,
        format_func=lambda one: page.say(f"prompt_tuning.lang.{one}"),
        key=f"{key}_{usual}",
        persist_state="session",
    )
    if known and lang not in known:
        draw_note(page.say("prompt_tuning.foreign", box=box_id))
    return str(lang or usual)


def draw_set(page: Page, box_id: str | None) -> TrialSet | None:
    """Let the learner choose the test set and how it is scored; None, and why, where there is none."""
    from llmkit.generate.answer_score import SCORES
    from llmkit.generate.trial_rows import sets

    st.header(page.say("prompt_tuning.set.title"))
    lang = draw_lang(page, box_id, page.say("prompt_tuning.lang"), key="prompt_tuning_lang")
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        ours = {one.id: one for one in sets(lang)}
        source = st.segmented_control(
            page.say("prompt_tuning.set"),
            (*ours, "pasted", "prepared"),
            default=next(iter(ours)),
            required=True,
            format_func=lambda one: page.say(f"prompt_tuning.set.{one}"),
            key="prompt_tuning_set",
            persist_state="session",
        )
        usual = ours[source].score if source in ours else "label"
        score = st.selectbox(
            page.say("prompt_tuning.score"),
            SCORES,
            index=SCORES.index(usual),
            format_func=lambda one: page.say(f"prompt_tuning.score.{one}"),
            key=f"prompt_tuning_score_{source}",
            persist_state="session",
            width=300,
        )
    draw_note(page.say(f"prompt_tuning.score.{score}.what"))
    with page.guard():
        trial = dataclasses.replace(ours[source], score=score) if source in ours else None
        if trial is None:
            trial = _draw_own(page, str(source), score, lang)
        if trial is not None:
            _draw_rows(page, trial)
        return trial
    return None


def _draw_own(page: Page, source: str, score: Score, lang: str) -> TrialSet | None:
    """Take the learner's rows: pasted lines, or the prepared data."""
    rows: tuple[TestRow, ...] = ()
    if source == "pasted":
        draw_note(page.say("prompt_tuning.paste.what"))
        given = data_given.draw_paste(
            page,
            page.say("prompt_tuning.paste"),
            use=page.say("prompt_tuning.paste.use"),
            name="trial.csv",
            key="prompt_tuning",
            place=_FILE,
        )
        rows = found.pasted_rows(given) if given else ()
    else:
        set_id = current_data()
        rows = found.prepared_rows(set_id) if set_id else ()
        if not rows:
            st.info(page.say("prompt_tuning.prepared.none"))
            page.lead("material")
    if not rows:
        return None
    labels = page.say("common.comma").join(dict.fromkeys(short(row.expected) for row in rows))
    precise = page.say(f"prompt_tuning.own.{score}", labels=short(labels, 200).replace("{", "").replace("}", ""))
    return found.own_set(rows, score, lang, precise)


def _draw_rows(page: Page, trial: TrialSet) -> None:
    page.count("part.row", len(trial.rows))
    with st.expander(page.say("prompt_tuning.rows", n=len(trial.rows))):
        table = [{**row.values, page.say("prompt_tuning.expected"): row.expected} for row in trial.rows]
        st.dataframe(pd.DataFrame(table), hide_index=True)
