"""The Embeddings page's figures. Labels are text from anywhere: escaped, because Plotly reads markup in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.theme import ACCENT, QUIET, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float32]

LONGEST = 14
"""Characters of a label on an axis; hovering shows all."""


def neighbour_bars(labels: Sequence[str], cosines: Sequence[float]) -> go.Figure:
    """Draw the nearest rows as bars, the nearest on top."""
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Bar(
            x=np.asarray(cosines, dtype=np.float32),
            y=np.arange(len(labels)),
            orientation="h",
            marker={"color": ACCENT},
            text=[f"{cosine:.3f}" for cosine in cosines],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x:.4f}<extra></extra>",
        )
    )
    figure.update_yaxes(**_ticks(labels), autorange="reversed", showgrid=False)
    figure.update_xaxes(range=[min(0.0, *cosines) * 1.15, 1.15], tickvals=[0, 0.5, 1])
    return figure.update_layout(height=70 + 30 * len(labels))


def cloud_plot(layout: Floats, labels: Sequence[str], n_own: int, names: tuple[str, str]) -> go.Figure:
    """Draw points in 2 or 3 dimensions: the sentence's tokens filled, their neighbours hollow.

    Args:
        layout: [N, 2] or [N, 3]. labels: N. n_own: how many of the first are the sentence's.
        names: what the two kinds are called.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    kinds = (
        (slice(n_own, None), names[1], QUIET, "circle-open", 13),
        (slice(0, n_own), names[0], ACCENT, "circle", 16),
    )
    for part, name, colour, symbol, size in kinds:
        points = {axis: layout[part, at] for at, axis in enumerate("xyz"[: layout.shape[1]])}
        style = {
            "mode": "markers+text",
            "text": [_short(label) for label in labels[part]],
            "textposition": "top center",
            "textfont": {"size": size},
            "marker": {"color": colour, "symbol": symbol, "size": 10 if layout.shape[1] == 2 else 6},
            "name": name,
            "hovertemplate": "%{text}<extra></extra>",
        }
        figure.add_trace(go.Scatter3d(**points, **style) if layout.shape[1] == 3 else go.Scatter(**points, **style))
    hidden = {"showticklabels": False, "title": {"text": ""}}
    figure.update_layout(height=560, legend={"orientation": "h", "y": 1.08})
    if layout.shape[1] == 3:
        return figure.update_layout(scene={f"{axis}axis": hidden for axis in "xyz"}, scene_dragmode="orbit")
    hidden |= {"zeroline": False, "showgrid": False}
    return figure.update_xaxes(**hidden).update_yaxes(**hidden)


def layer_lines(lines: Sequence[tuple[str, Sequence[float]]], stages: Sequence[str]) -> go.Figure:
    """Draw cosines from stage to stage: the first line thick, the second dashed."""
    import plotly.graph_objects as go

    styles = ({"color": ACCENT, "width": 5}, {"color": QUIET, "width": 3, "dash": "dash"})
    figure = go.Figure(
        [
            go.Scatter(
                x=np.arange(len(values)),
                y=np.asarray(values, dtype=np.float32),
                name=plot_text(name),
                line=style,
                mode="lines+markers",
                hovertemplate="%{y:.3f}<extra></extra>",
            )
            for (name, values), style in zip(lines, styles, strict=False)
        ]
    )
    step = max(1, len(stages) // 8)
    figure.update_xaxes(tickmode="array", tickvals=list(range(0, len(stages), step)), ticktext=list(stages)[::step])
    figure.update_yaxes(range=[min(0.0, *(min(values) for _, values in lines)) - 0.05, 1.05])
    return figure.update_layout(height=400, legend={"orientation": "h", "y": 1.15})


def _short(label: str) -> str:
    return plot_text(label if len(label) <= LONGEST else label[: LONGEST - 1] + "…")


def _ticks(labels: Sequence[str]) -> dict[str, object]:
    """An axis with one place a label: equal labels keep their own places."""
    return {"tickmode": "array", "tickvals": list(range(len(labels))), "ticktext": [_short(one) for one in labels]}
