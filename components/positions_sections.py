"""The Positional encoding page, picture by picture: each takes the sheet, asks the engine and draws."""

from __future__ import annotations

import inspect

import numpy as np
import pandas as pd
import streamlit as st

from components import positions_engine as found
from components.charts import bars, heat, line
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.positions_engine import Way
from components.positions_picture import clocks, slope_lines
from components.readings import draw_next, draw_turned
from components.theme import ACCENT

BASES = (10, 100, 1_000, 10_000, 100_000)
USUAL = (64, 64, 10_000)
"""Length, d_model and base that the waves begin with."""
CLOCKS = 8
"""Turning pairs drawn, from the fastest to the slowest."""
SHUFFLED: Way = "shuffled"


@section
def draw_waves(page: Page) -> None:
    """Draw sinusoidal positions, and how alike they are by distance."""
    st.header(page.say("positions.waves.title"))
    columns = st.columns(3)
    length = columns[0].slider(page.say("positions.waves.length"), 8, 256, USUAL[0], 8, key="positions_length")
    d_model = columns[1].slider(page.say("positions.waves.d_model"), 8, 256, USUAL[1], 8, key="positions_d_model")
    base = columns[2].select_slider(page.say("positions.waves.base"), BASES, USUAL[2], key="positions_base")
    if (length, d_model, base) != USUAL:
        page.tick("do.stretch")
    with st.spinner(page.say("positions.opening")):
        made = found.waves(length, d_model, base)
    waves = made.value
    position, dimension = page.say("positions.axis.position"), page.say("positions.axis.dimension")
    alt = page.say("positions.waves.alt", length=length, d_model=d_model, base=base)
    table = pd.DataFrame(waves.rows).rename_axis("position").reset_index()
    page.figure(heat(waves.rows, x=dimension, y=position), key="waves", badge=made.badge, alt=alt, data=table)
    draw_note(page.say("positions.waves.note"))
    alike = waves.likeness[0]
    near = f"{alike[1]:.3f}"
    alt = page.say("positions.alike.alt", near=near, far=f"{alike[-1]:.3f}", last=length - 1)
    axes = {"x": page.say("positions.axis.distance"), "y": page.say("positions.axis.cosine")}
    table = pd.DataFrame({"distance": np.arange(length), "cosine": alike})
    page.figure(line(alike, **axes, marked=0), key="alike", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


@section
def draw_learned(page: Page) -> None:
    """Draw a box's learned table of positions, and which of its rows are alike."""
    box_id = page.bench.box_id
    st.header(page.say("positions.learned.title"))
    with st.spinner(page.say("positions.opening")):
        config = found.config(box_id)
        made = found.learned(box_id)
    page.count("part.position", config.max_seq_len)
    page.count("part.dimension", config.d_model)
    chosen = found.table_box(box_id)
    if chosen != box_id:
        draw_note(page.say("positions.learned.other", box=box_id, other=chosen))
    rows, likeness = made.value.rows, made.value.likeness
    alt = page.say("positions.learned.alt", box=chosen, n=len(rows), dims=rows.shape[1])
    position, dimension = page.say("positions.axis.position"), page.say("positions.axis.dimension")
    table = pd.DataFrame(rows).rename_axis("position").reset_index()
    page.figure(heat(rows, x=dimension, y=position), key="learned", badge=made.badge, alt=alt, data=table)
    at = st.slider(
        page.say("positions.learned.slider"), 0, len(rows) - 1, len(rows) // 4, key=f"positions_row_{chosen}"
    )
    others = likeness[at].copy()
    others[at] = -2.0
    best = int(others.argmax())
    alt = page.say("positions.learned.near", at=at, best=best, cosine=f"{likeness[at, best]:.3f}")
    axes = {"x": position, "y": page.say("positions.axis.cosine")}
    table = pd.DataFrame({"position": np.arange(len(rows)), "cosine": likeness[at]})
    page.figure(line(likeness[at], **axes, marked=at), key="learned_near", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


@section
def draw_rotary(page: Page) -> None:
    """Turn a true query and a true key; only their distance reaches the score."""
    bench = page.bench
    st.header(page.say("positions.rotary.title"))
    made = found.turning(bench.box_id, bench.sentence)
    turning = made.value
    if not turning.own:
        draw_note(page.say("positions.rotary.borrowed", box=bench.box_id))
    columns = st.columns(2)
    last = found.PLACES - 1
    distance = columns[1].slider(page.say("positions.rotary.distance"), 0, last // 2, 4, key="positions_distance")
    first = columns[0].slider(page.say("positions.rotary.position"), 0, last - last // 2, 0, key="positions_turn")
    if first:
        page.tick("do.turn")
    query = first + distance
    pairs = np.unique(np.linspace(0, len(turning.frequencies) - 1, CLOCKS).round().astype(int))
    degrees = np.degrees(turning.frequencies[pairs])
    names = (
        page.say("positions.rotary.q", token=turning.labels[0], at=query),
        page.say("positions.rotary.k", token=turning.labels[1], at=first),
    )
    labels = [f"{pair}: {degree:.3g}°" for pair, degree in zip(pairs, degrees, strict=True)]
    alt = page.say("positions.rotary.alt", q=names[0], k=names[1], n=len(pairs))
    table = pd.DataFrame({"pair": pairs, "degrees_per_position": degrees})
    for name, hands in (("q", turning.q[query, pairs]), ("k", turning.k[first, pairs])):
        table[f"{name}_first"], table[f"{name}_second"] = hands[:, 0], hands[:, 1]
    drawing = clocks(turning.q[query, pairs], turning.k[first, pairs], names, labels)
    page.figure(drawing, key="clocks", badge=made.badge, alt=alt, data=table)
    draw_note(page.say("positions.rotary.hands"))
    diagonal = turning.scores.diagonal(-distance)
    alt = page.say(
        "positions.rotary.score",
        m=query,
        n=first,
        score=f"{turning.scores[query, first]:.4f}",
        distance=distance,
        low=f"{diagonal.min():.4f}",
        high=f"{diagonal.max():.4f}",
    )
    drawing = heat(turning.scores, x=page.say("positions.rotary.key"), y=page.say("positions.rotary.query"))
    drawing.add_scatter(
        x=np.array([first]), y=np.array([query]), mode="markers", marker=_MARK, showlegend=False, hoverinfo="skip"
    )
    table = pd.DataFrame(turning.scores).rename_axis("query_pos").reset_index()
    page.figure(drawing, key="turned_scores", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


@section
def draw_alibi(page: Page) -> None:
    """Draw ALiBi's slopes: each head takes its own amount off a score for each step of distance."""
    st.header(page.say("positions.alibi.title"))
    count = st.slider(page.say("positions.alibi.slider"), 1, 16, 8, key="positions_heads")
    made = found.slopes(count)
    slopes, bias = made.value
    names = [page.say("positions.alibi.head", n=at) for at in range(count)]
    alt = page.say("positions.alibi.alt", n=count, steep=f"{slopes.max():.4f}", flat=f"{slopes.min():.4f}")
    table = pd.DataFrame(bias).assign(slope=slopes).rename_axis("head").reset_index()
    axes = {"x": page.say("positions.axis.distance"), "y": page.say("positions.alibi.bias")}
    page.figure(slope_lines(bias, names, **axes), key="alibi", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


@section
def draw_experiment(page: Page) -> None:
    """Shuffle the words, take the positions away, and see what the model makes of it; then ask what harms most."""
    from llmkit.trace.order import FEWEST_WORDS, OrderError

    bench = page.bench
    st.header(page.say("positions.shuffle.title"))
    if st.button(page.say("positions.shuffle.again"), key="positions_again"):
        st.session_state["positions_seed"] = st.session_state.get("positions_seed", 0) + 1
        page.tick("do.shuffle")
    seed = st.session_state.get("positions_seed", 0)
    try:
        made = found.experiment(bench.box_id, bench.sentence, seed)
    except OrderError as error:
        st.error(page.say("positions.shuffle.few", n=error.words, needed=FEWEST_WORDS))
        return
    tried = made.value
    names = {way: page.say(f"positions.way.{way}") for way in found.WAYS}
    draw_note(" | ".join(tried.labels[at] for at in tried.readings[SHUFFLED].order))
    measure = page.say("positions.shuffle.loss" if tried.predicts else "common.turned.axis")
    harm = [tried.harm[way] for way in found.WAYS]
    listed = page.say("common.comma").join(f"{names[way]} {tried.harm[way]:.3f}" for way in found.WAYS)
    alt = page.say("positions.shuffle.alt", measure=measure, listed=listed)
    table = pd.DataFrame({"way": found.WAYS, "loss" if tried.predicts else "turn": harm})
    drawing = bars([(measure, harm)], list(names.values()), x=measure)
    page.figure(drawing, key="harm", badge=made.badge, alt=alt, data=table)
    causal = found.config(bench.box_id).causal
    key = "positions.shuffle.causal" if causal else "positions.shuffle.blind"
    draw_note(page.say(key, delta=f"{tried.blind:.2g}"))
    way = st.radio(
        page.say("positions.shuffle.way"),
        found.WAYS[1:],
        format_func=lambda one: names[one],
        horizontal=True,
        key="positions_way",
    )
    if way != SHUFFLED:
        page.tick("do.shuffle")
    before, after = tried.readings["as_is"].probs, tried.readings[way].probs
    if before is not None and after is not None:
        draw_next(page, before, after, names=(names["as_is"], names[way]), badge=made.badge)
    else:
        draw_turned(page, tried.labels, tried.turned[way], name=names[way], badge=made.badge)
    page.check(
        "harm",
        question=page.say("positions.check.question", box=plain(bench.box_id), measure=measure),
        options={one: names[one] for one in found.ALONE},
        run=lambda: _verdict(page, seed, measure),
    )


def draw_source(page: Page) -> None:
    """Show the parts' real source, folded."""
    from llmkit.parts import ALiBiPositions, LearnedPositions, RotaryPositions, SinusoidalPositions

    with st.expander(page.say("positions.source")):
        for part in (SinusoidalPositions, LearnedPositions, RotaryPositions, ALiBiPositions):
            st.code(inspect.getsource(part), language="python")


def _verdict(page: Page, seed: int, measure: str) -> Verdict:
    """Find which of the two ways, each alone, gives the higher loss, or turns the final states more."""
    harm = found.experiment(page.bench.box_id, page.bench.sentence, seed).value.harm
    answer = max(found.ALONE, key=harm.__getitem__)
    listed = page.say("common.comma").join(f"{page.say(f'positions.way.{way}')} {harm[way]:.3f}" for way in found.WAYS)
    return Verdict(answer=answer, explanation=page.say("positions.check.because", measure=measure, listed=listed))


_MARK = {"symbol": "circle-open", "size": 16, "color": ACCENT, "line": {"width": 4}}
