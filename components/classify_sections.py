"""The page of task A: which rows, which boxes, all ways on one board, a row of the learner's own, and the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components import classify_board as board
from components import classify_engine as found
from components import engine, prompts_engine
from components.badge import Badge
from components.classify_engine import Answered, Choice, Rows
from components.classify_picture import probabilities
from components.figure import as_csv, draw_note
from components.frame import Page, Verdict, plain, section
from components.job_panel import draw_job
from components.material_choice import labelled_here, usual_data
from components.source import draw_source

LABELS_NAMED = 8
"""Labels that are named in a line; the rest is counted."""


def draw_data(page: Page) -> Rows | None:
    """Let the learner choose labelled data and how many held-out rows; None, and the way out, where there are none."""
    from llmkit.tune.ways.task import SAMPLE, SAMPLES

    with page.guard(), st.spinner(page.say("classify.wait")):
        engine.open_box(page.bench.box_id)  # a broken box on the workbench is said, whatever is asked below
    sources = labelled_here()
    if not sources:
        st.info(page.say("classify.no_data"))
        page.lead("unbox")
        page.lead("material")
        return None
    with st.container(horizontal=True, gap="medium"):
        data = st.selectbox(
            page.say("classify.data"),
            sources,
            index=usual_data(sources),
            key="classify_data",
            persist_state="session",
            width=340,
        )
        sample = st.select_slider(
            page.say("classify.sample"), SAMPLES, SAMPLE, key="classify_sample", persist_state="session", width=340
        )
    with page.guard(), st.spinner(page.say("classify.wait")):
        fingerprint = found.fingerprint(data)
        rows = Rows(data=data, fingerprint=fingerprint, sample=sample, task=found.task(data, fingerprint, sample))
        _draw_rows(page, rows)
        return rows
    page.lead("material")
    return None


def _draw_rows(page: Page, rows: Rows) -> None:
    """Say how many rows there are for what."""
    task, say = rows.task, page.say
    page.count("part.row", len(task.test))
    page.count("part.label", len(task.labels))
    named = say("common.comma").join(board.shown_label(label) for label in task.labels[:LABELS_NAMED])
    more = len(task.labels) - LABELS_NAMED
    sizes = {"test": len(task.test), "train": len(task.train), "validation": len(task.validation)}
    draw_note(say("classify.rows", **sizes, labels=named + (say("classify.more", n=more) if more > 0 else "")))
    if len(task.test) < rows.sample:
        draw_note(say("classify.fewer", asked=rows.sample, n=len(task.test)))
    if task.empty or task.unlabelled:
        draw_note(say("classify.left_out", empty=task.empty, unlabelled=task.unlabelled))


def draw_choice(page: Page, rows: Rows) -> Choice:
    """Let the learner choose boxes, words and examples; what is usual stands there already."""
    from llmkit.tune.ways.few_shot import SHOT_COUNT, SHOTS

    own, say = page.bench.box_id, page.say
    with st.spinner(say("classify.wait")):
        readers, askable = found.readers(own), found.askable(own)
        tuned = [one.box_id for one in found.tuned(rows.data, rows.fingerprint, rows.task.labels)]
    with st.expander(say("classify.settings")):
        with st.container(horizontal=True, gap="medium"):
            reader = st.selectbox(say("classify.reader"), readers, key=f"classify_reader_{own}", width=320)
            asked = st.selectbox(say("classify.asked"), askable, key=f"classify_asked_{own}", width=320)
            tuned_box = st.selectbox(say("classify.tuned"), tuned, key="classify_tuned", width=320) if tuned else ""
        with st.container(horizontal=True, gap="medium"):
            wording = st.segmented_control(
                say("classify.wording"),
                found.WORDINGS,
                default=found.WORDINGS[0],
                required=True,
                format_func=lambda one: say(f"prompts.wording.{one}"),
                key="classify_wording",
                persist_state="session",
            )
            shots = st.select_slider(
                say("classify.shots"), SHOTS, SHOT_COUNT, key="classify_shots", persist_state="session", width=320
            )
    for box_id in dict.fromkeys(filter(None, (reader, asked))):
        known = found.languages(box_id)
        if known and rows.task.lang not in known:
            draw_note(say("classify.other_language", box=box_id, chance=f"{rows.task.chance:.0%}"))
    return Choice(
        data=rows.data,
        data_fingerprint=rows.fingerprint,
        sample=rows.sample,
        reader=reader,
        asked=asked or "",
        wording=wording or found.WORDINGS[0],
        shots=shots,
        tuned=tuned_box or "",
    )


@section
def draw_board(page: Page, rows: Rows, choice: Choice) -> None:
    """Draw all ways on one board, and below it the jobs that have still to be done."""
    say = page.say
    st.header(say("classify.board.title"))
    picture, findings = st.container(), st.container()
    _draw_jobs(page, choice)
    ways = found.answered(choice)
    at = found.places(ways)
    if len(ways) > 1:
        page.tick("do.run")
    if found.seen().get("cell"):
        page.tick("do.cell")
    with picture:
        shown = page.shown(key="board", badge=_badge(ways), alt=_alt(page, rows, ways, at), data=_table(rows, ways, at))
        with shown:
            board.draw(rows.task, choice, ways, page.bench.say, on_settled=lambda: None)
    with findings:
        if len(ways) > 1:
            _draw_findings(page, rows, ways, at)
        if ways:
            _draw_answers(page, rows, ways, at)
    if not choice.tuned:
        draw_note(say("classify.not_made"))
        page.lead("finetune")


def _draw_jobs(page: Page, choice: Choice) -> None:
    """Draw one button as long as nothing was asked for, then whatever is not done yet."""
    known = found.found_jobs(choice)
    if not any(known.values()):
        if st.button(page.say("classify.run"), key="classify_run", type="primary"):
            found.start_all(choice)
            st.rerun()
        draw_note(page.say("classify.run.what"))
        return
    for group, job in known.items():
        settings = choice.settings(group)
        if settings is None or (job is not None and job.state == "done"):
            continue
        listed = page.say("common.comma").join(page.say(f"classify.way.{way}") for way in found.GROUPS[group])
        if job is not None:
            st.markdown(f"**{plain(listed)}**")
        draw_job(page, found.KIND, settings, label=page.say("classify.run.one", ways=listed), key=f"classify_{group}")


def _draw_findings(page: Page, rows: Rows, ways: Mapping[str, Answered], at: Mapping[str, int]) -> None:
    """Say who wins, who cannot be told from the winner, and what the numbers hang on."""
    from llmkit.tune.ways.measure import duel

    say, task = page.say, rows.task
    ranked = found.ranking(task, ways, at)
    name = {way: say(f"classify.way.{way}") for way in ways}
    best = ways[ranked.winner].facts["scores"][at[ranked.winner]]
    first = say("common.comma").join(say("classify.wins.one", way=name[way]) for way in (ranked.winner, *ranked.tied))
    right = {"ways": first, "right": best["right"], "n": best["n"], "share": f"{best['accuracy']:.0%}"}
    st.markdown(f"### {plain(say('classify.wins', **right))}")
    if ranked.unclear:
        listed = say("common.comma").join(
            say("classify.unclear.one", way=name[way], p=_p(ranked.p[way])) for way in ranked.unclear
        )
        draw_note(say("classify.unclear", n=best["n"], ways=listed))
    else:
        draw_note(say("classify.clear", n=best["n"]))
    level = [
        name[way]
        for way, one in ways.items()
        if one.facts["scores"][at[way]]["low"] <= task.chance <= one.facts["scores"][at[way]]["high"]
    ]
    if level:
        draw_note(say("classify.level", ways=say("common.comma").join(level), chance=f"{task.chance:.0%}"))
    moved = [name[way] for way, one in ways.items() if at[way] != one.facts["place"]]
    if moved:
        draw_note(say("classify.moved", ways=say("common.comma").join(moved)))
    if "few_shot" in ways:
        draw_note(say("classify.shots_used", n=ways["few_shot"].facts["shots"]))
    with st.expander(say("classify.duels", way=name[ranked.winner])):
        draw_note(say("classify.duels.what"))
        columns = {part: say(f"classify.duels.{part}") for part in ("way", "winner", "other", "p")}
        st.dataframe(
            pd.DataFrame(
                {
                    columns["way"]: name[way],
                    columns["winner"]: one.only_first,
                    columns["other"]: one.only_second,
                    columns["p"]: _p(ranked.p[way]),
                }
                for way, one in ranked.duels.items()
            ),
            hide_index=True,
        )
    draw_source(page, duel)


def _draw_answers(page: Page, rows: Rows, ways: Mapping[str, Answered], at: Mapping[str, int]) -> None:
    """Offer every row with every way's answer as CSV."""
    st.download_button(
        page.say("classify.answers"),
        data=lambda: as_csv(answers_table(rows, ways, at)),
        file_name=f"{rows.data}-answers.csv",
        mime="text/csv",
        key="classify_answers",
        on_click="ignore",
    )


