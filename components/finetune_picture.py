"""The fine-tuning page's pictures: what learns and what is frozen, curves, memory, a text before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import pictograms
from components.finetune_plan import METHODS
from components.finetune_runs import Run, interval
from components.frame import short
from components.theme import ACCENT, plot_text
from lessons import Words

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from llmkit.tune.what_learns import PartLearns, WhatLearns

COLOURS = {"full": ACCENT, "frozen": "#1f77d0", "lora": "#1a936f"}
DASHES = {"full": "solid", "frozen": "dot", "lora": "dash"}
SYMBOLS = {"full": "circle", "frozen": "square", "lora": "diamond"}
MIB = 2**20
PIECES = ("weights", "gradients", "optimizer", "rest")
SHOWN_LABELS = 4
"""Labels of a text that are drawn by themselves; the others are one."""

TALL_LAYERS = 12
"""Layers above which each is drawn thin."""

FROZEN = pictograms.picture("snow", size="small") + pictograms.picture("lock", size="small") + " "
"""Frozen and locked; the words stand beside it."""


def legend(say: Words) -> str:
    """Return what the machines' colours mean, as HTML."""
    pieces = ("frozen", "learning", "adapter")
    return '<div class="ft-key">' + "".join(_key(name, say) for name in pieces) + "</div>"


def _key(name: str, say: Words) -> str:
    sign = FROZEN if name == "frozen" else ""
    return f'<span><i class="ft-{name}"></i>{sign}{escape(say(f"finetune.key.{name}"))}</span>'


def share(part: int, whole: int) -> str:
    """Return a share in per cent, with as many digits as a small one needs.

    >>> share(1, 1), share(1, 300), share(770, 22_566_146)
    ('100%', '0.33%', '0.0034%')
    """
    value = 100 * part / max(whole, 1)
    return f"{value:.0f}%" if value >= 99.5 else f"{value:.2g}%"


def rate_text(rate: float) -> str:
    """Return a learning rate as papers write it.

    >>> rate_text(5e-5), rate_text(0.03)
    ('5e-5', '0.03')
    """
    if rate >= 0.01:
        return f"{rate:g}"
    mantissa, _, exponent = f"{rate:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def part_names(say: Words) -> dict[str, str]:
    """Return what a classifier's parts are called."""
    return {name: say(f"finetune.part.{name}") for name in ("embedding", "attention", "feed_forward", "head")}


def machine(counted: WhatLearns, names: Mapping[str, str]) -> str:
    """Draw one machine from its head down to its embedding: what learns, what is frozen. Returns HTML.

    Args:
        counted: its parts. names: what each is called.
    """
    layers = 1 + max((part.layer for part in counted.parts if part.layer is not None), default=-1)
    tall = "1.15rem" if layers <= TALL_LAYERS else ".5rem"
    by_layer: dict[int | None, list[PartLearns]] = {}
    for part in counted.parts:
        by_layer.setdefault(part.layer, []).append(part)
    head = next(part for part in counted.parts if part.name == "head")
    embedding = next(part for part in counted.parts if part.name == "embedding")
    rows = [_row([head], names, named=True)]
    rows += [_row(by_layer[layer], names, named=layer == layers - 1) for layer in reversed(range(layers))]
    rows.append(_row([embedding], names, named=True))
    return f'<div class="ft-machine" style="--ft-tall:{tall}">{"".join(rows)}</div>'


def _row(parts: Sequence[PartLearns], names: Mapping[str, str], *, named: bool) -> str:
    pieces = ""
    for part in parts:
        learns = part.learning > 0
        sign = ("" if learns else "❄ ") + escape(names[part.name]) if named else ""
        pieces += f'<div class="ft-part ft-{"learning" if learns else "frozen"}">{sign}</div>'
        if part.adapters:
            pieces += '<div class="ft-adapter"></div>'
    return f'<div class="ft-row{" ft-named" if named else ""}">{pieces}</div>'


def counts(counted: WhatLearns, say: Words) -> str:
    """Write how many weights learn and how many are frozen. Returns HTML."""
    least = f"{counted.least_bytes / MIB:,.0f}"
    part = share(counted.learning, counted.total)
    learning = escape(say("finetune.counts.learning", n=f"{counted.learning:,}", share=part))
    frozen = escape(say("finetune.counts.frozen", n=f"{counted.frozen:,}"))
    lines = f"<b>{learning}</b><br><b>{FROZEN}{frozen}</b><br>"
    return f'<p class="ft-counts">{lines}<span>{escape(say("finetune.counts", mib=least))}</span></p>'


