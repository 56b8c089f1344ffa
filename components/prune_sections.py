"""The prune page: the cliff, what is gone cell by cell, and the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import moving
from components import prune_engine as found
from components.attention_engine import encode
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, section
from components.job_panel import draw_job, duration
from components.moving import Slider, draw_moving
from components.prune_engine import ORDERS, PrunePageError
from components.quantise_sections import matrix_name
from components.source import draw_source
from components.theme import ACCENT, QUIET

if TYPE_CHECKING:
    import plotly.graph_objects as go

_KIND, _LAYER, _NAME = "prune_kind", "prune_layer", "prune_name"
BOUNDS = {"low": 0.25, "mid": 0.45, "high": 0.65, "top": 1.0}
"""The check's answers, each with the share below which it is right."""


def draw_kind(page: Page) -> str:
    """Ask what is to be pruned, and count what there is of it."""
    for part, number in found.counts(page.bench.box_id).items():
        page.count(f"part.{part}", number)
    asked = st.query_params.get(_KIND)
    kind = st.segmented_control(
        page.say("prune.kind"),
        found.KINDS,
        default=asked if asked in found.KINDS else found.KINDS[0],
        required=True,
        format_func=lambda one: page.say(f"prune.kind.{one}"),
        key=_KIND,
        persist_state="session",
    )
    kind = str(kind or found.KINDS[0])
    if asked != kind and (asked is not None or kind != found.KINDS[0]):
        st.query_params[_KIND] = kind  # by its name, which is the same in every language
    draw_note(page.say(f"prune.what.{kind}"))
    return kind


@section
def draw_cliff(page: Page, kind: str) -> None:
    """Draw how much worse the box gets, the more is gone; the job that measures it stands before."""
    bench = page.bench
    st.header(page.say("prune.cliff.title"))
    encoder = not found.writes(bench.box_id)
    draw_note(page.say("prune.cliff.encoder" if encoder else "prune.cliff.decoder"))
    settings = found.curve_settings(bench, kind)
    told = found.curve(bench, kind)
    if told is None:
        seconds = duration(found.curve_seconds(bench.box_id, kind), bench.say)
        draw_note(page.say("prune.cliff.estimate", time=seconds))
    made = draw_job(
        page,
        found.CURVE,
        settings,
        label=page.say("prune.cliff.run"),
        key="prune_curve",
        partial=lambda so_far: _draw_partial(page, so_far),
    )
    if made is not None:
        _draw_points(page, kind, made.value, made.badge, encoder=encoder)
    _draw_gone(page, kind, measured=made is not None)


def draw_check(page: Page, kind: str) -> None:
    """Ask how much can go before the loss is a tenth worse; the cliff answers."""
    encoder = not found.writes(page.bench.box_id)

    def run() -> Verdict:
        from llmkit.compress.prune_curve import holds_until

        told = found.curve(page.bench, kind)
        if told is None:
            raise PrunePageError("prune_first")
        reached = {}
        for order in ORDERS:
            losses = [float(point["loss"]) for point in told["points"][order]]
            reached[order] = told["shares"][holds_until(losses, paired=bool(told["paired"]))]
        answer = next(name for name, bound in BOUNDS.items() if reached["size"] < bound)
        return Verdict(
            answer=answer,
            explanation=page.say("prune.check.because", **{order: f"{reached[order]:.0%}" for order in ORDERS}),
        )

    page.check(
        "holds",
        question=page.say(
            "prune.check.question.encoder" if encoder else "prune.check.question", kind=page.say(f"prune.kind.{kind}")
        ),
        options={name: page.say(f"prune.check.{name}") for name in BOUNDS},
        run=run,
    )


def slider_of(page: Page, kind: str, shares: Any, *, own: bool) -> Slider:
    """The share that is looked at: one place for each that was, or will be, measured."""
    return Slider(
        name=f"prune_{kind}",
        label=page.say("prune.share"),
        low=0,
        high=len(shares) - 1,
        start=(len(shares) - 1 + 1) // 2,
        places=tuple(f"{share:.0%}" for share in shares),
        own=own,
    )


