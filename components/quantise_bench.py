"""The quantise page's bench: forms of the box measured alike, one picture of size, quality and speed, and the shelf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import engine
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, plain, section
from components.job_panel import draw_job
from components.theme import ACCENT, QUIET, plot_text, plotly_layout
from llmkit.compress.form import FORMS

if TYPE_CHECKING:
    import plotly.graph_objects as go

ORIGINAL = "torch-float32"
USUAL = (ORIGINAL, "quanto-int8")
PLANS = ("quick", "full")
SHELVED = frozenset({"quanto", "torchao"})
"""Engines whose rounded weights can be written out as a box."""

MIB = 2**20
SMALLEST_DOT, LARGEST_DOT = 14, 44

Row = Mapping[str, Any]


@section
def draw_bench(page: Page) -> None:
    """Draw the forms to tick, the job that measures them, and what it found."""
    bench = page.bench
    st.header(page.say("quantise.bench.title"))
    reasons = _reasons(bench.box_id, engine.fingerprint(bench.box_id)).value
    able = [one.id for one in FORMS if one.id not in reasons]
    ticked = st.pills(
        page.say("quantise.bench.forms"),
        able,
        selection_mode="multi",
        default=[one for one in USUAL if one in able],
        key=f"quantise_forms_{bench.box_id}",
    )
    forms = [one for one in able if one in ticked or one == ORIGINAL]
    if reasons:
        with st.expander(page.say("quantise.bench.cannot", n=len(reasons))):
            for form_id, (code, values) in reasons.items():
                _say_why(page, form_id, code, values)
    plan = st.segmented_control(
        page.say("quantise.bench.plan"),
        PLANS,
        default=PLANS[0],
        required=True,
        format_func=lambda one: page.say(f"quantise.bench.plan.{one}"),
        key="quantise_plan",
    )
    settings = {
        "box": bench.box_id,
        "fingerprint": engine.fingerprint(bench.box_id),
        "forms": forms,
        "prompt": bench.sentence,
        "quick": plan != "full",
    }
    made = draw_job(
        page, "bench", settings, label=page.say("quantise.bench.run"), key="quantise_bench", partial=_partial
    )
    if made is not None:
        page.tick("do.bench")
        _draw_rows(page, made.value["rows"], made.badge)
        _draw_shelf(page, [row["form"] for row in made.value["rows"] if row["missing"] is None])


@engine.remembered(max_entries=8)
def _reasons(box_id: str, fingerprint: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """The forms that the box cannot take here, each with the error's code and values."""
    from llmkit.compress import made

    asked = {one.id: made.why_not(one.id, box_id) for one in FORMS}
    return {name: (why.code, dict(why.values)) for name, why in asked.items() if why is not None}


def quality(row: Row) -> float | None:
    """Perplexity of a box that writes, else the sentence vectors' cosine with the original's."""
    found = row["perplexity"] or row["cosine"]
    return None if found is None else float(found["median"])


def speed(row: Row) -> float | None:
    """Tokens a second, one text: written by a box that writes, read by an encoder."""
    found = (row["decode_tokens_s"] or row["prefill_tokens_s"] or {}).get("1")
    return None if found is None else float(found["median"])


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """What was measured, one form a row."""
    return pd.DataFrame(
        [
            {
                "form": row["form"],
                "size_mib": row["size_bytes"] / MIB if row["size_bytes"] else None,
                "memory_mib": row["peak_memory_bytes"] / MIB if row["peak_memory_bytes"] else None,
                "quality": quality(row),
                "kl_nats": row["kl_nats"]["median"] if row["kl_nats"] else None,
                "tokens_s": speed(row),
                "first_token_ms": row["first_token_ms"]["median"] if row["first_token_ms"] else None,
                "noisy": row["noisy"],
            }
            for row in rows
        ]
    )


def smaller_and_slower(rows: Sequence[Row]) -> Row | None:
    """The int8 form that is smaller than the original and slower, where these rows say so; the slowest of them."""
    original = next((row for row in rows if row["form"] == ORIGINAL and row["missing"] is None), None)
    if original is None:
        return None
    base, size = speed(original), original["size_bytes"]
    found = [
        (rate, row)
        for row in rows
        if row["form"].endswith("int8") and row["missing"] is None and base and size
        for rate in (speed(row),)
        if rate is not None and rate < base and row["size_bytes"] and row["size_bytes"] < size
    ]
    return min(found, key=lambda one: one[0])[1] if found else None


def _say_why(page: Page, form_id: str, code: str, values: Mapping[str, Any]) -> None:
    """Say why a form cannot run here."""
    st.caption(f"**{form_id}** · {page.error_text(code, values)}")


def _partial(told: Any) -> None:
    """Draw the rows as far as they are."""
    table = frame([row for row in told["rows"] if row["missing"] is None])
    if len(table):
        st.dataframe(table, hide_index=True)


