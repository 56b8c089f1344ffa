"""The Prompts page's second half: the prompt as it is sent, two instructions side by side, what the context costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import prompts_engine as found
from components import prompts_picture as picture
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, section
from components.job_panel import draw_job
from components.prompts_engine import Choice
from components.source import draw_source
from llmkit import jobs
from llmkit.tokens import ChatTemplate

_PAIR = ("vague", "precise")


@section
def draw_template(page: Page, choice: Choice, text: str) -> None:
    """Draw the prompt exactly as it is sent, token by token, in the chat template or without it."""
    st.header(page.say("prompts.template.title"))
    known = found.facts(choice.box_id)
    ways = found.wordings(choice.lang)
    most = max(found.shot_counts())
    with st.container(horizontal=True, gap="medium"):
        if known.instruct:
            form = st.segmented_control(
                page.say("prompts.form"),
                ("plain", "chat"),
                default="chat",
                required=True,
                format_func=lambda one: page.say(f"prompts.form.{one}"),
                key="prompts_view",
                on_change=_touch,
                persist_state="session",
            )
            choice = dataclasses.replace(choice, form="plain" if form == "plain" else "chat")
        at = st.segmented_control(
            page.say("prompts.wording"),
            range(len(ways)),
            default=1,
            required=True,
            format_func=lambda one: page.say(f"prompts.wording.{ways[one].id}"),
            key="prompts_view_wording",
            on_change=_touch,
            persist_state="session",
        )
    count = st.slider(
        page.say("prompts.shots"), 0, most, 2, key="prompts_shots", on_change=_touch, persist_state="session"
    )
    prompt = found.prompt(choice, ways[at or 0], count, text)
    sent = found.sent(choice.box_id, prompt)
    tokens = len(sent.encoding)
    page.count("part.instruction", len(ways))
    page.count("part.shot", count)
    page.count("part.token", tokens)
    if st.session_state.get("_prompts_touched"):
        page.tick("do.template")
    own = sum(role == "template" for role in sent.roles)
    special = sum(sent.encoding.special)
    alt = page.say("prompts.template.alt", tokens=tokens, shots=count, own=own, special=special)
    table = pd.DataFrame(
        {"id": sent.encoding.ids, "token": sent.encoding.labels, "part": sent.roles, "shot": sent.shots}
    )
    with page.shown(key="template", badge=Badge.live(), alt=alt, data=table):
        st.html(picture.prompt(sent, page.bench.say))
    draw_note(alt)
    if not known.instruct:
        draw_note(page.say("prompts.template.none", box=choice.box_id))
    if tokens > known.limit:
        st.warning(page.say("prompts.too_long", tokens=tokens, limit=known.limit))
    draw_source(page, ChatTemplate)


@section
def draw_pair(page: Page, choice: Choice, text: str) -> None:
    """Let the box answer a vague and a precise instruction about the same review."""
    st.header(page.say("prompts.pair.title"))
    names = [page.say(f"prompts.pair.{name}") for name in _PAIR]
    instructions: list[str] = []
    for name, label, column in zip(_PAIR, names, st.columns(2), strict=True):
        usual = page.say(f"prompts.pair.{name}.{choice.lang}")
        instructions.append(
            column.text_area(label, usual, key=f"prompts_{name}_{choice.lang}", persist_state="session", height=120)
            or ""
        )
    if not found.facts(choice.box_id).instruct:
        draw_note(page.say("prompts.pair.base", box=choice.box_id))
    pair = (instructions[0], instructions[1])
    made = draw_job(
        page,
        "prompt_pair",
        found.pair_settings(choice.box_id, pair, text),
        label=page.say("prompts.pair.run"),
        key="prompts_pair",
        partial=lambda so_far: _draw_answers(page, names, so_far["answers"]),
    )
    if made is None:
        draw_note(page.say("prompts.pair.what", n=found.MAX_NEW_TOKENS))
        return
    page.tick("do.precise")
    answers = made.value["answers"]
    table = pd.DataFrame([{"instruction": one, **answer} for one, answer in zip(pair, answers, strict=True)])
    alt = page.say("prompts.pair.alt", vague=answers[0]["text"], precise=answers[1]["text"])
    with page.shown(key="pair", badge=made.badge, alt=alt, data=table):
        _draw_answers(page, names, answers)


@section
def draw_costs(page: Page, choice: Choice) -> None:
    """Draw what each number of shots takes: tokens and memory from the prompt itself, time from the experiment."""
    st.header(page.say("prompts.cost.title"))
    known = found.facts(choice.box_id)
    job = jobs.find("few_shot", found.settings(found.sized(choice)))
    measured: Mapping[int, Mapping[str, Any]] = {}
    if job is not None and job.state == "done":
        measured = {row["shots"]: row for row in job.result["costs"]}
    rows: list[dict[str, Any]] = [
        {
            "shots": k,
            "tokens": tokens,
            "seconds": measured[k]["seconds"] if k in measured else None,
            "kv_bytes": measured[k]["kv_bytes"] if k in measured else tokens * known.kv_per_token,
            "context_share": tokens / known.limit,
        }
        for k, tokens in zip(found.shot_counts(), found.token_counts(choice), strict=True)
    ]
    last = rows[-1]
    mib = f"{last['kv_bytes'] / 2**20:.1f}"
    alt = page.say("prompts.cost.alt", shots=last["shots"], tokens=last["tokens"], mib=mib, limit=known.limit)
    badge = Badge.live()
    if job is not None and measured:
        badge = Badge(kind="cached", device=job.made_with.get("device", ""), date=job.made_with.get("date", ""))
    with page.shown(key="costs", badge=badge, alt=alt, data=pd.DataFrame(rows)):
        st.html(picture.costs(rows, known.limit, page.bench.say))
    formula = {"layers": known.layers, "heads": known.kv_heads, "dim": known.head_dim, "bytes": known.kv_per_token}
    draw_note(page.say("prompts.cost.formula", **formula))
    if not measured:
        draw_note(page.say("prompts.cost.not_yet"))
    elif all(row["kv_bytes"] == row["kv_formula"] for row in measured.values()):
        draw_note(page.say("prompts.cost.fits"))
    over = [row for row in rows if row["tokens"] > known.limit]
    if over:
        st.warning(page.say("prompts.cost.warn", shots=over[0]["shots"], tokens=over[0]["tokens"], limit=known.limit))


def _draw_answers(page: Page, names: Sequence[str], answers: Sequence[Mapping[str, Any]]) -> None:
    st.html(picture.pair(names, answers, page.bench.say))


def _touch() -> None:
    st.session_state["_prompts_touched"] = True
