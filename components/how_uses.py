"""The How it works page's second half: a base box and an instruct box, sentences compared, reasoning counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import engine
from components import how_answers as found
from components.charts import bars, heat
from components.figure import draw_note
from components.frame import Page, section
from components.how_answers import Share
from components.job_panel import draw_job
from components.theme import ACCENT, QUIET, plot_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

QUESTION_LIMIT = 200
"""Characters of the question that base and instruct box are asked."""

MOST_LINES = 12
LINE_LIMIT = 300
"""Lines that the sentence is compared with, and characters of each."""

_ASKED = "how_asked"


@section
def draw_tuning(page: Page) -> None:
    """Ask a base box and an instruct box the same question; the latter also through its chat template."""
    st.header(page.say("how.tune.title"))
    draw_note(page.say("how.tune.lead"))
    instruct = found.instruct_box(page.bench.box_id)
    if instruct is None:
        st.info(page.say("how.missing", box=found.INSTRUCT))
        return
    question = st.text_input(
        page.say("how.tune.question"),
        page.say("how.tune.example"),
        max_chars=QUESTION_LIMIT,
        key=f"how_question_{page.bench.lang}",
    )
    if st.button(page.say("how.tune.ask"), key="how_ask", type="primary"):
        st.session_state[_ASKED] = (question, instruct)
    if st.session_state.get(_ASKED) != (question, instruct):
        draw_note(page.say("how.tune.wait", box=instruct))
        return
    with st.spinner(page.say("how.tune.spinner", box=instruct)):
        made = found.ask(question, instruct)
    page.tick("do.ask")
    rows = ""
    for asking in found.ASKINGS:
        one = made.value[asking]
        end = f" <em>{escape(page.say('how.went_on.end'))}</em>" if one.ended else ""
        nothing = f"<em>{escape(page.say('how.tune.nothing'))}</em>"
        wrote = f"<b>{escape(one.wrote)}</b>" if one.wrote else nothing
        rows += f"<dt>{escape(page.say(f'how.asking.{asking}', box=one.box_id))}</dt>"
        rows += f"<dd><pre>{escape(one.sent)}</pre><bdi>{wrote}</bdi>{end}</dd>"
    alt = page.say("how.tune.alt", question=question)
    columns = ("box_id", "sent", "wrote", "ended")
    table = pd.DataFrame(
        [{"asked": a, **{name: getattr(made.value[a], name) for name in columns}} for a in found.ASKINGS]
    )
    with page.shown(key="tuning", badge=made.badge, alt=alt, data=table):
        st.html(f'<dl class="spoken asked">{rows}</dl>')
    draw_note(page.say("how.tune.note"))


@section
def draw_understanding(page: Page) -> None:
    """Compare the sentence with lines that can be edited, by the vectors of a sentence encoder."""
    st.header(page.say("how.alike.title"))
    draw_note(page.say("how.alike.lead", box=found.ENCODER))
    if not found.here(found.ENCODER):
        st.info(page.say("how.missing", box=found.ENCODER))
        return
    written = st.text_area(
        page.say("how.alike.lines", n=MOST_LINES, limit=LINE_LIMIT),
        page.say("how.alike.example"),
        key=f"how_lines_{page.bench.lang}",
        height=150,
    )
    stripped = [line.strip() for line in written.splitlines() if line.strip()]
    lines = [line[:LINE_LIMIT] for line in stripped[:MOST_LINES]]
    if not lines:
        st.info(page.say("how.alike.empty"))
        return
    if len(stripped) > MOST_LINES or any(len(line) > LINE_LIMIT for line in stripped):
        st.info(page.say("how.alike.cut", n=MOST_LINES, limit=LINE_LIMIT))
    texts = (page.bench.sentence.strip(), *lines)
    with st.spinner(page.say("how.opening")):
        made = found.likeness(texts)
    cosines = made.value
    first = cosines[0, 1:]
    order = first.argsort()[::-1]
    near, far = lines[order[0]], lines[order[-1]]
    alt = page.say("how.alike.alt", near=near, high=f"{first[order[0]]:.2f}", far=far, low=f"{first[order[-1]]:.2f}")
    ranked = [lines[at] for at in order]
    drawing = bars([("", first[order].tolist())], ranked, x=page.say("how.alike.axis"), digits=2)
    drawing.update_xaxes(range=[min(0.0, float(first.min()) * 1.3), max(float(first.max()), 0.1) * 1.25])
    table = pd.DataFrame({"line": ranked, "cosine": first[order]})
    page.figure(drawing, key="alike", badge=made.badge, alt=alt, data=table)
    draw_note(alt)
    draw_note(page.say("how.alike.english", box=found.ENCODER))
    with st.expander(page.say("how.alike.all")):
        names = [str(at) for at in range(len(texts))]
        drawing = heat(cosines, x="", y="", height=120 + 36 * len(texts))
        places = np.arange(len(texts))
        drawing.update_xaxes(tickmode="array", tickvals=places, ticktext=names)
        short = [plot_text(f"{at} {text if len(text) <= 14 else text[:13] + '…'}") for at, text in enumerate(texts)]
        drawing.update_yaxes(tickmode="array", tickvals=places, ticktext=short)
        frame = pd.DataFrame(cosines).assign(text=texts)
        page.figure(drawing, key="alike_all", badge=made.badge, alt=page.say("how.alike.all_alt"), data=frame)


@section
def draw_reasoning(page: Page) -> None:
    """Count how many sums and puzzles the instruct box gets right, asked plainly and step by step."""
    from llmkit.generate.reasoning import ASKED, WAYS, questions

    st.header(page.say("how.reason.title"))
    instruct = found.instruct_box(page.bench.box_id)
    if instruct is None:
        st.info(page.say("how.missing", box=found.INSTRUCT))
        return
    n = len(questions())
    page.count("part.task", n)
    draw_note(page.say("how.reason.lead", n=n, box=instruct))
    with st.expander(page.say("how.reason.set", n=n)):
        rows = [{"kind": page.say(f"how.kind.{q.kind}"), "question": q.text, "answer": q.answer} for q in questions()]
        st.dataframe(_named(page, rows), hide_index=True)
        for way in WAYS:
            st.code(ASKED[way], language=None, wrap_lines=True)
    made = draw_job(
        page,
        "reasoning",
        {"box_id": instruct, "fingerprint": engine.fingerprint(instruct)},
        label=page.say("how.reason.start", n=2 * n),
        key="how_reasoning",
        partial=lambda partial: _draw_so_far(page, partial["rows"]),
    )
    if made is None:
        draw_note(page.say("how.reason.wait"))
        return
    rows = made.value["rows"]
    counts = found.count_right(rows)
    drawing = _shares(page, counts)
    alt = page.say("how.reason.alt", listed=_listed(page, counts))
    page.figure(drawing, key="reasoning", badge=made.badge, alt=alt, data=pd.DataFrame([asdict(one) for one in counts]))
    draw_note(alt)
    draw_note(page.say("how.reason.chance"))
    outcome, gained, lost = found.compare(rows)
    draw_note(page.say(f"how.reason.{outcome}", gained=gained, lost=lost))
    _draw_rows(page, rows)


def _draw_so_far(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw the count while the job goes on."""
    draw_note(page.say("how.reason.so_far", right=sum(row["right"] for row in rows), n=len(rows)))


