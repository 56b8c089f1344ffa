"""The fast-inference page: the graph and its ends, what fusion makes of it, the folder to take along, the check."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from components import fast_engine as found
from components import pictograms
from components.badge import Badge
from components.charts import bars
from components.fast_engine import Exported
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.job_panel import draw_job
from components.theme import ACCENT, QUIET, own_style, plot_text
from llmkit import jobs
from llmkit.compress.onnx_graph import Graph, Port

if TYPE_CHECKING:
    import plotly.graph_objects as go

MIB = 2**20
VIEWS = ("before", "after")
COLOURS = {
    "matrices": ACCENT,
    "norms": "#4a7fb5",
    "attention": "#b08a2e",
    "activations": "#7a5ea8",
    "arithmetic": "#5f9265",
    "shapes": QUIET,
}
"""What an operator is there for → its colour: told from black and white letters alike."""

MOST_BARS = 12
FASTER = {"same": 1.1, "half": 1.5, "double": 2.5}
"""The check's answers: up to so many times as fast; beyond all of them, ``more``."""


def draw_export(page: Page) -> Exported | None:
    """Draw the way from the box to the machine that runs it; export, or what the export is."""
    st.html(own_style("fast"))
    bench = page.bench
    st.header(page.say("fast.graph.title"))
    gone = found.lost(bench)
    if gone is not None:  # thrown away meanwhile
        jobs.forget(gone)
    job = jobs.find("onnx", found.settings(bench))
    place = st.empty()
    why = found.why_not(bench)
    if why is not None:
        _draw_way(page, place, None)
        raise why
    if job is None or job.state != "done":
        _draw_way(page, place, None)
        draw_note(page.say("fast.export.how"))
    made = draw_job(page, "onnx", found.settings(bench), label=page.say("fast.export.run"), key="fast_export")
    if made is None:
        return None
    shown = found.exported(made)
    _draw_way(page, place, shown)
    page.tick("do.export")
    page.count("part.operator", shown.before.nodes)
    page.count("part.input", len(shown.before.inputs))
    page.count("part.output", len(shown.before.outputs))
    return shown


@section
def draw_graph(page: Page, shown: Exported) -> None:
    """Draw the graph's operators as areas, and its ends."""
    view = st.segmented_control(
        page.say("fast.view"),
        VIEWS,
        default=VIEWS[0],
        required=True,
        format_func=lambda one: page.say(f"fast.view.{one}"),
        key="fast_view",
        bind="query-params",
    )
    if view == "after":
        page.tick("do.look")
    graph = shown.after if view == "after" else shown.before
    draw_operators(page, graph, shown.badge, key="operators")
    _draw_ends(page, shown.before, shown.badge, key="ends")
    _draw_delta(page, shown)


def draw_operators(page: Page, graph: Graph, badge: Badge, *, key: str) -> None:
    """Draw the operators of a graph: the larger the area, the more of them."""
    table = found.operators(graph)
    most = table.iloc[0]
    alt = page.say(
        "fast.operators.alt", n=graph.nodes, kinds=len(table), most=str(most["operator"]), count=int(most["nodes"])
    )
    names = {name: page.say(f"fast.kind.{name}") for name in COLOURS}
    page.figure(_treemap(table, names), key=key, badge=badge, alt=alt, data=table)
    counts = table.groupby("kind")["nodes"].sum()
    legend = "".join(
        f'<li><i style="background:{colour}"></i>{escape(names[name])} <b>{int(counts.get(name, 0)):,}</b></li>'
        for name, colour in COLOURS.items()
    )
    st.html(f'<ul class="fast-legend">{legend}</ul>')


@section
def draw_fusion(page: Page, shown: Exported) -> None:
    """Draw which operators ONNX Runtime put together, and how norms and attention fared."""
    st.header(page.say("fast.fusion.title"))
    before, after = shown.before, shown.after
    table = found.changes(before, after)
    alt = page.say("fast.fusion.alt", before=before.nodes, after=after.nodes, n=len(table))
    top = table.head(MOST_BARS)
    if len(top):
        groups = [(page.say(f"fast.view.{one}"), top[one].tolist()) for one in VIEWS]
        labels = [name.rpartition(".")[2] for name in top["operator"]]
        drawing = bars(groups, labels, x=page.say("fast.fusion.axis"), digits=0)
        page.figure(drawing, key="fusion", badge=shown.badge, alt=alt, data=table)
    draw_note(alt)
    draw_note(_norms_told(page, before, after))
    draw_note(_attention_told(page, after))


