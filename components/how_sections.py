"""The How it works page's first half: guess the next token, surprise in bits, and what pre-training changes."""

from __future__ import annotations

from html import escape

import numpy as np
import pandas as pd
import streamlit as st

from components import how_canvas as canvas
from components import how_engine as found
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.how_engine import Growth, Read, Training
from components.source import draw_source
from components.theme import ACCENT, QUIET, plot_text
from components.workbench import DEFAULT_BOX

LINES = 8
"""Lines of our own that the game can draw; no model has seen them."""

_LINE = "how_line"


@section
def draw_game(page: Page) -> None:
    """Let the learner guess a text token by token, and count the model's own guesses beside."""
    bench = page.bench
    st.header(page.say("how.game.title"))
    own = page.say("how.game.own")
    unseen = page.say("how.game.unseen")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        source = st.segmented_control(
            page.say("how.game.source"), (unseen, own), default=unseen, required=True, key=f"how_source_{bench.lang}"
        )
        number = st.session_state.get(_LINE, 0)
        if source == unseen and st.button(page.say("how.game.next"), key="how_next"):
            number = st.session_state[_LINE] = (number + 1) % LINES
    text = bench.sentence if source == own else page.say(f"how.game.line.{number}")
    with st.spinner(page.say("how.opening")):
        made = found.read(bench.box_id, text)
    read = made.value
    _say_who(page, read)
    n = len(read.groups) - 1
    turns = found.turns(read)
    alt = page.say("how.game.alt", n=n, hits=sum(turn["hit"] for turn in turns), box=read.box_id)
    table = found.strip_frame(read.labels, {"model": read.found})
    with page.shown(key="game", badge=made.badge, alt=alt, data=table):
        played = canvas.draw_game(read, bench.say, key="how_game").played
    if played and played[2] >= min(canvas.FIRST_TOLD, n):
        page.tick("do.guess")
    draw_note(page.say("how.game.note", n=found.OPTIONS, vocab=f"{read.vocab_size:,}"))


@section
def draw_surprise(page: Page) -> None:
    """Draw the workbench's sentence as the model reads it: each token's surprise in bits."""
    bench = page.bench
    st.header(page.say("how.strip.title"))
    made = found.read(bench.box_id, bench.sentence)
    read = made.value
    _say_who(page, read)
    page.count("part.token", len(read.labels))
    worst = int(read.found.bits.argmax())
    alt = page.say(
        "how.strip.alt",
        token=read.labels[worst + 1],
        bits=f"{read.found.bits[worst]:.1f}",
        total=f"{read.found.bits.sum():.0f}",
        n=len(read.found.bits),
    )
    with page.shown(key="strip", badge=made.badge, alt=alt, data=found.strip_frame(read.labels, {"model": read.found})):
        rows = found.strip_rows([read.found], read.box_id)
        canvas.draw_strip(
            read.labels,
            read.groups,
            [{**rows[0], "name": "", "note": ""}],
            bench.say,
            key="how_strip",
            vocab_size=read.vocab_size,
        )
    draw_note(canvas.total(read, bench.say))


@section
def draw_growth(page: Page) -> None:
    """Draw the same sentence at four stages of the bundled box's training, what each goes on with, and the curve."""
    from llmkit.generate import stream

    st.header(page.say("how.train.title"))
    draw_note(page.say("how.train.who", box=DEFAULT_BOX))
    with st.spinner(page.say("how.opening")):
        made = found.growth(page.bench.sentence)
        training = found.training()
    growth = made.value
    names = {stage: page.say(f"how.stage.{stage}") for stage in found.STAGES}
    page.count("part.checkpoint", len(names))
    mean = {stage: growth.found[stage].mean_bits for stage in found.STAGES}
    rows = found.strip_rows([growth.found[stage] for stage in found.STAGES], DEFAULT_BOX)
    named = [
        {**row, "name": names[stage], "note": page.say("how.train.mean", bits=f"{mean[stage]:.1f}")}
        for stage, row in zip(found.STAGES, rows, strict=True)
    ]
    listed = page.say("common.comma").join(f"{names[stage]} {mean[stage]:.1f}" for stage in found.STAGES)
    alt = page.say("how.train.alt", listed=listed)
    table = found.strip_frame(growth.labels, {stage: growth.found[stage] for stage in found.STAGES})
    with page.shown(key="growth", badge=made.badge, alt=alt, data=table):
        seen = canvas.draw_strip(
            growth.labels, growth.groups, named, page.bench.say, key="how_growth", vocab_size=growth.vocab_size
        )
    if seen.looked:
        page.tick("do.train")
    draw_note(page.say("how.train.nothing", vocab=f"{growth.vocab_size:,}", bits=f"{np.log2(growth.vocab_size):.0f}"))
    _draw_went_on(page, growth, names, made.badge)
    draw_source(page, stream)
    _draw_curve(page, training, names)


