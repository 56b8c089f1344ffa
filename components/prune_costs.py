"""The prune page: what is saved and what is not, and a pruned box that is trained again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import engine
from components import prune_engine as found
from components.badge import Badge
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, plain, section
from components.job_panel import draw_job, duration
from components.source import draw_source
from components.theme import ACCENT

if TYPE_CHECKING:
    import plotly.graph_objects as go

MIB = 2**20
ALIKE = 1.15
"""Times that differ by less than this factor are called the same."""

Row = Mapping[str, Any]


@section
def draw_cost(page: Page) -> None:
    """Draw the job that measures bytes and times, and what it found."""
    st.header(page.say("prune.cost.title"))
    draw_note(page.say("prune.cost.what"))
    box_id = page.bench.box_id
    settings = {"box": box_id, "fingerprint": engine.fingerprint(box_id)}
    made = draw_job(page, found.COST, settings, label=page.say("prune.cost.run"), key="prune_cost")
    if made is None:
        return
    page.tick("do.cost")
    told = made.value
    _draw_sizes(page, told, made.badge)
    _draw_products(page, told, made.badge)
    _draw_machines(page, told, made.badge)
    from llmkit.compress.prune_cost import in_turns

    draw_source(page, in_turns)


@section
def draw_recover(page: Page, kind: str) -> None:
    """Train a pruned box again, lay it beside the original, and put it on the workbench."""
    bench = page.bench
    st.header(page.say("prune.recover.title"))
    encoder = not found.writes(bench.box_id)
    draw_note(page.say("prune.recover.what.encoder" if encoder else "prune.recover.what"))
    shares = found.shares(bench.box_id, kind)
    if len(shares) < 2:
        st.info(page.say("prune.recover.none", kind=page.say(f"prune.kind.{kind}")))
        return
    left, middle, right = st.columns(3)
    order = left.segmented_control(
        page.say("prune.order"),
        found.ORDERS,
        default=found.ORDERS[-1],
        required=True,
        format_func=lambda one: page.say(f"prune.order.{one}"),
        key="prune_recover_order",
    )
    able = tuple(range(1, len(shares)))
    step = middle.selectbox(
        page.say("prune.share"),
        able,
        index=len(able) // 2,
        format_func=lambda one: f"{shares[one]:.0%}",
        key=f"prune_recover_step_{kind}_{len(shares)}",
    )
    steps = right.segmented_control(
        page.say("prune.recover.steps"), found.STEPS, default=found.STEPS[1], required=True, key="prune_recover_steps"
    )
    settings = {
        **found.curve_settings(bench, kind),
        "order": str(order or found.ORDERS[-1]),
        "step": int(step or 1),
        "steps": int(steps or found.STEPS[1]),
    }
    draw_note(
        page.say(
            "prune.recover.estimate",
            kind=page.say(f"prune.kind.{kind}"),
            share=f"{shares[settings['step']]:.0%}",
            time=duration(found.recover_seconds(bench.box_id, settings["steps"]), bench.say),
        )
    )
    made = draw_job(
        page,
        found.RECOVER,
        settings,
        label=page.say("prune.recover.run"),
        key="prune_recover",
        partial=lambda so_far: _draw_losses(page, so_far["losses"], Badge.live(), key="losses_partial"),
    )
    if made is None:
        return
    page.tick("do.recover")
    _draw_recovered(page, made.value, made.badge, encoder=encoder)
    _draw_box(page, made.value)


def is_alike(one: float, other: float) -> bool:
    """Return whether two times are the same, as far as this machine can tell."""
    return max(one, other) <= ALIKE * min(one, other)


def compared(one: float, base: float) -> str:
    """Return what a time is beside another: "same", "faster" or "slower"."""
    return "same" if is_alike(one, base) else "faster" if one < base else "slower"


def _draw_sizes(page: Page, told: Row, badge: Badge) -> None:
    rows: Sequence[Row] = told["sizes"]["rows"]
    names = ("dense", "zipped", "csr")
    table = pd.DataFrame(
        [{"way": name, "share": row["share"], "mib": row[name] / MIB} for name in names for row in rows]
    )
    labels = [
        page.say(f"prune.cost.{way}", share=f"{share:.0%}") for way, share in zip(table.way, table.share, strict=True)
    ]
    whole, half, most = rows
    st.subheader(page.say("prune.cost.bytes"))
    text = page.say(
        "prune.cost.bytes.told",
        n=told["sizes"]["layers"],
        all=told["layers"],
        dense=f"{whole['dense'] / MIB:.1f}",
        zeros=f"{most['dense'] / MIB:.1f}",
        zip=f"{whole['zipped'] / MIB:.1f}",
        zipped=f"{most['zipped'] / MIB:.1f}",
    )
    page.figure(
        bars([(page.say("prune.cost.mib"), table.mib.tolist())], labels, x=page.say("prune.cost.mib"), digits=1),
        key="sizes",
        badge=badge,
        alt=text,
        data=table,
    )
    draw_note(text)
    saves = half["csr"] < whole["dense"] * 0.95
    draw_note(
        page.say(
            "prune.cost.csr.saves" if saves else "prune.cost.csr.none",
            half=f"{half['csr'] / MIB:.1f}",
            most=f"{most['csr'] / MIB:.1f}",
            dense=f"{whole['dense'] / MIB:.1f}",
        )
    )


def _draw_products(page: Page, told: Row, badge: Badge) -> None:
    rows: Sequence[Row] = told["products"]
    ms = {(row["way"], row["share"]): float(row["ms"]["median"]) for row in rows}
    labels = [page.say(f"prune.cost.{row['way']}", share=f"{row['share']:.0%}") for row in rows]
    base = ms["dense", 0.0]
    st.subheader(page.say("prune.cost.product", rows=told["shape"][0], columns=told["shape"][1], tokens=told["tokens"]))
    zeros = compared(ms["dense", 0.9], base)
    text = page.say(f"prune.cost.zeros.{zeros}", base=f"{base:.3f}", zeros=f"{ms['dense', 0.9]:.3f}")
    _draw_times(page, rows, labels, text, badge, key="products")
    draw_note(text)
    for share in (0.5, 0.9):
        way = compared(ms["csr", share], base)
        draw_note(
            page.say(
                f"prune.cost.sparse.{way}", share=f"{share:.0%}", csr=f"{ms['csr', share]:.3f}", base=f"{base:.3f}"
            )
        )
    if told["no_two_four"]:
        draw_note(page.say(f"prune.cost.two_four.{told['no_two_four']}"))
    else:
        way = compared(ms["two_four", 0.5], ms["dense_half", 0.0])
        draw_note(
            page.say(
                f"prune.cost.kernel.{way}",
                ms=f"{ms['two_four', 0.5]:.3f}",
                base=f"{ms['dense_half', 0.0]:.3f}",
            )
        )


def _draw_machines(page: Page, told: Row, badge: Badge) -> None:
    rows: Sequence[Row] = told["machines"]
    labels = [_machine(page, row) for row in rows]
    original, zeros, *smaller = rows
    st.subheader(page.say("prune.cost.machines", tokens=told["tokens"]))
    same = page.say(
        f"prune.cost.whole.{compared(zeros['ms']['median'], original['ms']['median'])}",
        base=f"{original['ms']['median']:.1f}",
        zeros=f"{zeros['ms']['median']:.1f}",
    )
    _draw_times(page, rows, labels, same, badge, key="machines")
    draw_note(same)
    table = pd.DataFrame(rows).drop(columns="ms")
    mib = (table["bytes"] / MIB).tolist()
    text = page.say("prune.cost.files.told", first=f"{mib[0]:.1f}", zeros=f"{mib[1]:.1f}")
    drawing = bars([(page.say("prune.cost.mib"), mib)], labels, x=page.say("prune.cost.mib"), digits=1)
    page.figure(drawing, key="files", badge=badge, alt=text, data=table)
    for row in smaller:
        draw_note(
            page.say(
                f"prune.cost.smaller.{compared(row['ms']['median'], original['ms']['median'])}",
                what=_machine(page, row),
                parameters=f"{row['parameters'] / original['parameters']:.0%}",
                bytes=f"{row['bytes'] / original['bytes']:.0%}",
                time=f"{row['ms']['median'] / original['ms']['median']:.0%}",
            )
        )


def _machine(page: Page, row: Row) -> str:
    if row["kind"] == "original":
        return page.say("prune.cost.original")
    return page.say("prune.cost.gone", kind=page.say(f"prune.kind.{row['kind']}"), share=f"{row['share']:.0%}")


def _draw_times(page: Page, rows: Sequence[Row], labels: Sequence[str], alt: str, badge: Badge, *, key: str) -> None:
    """Draw medians with their quartiles."""
    table = pd.DataFrame([{"what": label, **row["ms"]} for label, row in zip(labels, rows, strict=True)])
    drawing = bars([("ms", table["median"].tolist())], labels, x=page.say("prune.cost.ms"), digits=2)
    drawing.data[0].error_x = {
        "type": "data",
        "symmetric": False,
        "array": (table["high"] - table["median"]).to_numpy(dtype=np.float32),
        "arrayminus": (table["median"] - table["low"]).to_numpy(dtype=np.float32),
    }
    drawing.update_traces(text=None)
    for at, median in enumerate(table["median"]):  # at the edge, where no whisker crosses them
        drawing.add_annotation(x=1, xref="paper", xanchor="right", y=at, text=f"{median:.2f}", showarrow=False)
    drawing.update_xaxes(range=[0, float(table["high"].max()) * 1.3])
    page.figure(drawing, key=key, badge=badge, alt=alt, data=table)


def _draw_losses(page: Page, losses: Sequence[float], badge: Badge, *, key: str) -> None:
    """Draw the training's own loss, step by step."""
    import plotly.graph_objects as go

    if not losses:
        return
    figure: go.Figure = go.Figure(
        go.Scatter(y=np.asarray(losses, dtype=np.float32), line={"width": 3, "color": ACCENT})
    )
    figure.update_layout(height=260)
    figure.update_xaxes(title={"text": page.say("prune.recover.step")})
    figure.update_yaxes(title={"text": page.say("prune.recover.loss")})
    alt = page.say("prune.recover.losses", n=len(losses), first=f"{losses[0]:.3f}", last=f"{losses[-1]:.3f}")
    page.figure(figure, key=key, badge=badge, alt=alt, data=pd.DataFrame({"loss": list(losses)}))