def draw_take(page: Page, shown: Exported) -> None:
    """Pack the complete folder and hand it over; the same as a command."""
    st.header(page.say("fast.take.title"))
    bench = page.bench
    draw_note(page.say("fast.take.what"))
    made = draw_job(page, "onnx_zip", found.zip_settings(bench), label=page.say("fast.take.run"), key="fast_zip")
    if made is not None:
        told = made.value
        path = found.zip_path(bench, told["file"])
        size = f"{told['size_bytes'] / MIB:.1f}"
        if path is None:
            st.warning(page.say("fast.take.gone"))
        else:
            page.tick("do.take")
            if found.fits_in_memory(told["size_bytes"]):
                st.download_button(
                    page.say("fast.take.download", file=told["file"], size=size),
                    data=lambda: path.open("rb"),  # read when it is asked for
                    file_name=told["file"],
                    mime="application/zip",
                    key="fast_download",
                    on_click="ignore",
                )
            draw_note(page.say("fast.take.where", path=path, size=size))
        _draw_files(page, told["files"], made.badge)
    with st.expander(page.say("fast.take.command")):
        from llmkit.compress.providers import commands

        st.code(commands(bench.box_id).splitlines()[0], language="bash", wrap_lines=True)
    version, exports = found.optimum().value
    key = "fast.optimum.exports" if exports else "fast.optimum.none" if not version else "fast.optimum.not"
    draw_note(page.say(key, version=version) if version else page.say("fast.optimum.none"))


@section
def draw_other(page: Page) -> None:
    """Look into an ONNX file of somebody else's, without running anything of it."""
    with st.expander(page.say("fast.other.title")):
        draw_note(page.say("fast.other.what"))
        files = st.file_uploader(page.say("fast.other.file"), accept_multiple_files=True, key="fast_other")
        if files:
            name, graph = found.look_into(files)
            st.subheader(plain(name))
            draw_operators(page, graph, Badge.live(), key="other")
            _draw_ends(page, graph, Badge.live(), key="other_ends")


def draw_check(page: Page, shown: Exported | None) -> None:
    """Ask how many times faster one step gets by fusion; the export has timed both, in turns."""

    def run() -> Verdict:
        if shown is None:
            raise found.FastError("fast_not_exported")
        ratio = shown.plain_ms / shown.fused_ms
        answer = next((name for name, most in FASTER.items() if ratio <= most), "more")
        because = page.say(
            "fast.check.because",
            plain=f"{shown.plain_ms:.2f}",
            fused=f"{shown.fused_ms:.2f}",
            n=shown.n,
            ratio=f"{ratio:.2f}",
            before=shown.before.nodes,
            after=shown.after.nodes,
        )
        return Verdict(answer=answer, explanation=because)

    page.check(
        "fused",
        question=page.say("fast.check.question"),
        options={one: page.say(f"fast.check.{one}") for one in (*FASTER, "more")},
        run=run,
    )


def _draw_way(page: Page, place: st.delta_generator.DeltaGenerator, shown: Exported | None) -> None:
    """Draw box ➜ graph ➜ the processors that it may run on."""
    say = page.say
    if shown is None:
        graph, small, state = say("fast.way.none"), say("fast.way.none.small"), "none"
    else:
        size = sum(shown.files.get(name, 0) for name in ("model.onnx", "model.onnx.data")) / MIB
        graph = say("fast.way.graph", n=f"{shown.before.nodes:,}")
        small, state = say("fast.way.graph.small", size=f"{size:.1f}", s=f"{shown.made_s:.0f}"), "made"
    cells = (
        ("box", page.bench.box_id, say("fast.way.box")),
        ("engine", graph, small),
        ("wheel", say("fast.way.run"), say("fast.way.run.small")),
    )
    html = '<i aria-hidden="true">➜</i>'.join(
        f"<div>{pictograms.picture(picture, size='big')}<b>{escape(name)}</b><span>{escape(told)}</span></div>"
        for picture, name, told in cells
    )
    alt = say("fast.way.alt", box=page.bench.box_id, graph=graph)
    files = pd.DataFrame({"file": list(shown.files), "bytes": list(shown.files.values())}) if shown else None
    with place.container(), page.shown(key="way", badge=shown.badge if shown else Badge.live(), alt=alt, data=files):
        st.html(f'<div class="fast-way is-{state}">{html}</div>')


