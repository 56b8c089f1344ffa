"""The Positional encoding page, picture by picture: each takes the sheet, asks the engine and draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components import positions_engine as found
from components.attention_engine import encode
from components.charts import bars
from components.engine import Made
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.moving import Slider, draw_moving, place
from components.positions_engine import Way
from components.readings import draw_next, draw_turned
from components.source import draw_source

BASES = (10, 100, 1_000, 10_000, 100_000)
CLOCKS = 8
"""Turning pairs drawn, from the fastest to the slowest."""
MOST_HEADS = 16
"""Heads that ALiBi's slopes are drawn for."""
SHUFFLED: Way = "shuffled"


@section
def draw_waves(page: Page) -> None:
    """Draw sinusoidal positions, and how alike they are by distance; the browser computes the formula itself."""
    from llmkit.parts import SinusoidalPositions

    st.header(page.say("positions.waves.title"))
    sliders = [
        Slider(name="positions_length", label=page.say("positions.waves.length"), low=8, high=256, start=64, step=8),
        Slider(name="positions_d_model", label=page.say("positions.waves.d_model"), low=8, high=256, start=64, step=8),
        Slider(
            name="positions_base",
            label=page.say("positions.waves.base"),
            low=0,
            high=len(BASES) - 1,
            start=BASES.index(10_000),
            places=tuple(f"{base:,}" for base in BASES),
        ),
    ]
    if any(place(slider) != slider.start for slider in sliders):
        page.tick("do.stretch")
    length, d_model, base = place(sliders[0]), place(sliders[1]), BASES[place(sliders[2])]
    with st.spinner(page.say("positions.opening")):
        made = found.waves(length, d_model, base)
    rows, alike = made.value.rows, made.value.likeness[0]
    told = page.say("positions.waves.alt")
    with page.shown(
        key="waves",
        badge=made.badge,
        alt=told.format(length=length, d_model=d_model, base=base),
        data=pd.DataFrame(rows).rename_axis("position").reset_index(),
    ):
        draw_moving(
            "positions",
            "waves",
            key="positions_waves",
            name=page.say("positions.waves.title"),
            sliders=sliders,
            words={"told": told, "cell": page.say("positions.waves.cell"), **_axes(page, "position", "dimension")},
            bases=list(BASES),
        )
    draw_note(page.say("positions.waves.note"))
    draw_source(page, SinusoidalPositions)
    told = page.say("positions.alike.alt")
    table = pd.DataFrame({"distance": np.arange(length), "cosine": alike})
    alt = told.format(near=f"{alike[1]:.3f}", far=f"{alike[-1]:.3f}", last=length - 1)
    with page.shown(key="alike", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "positions",
            "alike",
            key="positions_alike",
            name=page.say("positions.alike.name"),
            sliders=[replace(slider, own=False) for slider in sliders],
            words={"told": told, "place": page.say("positions.alike.place"), **_axes(page, "distance", "cosine")},
            bases=list(BASES),
        )


@section
def draw_learned(page: Page) -> None:
    """Draw a box's learned table of positions, and which of its rows are alike."""
    from llmkit.parts import LearnedPositions

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
    slider = Slider(
        name="positions_row",
        label=page.say("positions.learned.slider"),
        low=0,
        high=len(rows) - 1,
        start=len(rows) // 4,
    )
    alt = page.say("positions.learned.alt", box=chosen, n=len(rows), dims=rows.shape[1])
    table = pd.DataFrame(rows).rename_axis("position").reset_index()
    with page.shown(key="learned", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "positions",
            "table",
            key="positions_table",
            name=page.say("positions.learned.title"),
            sliders=[replace(slider, own=False)],
            words={"told": alt, "cell": page.say("positions.waves.cell"), **_axes(page, "position", "dimension")},
            N=len(rows),
            dims=rows.shape[1],
            rows=encode(rows),
        )
    at = place(slider)
    others = likeness[at].copy()
    others[at] = -2.0
    best = int(others.argmax())
    told = page.say("positions.learned.near")
    alt = told.format(at=at, best=best, cosine=f"{likeness[at, best]:.3f}")
    table = pd.DataFrame({"position": np.arange(len(rows)), "cosine": likeness[at]})
    with page.shown(key="learned_near", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "positions",
            "learned",
            key="positions_learned",
            name=page.say("positions.learned.title"),
            sliders=[slider],
            words={"told": told, "place": page.say("positions.learned.place"), **_axes(page, "position", "cosine")},
            N=len(rows),
            low=float(likeness.min()),
            cosines=encode(likeness[np.tril_indices(len(rows))]),
        )
    draw_source(page, LearnedPositions)


