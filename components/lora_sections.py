"""The LoRA page: which adapter is looked at, what it did to the box, and the check."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from components import lora_canvas as canvas
from components import lora_engine as found
from components import lora_plan as asked
from components.figure import draw_note
from components.frame import Page, Verdict, section, short
from components.lora_engine import Desk
from components.source import draw_source
from components.theme import own_style

if TYPE_CHECKING:
    from llmkit.tune.adapter_shelf import Here

_CHOSEN, _NEWEST = "lora_adapter", "_lora_newest"
FACTORS = ("3", "10", "30", "100", "300")
FEW = ("1", "2", "3", "4")


def draw_desk(page: Page) -> Desk:
    """Let the learner choose an adapter of the box, and draw what it did; return what the page is about.

    Raises:
        Exception: with a ``.code``, where the box cannot be opened.
    """
    st.html(own_style("finetune") + own_style("lora"))
    with st.spinner(page.say("lora.opening")):
        desk = found.desk(page.bench)
    st.header(page.say("lora.inside.title"))
    if desk.box_id != page.bench.box_id:
        draw_note(page.say("lora.base", box=page.bench.box_id, base=desk.box_id))
    if not desk.here:
        st.info(page.say("lora.none" if desk.writes else "lora.none.encoder"))
        if not desk.writes:
            page.lead("finetune")
        return desk
    _forget_gone(desk)
    here = {one.id: one for one in desk.here}
    chosen = st.selectbox(
        page.say("lora.adapter"),
        tuple(here),
        format_func=lambda name: adapter_name(page, here[name]) if name in here else name,
        key=_CHOSEN,
        bind="query-params",
    )
    one = here.get(chosen, desk.here[0])
    page.tick("do.train")
    draw_inside(page, one)
    return replace(desk, chosen=one)


def _forget_gone(desk: Desk) -> None:
    """Look at an adapter that is new here; one that is no longer here is not looked at."""
    newest = (desk.box_id, desk.here[0].id)
    known = st.session_state.get(_NEWEST)
    if known is not None and known != newest:
        st.session_state.pop(_CHOSEN, None)
    st.session_state[_NEWEST] = newest
    if st.session_state.get(_CHOSEN) not in (None, *(one.id for one in desk.here)):
        st.session_state.pop(_CHOSEN)


def adapter_name(page: Page, one: Here) -> str:
    """What an adapter is called: how it was made, from what, and when."""
    facts = one.facts
    date = _date(one.made_at)
    if one.origin == "classifier":
        return page.say("lora.adapter.classifier", box=one.id.partition(":")[2], date=date)
    if one.origin == "brought":
        return page.say("lora.adapter.brought", name=one.id.partition("-")[2][:6], date=date)
    config = facts["config"]
    kind = page.say(f"lora.kind.{config['kind']}") if config["kind"] in asked.KINDS else short(str(config["kind"]))
    data = source_name(page, str(facts["data"]))
    data = data if facts.get("label") is None else f"{data} ({short(str(facts['label']))})"
    return page.say("lora.adapter.trained", kind=kind, rank=config["rank"], data=data, date=date)


def source_name(page: Page, source: str) -> str:
    """What a source of texts is called."""
    return page.say("lora.text.pasted") if source.startswith("file:") else source


def _date(seconds: float) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(seconds).astimezone().strftime("%m-%d %H:%M")


@section
def draw_inside(page: Page, one: Here) -> None:
    """Draw B·A of one matrix, where the box changed most, and what a rank keeps."""
    with st.spinner(page.say("lora.inside.wait")):
        made = found.picture(one)
    shown = made.value
    at, rank = canvas.place(shown)
    changed = shown.changed[at]
    page.count("part.adapter", len(shown.changed))
    page.count("part.direction", shown.rank)
    most = shown.changed[shown.most_changed]
    alt = page.say(
        "lora.inside.alt",
        n=len(shown.changed),
        most=most.name,
        share=f"{most.share:.2%}",
        name=changed.name,
        rows=changed.shape[0],
        columns=changed.shape[1],
        k=rank,
        kept=f"{1 - (changed.error(rank) / changed.norm) ** 2 if changed.norm else 1:.1%}",
    )
    with page.shown(key="inside", badge=made.badge, alt=alt, data=found.frame(shown)):
        seen = canvas.draw_inside(shown, page.bench.say)
    if seen.picked or seen.slid:
        page.tick("do.rank")
    draw_note(
        page.say(
            "lora.inside.facts_all",
            most=most.name,
            share=f"{most.share:.2%}",
            effective=f"{changed.effective_rank:.1f}",
            rank=shown.rank,
            parameters=f"{shown.parameters:,}",
            name=changed.name,
        )
    )
    from llmkit.tune.adapter import changes

    draw_source(page, changes)


def draw_check(page: Page, desk: Desk) -> None:
    """Ask how few directions hold nearly all of ΔW; without an adapter, what freezing saves of the optimizer."""
    if desk.chosen is None:
        _check_optimizer(page, desk)
    else:
        _check_directions(page, desk.chosen)


def _check_directions(page: Page, one: Here) -> None:
    more = "more"

    def run() -> Verdict:
        shown = found.picture(one).value
        changed = shown.changed[shown.most_changed]
        held = found.held_by(changed)
        squares = changed.singular.astype("float64") ** 2
        share = float(squares[: max(held, 1)].sum() / squares.sum()) if squares.sum() else 1.0
        told = page.say(
            "lora.check.because",
            name=changed.name,
            held=held,
            share=f"{share:.0%}",
            rank=shown.rank,
            first=f"{float(squares[0] / squares.sum()) if squares.sum() else 0:.0%}",
            effective=f"{changed.effective_rank:.1f}",
        )
        return Verdict(answer=str(held) if str(held) in FEW else more, explanation=told)

    options = {name: page.say("lora.check.n", n=name) for name in FEW} | {more: page.say("lora.check.more")}
    page.check("directions", question=page.say("lora.check.question"), options=options, run=run)


def _check_optimizer(page: Page, desk: Desk) -> None:
    def run() -> Verdict:
        plan = asked.plan(desk.box_id, "", None)
        full, lora = (asked.counted(plan, method).value.optimizer_bytes for method in ("full", "lora"))
        ratio = full / lora
        answer = min(FACTORS, key=lambda one: abs(math.log(ratio) - math.log(float(one))))
        told = page.say(
            "lora.check.optimizer.because",
            full=f"{full / 2**20:,.1f}",
            lora=f"{lora / 2**20:,.2f}",
            ratio=f"{ratio:.0f}",
            rank=plan.rank,
        )
        return Verdict(answer=answer, explanation=told)

    page.check(
        "optimizer",
        question=page.say("lora.check.optimizer.question", box=desk.box_id),
        options={one: page.say("lora.check.times", n=one) for one in FACTORS},
        run=run,
    )
