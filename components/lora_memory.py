"""The LoRA page: one training step by each method on the same texts, its memory counted and measured."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import lora_plan as asked
from components.badge import Badge
from components.figure import draw_note, draw_plotly
from components.frame import Page
from components.job_panel import draw_job
from components.lora_plan import Plan
from components.theme import ACCENT, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

MIB = 2**20
COLOURS = {"weights": "#1f77d0", "gradients": "#d98200", "optimizer": ACCENT, "rest": "rgba(138,133,128,0.45)"}
Measured = Mapping[str, Mapping[str, Any]]


def draw_memory(page: Page, plan: Plan, *, writes: bool) -> None:
    """Offer to measure a step by each method, and draw what it took.

    Args:
        writes: whether the box predicts the next token; else it learns to classify.
    """
    say = page.say
    st.header(say("lora.memory.title"))
    draw_note(say("lora.memory.what" if writes else "lora.memory.encoder", batch=asked.BATCH, tokens=asked.TOKENS))
    made = draw_job(
        page,
        asked.MEMORY,
        plan.memory_settings(),
        label=say("lora.memory.run"),
        key="lora_memory",
        partial=lambda told: _draw_table(page, told["methods"]),
    )
    if made is not None:
        page.tick("do.memory")
        _draw(page, made.value["methods"], made.badge)


def pieces(one: Mapping[str, Any]) -> dict[str, int]:
    """What a step's peak is made of, in bytes, above what the process held before: counted, and the rest."""
    counted = {name: int(one[name]) for name in ("weights", "gradients", "optimizer")}
    return {**counted, "rest": max(int(one["peak"]) - int(one["before"]) - sum(counted.values()), 0)}


def frame(told: Measured) -> pd.DataFrame:
    """What was measured, a method a row."""
    return pd.DataFrame(
        [
            {
                "method": name,
                "learning": one["learning"],
                "total": one["total"],
                **{f"{piece}_bytes": size for piece, size in pieces(one).items()},
                "peak_bytes": one["peak"] - one["before"],
                "process_peak_bytes": one["peak"],
                "step_s": one["step_s"],
                "tokens": one["tokens"],
            }
            for name, one in told.items()
        ]
    )


def _draw(page: Page, told: Measured, badge: Badge) -> None:
    say, table = page.say, frame(told)
    peaks = {name: (one["peak"] - one["before"]) / MIB for name, one in told.items()}
    alt = say(
        "lora.memory.alt",
        listed=say("common.comma").join(
            f"{say(f'lora.method.{name}')} {peak:,.0f} MiB" for name, peak in peaks.items()
        ),
    )
    with page.shown(key="memory", badge=badge, alt=alt, data=table):
        draw_plotly(_drawing(page, told), key="lora_memory", alt=alt)
        _draw_table(page, told)
    full, lora = told["full"], told["lora"]
    draw_note(
        say(
            "lora.memory.told",
            full=f"{(full['gradients'] + full['optimizer']) / MIB:,.1f}",
            lora=f"{(lora['gradients'] + lora['optimizer']) / MIB:,.2f}",
            times=f"{(full['gradients'] + full['optimizer']) / max(lora['gradients'] + lora['optimizer'], 1):,.0f}",
            peak=f"{peaks['full']:,.0f}",
            less=f"{peaks['lora']:,.0f}",
        )
    )
    draw_note(say("lora.memory.note"))


def _draw_table(page: Page, told: Measured) -> None:
    """Draw the figures of each method in a line."""
    if not told:
        return
    say = page.say
    heads = ("learning", "weights", "gradients", "optimizer", "peak", "step")
    head = "".join(f"<th>{escape(say(f'lora.memory.{name}'))}</th>" for name in heads)
    body = ""
    for name, one in told.items():
        sizes = [one["weights"], one["gradients"], one["optimizer"], one["peak"] - one["before"]]
        cells = [f"{one['learning']:,}", *(f"{size / MIB:,.1f} MiB" for size in sizes), f"{one['step_s']:.2f} s"]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body += f"<tr><td>{escape(say(f'lora.method.{name}'))}</td>{row}</tr>"
    st.html(
        f'<div class="ft-scroll" tabindex="0"><table class="ft-table"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _drawing(page: Page, told: Measured) -> go.Figure:
    import plotly.graph_objects as go

    say = page.say
    names = [plot_text(say(f"lora.method.{name}")) for name in told]
    figure = go.Figure()
    for piece, colour in COLOURS.items():
        figure.add_trace(
            go.Bar(
                x=np.asarray([pieces(one)[piece] / MIB for one in told.values()], dtype=np.float32),
                y=names,
                orientation="h",
                name=plot_text(say(f"lora.memory.{piece}")),
                marker={"color": colour},
                hovertemplate="%{x:,.1f}<extra></extra>",
            )
        )
    figure.update_xaxes(title={"text": say("lora.memory.axis")})
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure.update_layout(
        height=170 + 50 * len(names), barmode="stack", legend={"orientation": "h", "y": 1.3, "x": 0}
    )