def answers_table(rows: Rows, ways: Mapping[str, Answered], at: Mapping[str, int]) -> pd.DataFrame:
    """Every row with its text, its label, and each way's answer and how probable that was."""
    labels = np.asarray(rows.task.labels, dtype=object)
    columns: dict[str, Any] = {
        "text": [row.text for row in rows.task.test],
        "label": [row.label for row in rows.task.test],
    }
    for way, one in ways.items():
        columns[way] = labels[one.judged(at[way])]
        columns[f"{way}_probability"] = one.probs[at[way]].max(-1)
    return pd.DataFrame(columns)


@section
def draw_typed(page: Page, rows: Rows, choice: Choice) -> None:
    """Ask all ways that have answered about a row of the learner's own."""
    say = page.say
    st.header(say("classify.typed.title"))
    ways = found.answered(choice)
    if not ways:
        draw_note(say("classify.typed.first"))
        return
    typed = st.text_area(
        say("classify.typed.text"), page.bench.sentence, key="classify_typed", persist_state="session", height=90
    )
    text = prompts_engine.require_typed(typed or "", empty="row_empty")
    asked = [
        settings
        for group, names in found.GROUPS.items()
        if names[0] in ways and (settings := choice.settings(group)) is not None
    ]
    made = draw_job(
        page,
        found.ONE,
        {"text": text, "asked": asked},
        label=say("classify.typed.run", n=len(ways)),
        key="classify_one",
        partial=lambda so_far: _draw_one(page, so_far, Badge.live(), key="one_partial"),
    )
    if made is None:
        return
    page.tick("do.own")
    _draw_one(page, made.value, made.badge, key="one")