def curves(runs: Mapping[str, Run], which: str, say: Words) -> go.Figure:
    """Draw the loss of the steps, or the accuracy on the validation rows, of every method that has begun.

    Args:
        runs: where each method stands. which: "loss" or "accuracy". say: the words of the page's language.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for method, run in runs.items():
        points = _points(run, which)
        if not points:
            continue
        few = which == "accuracy"
        figure.add_trace(
            go.Scatter(
                x=np.asarray([point[0] for point in points], dtype=np.float32),
                y=np.asarray([point[1] for point in points], dtype=np.float32),
                mode="lines+markers" if few else "lines",
                name=plot_text(say(f"finetune.method.{method}")),
                line={"color": COLOURS[method], "width": 4 if few else 2, "dash": DASHES[method]},
                marker={"size": 11, "symbol": SYMBOLS[method]},
                hovertemplate="%{x}: %{y:.3f}<extra></extra>",
            )
        )
    figure.update_xaxes(title={"text": say("finetune.axis.step")}, rangemode="tozero", showgrid=False)
    title = {"text": say(f"finetune.axis.{which}")}
    if which == "accuracy":
        figure.update_yaxes(title=title, range=[0, 1.02], tickformat=".0%")
    else:
        figure.update_yaxes(title=title, rangemode="tozero")
    return figure.update_layout(height=360, showlegend=True, legend={"orientation": "h", "y": 1.18, "x": 0})


def _points(run: Run, which: str) -> list[tuple[float, float]]:
    if run.course is None:
        return []
    if which == "loss":
        return [(step, loss) for step, loss in run.course["curve"] if loss is not None]
    return [(step, accuracy) for step, _, accuracy in run.course["validation"]]


def curve_table(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return all points of both curves: method, step, train_loss, validation_loss, accuracy."""
    rows = []
    for method, run in runs.items():
        if run.course is None:
            continue
        rows += [{"method": method, "step": step, "train_loss": loss} for step, loss in run.course["curve"]]
        rows += [
            {"method": method, "step": step, "validation_loss": loss, "accuracy": accuracy}
            for step, loss, accuracy in run.course["validation"]
        ]
    return pd.DataFrame(rows, columns=["method", "step", "train_loss", "validation_loss", "accuracy"])


def pieces_of(memory: Mapping[str, int]) -> dict[str, int]:
    """Return what the peak is made of, in bytes: what can be counted, and the rest."""
    counted = {name: int(memory[name]) for name in PIECES if name != "rest"}
    return {**counted, "rest": max(int(memory["peak"]) - sum(counted.values()), 0)}