def _draw_ends(page: Page, graph: Graph, badge: Badge, *, key: str) -> None:
    """Draw what goes into the graph and what comes out."""
    rows = [("in", *one) for one in found.ports(graph.inputs)] + [("out", *one) for one in found.ports(graph.outputs)]
    table = pd.DataFrame(rows, columns=["side", "name", "type", "shape"])
    opset = ", ".join(f"{name or 'ai.onnx'} {version}" for name, version in graph.opsets.items())
    alt = page.say("fast.ends.alt", inputs=len(graph.inputs), outputs=len(graph.outputs))
    weights = page.say("fast.ends.weights", n=f"{graph.weights:,}", size=f"{graph.weights_bytes / MIB:.1f}")
    told = [page.say("fast.ends.opset", opset=opset), graph.producer]
    middle = f"<b>{escape(weights)}</b>" + "".join(f"<span>{escape(one)}</span>" for one in told)
    with page.shown(key=key, badge=badge, alt=alt, data=table):
        st.html(
            f'<div class="fast-ends"><ul>{_chips(graph.inputs)}</ul><i aria-hidden="true">➜</i><div>{middle}</div>'
            f'<i aria-hidden="true">➜</i><ul>{_chips(graph.outputs)}</ul></div>'
        )
    free = sorted({size for one in graph.inputs for size in one.shape if isinstance(size, str) and size})
    if free:
        draw_note(page.say("fast.ends.free", names=page.say("common.comma").join(free[:6])))


def _chips(ports: tuple[Port, ...]) -> str:
    return "".join(
        f"<li><b>{escape(name[:80])}</b><span>{escape(dtype)} {escape(shape[:120])}</span></li>"
        for name, dtype, shape in found.ports(ports)[:12]
    )


def _draw_delta(page: Page, shown: Exported) -> None:
    """Draw how far the graph's answers lie from PyTorch's."""
    values = {"whole": shown.whole, **({} if shown.cached is None else {"cached": shown.cached})}
    facts = "".join(
        f"<div><dt>{escape(page.say(f'fast.delta.{name}'))}</dt><dd>{value:.1e}</dd></div>"
        for name, value in values.items()
    )
    table = pd.DataFrame({"what": list(values), "max_abs_difference": list(values.values())})
    alt = page.say("fast.delta.alt", value=f"{max(values.values()):.1e}")
    with page.shown(key="delta", badge=shown.badge, alt=alt, data=table):
        st.html(f'<p class="fast-delta">{escape(page.say("fast.delta.title"))}</p><dl class="fast-facts">{facts}</dl>')


def _draw_files(page: Page, files: dict[str, int], badge: Badge) -> None:
    table = pd.DataFrame({"file": list(files), "bytes": list(files.values())})
    alt = page.say("fast.take.alt", n=len(files), size=f"{sum(files.values()) / MIB:.1f}")
    with page.shown(key="files", badge=badge, alt=alt, data=table):
        st.dataframe(table, hide_index=True)


def _norms_told(page: Page, before: Graph, after: Graph) -> str:
    was, now = found.pieces(before), found.pieces(after)
    if was.pieces > now.pieces and now.norms > was.norms:
        return page.say("fast.norms.joined", n=now.norms - was.norms)
    if now.pieces:
        return page.say("fast.norms.pieces", n=now.pieces)
    skips = sum(n for name, n in after.operators.items() if "Skip" in name)
    return page.say("fast.norms.whole", n=was.norms, skips=skips)


def _attention_told(page: Page, after: Graph) -> str:
    now = found.pieces(after)
    if now.attentions:
        return page.say("fast.attention.joined", n=now.attentions)
    return page.say("fast.attention.pieces", n=now.softmaxes)


def _treemap(table: pd.DataFrame, names: dict[str, str]) -> go.Figure:
    import plotly.graph_objects as go

    present = [name for name in COLOURS if name in set(table["kind"])]
    totals = table.groupby("kind")["nodes"].sum()
    short = [str(name).rpartition(".")[2] for name in table["operator"]]
    figure = go.Figure(
        go.Treemap(
            ids=[*(f"kind {name}" for name in present), *table["operator"]],
            labels=[*(plot_text(names[name]) for name in present), *map(plot_text, short)],
            parents=[*("" for _ in present), *(f"kind {name}" for name in table["kind"])],
            values=np.asarray([*(totals[name] for name in present), *table["nodes"]], dtype=np.float32),
            branchvalues="total",
            marker={
                "colors": [COLOURS[name] for name in (*present, *table["kind"])],
                "line": {"width": 1, "color": "#ffffff"},
            },
            pathbar={"visible": False},
            textinfo="label+value",
            textfont={"color": "#ffffff"},
            hovertemplate="%{label}: %{value:.0f}<extra></extra>",
            tiling={"pad": 1},
        )
    )
    return figure.update_layout(height=420, uniformtext={"minsize": 12, "mode": "hide"})