def _draw_recovered(page: Page, told: Row, badge: Badge, *, encoder: bool) -> None:
    names = ("original", "before", "after")
    losses = [float(told[name]["loss"]) for name in names]
    labels = [page.say(f"prune.recover.{name}") for name in names]
    first, before, after = losses
    lost = before - first
    state = "more" if after <= first else "some" if lost > 0 and after < before else "none"
    text = page.say(
        f"prune.recover.got.{state}",
        first=f"{first:.3f}",
        before=f"{before:.3f}",
        after=f"{after:.3f}",
        share=f"{(before - after) / lost:.0%}" if lost > 0 else "–",
    )
    table = pd.DataFrame([{"machine": name, **told[name]} for name in names])
    axis = page.say("prune.cliff.y.encoder" if encoder else "prune.cliff.y")
    page.figure(bars([(axis, losses)], labels, x=axis), key="recovered", badge=badge, alt=text, data=table)
    draw_note(text)
    for name, label in zip(names, labels, strict=True):
        st.html(f"<p><b>{escape(label)}</b> <bdi>{escape(str(told[name]['text']))}</bdi></p>")
    _draw_losses(page, told["losses"], badge, key="losses")


def _draw_box(page: Page, told: Row) -> None:
    """Offer the new box for the workbench, or take it off the shelf."""
    from llmkit import shelf

    box_id = str(told["box"])
    if told["zero_heads"]:
        draw_note(page.say("prune.recover.zero_heads"))
    if shelf.locate(box_id) is None:
        st.info(page.say("prune.recover.removed", box=plain(box_id)))
        return
    with st.container(horizontal=True):
        st.button(
            page.say("prune.recover.use", box=plain(box_id)),
            key="prune_use",
            on_click=_use,
            args=(box_id,),
            type="primary",
        )
        st.button(
            page.say("prune.recover.remove"), key="prune_remove", on_click=_remove, args=(box_id,), type="tertiary"
        )


def _use(box_id: str) -> None:
    """Lay the new box on the workbench: it opens on every page."""
    st.session_state["_workbench_fill"] = {"box": box_id}


def _remove(box_id: str) -> None:
    from llmkit import shelf

    shelf.remove(box_id)
