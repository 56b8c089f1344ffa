"""The Prompt tuning page's pictures: what changed between versions, their shares with intervals, nonsense counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from components.generate_text import readable
from components.prompt_tuning_engine import Tried
from components.theme import ACCENT, QUIET, plot_text
from lessons import Words
from llmkit.generate.few_shot import wilson
from llmkit.write import Change

if TYPE_CHECKING:
    import plotly.graph_objects as go

_OUTCOMES = (("right", "#1a936f", ""), ("made_up", ACCENT, "x"), ("unknown", QUIET, "/"))
"""Outcome, colour and pattern: none is told by its colour alone."""

_SIGNS = {"right": "✓", "made_up": "", "unknown": "?"}
"""The sign of nonsense is drawn by the style sheet: a barred circle, which not every font has."""


def difference(found: Sequence[Change], say: Words) -> str:
    """Return what changed as HTML: what is gone struck out behind a minus, what is new underlined behind a plus."""
    made = ""
    for one in found:
        text = one.text if one.kind == "same" else one.text.replace("\n", "⏎\n")  # a line end that changed is seen
        html = readable(text.encode(errors="replace"))
        if one.kind == "same":
            made += html
        else:
            name = escape(say(f"prompt_tuning.{one.kind}"))
            gone = f'<del title="{name}"><b aria-label="{name}">−</b>{html}</del>'
            new = f'<ins title="{name}"><b aria-label="{name}">+</b>{html}</ins>'
            made += gone if one.kind == "gone" else new
    return f'<p class="tp-diff"><bdi>{made}</bdi></p>'


def board(done: Sequence[Tried], say: Words) -> go.Figure:
    """Draw each version's share of right answers with its 95 % interval; the best on top of nothing, in order."""
    import plotly.graph_objects as go

    share = np.asarray([one.result["right"] / one.result["n"] for one in done], dtype=np.float32)
    low, high = (np.asarray([one.result[end] for one in done], dtype=np.float32) for end in ("low", "high"))
    best = float(share.max(initial=0.0))
    figure = go.Figure(
        go.Bar(
            x=share,
            y=np.arange(len(done)),
            orientation="h",
            marker={"color": [ACCENT if value == best else QUIET for value in share.tolist()]},
            text=[f"{one.result['right']}/{one.result['n']}" for one in done],
            textposition="inside",
            insidetextanchor="start",
            textfont={"size": 20},
            error_x={
                "type": "data",
                "array": high - share,
                "arrayminus": share - low,
                "thickness": 3,
                "width": 10,
            },
            hovertemplate="%{x:.0%}<extra></extra>",
        )
    )
    names = [plot_text(one.version.name[:24]) for one in done]
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(done))), ticktext=names, autorange="reversed")
    figure.update_xaxes(range=[0, 1], tickformat=".0%", title={"text": say("prompt_tuning.axis")})
    return figure.update_layout(height=130 + 70 * len(done), showlegend=False)


def outcomes(counted: Mapping[str, Mapping[str, int]], say: Words) -> go.Figure:
    """Draw how many answers were right, made up, or none, for each way of asking, with 95 % intervals."""
    import plotly.graph_objects as go

    figure = go.Figure()
    ways = list(counted)
    for name, colour, pattern in _OUTCOMES:
        hits = [counted[way][name] for way in ways]
        totals = [sum(counted[way].values()) for way in ways]
        share = np.asarray([hit / n for hit, n in zip(hits, totals, strict=True)], dtype=np.float32)
        ends = np.asarray([wilson(hit, n) for hit, n in zip(hits, totals, strict=True)], dtype=np.float32)
        figure.add_bar(
            x=[plot_text(say(f"prompt_tuning.way.{way}")) for way in ways],
            y=share,
            name=plot_text(say(f"prompt_tuning.outcome.{name}")),
            marker={"color": colour, "pattern": {"shape": pattern, "solidity": 0.25}},
            text=[f"{hit}" for hit in hits],
            textposition="inside",
            insidetextanchor="start",
            textfont={"size": 22},
            error_y={
                "type": "data",
                "array": ends[:, 1] - share,
                "arrayminus": share - ends[:, 0],
                "thickness": 3,
                "width": 8,
            },
            hovertemplate="%{y:.0%}<extra></extra>",
        )
    figure.update_yaxes(range=[0, 1], tickformat=".0%", title={"text": say("prompt_tuning.share")})
    return figure.update_layout(height=430, barmode="group", legend={"orientation": "h", "y": 1.14})


def answers(rows: Sequence[Mapping[str, Any]], say: Words) -> str:
    """Return one question's answers, one card a way of asking, each with its sign and word."""
    cards = "".join(_answer(row, say) for row in rows)
    return f'<div class="tp-answers">{cards}</div>'


def _answer(row: Mapping[str, Any], say: Words) -> str:
    outcome, text = row["outcome"], readable(row["text"].encode(errors="replace"))
    way, told = escape(say(f"prompt_tuning.way.{row['way']}")), escape(say(f"prompt_tuning.outcome.{outcome}"))
    return (
        f'<article class="tp-answer {outcome}"><h3>{way}</h3><blockquote><bdi>{text or "–"}</bdi></blockquote>'
        f'<p><i aria-hidden="true">{_SIGNS[outcome]}</i> <b>{told}</b></p></article>'
    )
