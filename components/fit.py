"""The fit: our part beside the reference's own, on the same weights and the learner's sentence, as max |Δ|."""

from __future__ import annotations

import threading
from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import embeddings_engine, engine, pictograms
from components.figure import draw_note
from components.frame import Page, section

if TYPE_CHECKING:
    from llmkit.reference import Report

_ASKED = "fit"
_one_at_a_time = threading.Lock()
"""A comparison holds the box four times; two at once might not fit into memory."""


@section
def draw_fit(page: Page, *parts: str) -> None:
    """Offer to compare parts with the reference, and draw what came out.

    Args:
        page: the sheet.
        parts: which rows of the report the page is about ("attention").
    """
    bench = page.bench
    asked = (bench.box_id, bench.sentence)
    st.header(page.say("common.fit.title"))
    if st.button(page.say("common.fit.run"), key=f"fit_{page.step.slug}"):
        st.session_state[_ASKED] = asked
    if st.session_state.get(_ASKED) != asked:
        draw_note(page.say("common.fit.note", box=bench.box_id))
        return
    with st.spinner(page.say("common.fit.wait", box=bench.box_id)):
        made = _compare(bench.box_id, engine.fingerprint(bench.box_id), bench.sentence)
    report = made.value
    rows = [row for row in report.rows if row.part in parts]
    table = pd.DataFrame([row for row in report.to_dict()["rows"] if row["part"] in parts])
    listed = page.say("common.comma").join(f"{_name(page, row.part)} {row.float32:.1e}" for row in rows)
    alt = page.say("common.fit.alt", listed=listed)
    with page.shown(key="fit", badge=made.badge, alt=alt, data=table):
        st.html(_table(page, report, parts))
    key = "common.fit.all" if report.passed else "common.fit.some"
    misfits = [_name(page, row.part) for row in report.rows if not row.passed]
    draw_note(page.say(key, n=len(report.rows), tokens=report.tokens, listed=page.say("common.comma").join(misfits)))


@engine.remembered(max_entries=16)
def _compare(box_id: str, fingerprint: str, text: str) -> Report:
    from llmkit.reference import verify_box
    from llmkit.trace import TraceError

    if not len(embeddings_engine.encode(box_id, text)):
        raise TraceError("text_empty", tokens=0, limit=engine.MAX_TOKENS)
    with _one_at_a_time:
        return verify_box(box_id, text=text)


def _name(page: Page, part: str) -> str:
    return page.say(f"common.fit.{part}")


def _table(page: Page, report: Report, parts: tuple[str, ...]) -> str:
    """The report's rows as a table; a part that fits gets its tick, one that does not is named so."""
    say = page.say
    head = "".join(f"<th>{escape(say(f'common.fit.{name}'))}</th>" for name in ("part", "places", "delta", "wide"))
    body = ""
    for row in report.rows:
        if row.part not in parts:
            continue
        tick = pictograms.picture("check", size="small", label=say("common.fit.fits"))
        wide = "–" if row.float64 is None else f"{row.float64:.1e}"
        body += (
            f"<tr><td>{escape(_name(page, row.part))}</td><td>{row.places}×</td>"
            f"<td>{row.float32:.1e} &lt; {row.float32_limit:.1e}</td><td>{wide}</td>"
            f"<td>{tick if row.passed else escape(say('common.fit.misfit'))}</td></tr>"
        )
    return f'<div class="fit"><table><thead><tr>{head}<td></td></tr></thead><tbody>{body}</tbody></table></div>'
