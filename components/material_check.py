"""Step 2-2, the check: what is wrong with the data, in which rows, and a button that mends it; undo takes it back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import engine
from components import material_engine as found
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, Verdict, plain, short
from components.job_panel import draw_job
from components.material_engine import Pile
from components.material_pile import mendings
from components.theme import ACCENT, QUIET

if TYPE_CHECKING:
    from llmkit.tune.data.checks import Finding

SIGNS = {"error": ":material/dangerous:", "warn": ":material/warning:", "note": ":material/info:"}
SHOWN_CLASSES = 12
BINS = 40
SHOWN_ROWS = 8
"""Row numbers beside a finding; its CSV has more."""

_CHECKED = "_material_checked"
TWICE = ("none", "few", "some", "many")
"""Answers to how many rows repeat an earlier one: none, below 1 %, below 10 %, more."""


def ask_twice(page: Page, pile: Pile) -> None:
    """Ask how many rows repeat an earlier one, before the check says so."""
    say, raw = page.say, pile.raw

    def run() -> Verdict:
        again, rows = found.repeated(raw).value
        share = again / rows
        answer = "none" if not again else "few" if share < 0.01 else "some" if share < 0.1 else "many"
        return Verdict(
            answer=answer,
            explanation=say("material.twice.because", again=f"{again:,}", rows=f"{rows:,}", share=f"{share:.1%}"),
        )

    page.check(
        f"twice_{raw.source}",
        question=say("material.twice.question", name=plain(found.pile_table(raw).name)),
        options={name: say(f"material.twice.{name}") for name in TWICE},
        run=run,
    )


def draw_check(page: Page, pile: Pile) -> bool:
    """Draw the check, once it was asked for; return whether it was."""
    st.header(page.say("material.check.title"))
    if not st.session_state.get(_CHECKED):
        if not st.button(page.say("material.check.run"), key="material_check", type="primary"):
            draw_note(page.say("material.check.note"))
            return False
        st.session_state[_CHECKED] = True
        st.rerun()
    page.tick("do.check")
    _draw_classes(page, pile)
    context = _draw_lengths(page, pile)
    _draw_findings(page, pile, context)
    _draw_mended(page, pile)
    return True


def _draw_classes(page: Page, pile: Pile) -> None:
    """Draw how many rows each class has."""
    made = found.labels(pile)
    counts = Counter(label for label in made.value if label is not None)
    if not counts:
        draw_note(page.say("material.classes.none"))
        return
    most = counts.most_common(SHOWN_CLASSES)
    names, values = [name for name, _ in most], [count for _, count in most]
    alt = page.say(
        "material.classes.alt",
        n=len(counts),
        listed=page.say("common.comma").join(f"{short(name, 60)} {count:,}" for name, count in most),
    )
    data = pd.DataFrame(counts.most_common(), columns=["label", "rows"])
    drawing = bars([(page.say("material.classes.rows"), values)], names, x=page.say("material.classes.rows"), digits=0)
    page.figure(drawing, key="classes", badge=made.badge, alt=alt, data=data)


def _draw_lengths(page: Page, pile: Pile) -> int:
    """Draw how long the texts are in tokens of the workbench's box; return how many that box takes, 0: not known."""
    box_id, say = page.bench.box_id, page.say
    context = 0
    with page.guard():
        context = found.facts(box_id, engine.fingerprint(box_id)).value.context
        if found.lengths(pile, box_id) is None:
            label = say("material.lengths.count", n=f"{len(found.pile_table(pile)):,}", box=plain(box_id))
            draw_job(page, "data_lengths", found.lengths_job(pile, box_id), label=label, key="material_lengths")
        made = found.lengths(pile, box_id)
        if made is None or not len(made.value):
            return context
        lengths = made.value
        over = int((lengths > context).sum())
        alt = say(
            "material.lengths.alt",
            box=box_id,
            middle=int(np.median(lengths)),
            longest=int(lengths.max()),
            context=context,
            over=f"{over:,}",
            share=f"{over / len(lengths):.1%}",
        )
        edges = bin_edges(int(lengths.max()), context)
        counts, _ = np.histogram(lengths, bins=edges)
        data = pd.DataFrame({"tokens_from": edges[:-1], "tokens_to": edges[1:] - 1, "rows": counts})
        page.figure(_histogram(page, counts, edges, context), key="lengths", badge=made.badge, alt=alt, data=data)
        draw_note(alt)
    return context


