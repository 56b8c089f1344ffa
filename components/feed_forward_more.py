"""The three activations side by side; how much of the box sits in its feed-forward parts: parameters and work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import feed_forward_engine as found
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, section
from components.theme import ACCENT, QUIET, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from llmkit.parts.count import Counts

GROUPS = {
    "embedding": ("embedding",),
    "positions": ("positions", "segments"),
    "attention": ("attention",),
    "feed_forward": ("feed_forward",),
    "norm": ("norm_embeddings", "norm_1", "norm_2", "norm_final"),
    "unembedding": ("unembedding",),
}
"""Parts as the picture names them, with the parts of the count that each one takes together."""


@section
def draw_curves(page: Page) -> None:
    """Draw GELU, its tanh approximation and SiLU on the same inputs, folded."""
    with st.expander(page.say("feed_forward.curves.title")):
        made = found.curves()
        table = made.value
        apart = (table["gelu"] - table["gelu_tanh"]).abs().to_numpy()
        alt = page.say(
            "feed_forward.curves.alt",
            apart=f"{apart.max():.1e}",
            x=f"{abs(float(table['x'].to_numpy()[apart.argmax()])):.1f}",
            dip=f"{table['gelu'].min():.2f}".replace("-", "−"),
            gate=f"{table['swiglu'].min():.2f}".replace("-", "−"),
        )
        names = {kind: page.say(f"feed_forward.curve.{kind}") for kind in ("swiglu", "gelu", "gelu_tanh")}
        x, y = page.say("feed_forward.column.pre"), page.say("feed_forward.column.act")
        page.figure(_lines(table, "x", names, x=x, y=y), key="curves", badge=made.badge, alt=alt, data=table)
        draw_note(alt)


@section
def draw_share(page: Page) -> None:
    """Draw each part's share of the parameters and of the floating-point work for this sentence."""
    bench = page.bench
    shown = found.machine(bench.box_id, bench.sentence).value
    T = len(shown.labels)
    made = found.counts(bench.box_id, T)
    st.header(page.say("feed_forward.share.title"))
    table = share_frame(made.value)
    own = next(row for row in table.to_dict("records") if row["part"] == "feed_forward")
    names = [page.say(f"common.fit.{name}") for name in table["part"]]
    alt = page.say(
        "feed_forward.share.alt",
        parameters=_large(float(own["parameters"])),
        share=f"{own['parameter_percent']:.0f}",
        work=_large(float(own["flops"])),
        part=f"{own['flop_percent']:.0f}",
        n=T,
    )
    groups = [
        (page.say("feed_forward.share.parameters"), table["parameter_percent"].tolist()),
        (page.say("feed_forward.share.work", n=T), table["flop_percent"].tolist()),
    ]
    drawing = bars(groups, names, x="%", digits=1)
    page.figure(drawing, key="share", badge=made.badge, alt=alt, data=table)
    draw_note(alt)
    tied = "unembedding" in made.value and bool(made.value["unembedding"].shared)
    draw_note(page.say("feed_forward.share.tied" if tied else "feed_forward.share.note"))
    _draw_lengths(page)


def share_frame(counts: Counts) -> pd.DataFrame:
    """Return parameters and floating-point work of each group of parts, in numbers and per cent."""
    rows = []
    for name, members in GROUPS.items():
        parts = [part for part in counts.parts if part.name in members]
        if parts:
            parameters = sum(part.places * part.parameters for part in parts)
            flops = sum(part.places * part.flops for part in parts)
            rows.append({"part": name, "parameters": parameters, "flops": flops})
    table = pd.DataFrame(rows)
    table["parameter_percent"] = 100 * table["parameters"] / table["parameters"].sum()
    table["flop_percent"] = 100 * table["flops"] / table["flops"].sum()
    return table


def _draw_lengths(page: Page) -> None:
    """Draw how the shares of the work move as texts grow longer."""
    made = found.work_by_length(page.bench.box_id)
    table = made.value
    names = {
        name: page.say(f"common.fit.{name}") for name in ("attention", "feed_forward", "unembedding") if name in table
    }
    longest = int(table["tokens"].max())
    overtaken = table[table["attention"] > table["feed_forward"]]
    key = "feed_forward.lengths.never" if overtaken.empty else "feed_forward.lengths.from"
    first = longest if overtaken.empty else int(overtaken["tokens"].min())
    alt = page.say(key, n=f"{first:,}", most=f"{longest:,}")
    x = page.say("feed_forward.lengths.tokens")
    drawing = _lines(table, "tokens", names, x=x, y=page.say("feed_forward.lengths.work"))
    drawing.update_xaxes(type="log", dtick=1)
    page.figure(drawing, key="lengths", badge=made.badge, alt=alt, data=table)
    draw_note(alt)


def _lines(table: pd.DataFrame, along: str, names: Mapping[str, str], *, x: str, y: str) -> go.Figure:
    """One line a column, the feed-forward part's or the last in the accent colour.

    Args:
        table: the numbers. along: the column that goes to the right. names: column to what it is called.
        x, y: what the axes are called.
    """
    import plotly.graph_objects as go

    styles: Sequence[tuple[str, str]] = ((QUIET, "solid"), (ACCENT, "solid"), ("#4f8fd0", "dash"))
    figure = go.Figure()
    for (column, name), (colour, dash) in zip(names.items(), styles, strict=False):
        figure.add_trace(
            go.Scatter(
                x=table[along].to_numpy("float32"),
                y=table[column].to_numpy("float32"),
                name=plot_text(name),
                mode="lines",
                line={"color": colour, "width": 4, "dash": dash},
                hovertemplate="%{x:.4g}: %{y:.4g}<extra></extra>",
            )
        )
    figure.update_xaxes(title={"text": x})
    figure.update_yaxes(title={"text": y})
    return figure.update_layout(height=340, legend={"orientation": "h", "y": 1.14})


def _large(number: float) -> str:
    """A large number as people say it: 1.8 M, 4.2 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"
