"""A real box's weights put onto the planned parts, one by one, each ticked off against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

import pandas as pd
import streamlit as st

from components import build_bench, build_engine, embeddings_engine, engine, pictograms
from components.badge import Badge
from components.build_sections import ready
from components.charts import bars
from components.embeddings_engine import labels as labels_of
from components.figure import draw_note
from components.frame import Page, plain
from components.job_panel import draw_job
from llmkit.assembly import saved
from llmkit.assembly.plan import Plan

_BLOCK = ("norm_1", "attention", "norm_2", "feed_forward")


def draw_weights(page: Page, plan: Plan) -> bool:
    """Fit the weights of the box on the workbench onto the plan; return whether every part fits."""
    bench = page.bench
    st.header(page.say("build.fit.title"))
    if not ready(plan):
        draw_note(page.say("build.fit.not_yet", box=bench.box_id))
        _offer_parts(page)
        return False
    limit = min(plan.max_seq_len, engine.open_box(bench.box_id).config.max_seq_len)
    build_engine.require_sentence(bench.box_id, bench.sentence, limit=limit)
    draw_note(page.say("build.fit.note", box=bench.box_id))
    settings = {
        "box_id": bench.box_id,
        "fingerprint": engine.fingerprint(bench.box_id),
        "plan": saved.to_link(plan),
        "sentence": bench.sentence,
    }

    def draw_so_far(so_far: Mapping[str, Any]) -> None:
        st.html(_table(page, so_far["pieces"]))

    made = draw_job(
        page,
        "fit_box",
        settings,
        label=page.say("build.fit.run", box=plain(bench.box_id)),
        key="build_fit",
        partial=draw_so_far,
    )
    if made is None:
        if plan != build_bench.box_plan(bench.box_id):
            _offer_parts(page)
        return False
    return _draw_fitted(page, made.value, made.badge)


def _offer_parts(page: Page) -> None:
    """Offer to lay the parts of the box on the bench."""
    if st.button(page.say("build.fit.lay", box=page.bench.box_id), key="build_lay"):
        build_bench.lay(build_bench.box_plan(page.bench.box_id))
        st.rerun()


def _draw_fitted(page: Page, found: Mapping[str, Any], badge: Badge) -> bool:
    pieces: Sequence[Mapping[str, Any]] = found["pieces"]
    fits = sum(piece["state"] == "fits" for piece in pieces)
    measured = [piece["delta"] for piece in pieces if piece["delta"] is not None and piece["state"] == "fits"]
    worst = f"{max(measured):.1e}" if measured else "–"
    alt = page.say("build.fit.alt", fits=fits, n=len(pieces), worst=worst, tokens=found["tokens"])
    with page.shown(key="fit", badge=badge, alt=alt, data=pd.DataFrame(pieces)):
        st.html(_table(page, pieces))
    draw_note(alt)
    _draw_reasons(page, pieces)
    if found["differences"]:
        told = page.say("common.comma").join(
            page.say("build.fit.difference", field=name, yours=yours, theirs=theirs)
            for name, yours, theirs in found["differences"]
        )
        draw_note(page.say("build.fit.differences", listed=told))
    whole = found["whole"]
    if whole is None:
        st.info(page.say("build.fit.unfinished"))
        _offer_parts(page)
        return False
    _draw_whole(page, whole, badge)
    complete: bool = whole["delta"] < whole["limit"] and fits == len(pieces)
    if complete:
        page.tick("do.load")
    else:
        _offer_parts(page)
    return complete


def _draw_reasons(page: Page, pieces: Sequence[Mapping[str, Any]]) -> None:
    """Say why parts were refused or differ, those with the same reason together."""

    def why(piece: Mapping[str, Any]) -> tuple[str, ...]:
        reason = piece["reason"] or piece["state"]
        return (piece["part"], reason, piece["yours"], piece["theirs"])

    odd = sorted((piece for piece in pieces if piece["state"] != "fits"), key=why)
    lines = []
    for (part, reason, yours, theirs), group in groupby(odd, key=why):
        alike = list(group)
        deltas = [piece["delta"] for piece in alike if piece["delta"] is not None]
        lines.append(
            page.say(
                f"build.reason.{reason}",
                part=page.say(f"build.bench.part.{part}"),
                n=len(alike),
                yours=yours,
                theirs=theirs,
                delta=f"{max(deltas):.1e}" if deltas else "–",
            )
        )
    if lines:
        st.html('<ul class="note">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")


def _draw_whole(page: Page, whole: Mapping[str, Any], badge: Badge) -> None:
    """Draw the finished machine beside the reference: next tokens, or how far each token's state is off."""
    box_id = page.bench.box_id
    st.subheader(page.say("build.whole.title"))
    delta, limit = f"{whole['delta']:.1e}" if whole["delta"] else "0", f"{whole['limit']:.1e}"
    fits = whole["delta"] < whole["limit"]
    line = page.say(f"build.whole.{whole['of']}.{'fits' if fits else 'differs'}", delta=delta, limit=limit)
    if whole["ours"]:
        ours, theirs = (dict(map(tuple, whole[name])) for name in ("ours", "theirs"))
        ids = list(dict.fromkeys([*theirs, *ours]))
        labels = labels_of(box_id, ids)
        groups = [
            (page.say("build.whole.reference"), [theirs.get(one, 0.0) for one in ids]),
            (page.say("build.whole.yours"), [ours.get(one, 0.0) for one in ids]),
        ]
        drawing = bars(groups, labels, x=page.say("common.next_token.axis"))
        table = pd.DataFrame({"id": ids, "token": labels, "reference": groups[0][1], "yours": groups[1][1]})
    else:
        labels = labels_of(box_id, embeddings_engine.encode(box_id, page.bench.sentence).ids)
        drawing = bars(
            [(page.say("build.whole.yours"), whole["each"])], labels, x=page.say("build.whole.axis"), digits=7
        )
        table = pd.DataFrame({"token": labels, "max_delta": whole["each"]})
    page.figure(drawing, key="whole", badge=badge, alt=line, data=table)
    draw_note(line)


