"""The page's pictures. Names are text from anywhere: escaped, because Plotly reads markup."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.classify_picture import COLOURS
from components.frame import short
from components.theme import ACCENT, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from llmkit.analyse.chart import Drawn

LABEL = 18
"""Characters of a name on an axis."""


def chart(drawn: Drawn, show: Callable[[str], str], rows: str) -> go.Figure:
    """Draw a table's chart.

    Args:
        drawn: what the table gives. show: what a column is called on the page. rows: what counted rows are called.
    """
    import plotly.graph_objects as go

    data = drawn.data
    if drawn.picture == "histogram":
        middle = ((data["from"] + data["to"]) / 2).to_numpy(np.float32)
        width = (data["to"] - data["from"]).to_numpy(np.float32) * np.float32(0.94)
        counts = data["rows"].to_numpy(np.float32)
        figure = go.Figure(go.Bar(x=middle, y=counts, width=width, marker={"color": ACCENT}))
        return _axes(figure, show(drawn.x), rows)
    across, up = data.iloc[:, 0], data.iloc[:, 1].to_numpy(np.float32)
    y = show(drawn.y)
    if drawn.picture == "bar":
        return _bars([named(value) for value in across], up, axis=y)
    x = across.to_numpy() if pd.api.types.is_datetime64_any_dtype(across.dtype) else across.to_numpy(np.float32)
    mode = "lines+markers" if drawn.picture == "line" else "markers"
    figure = go.Figure(go.Scatter(x=x, y=up, mode=mode, line={"color": ACCENT, "width": 4}, marker={"color": ACCENT}))
    return _axes(figure, show(drawn.x), y)


def counts(labels: Sequence[str], values: NDArray[np.float32], axis: str) -> go.Figure:
    """Draw how many rows have each answer."""
    return _bars([named(label) for label in labels], values, axis=axis)


def cloud(xy: NDArray[np.float32], group: NDArray[np.int64], texts: Sequence[str], names: Sequence[str]) -> go.Figure:
    """Draw texts as points, one colour a group.

    Args:
        xy: [n, 2]. group: [n], from 0. texts: n, shown on hovering. names: what the groups are called.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    hints = np.asarray([plot_text(short(text, 90)) for text in texts], dtype=object)
    for at, name in enumerate(names):
        mine = group == at
        figure.add_trace(
            go.Scatter(
                x=xy[mine, 0],
                y=xy[mine, 1],
                mode="markers",
                name=plot_text(short(name, 40)),
                text=hints[mine],
                marker={"color": COLOURS[at % len(COLOURS)], "size": 9, "symbol": at // len(COLOURS)},
                hovertemplate="%{text}<extra></extra>",
            )
        )
    hidden = {"showticklabels": False, "zeroline": False, "showgrid": False}
    figure.update_xaxes(**hidden).update_yaxes(**hidden)
    return figure.update_layout(height=440, legend={"orientation": "h", "y": -0.08})


def matrix(table: NDArray[np.int64], labels: Sequence[str], *, truth: str, judged: str) -> go.Figure:
    """Draw how many rows of each label were read as each label.

    Args:
        table: [label, answer]. truth, judged: what rows and columns are called.
    """
    import plotly.graph_objects as go

    names = [plot_text(short(label, LABEL)) for label in labels]
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure = go.Figure(
        go.Heatmap(
            z=shares.astype(np.float32),
            colorscale=[[0, "#eceae6"], [1, "#2f6fb5"]],
            zmin=0,
            zmax=1,
            text=table.astype(str),
            texttemplate="%{text}",
            showscale=False,
            hovertemplate="%{text}<extra></extra>",
            xgap=2,
            ygap=2,
        )
    )
    places = list(range(len(names)))
    ticks = {"tickmode": "array", "tickvals": places, "ticktext": names, "showgrid": False, "zeroline": False}
    figure.update_xaxes(**ticks, title={"text": plot_text(judged)})
    figure.update_yaxes(**ticks, title={"text": plot_text(truth)}, autorange="reversed")
    return figure.update_layout(height=150 + 44 * len(names))


def named(value: object) -> str:
    """Return a value of a column as an axis shows it."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value.date()) if isinstance(value, pd.Timestamp) else str(value)


def _bars(labels: Sequence[str], values: NDArray[np.float32], *, axis: str) -> go.Figure:
    """Bars from left to right, the first on top; values below 0 go left."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Bar(
            x=values,
            y=np.arange(len(labels)),
            orientation="h",
            marker={"color": ACCENT},
            text=[f"{value:,.4g}" for value in values.tolist()],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}<extra></extra>",
        )
    )
    ticks = [plot_text(short(label, LABEL)) for label in labels]
    places = list(range(len(labels)))
    figure.update_yaxes(tickmode="array", tickvals=places, ticktext=ticks, autorange="reversed", showgrid=False)
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    figure.update_xaxes(title={"text": plot_text(axis)}, range=[low * 1.2, high * 1.2 or 1.0])
    return figure.update_layout(height=120 + 34 * len(labels))


def _axes(figure: go.Figure, x: str, y: str) -> go.Figure:
    figure.update_xaxes(title={"text": plot_text(x)}).update_yaxes(title={"text": plot_text(y)}, rangemode="tozero")
    return figure.update_layout(height=360, bargap=0.05)
