"""The last page: the machine that was really built, as an exploded drawing; on paper, as a card, as files to take."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import pandas as pd
import streamlit as st

from components import deploy_engine, done_words, engine, pictograms
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, section
from components.job_panel import draw_job
from components.theme import own_style
from llmkit import jobs, shelf
from llmkit.sheet import history as told
from llmkit.sheet import model_card, paper, parcel
from llmkit.sheet.history import Stage

GHOSTS: tuple[told.Kind, ...] = ("fit", "finetune", "quantise", "bench", "deploy")
"""Stages that are drawn dashed as long as nobody has done them."""

SHARES = ("none", "few", "some", "all")
FEW, ALL = 0.01, 0.99


def draw_machine(page: Page) -> tuple[Stage, ...]:
    """Draw what was built, plate by plate along its axis; what is missing is dashed, with its step."""
    st.html(own_style("done"))
    bench = page.bench
    deploy_engine.require_whole(bench)
    stages = told.history(bench.box_id)
    there = {stage.kind for stage in stages}
    plates = {stage.kind: _plate(page, stage) for stage in stages}
    plates |= {kind: _ghost(page, kind) for kind in GHOSTS if kind not in there}
    rows = [
        (page.say(f"done.stage.{stage.kind}"), stage.box, name, value)
        for stage in stages
        for name, value in done_words.figures(stage, bench.say)
    ]
    alt = page.say(
        "done.alt",
        n=len(stages),
        names=page.say("common.comma").join(page.say(f"done.stage.{stage.kind}") for stage in stages),
    )
    data = pd.DataFrame(rows, columns=["stage", "box", "figure", "value"])
    with page.shown(key="machine", badge=_badge(stages), alt=alt, data=data):
        st.html(f'<ol class="machine">{"".join(plates[kind] for kind in told.KINDS if kind in plates)}</ol>')
    missing = [kind for kind in GHOSTS if kind not in there]
    if missing:
        draw_note(page.say("done.missing"))
        with st.container(horizontal=True):
            for slug in dict.fromkeys(done_words.STEPS[kind] for kind in missing):
                page.lead(slug)
    page.count("part.stage", len(stages))
    page.count("part.figure", len(rows))
    if len(stages) > 1:
        page.tick("do.look")
    return stages


def _plate(page: Page, stage: Stage) -> str:
    line = done_words.line(stage, page.bench.say)
    facts = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in line.facts)
    when = f"<small>{escape(line.when)}</small>" if line.when else ""
    return (
        f"<li>{pictograms.picture(done_words.PICTURES[stage.kind])}"
        f"<div><h2><b>{escape(line.number)}</b> <span>{escape(line.title)}</span></h2><dl>{facts}</dl>{when}</div></li>"
    )


def _ghost(page: Page, kind: told.Kind) -> str:
    title = escape(page.say(f"done.stage.{kind}"))
    return (
        f'<li class="ghost">{pictograms.picture(done_words.PICTURES[kind])}'
        f"<div><h2><span>{title}</span></h2><p>{escape(page.say('done.ghost'))}</p></div></li>"
    )


def _badge(stages: Sequence[Stage]) -> Badge:
    """Where the figures come from: the process of the last job that measured one; the box's own files else."""
    measured = [stage for stage in stages if stage.made_with]
    return Badge.of_process(max(measured, key=lambda stage: stage.at).made_with) if measured else Badge.live()


@section
def draw_paper(page: Page, stages: Sequence[Stage]) -> None:
    """Offer the sheet on paper, as a model card, and all files in one parcel."""
    st.header(page.say("done.take.title"))
    bench, say = page.bench, page.bench.say
    lines, name = done_words.lines(stages, say), parcel.name_of(bench.box_id)
    sheet = paper.pdf(name, page.say("done.paper.subtitle"), lines, foot=page.say("done.paper.foot"))
    card = _card(page, stages, lines)
    with st.container(horizontal=True, gap="small"):
        for key, data, file, mime in (
            ("pdf", sheet, f"{name}-sheet.pdf", "application/pdf"),
            ("card", card.encode(), "README.md", "text/markdown"),
        ):
            if st.download_button(page.say(f"done.take.{key}"), data, file, mime, key=f"done_{key}", type="primary"):
                page.tick("do.print")
    with st.expander(page.say("done.card")):
        st.code(card, language="markdown", wrap_lines=True)
    _draw_parcel(page, card, sheet)


def _card(page: Page, stages: Sequence[Stage], lines: Sequence[paper.Line]) -> str:
    entry = shelf.entry(told.parents(page.bench.box_id)[0])
    first = stages[0]
    return model_card.model_card(
        parcel.name_of(page.bench.box_id),
        lines,
        licence=entry.licence,
        languages=entry.languages,
        family=str(first.figures.get("family", "")),
        base="" if first.box == page.bench.box_id else first.box,
        about=page.say("done.card.about"),
    )


def _draw_parcel(page: Page, card: str, sheet: bytes) -> None:
    """Pack box, adapter, ONNX and server files as a job; then hand the ZIP over."""
    bench = page.bench
    st.subheader(page.say("done.parcel.title"))
    draw_note(page.say("done.parcel.what", size=f"{parcel.size_bytes(bench.box_id) / 1e6:,.0f}"))
    settings = {
        "box_id": bench.box_id,
        "fingerprint": engine.fingerprint(bench.box_id),
        "card": card,
        "paper": base64.b64encode(sheet).decode(),
    }
    made = draw_job(page, "parcel", settings, label=page.say("done.parcel.pack"), key="done_parcel")
    job = jobs.find("parcel", settings)
    if made is None or job is None:
        return
    place = jobs.folder(job.id) / parcel.FILE
    size = f"{made.value['size_bytes'] / 1e6:,.0f}"
    st.download_button(
        page.say("done.parcel.take", size=size),
        place.read_bytes,
        f"{parcel.name_of(bench.box_id)}.zip",
        "application/zip",
        key="done_zip",
        type="primary",
        on_click="ignore",  # a rerun could clear the file away before the browser has fetched it
    )
    page.tick("do.export")


def draw_check(page: Page, stages: tuple[Stage, ...]) -> None:
    """Predict which share of the weights was learned here; the records know."""

    def run() -> Verdict:
        share = told.trained_share(stages)
        answer = "none" if share == 0 else "few" if share < FEW else "some" if share < ALL else "all"
        trained = [stage for stage in stages if stage.kind in ("pretrain", "finetune", "adapter")]
        names = page.say("common.comma").join(page.say(f"done.stage.{stage.kind}") for stage in trained)
        because = "done.check.because" if trained else "done.check.because.none"
        return Verdict(answer=answer, explanation=page.say(because, share=f"{share:.2%}", stages=names))

    page.check(
        "share",
        question=page.say("done.check.share"),
        options={name: page.say(f"done.check.{name}") for name in SHARES},
        run=run,
    )