def draw_check(page: Page) -> None:
    """Ask what shuffled words cost, in bits; a sentence of too few words is said to be so."""
    from llmkit.trace.order import FEWEST_WORDS

    bench = page.bench
    words = found.count_words(bench.box_id, bench.sentence)
    if words < FEWEST_WORDS:
        draw_note(page.say("how.check.few", n=words, needed=FEWEST_WORDS))
        return
    box = found.predictor(bench.box_id)
    options = {answer: page.say(f"how.check.{answer}") for answer in ("less", "same", "more")}
    page.check("shuffle", question=page.say("how.check.question"), options=options, run=lambda: _shuffled(page, box))


def _shuffled(page: Page, box: str) -> Verdict:
    """Read the sentence's words in another order: up or down by a tenth counts as a change."""
    before, mixed, text = found.shuffled_bits(box, page.bench.sentence).value
    ratio = mixed / before
    answer = "more" if ratio > 1.1 else "less" if ratio < 1 / 1.1 else "same"
    explanation = page.say("how.check.because", plain=f"{before:.1f}", mixed=f"{mixed:.1f}", text=plain(text))
    return Verdict(answer=answer, explanation=explanation)


def _say_who(page: Page, read: Read) -> None:
    """Say so where another box than the learner's own has to read."""
    if read.box_id != page.bench.box_id:
        draw_note(page.say("how.other", box=page.bench.box_id, other=read.box_id))


def _draw_went_on(page: Page, growth: Growth, names: dict[found.Stage, str], badge: Badge) -> None:
    """Draw what each stage goes on with after the sentence's first half."""
    st.subheader(page.say("how.went_on.title"))
    end = page.say("how.went_on.end")
    rows = ""
    for stage in found.STAGES:
        text = escape(growth.went_on[stage])
        mark = f" <em>{escape(end)}</em>" if growth.ended[stage] else ""
        rows += f'<dt>{escape(names[stage])}</dt><dd><bdi><span class="given">{escape(growth.prompt)}</span>'
        rows += f"<b>{text}</b></bdi>{mark}</dd>"
    alt = page.say("how.went_on.alt", n=found.NEW_TOKENS, prompt=growth.prompt)
    table = pd.DataFrame(
        {"stage": list(found.STAGES), "continuation": [growth.went_on[stage] for stage in found.STAGES]}
    )
    with page.shown(key="went_on", badge=badge, alt=alt, data=table):
        st.html(f'<dl class="spoken">{rows}</dl>')
    draw_note(page.say("how.went_on.note"))


def _draw_curve(page: Page, training: Training, names: dict[found.Stage, str]) -> None:
    """Draw the recorded training curve, the four stages on it."""
    import plotly.graph_objects as go

    st.subheader(page.say("how.curve.title"))
    drawing = go.Figure()
    for source, points in training.held_out.items():
        drawing.add_scatter(x=points[:, 0], y=points[:, 1], mode="lines", name=plot_text(source), line={"width": 2})
    drawing.add_scatter(
        x=training.tokens,
        y=training.bits,
        mode="lines",
        name=page.say("how.curve.training"),
        line={"width": 4, "color": QUIET},
    )
    places = {stage: int(np.abs(training.tokens - training.kept[stage]).argmin()) for stage in found.STAGES}
    at = list(places.values())
    drawing.add_scatter(
        x=training.tokens[at],
        y=training.bits[at],
        mode="markers+text",
        name=page.say("how.curve.stages"),
        text=list(names.values()),
        textposition=["bottom right", *["bottom left"] * (len(at) - 1)],
        marker={"size": 14, "color": ACCENT},
        cliponaxis=False,
        showlegend=False,
    )
    drawing.update_xaxes(title={"text": page.say("how.curve.x")}, type="log", exponentformat="SI")
    drawing.update_yaxes(title={"text": page.say("how.curve.y")}, rangemode="tozero")
    drawing.update_layout(height=420, legend={"orientation": "h", "y": -0.28})
    badge = Badge.recorded(device=training.device, date=training.date, versions=training.versions)
    frame = pd.DataFrame({"tokens": training.tokens, "training": training.bits})
    for source, points in training.held_out.items():
        frame = frame.merge(pd.DataFrame({"tokens": points[:, 0], source: points[:, 1]}), how="left", on="tokens")
    seen = page.say("common.comma").join(f"{names[s]} {training.kept[s]:,}" for s in found.STAGES)
    alt = page.say("how.curve.alt", first=f"{training.bits[0]:.1f}", last=f"{training.bits[-1]:.1f}", stages=seen)
    page.figure(drawing, key="curve", badge=badge, alt=alt, data=frame)
    draw_note(page.say("how.curve.note"))
