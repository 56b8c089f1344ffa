"""One part exchanged or left out of the finished machine: what it costs, and what it then writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import build_engine, embeddings_engine, engine
from components.badge import Badge
from components.embeddings_engine import label
from components.embeddings_engine import labels as labels_of
from components.figure import draw_note
from components.frame import Page, section
from components.job_panel import draw_job
from components.readings import draw_turned
from components.source import draw_source
from components.theme import ACCENT, QUIET, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from llmkit.trace.exchange import Change

_LAYER_KINDS = ("layer_off", "attention_off", "feed_forward_off")
_SYMBOLS = ("square", "circle", "diamond")


def draw_swap(page: Page) -> None:
    """Draw what every single change costs on the sentence; the box is only read, never edited."""
    bench = page.bench
    st.header(page.say("build.swap.title"))
    config = engine.open_box(bench.box_id).config
    build_engine.require_sentence(bench.box_id, bench.sentence, limit=config.max_seq_len)
    settings = {
        "box_id": bench.box_id,
        "fingerprint": engine.fingerprint(bench.box_id),
        "sentence": bench.sentence,
    }
    made = draw_job(page, "exchange", settings, label=page.say("build.swap.run"), key="build_swap")
    if made is None:
        draw_note(page.say("build.swap.note"))
        return
    whole, costs = made.value["whole"], made.value["costs"]
    measure = "turned" if whole["loss"] is None else "loss"
    _draw_whole_machine(page, whole, costs, measure, made.badge)
    _draw_layers(page, whole, costs, measure, made.badge)
    _draw_exchange_source(page)
    _draw_one(page, costs)


def name_of(page: Page, change: Mapping[str, Any]) -> str:
    """Return a change in words."""
    if change["layer"] is not None:
        return page.say(f"build.change.{change['kind']}", n=change["layer"])
    if change["option"]:
        return page.say(f"build.change.{change['kind']}.{change['option']}")
    return page.say(f"build.change.{change['kind']}")


def _frame(page: Page, costs: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "change": [name_of(page, one["change"]) for one in costs],
            "loss": [one["loss"] for one in costs],
            "turned": [one["turned"] for one in costs],
            "next_token": ["" if one["next_id"] is None else label(page.bench.box_id, one["next_id"]) for one in costs],
            "next_prob": [one["next_prob"] for one in costs],
        }
    )


def _axes(figure: go.Figure, page: Page, measure: str, whole: float, *, along: str, values: Sequence[float]) -> None:
    """A logarithmic axis where losses differ by more than a hundredfold, and a line where the whole machine is."""
    wide = measure == "loss" and max(values) > 100 * min(values) > 0
    axis: dict[str, Any] = {
        "title": {"text": page.say(f"build.swap.axis.{measure}")},
        "type": "log" if wide else "linear",
    }
    low, high = min(values), max(values)
    if wide:
        axis["range"] = [math.log10(low) - 0.1, math.log10(high) + 0.25 * math.log10(high / low)]
    elif along == "x":
        axis["range"] = [0, 1.2 * high]
    (figure.update_xaxes if along == "x" else figure.update_yaxes)(**axis)
    if measure == "loss":
        (figure.add_vline if along == "x" else figure.add_hline)(whole, line={"color": QUIET, "dash": "dash"})


def _draw_whole_machine(
    page: Page, whole: Mapping[str, Any], costs: Sequence[Mapping[str, Any]], measure: str, badge: Badge
) -> None:
    """Draw the changes of the whole machine, the dearest last."""
    import plotly.graph_objects as go

    here = [one for one in costs if one["change"]["layer"] is None]
    finite = sorted((one for one in here if one[measure] is not None), key=lambda one: -one[measure])
    broken = [name_of(page, one["change"]) for one in here if one[measure] is None]
    names = [name_of(page, one["change"]) for one in finite]
    if whole[measure] is None or not finite:
        draw_note(page.say("build.swap.broken", listed=page.say("common.comma").join(broken)))
        return
    values = np.asarray([one[measure] for one in finite], dtype=np.float32)
    figure = go.Figure(
        go.Scatter(
            x=values,
            y=np.arange(len(finite)),
            mode="markers+text",
            marker={"size": 14, "color": ACCENT},
            text=[f" {value:.3g}" for value in values],
            textposition="middle right",
            cliponaxis=False,
            hovertemplate="%{x:.4g}<extra></extra>",
        )
    )
    ticks = [plot_text(name) for name in names]
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(ticks))), ticktext=ticks, automargin=True)
    figure.update_layout(height=90 + 34 * len(finite))
    base = whole[measure]
    _axes(figure, page, measure, base, along="x", values=[base or 1.0, *(one[measure] for one in finite)])
    alt = page.say(
        f"build.swap.alt.{measure}",
        whole=f"{base:.3g}",
        most=names[0],
        cost=f"{finite[0][measure]:.3g}",
        least=names[-1],
    )
    page.figure(figure, key="swap_whole", badge=badge, alt=alt, data=_frame(page, here))
    draw_note(alt)
    if broken:
        draw_note(page.say("build.swap.broken", listed=page.say("common.comma").join(broken)))


def _draw_layers(
    page: Page, whole: Mapping[str, Any], costs: Sequence[Mapping[str, Any]], measure: str, badge: Badge
) -> None:
    """Draw what each layer is good for: itself, its attention and its feed-forward left out."""
    import plotly.graph_objects as go

    here = [one for one in costs if one["change"]["layer"] is not None and one[measure] is not None]
    if not here or whole[measure] is None:
        return
    figure = go.Figure()
    for kind, symbol in zip(_LAYER_KINDS, _SYMBOLS, strict=True):
        mine = [one for one in here if one["change"]["kind"] == kind]
        figure.add_trace(
            go.Scatter(
                x=np.asarray([one["change"]["layer"] for one in mine], dtype=np.float32),
                y=np.asarray([one[measure] for one in mine], dtype=np.float32),
                name=page.say(f"build.swap.{kind}"),
                mode="lines+markers",
                marker={"size": 11, "symbol": symbol},
                line={"color": {"layer_off": ACCENT, "attention_off": "#3b82c4", "feed_forward_off": QUIET}[kind]},
                hovertemplate="%{x}: %{y:.4g}<extra></extra>",
            )
        )
    figure.update_xaxes(title={"text": page.say("build.swap.layer")}, dtick=1 if len(here) < 60 else 5)
    figure.update_layout(height=380, legend={"orientation": "h", "y": 1.14})
    base = whole[measure]
    _axes(figure, page, measure, base, along="y", values=[base or 1.0, *(one[measure] for one in here)])
    most = max(here, key=lambda one: one[measure])
    alt = page.say("build.swap.layers.alt", most=name_of(page, most["change"]), cost=f"{most[measure]:.3g}")
    page.figure(figure, key="swap_layers", badge=badge, alt=alt, data=_frame(page, here))
    draw_note(alt)


def _draw_exchange_source(page: Page) -> None:
    from llmkit.trace.exchange import OtherActivation, exchange

    draw_source(page, exchange, OtherActivation)


@section
def _draw_one(page: Page, costs: Sequence[Mapping[str, Any]]) -> None:
    """Let one change be chosen, and draw what the machine then writes, or how its states turn."""
    from llmkit.trace.exchange import Change

    chosen = st.selectbox(
        page.say("build.swap.choose"),
        range(len(costs)),
        index=None,
        format_func=lambda at: name_of(page, costs[at]["change"]),
        key="build_change",
    )
    if chosen is None:
        return
    change = Change(**costs[chosen]["change"])
    page.tick("do.swap")
    if engine.open_box(page.bench.box_id).config.unembedding and costs[chosen]["next_id"] is not None:
        _draw_text(page, change, costs[chosen])
    elif costs[chosen]["turned"] is None:
        draw_note(page.say("build.swap.broken", listed=name_of(page, costs[chosen]["change"])))
    else:
        _draw_states(page, change, costs[chosen])


def _draw_text(page: Page, change: Change, cost: Mapping[str, Any]) -> None:
    box_id, sentence = page.bench.box_id, page.bench.sentence
    lines, badge = [], Badge.cached()
    for title, one in ((page.say("build.swap.before"), None), (name_of(page, cost["change"]), change)):
        made = build_engine.written(box_id, sentence, one)
        badge = made.badge if one is not None else badge
        lines.append((title, build_engine.text_of(box_id, made.value)))
    before = escape(sentence[-60:])
    rows = "".join(
        f"<tr><th scope='row'>{escape(title)}</th><td><bdi>{before}<mark>{escape(text)}</mark></bdi></td></tr>"
        for title, text in lines
    )
    alt = page.say("build.swap.text.alt", before=lines[0][1], change=lines[1][0], after=lines[1][1])
    data = pd.DataFrame({"machine": [title for title, _ in lines], "text": [text for _, text in lines]})
    with page.shown(key="swap_text", badge=badge, alt=alt, data=data):
        st.html(f'<div class="parts-fit written"><table><tbody>{rows}</tbody></table></div>')
    draw_note(page.say("build.swap.text.note", loss=f"{cost['loss']:.3g}") if cost["loss"] is not None else alt)


def _draw_states(page: Page, change: Change, cost: Mapping[str, Any]) -> None:
    from llmkit.trace.order import change as turn

    box_id, sentence = page.bench.box_id, page.bench.sentence
    whole = build_engine.reading(box_id, sentence, None)
    other = build_engine.reading(box_id, sentence, change)
    turned = turn(whole.value, other.value).astype(np.float32)
    labels = labels_of(box_id, embeddings_engine.encode(box_id, sentence).ids)
    draw_turned(page, labels, turned, name=name_of(page, cost["change"]), badge=other.badge)