def _draw_partial(page: Page, told: Mapping[str, Any]) -> None:
    """Draw the cliff as far as it is measured."""
    import plotly.graph_objects as go

    figure: go.Figure = go.Figure()
    for order, colour in zip(ORDERS, (QUIET, ACCENT), strict=True):
        losses = [point["loss"] for point in told["points"][order]]
        figure.add_trace(
            go.Scatter(
                x=np.asarray(told["shares"][: len(losses)], dtype=np.float32) * 100,
                y=np.asarray(losses, dtype=np.float32),
                name=page.say(f"prune.order.{order}"),
                mode="lines+markers",
                line={"width": 4, "color": colour},
            )
        )
    figure.update_layout(height=320, legend={"orientation": "h", "y": 1.12})
    figure.update_xaxes(title={"text": page.say("prune.cliff.x")}, range=[0, 100])
    figure.update_yaxes(title={"text": page.say("prune.cliff.y.encoder" if told["paired"] else "prune.cliff.y")})
    alt = page.say("prune.cliff.partial", n=len(told["points"][ORDERS[0]]))
    page.figure(figure, key="cliff_partial", badge=Badge.live(), alt=alt, data=found.points_frame(told))


def _draw_points(page: Page, kind: str, told: Mapping[str, Any], badge: Badge, *, encoder: bool) -> None:
    """Draw the measured cliff, its slider, and what the box still writes or finds."""
    shares, points = told["shares"], told["points"]
    slider = slider_of(page, kind, shares, own=True)
    step = moving.place(slider)
    losses = {order: [float(point["loss"]) for point in points[order]] for order in ORDERS}
    alt = page.say(
        "prune.cliff.alt",
        kind=page.say(f"prune.kind.{kind}"),
        first=f"{losses['size'][0]:.3f}",
        share=f"{shares[step]:.0%}",
        **{order: f"{losses[order][step]:.3f}" for order in ORDERS},
    )
    words = {
        "x": page.say("prune.cliff.x"),
        "y": page.say("prune.cliff.y.encoder" if encoder else "prune.cliff.y"),
        "told": page.say(
            "prune.cliff.told", share="{share}", size="{size}", importance="{importance}", first="{first}"
        ),
        **{order: page.say(f"prune.order.{order}") for order in ORDERS},
    }
    with page.shown(key="cliff", badge=badge, alt=alt, data=found.points_frame(told)):
        draw_moving(
            "prune",
            "cliff",
            key=f"prune_cliff_{kind}",
            name=page.say("prune.cliff.name"),
            sliders=[slider],
            words=words,
            slider=slider.name,
            shares=list(shares),
            **losses,
            texts={order: [point["text"] for point in points[order]] for order in ORDERS},
        )
        draw_note(page.say("prune.cliff.nearest" if encoder else "prune.cliff.writes"))
    if moving.moved(slider):
        page.tick("do.cliff")
    _say_order(page, shares, losses)
    _say_beside(page, kind, losses)


def _say_order(page: Page, shares: Any, losses: Mapping[str, list[float]]) -> None:
    """Say which order left the lower loss, and by how much where they differ most."""
    pairs = list(zip(losses["size"], losses["importance"], strict=True))[1:]
    won = sum(importance < size for size, importance in pairs)
    at = 1 + max(range(len(pairs)), key=lambda step: abs(pairs[step][0] - pairs[step][1]))
    name = "better" if won == len(pairs) else "worse" if won == 0 else "mixed"
    page.tick("do.order")
    draw_note(
        page.say(
            f"prune.order.{name}",
            n=won,
            all=len(pairs),
            share=f"{shares[at]:.0%}",
            size=f"{losses['size'][at]:.3f}",
            importance=f"{losses['importance'][at]:.3f}",
        )
    )


