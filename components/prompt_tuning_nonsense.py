"""The Prompt tuning page's last part: talking nonsense made visible, counted on questions with known answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from components import prompt_tuning_engine as found
from components import prompt_tuning_picture as picture
from components import prompt_tuning_set as sets
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, section
from components.job_panel import draw_job, duration
from components.source import draw_source
from llmkit import jobs


@section
def draw_nonsense(page: Page, box_id: str) -> None:
    """Count right answers, made-up ones, and those that say "I don't know", for three ways of asking."""
    from llmkit.generate.nonsense import judge

    st.header(page.say("prompt_tuning.nonsense.title"))
    lang = sets.draw_lang(page, box_id, page.say("prompt_tuning.nonsense.lang"), key="prompt_tuning_nonsense_lang")
    settings = found.nonsense_settings(box_id, lang)
    n = len(settings["facts"])
    page.count("part.fact", n)
    shipped = found.recorded(settings)
    if shipped is not None and jobs.find(found.NONSENSE, settings) is None:
        _draw_counted(page, shipped.result["rows"], shipped.badge, key="nonsense_recorded")
        draw_note(page.say("prompt_tuning.nonsense.recorded"))
    made = draw_job(
        page,
        found.NONSENSE,
        settings,
        label=page.say("prompt_tuning.nonsense.run", n=n * len(settings["ways"])),
        key="prompt_tuning_nonsense",
        partial=lambda so_far: _draw_so_far(page, so_far),
    )
    if made is not None:
        page.tick("do.nonsense")
        _draw_counted(page, made.value["rows"], made.badge, key="nonsense")
    elif shipped is not None:
        took = duration(shipped.result["seconds"], page.bench.say)
        draw_note(page.say("prompt_tuning.nonsense.takes", time=took, device=shipped.badge.device))
    with st.expander(page.say("prompt_tuning.nonsense.asked")):
        for way, text in settings["asked"].items():
            st.caption(page.say(f"prompt_tuning.way.{way}"))
            st.code(text, language=None, wrap_lines=True)
    draw_note(page.say("prompt_tuning.nonsense.method"))
    draw_source(page, judge)


def _draw_so_far(page: Page, so_far: Mapping[str, Any]) -> None:
    rows = so_far["rows"]
    made_up = sum(row["outcome"] == "made_up" for row in rows)
    draw_note(page.say("prompt_tuning.nonsense.so_far", n=len(rows), made_up=made_up))


def _draw_counted(page: Page, rows: list[dict[str, Any]], badge: Badge, *, key: str) -> None:
    """Draw the counts, what each way changed, and one question's answers."""
    counted = found.counts(rows)
    alt = page.say("common.comma").join(
        page.say("prompt_tuning.nonsense.alt", way=page.say(f"prompt_tuning.way.{way}"), n=sum(kinds.values()), **kinds)
        for way, kinds in counted.items()
    )
    columns = ("way", "question", "outcome", "text")
    table = pd.DataFrame([{name: row[name] for name in columns} for row in rows])
    page.figure(picture.outcomes(counted, page.bench.say), key=key, badge=badge, alt=alt, data=table)
    for way, duel in found.changes(rows, "made_up").items():
        kind = "none" if duel.p >= 0.05 else "fewer" if duel.only_first > duel.only_second else "more"
        draw_note(
            page.say(
                f"prompt_tuning.nonsense.{kind}",
                way=page.say(f"prompt_tuning.way.{way}"),
                gone=duel.only_first,
                new=duel.only_second,
                p=f"{duel.p:.3f}",
            )
        )
    lost = found.changes(rows, "right")
    for way, duel in lost.items():
        if duel.only_first:
            name = page.say(f"prompt_tuning.way.{way}")
            draw_note(page.say("prompt_tuning.nonsense.lost", way=name, n=duel.only_first))
    _draw_one(page, rows, key=key)


def _draw_one(page: Page, rows: list[dict[str, Any]], *, key: str) -> None:
    """Let the learner read what was answered to one question."""
    questions = {row["number"]: row for row in rows}
    at = st.selectbox(
        page.say("prompt_tuning.nonsense.read"),
        tuple(questions),
        format_func=lambda number: questions[number]["question"],
        key=f"prompt_tuning_{key}_question",
    )
    own = [row for row in rows if row["number"] == at]
    st.html(picture.answers(own, page.bench.say))
    if own:
        draw_note(page.say("prompt_tuning.nonsense.truth", answers=" / ".join(own[0]["answers"])))
