"""Kinds of figure that several pages draw. Labels are text from anywhere: escaped, because Plotly reads markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.theme import ACCENT, QUIET, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float32]

SCALE = "RdBu"


def heat(values: Floats, *, x: str, y: str, height: int = 420, scale: str = SCALE) -> go.Figure:
    """Draw a table of numbers around 0; row 0 on top.

    Args:
        values: [rows, columns]. x, y: what columns and rows are called. height: in pixels.
        scale: Plotly's name of the colours, from the least to the greatest.
    """
    import plotly.graph_objects as go

    top = float(np.abs(values).max()) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=np.asarray(values, dtype=np.float32),
            colorscale=scale,
            zmin=-top,
            zmax=top,
            colorbar={"thickness": 12},
            hovertemplate="%{y} · %{x}: %{z:.4f}<extra></extra>",
        )
    )
    figure.update_xaxes(title={"text": x}, showgrid=False, zeroline=False)
    figure.update_yaxes(title={"text": y}, showgrid=False, zeroline=False, autorange="reversed")
    return figure.update_layout(height=height)


def bars(groups: Sequence[tuple[str, Sequence[float]]], labels: Sequence[str], *, x: str, digits: int = 3) -> go.Figure:
    """Draw bars from left to right, one group of values a label; the last group in the accent colour.

    Args:
        groups: name and values of each. labels: one a place, the first on top. x: what is measured.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for at, (name, values) in enumerate(groups):
        figure.add_trace(
            go.Bar(
                x=np.asarray(values, dtype=np.float32),
                y=np.arange(len(labels)),
                name=plot_text(name),
                orientation="h",
                marker={"color": ACCENT if at == len(groups) - 1 else QUIET},
                text=[f"{value:.{digits}f}" for value in values],
                textposition="outside",
                cliponaxis=False,
                hovertemplate="%{x:.4f}<extra></extra>",
            )
        )
    ticks = [plot_text(label if len(label) <= 18 else label[:17] + "…") for label in labels]
    top = max((float(value) for _, values in groups for value in values), default=0.0)
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(labels))), ticktext=ticks, autorange="reversed", showgrid=False
    )
    figure.update_xaxes(title={"text": x}, range=[0, top * 1.25 or 1.0])
    height = 110 + len(labels) * (26 + 18 * (len(groups) - 1))
    return figure.update_layout(
        height=height, barmode="group", showlegend=len(groups) > 1, legend={"orientation": "h", "y": 1.12}
    )