def _draw_rows(page: Page, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw every question with what the box wrote, to be read and filtered."""
    with st.expander(page.say("how.reason.rows", n=len(rows))):
        wrong = st.toggle(page.say("how.reason.only_wrong"), key="how_only_wrong")
        shown = [
            {
                "kind": page.say(f"how.kind.{row['kind']}"),
                "way": page.say(f"how.way.{row['way']}"),
                "question": row["question"],
                "answer": row["answer"],
                "read": row["read"] or "–",
                "right": row["right"],
                "wrote": row["text"],
            }
            for row in rows
            if not (wrong and row["right"])
        ]
        st.dataframe(_named(page, shown), hide_index=True, row_height=48)
        if shown:
            numbers = range(len(shown))
            at = st.selectbox(
                page.say("how.reason.one"),
                numbers,
                format_func=lambda n: f"{n + 1}. {shown[n]['question'][:60]} ({shown[n]['way']})",
                key=f"how_one_{wrong}",
            )
            st.code(shown[at]["wrote"] or "–", language=None, wrap_lines=True)


def _named(page: Page, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table whose columns are called in the page's language."""
    frame = pd.DataFrame(list(rows))
    return frame.rename(columns={name: page.say(f"how.column.{name}") for name in frame.columns})


def _listed(page: Page, counts: Sequence[Share]) -> str:
    return page.say("common.comma").join(
        page.say(
            "how.reason.share",
            kind=page.say(f"how.kind.{one.kind}"),
            way=page.say(f"how.way.{one.way}"),
            right=one.right,
            n=one.n,
            low=f"{100 * one.low:.0f}",
            high=f"{100 * one.high:.0f}",
        )
        for one in counts
    )


def _shares(page: Page, counts: Sequence[Share]) -> go.Figure:
    """Draw the share of right answers of each kind and way with its interval; a dashed line is blind guessing."""
    import plotly.graph_objects as go

    drawing = go.Figure()
    for way, colour in (("plain", QUIET), ("steps", ACCENT)):
        own = [one for one in counts if one.way == way]
        share = np.asarray([one.right / one.n for one in own], dtype=np.float32)
        drawing.add_bar(
            x=[page.say(f"how.kind.{one.kind}") for one in own],
            y=share,
            name=page.say(f"how.way.{way}"),
            marker={"color": colour},
            text=[f"{one.right}/{one.n}" for one in own],
            textposition="inside",
            insidetextanchor="start",
            textfont={"size": 20},
            error_y={
                "type": "data",
                "array": np.asarray([one.high for one in own], dtype=np.float32) - share,
                "arrayminus": share - np.asarray([one.low for one in own], dtype=np.float32),
                "thickness": 3,
                "width": 10,
            },
        )
    for at, one in enumerate(one for one in counts if one.way == "plain"):
        line = {"dash": "dash", "width": 3}
        drawing.add_shape(type="line", x0=at - 0.45, x1=at + 0.45, y0=one.chance, y1=one.chance, line=line)
    drawing.update_yaxes(title={"text": page.say("how.reason.axis")}, range=[0, 1], tickformat=".0%")
    return drawing.update_layout(height=400, barmode="group", legend={"orientation": "h", "y": 1.15})