def _table(page: Page, pieces: Sequence[Mapping[str, Any]]) -> str:
    """The parts as a table: a row for each that stands alone and for each layer, a tick in each cell that fits."""
    say = page.say

    def row(title: str, cells: Sequence[str], *, span: int = 1) -> str:
        inner = "".join(f'<td colspan="{span}">{cell}</td>' for cell in cells)
        return f'<tr><th scope="row">{escape(title)}</th>{inner}</tr>'

    head = "".join(f"<th>{escape(say(f'build.bench.part.{name}'))}</th>" for name in _BLOCK)
    body, layer = "", None
    for piece in pieces:
        name = say(f"build.bench.part.{piece['part']}")
        if piece["layer"] is None:
            body += row(name, [_cell(page, piece)], span=len(_BLOCK))
        elif piece["layer"] != layer:
            layer = piece["layer"]
            mine = {other["part"]: other for other in pieces if other["layer"] == layer}
            cells = [_cell(page, mine[part]) if part in mine else "" for part in _BLOCK]
            body += ("" if layer else f"<tr><td></td>{head}</tr>") + row(say("build.fit.layer", n=layer), cells)
    name = escape(say("build.fit.table"))
    return f'<div class="parts-fit" tabindex="0" role="region" aria-label="{name}"><table>{body}</table></div>'


def _cell(page: Page, piece: Mapping[str, Any]) -> str:
    """A tick, or what is wrong, and the difference."""
    delta = "" if piece["delta"] is None else f"{piece['delta']:.0e}" if piece["delta"] else "0"
    if piece["state"] == "fits":
        return f"{pictograms.picture('check', size='small', label=page.say('common.fit.fits'))} {delta}"
    state = piece["state"]
    return f"<b>{escape(page.say(f'build.state.{state}'))}</b> {delta}"
