"""Step 2-2, the model boxes: side by side and to scale, one of them on the workbench, another one fetched."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import engine, pictograms, unbox_kit, workbench
from components import material_engine as found
from components.badge import Badge
from components.frame import Page, plain, section
from components.unbox_get import get_missing
from components.unbox_kit import FAMILIES, megabytes

if TYPE_CHECKING:
    from llmkit.shelf import Box
    from llmkit.tune.box_facts import BoxFacts, BoxSpeed

SIDE_REM = 7.0
"""Side of the largest box's square; the others' areas follow their parameters."""

LIST = "grid-template-columns:repeat(auto-fit,minmax(min(13rem,100%),1fr))"
CARD = "display:grid;grid-row:span 2;grid-template-rows:subgrid;gap:.8rem"
"""Squares stand on one line where cards stand side by side, and take no more room than they need on a phone."""

_MEASURED = "_material_measured"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A box that is here, with what was found out about it."""

    box: Box
    facts: BoxFacts
    tokens: int
    speed: BoxSpeed | None


def draw_boxes(page: Page) -> None:
    """Draw every box that is here as a card with its square, to scale; choose one; measure; fetch another."""
    from llmkit import shelf

    bench = page.bench
    ids = engine.boxes_here(workbench.DEFAULT_BOX, bench.box_id)
    page.count("part.model_box", len(ids))
    page.count("part.data_box", len(shelf.boxes_here("data")))
    st.header(page.say("material.boxes.title"))
    rows, badge = _rows(page, ids)
    if rows:
        _draw_cards(page, rows, badge)
    with st.container(horizontal=True, vertical_alignment="bottom", key="material_boxes"):
        st.pills(
            page.say("material.boxes.choose"),
            ids,
            default=bench.box_id,
            required=True,
            format_func=plain,
            wrap=True,
            key=f"material_choose_{bench.box_id}_{len(ids)}",
            on_change=_put_on_the_workbench,
            args=(f"material_choose_{bench.box_id}_{len(ids)}",),
        )
        if st.button(page.say("material.boxes.measure"), key="material_measure"):
            st.session_state[_MEASURED] = True
            st.rerun()
    if st.session_state.get("_material_chosen"):
        page.tick("do.choose")
    with st.expander(page.say("material.boxes.more"), key="material_more"):
        unbox_kit.other_boxes(page)
        get_missing(page)


def _put_on_the_workbench(key: str) -> None:
    """Lay the chosen box on the workbench when the page is next laid out."""
    chosen = st.session_state.get(key)
    if chosen:
        st.session_state["_workbench_fill"] = {"box": chosen}
        st.session_state["_material_chosen"] = True


def _rows(page: Page, ids: tuple[str, ...]) -> tuple[list[Row], Badge]:
    """Return what is known of each box that can be opened, and where the newest of it comes from; say which cannot."""
    from llmkit import shelf

    bench, rows, badges = page.bench, [], []
    measure = st.session_state.get(_MEASURED, False)
    with st.spinner(page.say("material.boxes.wait")):
        for box_id in ids:
            with page.guard():
                fingerprint = engine.fingerprint(box_id)
                facts = found.facts(box_id, fingerprint)
                tokens = found.cost(box_id, fingerprint, bench.sentence)
                made = found.speed(box_id, fingerprint, bench.sentence, engine.device()) if measure else None
                badges += [facts.badge, tokens.badge, *([made.badge] if made else [])]
                speed = made.value if made else None
                rows.append(Row(box=shelf.entry(box_id), facts=facts.value, tokens=tokens.value, speed=speed))
    live = next((badge for badge in badges if badge.kind == "live"), None)
    return rows, live or Badge.cached()


@section
def _draw_cards(page: Page, rows: list[Row], badge: Badge) -> None:
    say, top = page.say, max(row.facts.parameters for row in rows)
    biggest = max(rows, key=lambda row: row.facts.parameters)
    smallest = min(rows, key=lambda row: row.facts.parameters)
    alt = say(
        "material.boxes.alt",
        n=len(rows),
        big=biggest.facts.box_id,
        count=count_words(page, biggest.facts.parameters),
        times=f"{biggest.facts.parameters / smallest.facts.parameters:.0f}",
        small=smallest.facts.box_id,
    )
    data = pd.DataFrame(
        {
            "box": row.facts.box_id,
            "family": row.facts.family,
            "direction": "left_to_right" if row.facts.causal else "both_ways",
            "parameters": row.facts.parameters,
            "context_tokens": row.facts.context,
            "layers": row.facts.n_layers,
            "d_model": row.facts.d_model,
            "size_bytes": row.facts.size_bytes,
            "licence": row.box.licence,
            "languages": " ".join(row.box.languages),
            "sentence_tokens": row.tokens,
            "tokens_per_s": row.speed.tokens_per_s if row.speed else None,
            "open_s": row.speed.open_s if row.speed else None,
        }
        for row in rows
    )
    with page.shown(key="boxes", badge=badge, alt=alt, data=data):
        st.html(f'<ul class="boxes" style="{LIST}">{"".join(_card(page, row, top) for row in rows)}</ul>')


def count_words(page: Page, count: int) -> str:
    """Return a large count as the page's language counts: in ten thousands, or in millions."""
    value = f"{count / 1e4:,.0f}" if page.bench.lang == "zh-TW" else f"{count / 1e6:,.1f}"
    return page.say("material.card.large", n=value) if count >= 100_000 else f"{count:,}"


def _card(page: Page, row: Row, top: int) -> str:
    """One box as HTML: its square, to scale, then its facts. Its name may have been typed by anyone."""
    say, facts = page.say, row.facts
    side = SIDE_REM * (facts.parameters / top) ** 0.5
    way = "→" if facts.causal else "↔"
    direction = say("material.way.right" if facts.causal else "material.way.both")
    square = (
        '<div aria-hidden="true" style="align-self:end">'
        f'<div style="width:{side:.2f}rem;height:{side:.2f}rem;border:3px solid var(--line);display:grid;'
        f"place-items:center;overflow:hidden;font-size:{min(max(side / 2.2, 0.8), 3):.2f}rem;line-height:1;"
        f'color:var(--accent);font-weight:800">{way}</div></div>'
    )
    lines = [
        f"{FAMILIES.get(facts.family, facts.family)} · {direction}",
        say(
            "material.card.size",
            count=count_words(page, facts.parameters),
            size=megabytes(facts.size_bytes),
        ),
        say("material.card.context", n=f"{facts.context:,}"),
        say("material.card.build", layers=facts.n_layers, d=facts.d_model),
        " · ".join(piece for piece in (row.box.licence, " ".join(row.box.languages)) if piece) or say("unbox.kit.own"),
        say("material.card.tokens", n=row.tokens),
    ]
    if row.box.note:
        lines.append(say(f"unbox.note.{row.box.note}"))
    if row.speed:
        rate = f"{row.speed.tokens_per_s:,.0f}"
        lines.append(say("material.card.speed", rate=rate, s=f"{row.speed.open_s:.2f}", device=row.speed.device))
    on_bench = facts.box_id == page.bench.box_id
    state = say("material.card.bench") if on_bench else say("unbox.kit.here")
    mark = pictograms.picture("check", size="small") if on_bench else ""
    border = "border-color:var(--accent)" if on_bench else ""
    return (
        f'<li class="here" style="{CARD};{border}">{square}<div><b>{escape(facts.box_id)}</b>'
        + "".join(f"<p>{escape(line)}</p>" for line in lines)
        + f'<p class="state">{mark}{escape(state)}</p></div></li>'
    )
