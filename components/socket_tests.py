"""What should go wrong, and what should not: wrong requests with what they really got, and the smoke test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import pictograms
from components import socket_engine as found
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, plain, section, short
from components.socket_engine import WRONG, Target
from llmkit.serve import smoke

if TYPE_CHECKING:
    from llmkit.serve.reply import Reply
    from llmkit.serve.smoke import Check, Checked


@section
def draw_wrong(page: Page, target: Target) -> None:
    """Send wrong requests, each at a press, and draw what they got."""
    st.header(page.say("socket.wrong.title"))
    draw_note(page.say("socket.wrong.what"))
    asked: tuple[str, ...] = ()
    with st.container(horizontal=True, gap="small"):
        for name in WRONG:
            if st.button(page.say(f"socket.wrong.{name}"), key=f"socket_wrong_{name}"):
                asked = (name,)
        if st.button(page.say("socket.wrong.all"), key="socket_wrong_all", type="primary"):
            asked = WRONG
    kept: dict[str, Reply] = dict(found.sent("wrong", target) or {})
    if asked:
        with st.spinner(page.say("socket.wrong.wait")):
            for name in asked:
                kept[name] = target.client().send(found.wrong_request(name, target))
        found.keep("wrong", target, kept)
        page.tick("do.wrong")
    if kept:
        _draw_wrong_table(page, {name: kept[name] for name in WRONG if name in kept}, fresh=bool(asked))


def _draw_wrong_table(page: Page, kept: Mapping[str, Reply], *, fresh: bool) -> None:
    say = page.say
    names = {name: say(f"socket.wrong.{name}") for name in kept}
    rows = []
    for name, reply in kept.items():
        error = f"<b>{escape(found.error_words(page, reply.error))}</b>" if reply.error else ""
        said = escape(say("socket.wrong.accepted")) if reply.ok else f"<bdi>{escape(reply.message)}</bdi>"
        rows.append(
            found.cell(escape(names[name]))
            + found.status_cell(page, reply)
            + found.cell(f"{error}<small>{said}</small>", "wide")
            + found.cell(f"{reply.latency_ms:,.0f} ms", "number")
        )
    columns = tuple(say(f"socket.column.{name}") for name in ("request", "status", "message", "ms"))
    told = {
        name: (found.status_words(page, reply), found.error_words(page, reply.error or ""))
        for name, reply in kept.items()
    }
    alt = say("common.comma").join(
        say("socket.wrong.alt", name=names[name], status=status, error=error or say("socket.wrong.accepted"))
        for name, (status, error) in told.items()
    )
    data = pd.DataFrame(
        {
            "request": name,
            "status": reply.status,
            "error": reply.error,
            "message": reply.message,
            "ms": reply.latency_ms,
        }
        for name, reply in kept.items()
    )
    badge = Badge.live() if fresh else Badge.cached()
    with page.shown(key="wrong", badge=badge, alt=alt, data=data):
        st.html(found.table(columns, rows))


@section
def draw_smoke(page: Page, target: Target) -> None:
    """The smoke test: what is asked, what should come, what came; saved, opened, run again."""
    say = page.say
    st.header(say("socket.smoke.title"))
    place = st.container()
    with st.expander(say("socket.smoke.open")):
        file = st.file_uploader(
            say("socket.smoke.file", limit=smoke.MOST_BYTES // 1_000_000),
            type=["json"],
            max_upload_size=max(1, smoke.MOST_BYTES // 1_000_000),
            key="socket_smoke_file",
        )
    if file is not None:
        checks = smoke.from_json(file.getvalue())
    else:
        checks = smoke.usual(
            target.model,
            can=target.can,
            context_length=target.limit or smoke.MOST_WORDS,
            has_key=target.wants_key,
            protocol=target.protocol,
        )
    page.count("part.test", len(checks))
    with place:
        if file is not None:
            draw_note(say("socket.smoke.opened", name=short(file.name, 60), n=len(checks)))
        else:
            draw_note(say("socket.smoke.what", n=len(checks)))
            if not target.wants_key:
                draw_note(say("socket.smoke.no_key"))
        with st.container(horizontal=True, gap="small"):
            pressed = st.button(say("socket.smoke.run"), key="socket_smoke_run", type="primary")
            st.download_button(
                say("socket.smoke.save"),
                data=lambda: smoke.to_json(checks).encode(),
                file_name="smoke-test.json",
                mime="application/json",
                key="socket_smoke_save",
                on_click="ignore",
            )
        _draw_came(page, target, checks, pressed=pressed)


def _draw_came(page: Page, target: Target, checks: Sequence[Check], *, pressed: bool) -> None:
    """Run the test where that was asked for, and draw its table, row by row as they come."""
    if pressed:
        live, came = st.empty(), []

        def one(checked: Checked) -> None:
            came.append(checked)
            live.html(_smoke_table(page, came))

        smoke.run_all(checks, target.client(), on_checked=one)
        live.empty()
        found.keep("smoke", target, tuple(came))
        page.tick("do.smoke")
    kept: tuple[Checked, ...] | None = found.sent("smoke", target)
    if not kept or tuple(one.check for one in kept) != tuple(checks):
        return
    say = page.say
    failed = sum(not one.passed for one in kept)
    summary = say("socket.smoke.failed", n=len(kept), k=failed) if failed else say("socket.smoke.passed", n=len(kept))
    st.markdown(f"### {plain(summary)}")
    data = pd.DataFrame(
        {
            "check": one.check.name,
            "passed": one.passed,
            "expected_status": one.check.status,
            "status": one.reply.status,
            "error": one.reply.error,
            "wrong": " ".join(one.wrong),
            "ms": one.reply.latency_ms,
        }
        for one in kept
    )
    with page.shown(key="smoke", badge=Badge.live() if pressed else Badge.cached(), alt=summary, data=data):
        st.html(_smoke_table(page, kept))


def _smoke_table(page: Page, came: Sequence[Checked]) -> str:
    say = page.say
    rows = []
    for one in came:
        label = say("socket.smoke.ok") if one.passed else say("socket.smoke.not_ok")
        tick = pictograms.picture("check" if one.passed else "warning", size="small", label=label)
        told = {"field": one.check.field[:80], "status": one.check.status}
        wrong = say("common.comma").join(say(f"socket.smoke.wrong.{what}", **told) for what in one.wrong)
        error = found.error_words(page, one.reply.error) if one.reply.error else ""
        notes = escape(" · ".join(filter(None, (wrong, error))))
        rows.append(
            found.cell(tick)
            + found.cell(escape(check_name(page, one.check)))
            + found.status_cell(page, one.reply)
            + found.cell(str(one.check.status), "number expected")
            + found.cell(f"<bdi>{notes}</bdi>", "wide")
            + found.cell(f"{one.reply.latency_ms:,.0f} ms", "number")
        )
    columns = ("", *(say(f"socket.column.{name}") for name in ("request", "status", "expected", "message", "ms")))
    return found.table(columns, rows)


def check_name(page: Page, check: Check) -> str:
    """Return what a check is called: ours in the page's language, a learner's own as it stands in the file."""
    key = f"socket.check.{check.name}"
    return page.say(key) if key in page.bench.say else check.name
