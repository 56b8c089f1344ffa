"""The load test on the page: a job from a process of its own, throughput and waiting over users, and the check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import deploy_engine
from components import socket_engine as found
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, section
from components.job_panel import draw_job
from components.socket_engine import SocketPageError, Target
from components.source import draw_source
from components.theme import ACCENT, QUIET
from llmkit import jobs
from llmkit.serve import load

if TYPE_CHECKING:
    import plotly.graph_objects as go

KIND = "load_test"
SECONDS = (2, 4, 8)
TOKENS = 16
FEW = 20
"""With fewer answers than this the slowest is the 99th percentile."""

DASHES = {"p50": "solid", "p95": "dash", "p99": "dot"}
_SETTINGS = "load_settings"


def settings_of(page: Page, target: Target, seconds: int) -> dict[str, Any]:
    """Return the job's settings: everyone sends the beginning of the workbench's sentence."""
    ask = target.asks[0]
    stream = ask in ("completion", "chat")
    request = target.request(ask, deploy_engine.beginning(page.bench.sentence), max_tokens=TOKENS, stream=stream)
    return {
        "address": target.address,
        "server": target.identity,
        "request": {"method": request.method, "path": request.path, "body": dict(request.body or {})},
        "users": list(load.USERS),
        "seconds": seconds,
        "timeout_s": found.TIMEOUT_S,
        "key": load.key_name(target.key) if target.key else None,
    }


@section
def draw_load(page: Page, target: Target) -> None:
    """Let more and more users ask, and draw what they got."""
    say = page.say
    st.header(say("socket.load.title"))
    seconds = st.segmented_control(
        say("socket.load.seconds"), SECONDS, default=SECONDS[1], required=True, key="socket_seconds"
    )
    users = say("common.comma").join(str(count) for count in load.USERS)
    draw_note(say("socket.load.what", users=users, seconds=seconds))
    page.count("part.user", max(load.USERS))
    settings = settings_of(page, target, seconds)
    found.keep(_SETTINGS, target, settings)
    job = jobs.find(KIND, settings)
    if job is None or (not job.active and job.state != "done" and target.key):
        if st.button(say("socket.load.run"), key="socket_load_start", type="primary"):
            _begin(target, settings, job)
        if job is None:
            return
    made = draw_job(
        page,
        KIND,
        settings,
        label=say("socket.load.run"),
        key="socket_load",
        partial=lambda so_far: _draw_levels(page, so_far["levels"], Badge.live(), key="partial"),
    )
    if made is None:
        return
    levels = made.value["levels"]
    page.tick("do.load")
    _draw_levels(page, levels, made.badge, key="load")
    _draw_findings(page, levels, broken=made.value["broken"])
    if st.button(say("socket.load.again"), key="socket_load_again"):
        _begin(target, settings, job)
    draw_source(page, load.measured)


def _begin(target: Target, settings: Mapping[str, Any], job: jobs.Job | None) -> None:
    """Start it, or start it anew; the key goes to it by itself, not in its settings."""
    if job is not None:
        jobs.forget(job.id)
    if target.key:
        load.lend_key(target.key)
    jobs.submit(KIND, settings)
    st.rerun()


def _draw_levels(page: Page, levels: Sequence[Mapping[str, Any]], badge: Badge, *, key: str) -> None:
    """Draw throughput and waiting over users."""
    good = [one for one in levels if one["answered"]]
    if not good:
        return
    say = page.say
    users = [one["users"] for one in good]
    rates = np.array([load.throughput(one) for one in good], dtype=np.float32)
    counts_tokens = good[0]["tokens_per_s"] is not None
    name = say("socket.load.tokens") if counts_tokens else say("socket.load.requests")
    alt = say("common.comma").join(
        say("socket.load.alt.rate", users=count, rate=f"{rate:.1f}") for count, rate in zip(users, rates, strict=True)
    )
    data = table(good)
    page.figure(_lines(page, users, {"": rates}, name), key=f"{key}_rate", badge=badge, alt=alt, data=data)
    for which, title in (("latency_ms", "socket.load.latency"), ("first_token_ms", "socket.load.first")):
        if not all(one[which] for one in good):
            continue
        waits = {share: np.array([one[which][share] for one in good], dtype=np.float32) for share in DASHES}
        told = say("common.comma").join(
            say("socket.load.alt.wait", users=one["users"], **{share: f"{one[which][share]:,.0f}" for share in DASHES})
            for one in good
        )
        drawing = _lines(page, users, waits, say(title))
        page.figure(drawing, key=f"{key}_{which}", badge=badge, alt=told, data=data)


def _lines(page: Page, users: Sequence[int], groups: Mapping[str, Any], name: str) -> go.Figure:
    """Lines over the number of users, which doubles from mark to mark."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for label, values in groups.items():
        figure.add_trace(
            go.Scatter(
                x=np.log2(np.asarray(users, dtype=np.float32)),
                y=values,
                name=label,
                mode="lines+markers",
                line={
                    "width": 4,
                    "color": ACCENT if label in ("", "p50") else QUIET,
                    "dash": DASHES.get(label, "solid"),
                },
                marker={"size": 11},
                hovertemplate="%{y:.1f}<extra></extra>",
            )
        )
    marks = np.log2(np.asarray(users, dtype=np.float32))
    figure.update_xaxes(
        title={"text": page.say("socket.load.users")},
        tickmode="array",
        tickvals=marks,
        ticktext=[str(n) for n in users],
    )
    figure.update_yaxes(title={"text": name}, rangemode="tozero")
    return figure.update_layout(height=320, showlegend=len(groups) > 1, legend={"orientation": "h", "y": 1.15})