def bin_edges(longest: int, context: int) -> np.ndarray:
    """Return where bins of lengths begin, evenly on a log scale; one begins just above the context.

    The last one is where the last bin ends: [bins + 1] whole numbers.
    """
    edges = np.round(np.geomspace(1, longest + 1, BINS)).astype(int)
    inside = [context + 1] if 0 < context < longest else []
    return np.unique([*edges, longest + 1, *inside, 1, 2])


def _histogram(page: Page, counts: np.ndarray, edges: np.ndarray, context: int) -> go.Figure:
    """Draw bars of rows by length on a log scale, and the line beyond which the model reads nothing."""
    places = np.log10(edges)
    steps = [step * 10**power for power in range(6) for step in (1, 3) if step * 10**power <= edges[-1]]
    figure = go.Figure(
        go.Bar(
            x=((places[:-1] + places[1:]) / 2).astype(np.float32),
            y=counts.astype(np.float32),
            width=np.diff(places).astype(np.float32),
            marker={"color": [ACCENT if edge > context > 0 else QUIET for edge in edges[:-1]], "line": {"width": 0}},
            customdata=np.stack([edges[:-1], edges[1:] - 1], axis=1).astype(np.float32),
            hovertemplate="%{customdata[0]:,}–%{customdata[1]:,}: %{y:,}<extra></extra>",
        )
    )
    if 0 < context < edges[-1]:
        figure.add_vline(
            x=np.log10(context + 1),
            line={"color": ACCENT, "width": 3, "dash": "dash"},
            annotation={"text": page.say("material.lengths.context", n=context), "font": {"size": 16}},
            annotation_position="top left",
        )
    ticks = {"tickmode": "array", "tickvals": np.log10(steps), "ticktext": [f"{step:,}" for step in steps]}
    figure.update_xaxes(title={"text": page.say("material.lengths.axis")}, tickangle=0, **ticks)
    figure.update_yaxes(title={"text": page.say("material.classes.rows")})
    return figure.update_layout(height=320, showlegend=False, bargap=0)


def _draw_findings(page: Page, pile: Pile, context: int) -> None:
    """Draw each finding with its rows and what mends it."""
    say, box_id = page.say, page.bench.box_id
    st.subheader(say("material.found.title"))
    with st.spinner(say("material.check.wait")):
        made = found.findings(pile, box_id, context)
    if not made.value:
        st.success(say("material.found.nothing"))
        return
    data = pd.DataFrame(
        [(one.severity, one.code, one.count, " ".join(map(str, one.rows)), one.mend) for one in made.value],
        columns=["severity", "finding", "count", "first_rows", "mend"],
    )
    alt = " ".join(_sentence(page, one) for one in made.value)
    with page.shown(key="findings", badge=made.badge, alt=alt, data=data):
        for one in made.value:
            with st.container(border=True, gap="xsmall", key=f"material_found_{one.code}"):
                st.markdown(f"{SIGNS[one.severity]} {plain_sentence(page, one)}")
                if one.rows:
                    st.caption(_rows(page, one))
                if one.mend and st.button(say(f"material.mend.{one.mend}"), key=f"material_mend_{one.mend}"):
                    name = f"{found.LONG}:{context}:{box_id}" if one.mend == found.LONG else one.mend
                    mendings(pile).append(name)
                    st.rerun()


def _draw_mended(page: Page, pile: Pile) -> None:
    """List what was applied, with undo."""
    if not pile.mendings:
        return
    say = page.say
    names = [say(f"material.mend.{name.partition(':')[0]}") for name in pile.mendings]
    left, before = len(found.frame(pile).value), len(found.pile_table(pile))
    with st.container(horizontal=True, vertical_alignment="center", key="material_mended"):
        listed = " → ".join(names)
        draw_note(say("material.mended", listed=listed, before=f"{before:,}", left=f"{left:,}"))
        if st.button(say("material.undo", name=names[-1]), key="material_undo"):
            mendings(pile).pop()
            st.rerun()


def plain_sentence(page: Page, one: Finding) -> str:
    """Return a finding in words, as Markdown that shows what the data hold and does nothing with it."""
    return _sentence(page, one, escape=True)


def _sentence(page: Page, one: Finding, *, escape: bool = False) -> str:
    values = {
        name: plain(short(str(value), 60)) if escape else short(str(value), 60) for name, value in one.values.items()
    }
    return page.say(f"material.found.{one.code}", count=f"{one.count:,}", **values)


def _rows(page: Page, one: Finding) -> str:
    listed = page.say("common.comma").join(map(str, one.rows[:SHOWN_ROWS]))
    more = one.count - len(one.rows[:SHOWN_ROWS])
    return page.say("material.found.more" if more else "material.found.rows", rows=listed, more=f"{more:,}")