def _draw_rows(page: Page, rows: Sequence[Row], badge: Badge) -> None:
    measured = [row for row in rows if row["missing"] is None and row["size_bytes"] and quality(row) is not None]
    for row in rows:
        if row["missing"] is not None:
            _say_why(page, row["form"], row["missing"]["code"], row["missing"]["values"])
    if not measured:
        return
    table = frame(measured)
    writes = measured[0]["perplexity"] is not None
    axis = page.say("quantise.bench.perplexity" if writes else "quantise.bench.cosine")
    smallest = min(measured, key=lambda row: float(row["size_bytes"]))
    alt = page.say(
        "quantise.bench.alt",
        n=len(measured),
        form=smallest["form"],
        size=f"{smallest['size_bytes'] / MIB:.1f}",
        axis=axis,
        quality=f"{quality(smallest):.4g}",
    )
    hints = [
        page.say(
            "quantise.bench.rate",
            form=row["form"],
            size=f"{row['size_bytes'] / MIB:.1f}",
            quality=f"{quality(row):.4g}",
            n=f"{speed(row) or 0:.0f}",
        )
        for row in measured
    ]
    with page.shown(key="bench", badge=badge, alt=alt, data=table):
        chosen = st.plotly_chart(
            _drawing(table, hints, size=page.say("quantise.bench.size"), quality=axis),
            key="quantise_points",
            alt=alt,
            on_select="rerun",
            selection_mode="points",
            config={"displaylogo": False, "responsive": True},
        )
        draw_note(page.say("quantise.bench.note"))
        st.dataframe(table, hide_index=True)
    if any(row["noisy"] for row in measured):
        draw_note(page.say("quantise.bench.noisy"))
    _draw_chosen(page, measured, [int(point["point_index"]) for point in chosen["selection"]["points"]])
    _draw_slower(page, measured)


def _draw_chosen(page: Page, rows: Sequence[Row], points: Sequence[int]) -> None:
    """Draw the text of the form that was clicked, beside the original's."""
    row = rows[points[0]] if points and points[0] < len(rows) else rows[-1]
    if row["text"] is None:
        return
    original = next((one for one in rows if one["form"] == ORIGINAL), row)
    for one in dict.fromkeys((original["form"], row["form"])):
        text = next(other["text"] for other in rows if other["form"] == one)
        told = f"{escape(row['prompt'] or '')}<mark>{escape(text or '')}</mark>"
        st.html(f"<p><b>{escape(one)}</b> <bdi>{told}</bdi></p>")


def _draw_slower(page: Page, rows: Sequence[Row]) -> None:
    """Say that int8 is smaller and slower here, where it is."""
    row, original = smaller_and_slower(rows), next((one for one in rows if one["form"] == ORIGINAL), None)
    if row is None or original is None:
        return
    with st.container(border=True, key="quantise_slower"):
        st.subheader(page.say("quantise.slower.title"))
        st.write(
            page.say(
                "quantise.slower.because",
                form=row["form"],
                size=f"{row['size_bytes'] / MIB:.1f}",
                full=f"{original['size_bytes'] / MIB:.1f}",
                rate=f"{speed(row):.0f}",
                base=f"{speed(original):.0f}",
            )
        )


def _draw_shelf(page: Page, forms: Sequence[str]) -> None:
    """Put a quantised form on the shelf, and choose it for the workbench."""
    able = [one.id for one in FORMS if one.id in forms and one.engine in SHELVED]
    if not able:
        return
    st.subheader(page.say("quantise.shelf.title"))
    draw_note(page.say("quantise.shelf.what"))
    form_id = st.selectbox(page.say("quantise.shelf.form"), able, key="quantise_shelve")
    box_id = page.bench.box_id
    settings = {"box": box_id, "fingerprint": engine.fingerprint(box_id), "form": form_id}
    made = draw_job(page, "shelve_form", settings, label=page.say("quantise.shelf.put"), key="quantise_shelf")
    if made is not None:
        new = str(made.value["box"])
        st.button(page.say("quantise.shelf.use", box=plain(new)), key="quantise_use", on_click=_use, args=(new,))


def _use(box_id: str) -> None:
    """Lay the new box on the workbench: it opens on every page."""
    st.session_state["_workbench_fill"] = {"box": box_id}


def _drawing(table: pd.DataFrame, told: Sequence[str], *, size: str, quality: str) -> go.Figure:
    import plotly.graph_objects as go

    rates = table["tokens_s"].fillna(0).to_numpy(dtype=np.float32)
    dots = SMALLEST_DOT + (LARGEST_DOT - SMALLEST_DOT) * np.sqrt(rates / max(float(rates.max()), 1e-9))
    figure = go.Figure(
        go.Scatter(
            x=table["size_mib"].to_numpy(dtype=np.float32),
            y=table["quality"].to_numpy(dtype=np.float32),
            mode="markers+text",
            text=[plot_text(str(form)) for form in table["form"]],
            textposition="top center",
            cliponaxis=False,
            marker={
                "size": dots.astype(np.float32),
                "color": [QUIET if form == ORIGINAL else ACCENT for form in table["form"]],
            },
            hovertext=[plot_text(one) for one in told],
            hoverinfo="text",
        )
    )
    figure.update_layout(plotly_layout())
    figure.update_layout(clickmode="event+select", height=420, showlegend=False)
    top = float(table["size_mib"].max())
    figure.update_xaxes(title={"text": size}, range=[0, top * 1.2])
    figure.update_yaxes(title={"text": quality}, automargin=True)
    return figure
