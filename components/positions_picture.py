"""The Positional encoding page's figures. Labels are text from anywhere: escaped, because Plotly reads markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components.theme import ACCENT, QUIET

if TYPE_CHECKING:
    import plotly.graph_objects as go

Floats = NDArray[np.float32]

COLUMNS = 4
"""Turning pairs side by side: as many as a phone can show."""


def clocks(q: Floats, k: Floats, names: tuple[str, str], labels: Sequence[str]) -> go.Figure:
    """Draw pairs of numbers as hands of clocks: the query's thick, the key's dashed, both of length 1.

    Args:
        q, k: [P, 2], as they point now. names: of the two hands. labels: P, under each clock.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    round_ = np.linspace(0, 2 * np.pi, 61)
    centres = [(2.5 * (at % COLUMNS), -3.1 * (at // COLUMNS)) for at in range(len(labels))]
    rim = [np.stack([x + np.cos(round_), y + np.sin(round_)], 1) for x, y in centres]
    figure.add_trace(_path(rim, {"color": QUIET, "width": 1}, None))
    styles = ({"color": QUIET, "width": 4, "dash": "dot"}, {"color": ACCENT, "width": 5})
    for pairs, style, name in zip((k, q), styles, names[::-1], strict=True):
        unit = pairs / np.maximum(np.linalg.norm(pairs, axis=1, keepdims=True), 1e-9)
        hands = [np.stack([centre, centre + tip]) for centre, tip in zip(np.array(centres), unit, strict=True)]
        figure.add_trace(_path(hands, style, name))
    for (x, y), label in zip(centres, labels, strict=True):
        figure.add_annotation(x=x, y=y - 1.35, text=escape(label), showarrow=False, font={"size": 14})
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(**hidden, range=[-1.2, 2.5 * COLUMNS - 1.3])
    figure.update_yaxes(**hidden, scaleanchor="x")
    rows = -(-len(labels) // COLUMNS)
    return figure.update_layout(height=80 + 170 * rows, legend={"orientation": "h", "y": 1.12})


def slope_lines(bias: Floats, names: Sequence[str], *, x: str, y: str) -> go.Figure:
    """Draw what each head takes off a score by distance: [H, N]; steep heads in the accent colour."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for at, (values, name) in enumerate(zip(bias, names, strict=True)):
        style = {"color": ACCENT if at % 2 == 0 else QUIET, "width": 4 if at % 2 == 0 else 2}
        template = f"{escape(name)} · %{{x}}: %{{y:.3f}}<extra></extra>"
        figure.add_trace(
            go.Scatter(
                x=np.arange(len(values)), y=values, name=escape(name), mode="lines", line=style, hovertemplate=template
            )
        )
    figure.update_xaxes(title={"text": x})
    figure.update_yaxes(title={"text": y})
    return figure.update_layout(height=360, showlegend=False)


def _path(pieces: Sequence[NDArray[np.float64]], style: dict[str, object], name: str | None) -> go.Scatter:
    """Several lines as one, broken between pieces of [n, 2]."""
    import plotly.graph_objects as go

    gap = np.full((1, 2), np.nan)
    points = np.concatenate([part for piece in pieces for part in (piece, gap)]).astype(np.float32)
    return go.Scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="lines",
        line=style,
        name="" if name is None else escape(name),
        showlegend=name is not None,
        hoverinfo="skip",
    )