def _say_beside(page: Page, kind: str, losses: Mapping[str, list[float]]) -> None:
    """Lay two of every four beside half of all weights, where both have been measured."""
    free = found.curve(page.bench, "weights") if kind == "two_four" else None
    if free is None:
        return
    half = min(range(len(free["shares"])), key=lambda step: abs(free["shares"][step] - 0.5))
    loss = float(free["points"]["size"][half]["loss"])
    draw_note(page.say("prune.two_four.beside", two_four=f"{losses['size'][-1]:.3f}", free=f"{loss:.3f}"))


def _draw_gone(page: Page, kind: str, *, measured: bool) -> None:
    """Draw what is gone: a corner of one matrix, or the whole machine's heads, neurons or layers."""
    bench = page.bench
    single = kind in found.SINGLE
    st.subheader(page.say("prune.gone.title.matrix" if single else "prune.gone.title.units"))
    if single:
        layer, name = _choose(page)
        made, key = found.matrix(bench.box_id, kind, layer, name), f"layers.{layer}.{name}.weight"
        what = matrix_name(page, name)
    else:
        made, key, what = found.units(bench.box_id, kind), kind, page.say(f"prune.kind.{kind}")
        layer = 0
    shown = made.value
    slider = slider_of(page, kind, shown.shares, own=not measured)
    step = moving.place(slider)
    other = found.importance_gone(bench, kind, key)
    rows, columns = shown.values.shape
    alt = page.say(
        "prune.gone.alt.matrix" if single else "prune.gone.alt.units",
        what=what,
        layer=layer,
        rows=rows,
        columns=columns,
        share=f"{shown.shares[step]:.0%}",
        gone=int((shown.gone <= step).sum()),
    )
    data = pd.DataFrame(
        {
            "row": np.repeat(np.arange(rows), columns),
            "column": np.tile(np.arange(columns), rows),
            "value": shown.values.ravel(),
            "gone_by_size_from_step": shown.gone.ravel(),
        }
    )
    words = {
        "told": page.say("prune.gone.told", share="{share}", gone="{gone}", all="{all}"),
        "cell": page.say(
            "prune.gone.cell.matrix" if single else f"prune.gone.cell.{kind}",
            row="{row}",
            column="{column}",
            value="{value}",
        ),
        "from": page.say("prune.gone.from", order="{order}", **{"from": "{from}"}),
        "never": page.say("prune.gone.never"),
        "and": page.say("common.comma"),
        **{order: page.say(f"prune.order.{order}") for order in ORDERS},
    }
    with page.shown(key="gone", badge=made.badge, alt=alt, data=data):
        draw_moving(
            "prune",
            "gone",
            key=f"prune_gone_{kind}",
            name=page.say("prune.gone.name"),
            sliders=[slider],
            words=words,
            slider=slider.name,
            shares=list(shown.shares),
            rows=rows,
            columns=columns,
            values=encode(shown.values),
            gone=encode(shown.gone),
            goneImportance=None if other is None else encode(other),
        )
        draw_note(page.say("prune.gone.note.matrix" if single else "prune.gone.note.units"))
    from llmkit.compress.prune_ladder import pruned

    draw_source(page, pruned)


def _choose(page: Page) -> tuple[int, str]:
    """Ask for layer and matrix."""
    box_id = page.bench.box_id
    names, n_layers = found.matrices(box_id), found.counts(box_id)["layer"]
    if st.session_state.get(_NAME) not in names:
        st.session_state[_NAME] = names[0]
    if _LAYER not in st.session_state or int(st.session_state[_LAYER]) >= n_layers:
        st.session_state[_LAYER] = 0
    left, right = st.columns([3, 2])
    name = left.selectbox(
        page.say("prune.gone.matrix"), names, format_func=lambda one: matrix_name(page, one), key=_NAME
    )
    layer = right.select_slider(page.say("prune.gone.layer"), tuple(range(n_layers)), key=_LAYER)
    return int(layer), str(name)