def _draw_one(page: Page, result: Mapping[str, Any], badge: Badge, *, key: str) -> None:
    """Draw each way's probabilities of the labels for one text."""
    say = page.say
    ways = {way: result["ways"][way] for way in found.WAYS if way in result["ways"]}
    if not ways:
        return
    probs = np.array([one["probs"] for one in ways.values()], dtype=np.float32)  # [ways, labels]
    labels = [board.shown_label(label) for label in result["labels"]]
    names = [say(f"classify.way.{way}") for way in ways]
    tops = probs.argmax(-1)
    alt = say("common.comma").join(
        say("classify.typed.one", way=name, label=labels[top], p=f"{line[top]:.0%}")
        for name, top, line in zip(names, tops, probs, strict=True)
    )
    table = pd.DataFrame(probs, columns=list(result["labels"]))
    table.insert(0, "way", list(ways))
    drawing = probabilities(probs, labels, names, axis=say("classify.typed.axis"), rest=say("classify.typed.rest"))
    page.figure(drawing, key=key, badge=badge, alt=alt, data=table)
    draw_note(alt)
    cut = [one for one in ways.values() if one["cut"]]
    if cut:
        draw_note(say("classify.typed.cut", limit=min(one["limit"] for one in cut)))


def draw_check(page: Page, rows: Rows, choice: Choice) -> None:
    """Ask which way is right most often, answered from the rows that were asked here."""
    ways = [way for way in found.WAYS if way != "finetuned" or choice.tuned]
    page.check(
        "winner",
        question=page.say("classify.check.question", data=plain(rows.data), n=len(rows.task.test)),
        options={way: page.say(f"classify.way.{way}") for way in ways},
        run=lambda: _verdict(page, rows, choice),
    )


def _verdict(page: Page, rows: Rows, choice: Choice) -> Verdict:
    ways = found.answered(choice)
    if len(ways) < 2:
        raise found.ClassifyError("ways_not_run", n=len(ways))
    at = found.places(ways)
    ranked = found.ranking(rows.task, ways, at)
    guess = st.session_state.get("guess_classify_winner")
    answer = guess if guess in ranked.tied else ranked.winner  # whoever did as well has won, too
    say = page.say
    listed = say("common.comma").join(
        say("classify.check.one", way=say(f"classify.way.{way}"), share=f"{_accuracy(one, at):.0%}")
        for way, one in sorted(ways.items(), key=lambda item: -_accuracy(item[1], at))
    )
    key = "classify.check.unclear" if ranked.unclear else "classify.check.clear"
    return Verdict(answer=answer, explanation=say(key, listed=listed, n=len(rows.task.test), k=len(ranked.unclear)))


def _accuracy(one: Answered, at: Mapping[str, int]) -> float:
    return float(one.facts["scores"][at[one.way]]["accuracy"])


def _alt(page: Page, rows: Rows, ways: Mapping[str, Answered], at: Mapping[str, int]) -> str:
    """The board in words."""
    say = page.say
    listed = []
    for way, one in ways.items():
        score = one.facts["scores"][at[way]]
        told = {"share": f"{score['accuracy']:.0%}", "low": f"{score['low']:.0%}", "high": f"{score['high']:.0%}"}
        listed.append(say("classify.alt.one", way=say(f"classify.way.{way}"), f1=f"{score['f1']:.2f}", **told))
    chance = f"{rows.task.chance:.0%}"
    if not listed:
        return say("classify.alt.none", n=len(rows.task.test), chance=chance)
    return say("classify.alt", n=len(rows.task.test), chance=chance, listed=say("common.comma").join(listed))


def _table(rows: Rows, ways: Mapping[str, Answered], at: Mapping[str, int]) -> pd.DataFrame:
    """The board's numbers, a row a way."""
    return pd.DataFrame(
        {
            "way": way,
            "dial": one.facts["dial"][at[way]],
            **one.facts["scores"][at[way]],
            "chance": rows.task.chance,
            **{name: one.facts[name] for name in ("learn_s", "answer_s", "peak_bytes", "weights_bytes", "cut")},
        }
        for way, one in ways.items()
    )


def _badge(ways: Mapping[str, Answered]) -> Badge:
    """Live where one of the ways has answered just now; before any has, the level of chance is what is drawn."""
    badges = [one.badge for one in ways.values()]
    live = [badge for badge in badges if badge.kind == "live"]
    return (live or badges or [Badge.live()])[0]


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"