def memory(runs: Mapping[str, Run], say: Words) -> go.Figure:
    """Draw what each finished run took at its peak, and what of it weights, gradients and optimizer are."""
    import plotly.graph_objects as go

    done = [run for run in runs.values() if run.result is not None]
    names = [plot_text(say(f"finetune.method.{run.method}")) for run in done]
    figure = go.Figure()
    colours = dict(zip(PIECES, ("#1f77d0", "#d98200", ACCENT, "rgba(138,133,128,0.45)"), strict=True))
    for piece in PIECES:
        figure.add_trace(
            go.Bar(
                x=np.asarray([pieces_of((run.result or {})["memory"])[piece] / MIB for run in done], dtype=np.float32),
                y=names,
                orientation="h",
                name=plot_text(say(f"finetune.memory.{piece}")),
                marker={"color": colours[piece]},
                hovertemplate="%{x:,.0f}<extra></extra>",
            )
        )
    peaks = np.asarray([(run.result or {})["memory"]["peak"] / MIB for run in done], dtype=np.float32)
    figure.add_trace(
        go.Scatter(
            x=peaks,
            y=names,
            mode="text",
            text=[f" {peak:,.0f}" for peak in peaks],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(title={"text": say("finetune.memory.axis")}, range=[0, float(peaks.max()) * 1.18])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure.update_layout(
        height=190 + 56 * len(done), barmode="stack", legend={"orientation": "h", "y": 1.3, "x": 0}
    )


def results(runs: Mapping[str, Run], say: Words) -> str:
    """Write what came of each method as a table, the best accuracy in bold. Returns HTML."""
    done = {method: run.result for method, run in runs.items() if run.result is not None}
    heads = ("test", "validation", "peak", "speed", "seconds", "learning")
    head = "".join(f"<th>{escape(say(f'finetune.column.{name}'))}</th>" for name in heads)
    accuracies = [result["test"]["after"]["accuracy"] for result in done.values() if result["test"]["after"]]
    best = max(accuracies, default=None)
    body = ""
    for method, result in done.items():
        after, n = result["test"]["after"], result["test"]["n"]
        low, high = interval(after["accuracy"], n) if after else (0.0, 0.0)
        cells = (
            "–" if after is None else f"{after['accuracy']:.1%} [{low:.0%}, {high:.0%}]",
            "–" if result["best"] is None else f"{result['best'][2]:.1%}",
            f"{result['memory']['peak'] / MIB:,.0f} MiB",
            "–" if result["steps_per_second"] is None else f"{result['steps_per_second']:.2f}",
            f"{result['seconds']:.0f}",
            share(result["learning"], result["total"]),
        )
        mark = ' class="ft-best"' if after and after["accuracy"] == best else ""
        name = escape(say(f"finetune.method.{method}"))
        body += f"<tr{mark}><td>{name}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
    return (
        f'<div class="ft-scroll" tabindex="0"><table class="ft-table"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def results_table(runs: Mapping[str, Run]) -> pd.DataFrame:
    """Return what came of each method as numbers."""
    rows = []
    for method in METHODS:
        result = runs[method].result
        if result is None:
            continue
        after = result["test"]["after"] or {}
        rows.append(
            {
                "method": method,
                "learning": result["learning"],
                "total": result["total"],
                "steps": result["step"],
                "seconds": result["seconds"],
                "steps_per_second": result["steps_per_second"],
                **{f"{name}_bytes": size for name, size in pieces_of(result["memory"]).items()},
                "peak_bytes": result["memory"]["peak"],
                "test_accuracy": after.get("accuracy"),
                "test_loss": after.get("loss"),
                "ending": result["ending"],
            }
        )
    return pd.DataFrame(rows)


def text_box(text: str) -> str:
    """Draw a text that is classified. It may hold anything. Returns HTML."""
    return f'<blockquote class="ft-text"><bdi>{escape(text)}</bdi></blockquote>'


def says(
    readings: Sequence[tuple[str, NDArray[np.float32]]], labels: Sequence[str], truth: int | None, say: Words
) -> str:
    """Draw what each reading makes of a text: a strip of its labels' probabilities, and whether it is right.

    Args:
        readings: name and probabilities [n_labels] of each. labels: their names. truth: the right one, where known.
        say: the words of the page's language.
    """
    shown = _shown_labels(readings, truth)
    rows = ""
    for name, probs in readings:
        strip = "".join(
            _piece(f"ft-label-{at}", short(labels[label], 16), float(probs[label])) for at, label in enumerate(shown)
        )
        rest = 1.0 - sum(float(probs[label]) for label in shown)
        if len(labels) > len(shown):
            strip += _piece("ft-label-rest", say("finetune.rest", n=len(labels) - len(shown)), rest)
        right = None if truth is None else int(probs.argmax()) == truth
        mark = "" if right is None else "✓" if right else "✗"
        rows += f'<b>{escape(name)}</b><div class="ft-strip">{strip}</div><span class="ft-mark">{mark}</span>'
    return f'<div class="ft-says">{rows}</div>'


def _shown_labels(readings: Sequence[tuple[str, NDArray[np.float32]]], truth: int | None) -> list[int]:
    """The labels that are drawn by themselves: all where they are few, else the truth and each reading's likeliest."""
    n = len(readings[0][1])
    if n <= SHOWN_LABELS:
        return list(range(n))
    likely = [int(probs.argmax()) for _, probs in reversed(readings)]
    return sorted(dict.fromkeys([*([] if truth is None else [truth]), *likely]))[:SHOWN_LABELS]


def _piece(name: str, label: str, prob: float) -> str:
    prob = min(max(prob, 0.0), 1.0)
    text = f"{label} {prob:.0%}" if prob >= 0.12 else ""
    title = escape(f"{label} {prob:.1%}")
    return f'<span class="{name}" style="width:{prob:.3%}" title="{title}">{escape(text)}</span>'