def table(levels: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Every level's numbers, a row each."""
    rows = []
    for one in levels:
        waits = {
            f"{which}_{share}": value
            for which in ("latency_ms", "first_token_ms")
            for share, value in one[which].items()
        }
        row = {name: one[name] for name in ("users", "seconds", "answered", "requests_per_s", "tokens_per_s")}
        rows.append({**row, "failed": sum(one["errors"].values()), **waits})
    return pd.DataFrame(rows)


def _draw_findings(page: Page, levels: Sequence[Mapping[str, Any]], *, broken: bool) -> None:
    """Say where throughput stops rising, what waiting that costs, and what failed."""
    say = page.say
    good = [one for one in levels if one["answered"]]
    if len(good) > 1:
        first, last = good[0], good[-1]
        factor = last["latency_ms"]["p50"] / first["latency_ms"]["p50"]
        told = {"low": first["users"], "high": last["users"], "factor": f"{factor:.1f}"}
        knee = load.knee(levels)
        if knee == last["users"]:
            st.markdown(f"### {say('socket.load.rises', **told)}")
        else:
            st.markdown(f"### {say('socket.load.says', knee=knee, **told)}")
    for one in levels:
        if one["errors"]:
            listed = say("common.comma").join(
                f"{found.error_words(page, name)} × {count}" for name, count in one["errors"].items()
            )
            draw_note(say("socket.load.errors", users=one["users"], n=sum(one["errors"].values()), listed=listed))
    if broken:
        st.warning(say("socket.load.broken", users=levels[-1]["users"]))
    fewest = min((one["answered"] for one in good), default=0)
    if 0 < fewest < FEW:
        draw_note(say("socket.load.few", n=fewest))
    with st.expander(say("socket.load.detail")):
        names = ("users", "answered", "failed")
        shown = table(levels)
        st.dataframe(shown.rename(columns={name: say(f"socket.column.{name}") for name in names}), hide_index=True)


def draw_check(page: Page, target: Target) -> None:
    """Ask where throughput stops rising; the load test's own rows answer."""
    last = max(load.USERS)
    options = {str(count): page.say("socket.knee.at", n=count) for count in load.USERS[:-1]}
    options[str(last)] = page.say("socket.knee.never", n=last)
    page.check("knee", question=page.say("socket.knee.question"), options=options, run=lambda: _verdict(page, target))


def _verdict(page: Page, target: Target) -> Verdict:
    settings = found.sent(_SETTINGS, target)
    job = None if settings is None else jobs.find(KIND, settings)
    levels = job.result["levels"] if job is not None and job.state == "done" else []
    knee = load.knee(levels)
    if knee is None:
        raise SocketPageError("load_first")
    listed = page.say("common.comma").join(
        page.say("socket.load.alt.rate", users=one["users"], rate=f"{load.throughput(one):.1f}")
        for one in levels
        if one["answered"]
    )
    return Verdict(answer=str(knee), explanation=page.say("socket.knee.because", listed=listed))