@section
def draw_rotary(page: Page) -> None:
    """Turn a true query and a true key; only their distance reaches the score. The browser turns them itself."""
    from llmkit.parts import RotaryPositions

    bench = page.bench
    st.header(page.say("positions.rotary.title"))
    made = found.turning(bench.box_id, bench.sentence)
    turning = made.value
    if not turning.own:
        draw_note(page.say("positions.rotary.borrowed", box=bench.box_id))
    last = found.PLACES - 1
    position, distance = page.say("positions.rotary.position"), page.say("positions.rotary.distance")
    sliders = [
        Slider(name="positions_turn", label=position, low=0, high=last - last // 2, start=0),
        Slider(name="positions_distance", label=distance, low=0, high=last // 2, start=4),
    ]
    if place(sliders[0]):
        page.tick("do.turn")
    numbers = {
        "q": encode(turning.q[0]),  # at position 0 nothing is turned
        "k": encode(turning.k[0]),
        "frequencies": encode(turning.frequencies),
        "tokens": list(turning.labels),
    }
    _draw_clocks(page, made, sliders, numbers)
    draw_note(page.say("positions.rotary.hands"))
    _draw_scores(page, made, sliders, numbers)
    draw_source(page, RotaryPositions)


def _draw_clocks(page: Page, made: Made[found.Turning], sliders: Sequence[Slider], numbers: Mapping[str, Any]) -> None:
    """Draw some pairs of query and key as hands of clocks."""
    turning = made.value
    first = place(sliders[0])
    query = first + place(sliders[1])
    pairs = np.unique(np.linspace(0, len(turning.frequencies) - 1, CLOCKS).round().astype(int))
    degrees = np.degrees(turning.frequencies[pairs])
    told = page.say("positions.rotary.alt")
    alt = told.format(q=turning.labels[0], m=query, k=turning.labels[1], n=first)
    table = pd.DataFrame({"pair": pairs, "degrees_per_position": degrees})
    for name, hands in (("q", turning.q[query, pairs]), ("k", turning.k[first, pairs])):
        table[f"{name}_first"], table[f"{name}_second"] = hands[:, 0], hands[:, 1]
    with page.shown(key="clocks", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "positions",
            "clocks",
            key="positions_clocks",
            name=page.say("positions.rotary.title"),
            sliders=sliders,
            words={"told": told, "pair": page.say("positions.rotary.pair")},
            pairs=[int(pair) for pair in pairs],
            labels=[f"{pair}: {degree:.3g}°" for pair, degree in zip(pairs, degrees, strict=True)],
            **numbers,
        )


def _draw_scores(page: Page, made: Made[found.Turning], sliders: Sequence[Slider], numbers: Mapping[str, Any]) -> None:
    """Draw the score of query and key wherever they stand; the place of the sliders in a ring."""
    scores = made.value.scores
    n, distance = (place(slider) for slider in sliders)
    m = n + distance
    diagonal = scores.diagonal(-distance)
    values = {"score": scores[m, n], "low": diagonal.min(), "high": diagonal.max()}
    told = page.say("positions.rotary.score")
    alt = told.format(m=m, n=n, distance=distance, **{name: f"{value:.4f}" for name, value in values.items()})
    table = pd.DataFrame(scores).rename_axis("query_pos").reset_index()
    with page.shown(key="turned_scores", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "positions",
            "scores",
            key="positions_scores",
            name=page.say("positions.rotary.scores"),
            sliders=[replace(slider, own=False) for slider in sliders],
            words={
                "told": told,
                "query": page.say("positions.rotary.query"),
                "key": page.say("positions.rotary.key"),
            },
            places=found.PLACES,
            **numbers,
        )


@section
def draw_alibi(page: Page) -> None:
    """Draw ALiBi's slopes: each head takes its own amount off a score for each step of distance."""
    from llmkit.parts import ALiBiPositions

    st.header(page.say("positions.alibi.title"))
    slider = Slider(name="positions_heads", label=page.say("positions.alibi.slider"), low=1, high=MOST_HEADS, start=8)
    count = place(slider)
    made = found.slopes(MOST_HEADS)
    slopes, bias = made.value[count - 1]
    told = page.say("positions.alibi.alt")
    alt = told.format(n=count, steep=f"{slopes.max():.4f}", flat=f"{slopes.min():.4f}")
    table = pd.DataFrame(bias).assign(slope=slopes).rename_axis("head").reset_index()
    with page.shown(key="alibi", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "positions",
            "slopes",
            key="positions_slopes",
            name=page.say("positions.alibi.title"),
            sliders=[slider],
            words={
                "told": told,
                "place": page.say("positions.alibi.place"),
                "distance": page.say("positions.axis.distance"),
                "bias": page.say("positions.alibi.bias"),
            },
            places=found.PLACES,
            slopes=encode(np.concatenate([one for one, _ in made.value])),
        )
    draw_source(page, ALiBiPositions)


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


def _verdict(page: Page, seed: int, measure: str) -> Verdict:
    """Find which of the two ways, each alone, gives the higher loss, or turns the final states more."""
    harm = found.experiment(page.bench.box_id, page.bench.sentence, seed).value.harm
    answer = max(found.ALONE, key=harm.__getitem__)
    listed = page.say("common.comma").join(f"{page.say(f'positions.way.{way}')} {harm[way]:.3f}" for way in found.WAYS)
    return Verdict(answer=answer, explanation=page.say("positions.check.because", measure=measure, listed=listed))


def _axes(page: Page, *names: str) -> dict[str, str]:
    return {name: page.say(f"positions.axis.{name}") for name in names}
