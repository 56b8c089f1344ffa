"""The answers for one text: a bar a way, cut into the labels' probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.theme import plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_LABELS = 6
"""Labels with a piece of their own; the others share one."""

COLOURS = ("#d9523c", "#3f86d6", "#d98200", "#1a936f", "#b0439c", "#6b6bd0")
REST = "#8a8580"
LEGIBLE = 0.08


def probabilities(
    probs: NDArray[np.float32], labels: Sequence[str], ways: Sequence[str], *, axis: str, rest: str
) -> go.Figure:
    """Draw each way's probabilities side by side.

    Args:
        probs: [ways, labels]. labels, ways: what they are called; escaped here, because Plotly reads markup.
        axis: what is measured. rest: what all labels without a piece of their own are called together.
    """
    import plotly.graph_objects as go

    kept = sorted(np.argsort(-probs.max(0))[:MOST_LABELS].tolist())
    pieces = [(labels[at], probs[:, at], COLOURS[n % len(COLOURS)]) for n, at in enumerate(kept)]
    if len(kept) < len(labels):
        pieces.append((rest, 1 - probs[:, kept].sum(1), REST))
    figure = go.Figure()
    for name, values, colour in pieces:
        figure.add_trace(
            go.Bar(
                x=np.asarray(values, dtype=np.float32),
                y=[plot_text(way) for way in ways],
                orientation="h",
                name=plot_text(name),
                marker={"color": colour},
                text=[f"{value:.0%}" if value > LEGIBLE else "" for value in values],
                textposition="inside",
                insidetextanchor="middle",
                textangle=0,
                hovertemplate="%{y}: %{x:.1%}<extra></extra>",
            )
        )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title={"text": axis}, range=[0, 1], tickformat=".0%")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "traceorder": "normal"}
    return figure.update_layout(height=120 + 46 * len(ways), barmode="stack", legend=legend)
