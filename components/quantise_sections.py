"""The quantise page: inside one matrix, the LM head beside the layers, and the check."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, log
from typing import Any

import pandas as pd
import streamlit as st

from components import engine, place
from components import quantise_canvas as canvas
from components import quantise_engine as found
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, Verdict, section
from components.job_panel import draw_job
from components.quantise_engine import Matrix
from components.source import draw_source
from llmkit.compress.head_cost import WHAT
from llmkit.compress.matrix import Scheme, groups

_LAYER, _NAME = "quantise_layer", "quantise_name"
NORMAL_KURTOSIS = 3.0
"""Of a normal distribution: beyond it the tails are longer."""


@section
def draw_inside(page: Page) -> None:
    """Draw one matrix of the box, its weights rounded in the browser."""
    bench = page.bench
    st.header(page.say("quantise.inside.title"))
    with st.spinner(page.say("quantise.opening")):
        layer, name = _choose(page)
        made = found.matrix(bench.box_id, layer, name)
    shown = made.value
    bits, per, kind = canvas.scheme(shown)
    cost = shown.costs[bits, per, kind]
    page.count("part.weight", shown.shape[0] * shown.shape[1])
    page.count("part.scale", groups(shown.shape, per))
    page.count("part.code", _codes(bits, kind))
    alt = page.say(
        "quantise.inside.alt",
        matrix=matrix_name(page, name),
        layer=layer,
        rows=shown.shape[0],
        columns=shown.shape[1],
        bits=bits,
        per=canvas.per_name(per, bench.say),
        db=_decibels(cost.snr_db),
        most=f"{cost.max_abs:.4g}",
    )
    with page.shown(key="inside", badge=made.badge, alt=alt, data=found.costs_frame(shown)):
        seen = canvas.draw_matrix(shown, bench.say)
    if seen.pointed:
        page.tick("do.point")
    if seen.settled:
        page.tick("do.round")
    _say_outliers(page, shown)
    from llmkit.compress.matrix import quantise

    draw_source(page, quantise)
    page.warn()


def draw_head(page: Page) -> None:
    """Draw what rounding the layers, the LM head, and both costs in perplexity."""
    bench = page.bench
    st.header(page.say("quantise.head.title"))
    if engine.open_box(bench.box_id).family == "bert":
        st.info(page.say("quantise.head.none"))
        return
    bits = st.segmented_control(
        page.say("quantise.matrix.bits"),
        found.HEAD_BITS,
        default=found.HEAD_BITS[-1],
        required=True,
        key="quantise_head_bits",
    )
    settings = found.head_settings(bench.box_id, bench.lang, bench.sentence, int(bits or found.HEAD_BITS[-1]))
    source = found.text_of(bench.lang, bench.sentence)[1]
    draw_note(page.say("quantise.head.what.data" if source else "quantise.head.what.sentence", data=source))
    made = draw_job(page, "head_cost", settings, label=page.say("quantise.head.run"), key="quantise_head")
    if made is None:
        return
    page.tick("do.head")
    told: Mapping[str, Any] = made.value
    ppl = {what: float(told["perplexity"][what]) for what in WHAT}
    names = [page.say(f"quantise.head.part.{what}") for what in WHAT]
    table = pd.DataFrame({"rounded": list(WHAT), "perplexity": list(ppl.values())})
    alt = page.say(
        "quantise.head.alt",
        bits=settings["bits"],
        tokens=told["tokens"],
        **{what: _perplexity(value) for what, value in ppl.items()},
    )
    drawing = bars(
        [(page.say("quantise.head.axis"), list(ppl.values()))], names, x=page.say("quantise.head.axis"), digits=2
    )
    page.figure(drawing, key="head", badge=made.badge, alt=alt, data=table)
    draw_note(
        page.say(
            "quantise.head.tied" if told["tied"] else "quantise.head.own",
            head=f"{told['bytes']['head'] / 2**20:.1f}",
            layers=f"{told['bytes']['layers'] / 2**20:.1f}",
            db=_decibels(float(told["snr_db"])),
        )
    )


def draw_check(page: Page) -> None:
    """Ask how much louder the rounding gets with one bit less; the matrix that is looked at answers."""
    names = found.matrices(page.bench.box_id)
    name = st.session_state.get(_NAME, names[0])
    layer = int(st.session_state.get(_LAYER, 0))
    factors = ("2", "4", "8", "16")

    def run() -> Verdict:
        shown = found.matrix(page.bench.box_id, layer, name if name in names else names[0]).value
        _, per, kind = canvas.scheme(shown)
        four, three = (shown.costs[bits, per, kind].mean_square for bits in (4, 3))
        if not four:
            return Verdict(answer=factors[0], explanation=page.say("quantise.check.exact"))
        ratio = three / four
        answer = min(factors, key=lambda one: abs(log(ratio) - log(float(one))))
        steps = [(_codes(bits, kind) - 1) for bits in (4, 3)]
        told = page.say(
            "quantise.check.because",
            four=f"{four:.3g}",
            three=f"{three:.3g}",
            ratio=f"{ratio:.1f}",
            more=steps[0],
            less=steps[1],
            square=f"{(steps[0] / steps[1]) ** 2:.1f}",
        )
        return Verdict(answer=answer, explanation=told)

    page.check(
        "bit",
        question=page.say("quantise.check.question", matrix=matrix_name(page, name), layer=layer),
        options={one: page.say("quantise.check.times", n=one) for one in factors},
        run=run,
    )


def matrix_name(page: Page, name: str) -> str:
    """What a matrix is called: its name in words, and in the code."""
    key = f"quantise.name.{name}"
    return f"{page.say(key)} {name}" if key in page.bench.say else name


def _choose(page: Page) -> tuple[int, str]:
    """Ask for layer and matrix."""
    box_id = page.bench.box_id
    names, n_layers = found.matrices(box_id), found.n_layers(box_id)
    if st.session_state.get(_NAME) not in names:
        st.session_state[_NAME] = names[0]
    if _LAYER not in st.session_state or int(st.session_state[_LAYER]) >= n_layers:
        st.session_state[_LAYER] = place.at("layer", n_layers)
    left, right = st.columns([3, 2])
    name = left.selectbox(
        page.say("quantise.inside.matrix"),
        names,
        format_func=lambda one: matrix_name(page, one),
        key=_NAME,
        persist_state="session",
    )
    layer = right.select_slider(
        page.say("quantise.inside.layer"),
        tuple(range(n_layers)),
        key=_LAYER,
        on_change=lambda: place.go(layer=int(st.session_state[_LAYER])),
    )
    return int(layer), str(name)


def _say_outliers(page: Page, shown: Matrix) -> None:
    """Say how far the largest weights stand out, and what they cost the others."""
    told = shown.outliers
    st.subheader(page.say("quantise.outliers.title"))
    draw_note(
        page.say(
            "quantise.outliers.long" if told.kurtosis > NORMAL_KURTOSIS else "quantise.outliers.short",
            largest=f"{told.largest:.3g}",
            deviations=f"{told.deviations:.1f}",
            kurtosis=f"{told.kurtosis:.1f}" if isfinite(told.kurtosis) else "–",
            share=f"{told.lone_share:.0%}",
            most=f"{told.lone_share_max:.0%}",
        )
    )


def _codes(bits: int, kind: Any) -> int:
    low, high = Scheme(bits=bits, kind=kind).codes
    return high - low + 1


def _decibels(value: float) -> str:
    return f"{value:.1f}".replace("-", "−") if isfinite(value) else "∞"


def _perplexity(value: float) -> str:
    return f"{value:.2f}" if value < 10_000 else f"{value:.1e}"
