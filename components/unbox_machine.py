"""Step 0: what this machine can do. Facts at once, without torch; which dtype is fast when the learner asks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import engine, pictograms
from components.badge import Badge
from components.frame import Page
from components.unbox_kit import megabytes

if TYPE_CHECKING:
    from llmkit.doctor import Machine, Measurement, Package, Speed

LIST = "list-style:none;margin:0;padding:0;display:grid;gap:.5rem"
ROW = "display:grid;grid-template-columns:5.5rem 1fr auto;gap:.8rem;align-items:center;margin:0"


def machine(page: Page) -> None:
    """Draw what this machine has, the button that measures it, and what came out."""
    from llmkit import doctor

    st.html(f"<h2>{escape(page.say('unbox.machine'))}</h2>")
    _facts(page, doctor.describe_machine())
    if st.button(page.say("unbox.machine.measure"), key="unbox_measure"):
        st.session_state["_unbox_measured"] = True
    if st.session_state.get("_unbox_measured"):
        with st.spinner(page.say("unbox.machine.wait")):
            made = measurement()
        _speeds(page, made.value, made.badge)
        page.tick("do.check")
    with st.expander(page.say("unbox.machine.versions"), key="unbox_versions"):
        _versions(page, packages().value)


@engine.remembered(max_entries=1)
def measurement() -> Measurement:
    """Return how fast each dtype is here; timed once for all sessions, since they share the machine."""
    from llmkit import doctor

    return doctor.measure()


@engine.remembered(max_entries=1)
def packages() -> tuple[Package, ...]:
    """Return the pinned packages beside the versions here; they stay as they are while the app runs."""
    from llmkit import doctor

    return doctor.packages()


def _facts(page: Page, found: Machine) -> None:
    """Draw processor, memory, disk and GPU as cards."""
    say = page.say
    gpus = [(gpu.name, megabytes(gpu.memory_bytes)) for gpu in found.gpus]
    rows = [
        (say("unbox.machine.cpu"), say("unbox.machine.cores", n=found.cores), found.cpu),
        (
            say("unbox.machine.memory"),
            megabytes(found.memory_bytes),
            say("unbox.machine.free", size=megabytes(found.memory_free_bytes)),
        ),
        (say("unbox.machine.disk"), say("unbox.machine.free", size=megabytes(found.disk_free_bytes)), found.home),
        *((say("unbox.machine.gpu"), size, name) for name, size in gpus),
        *([] if gpus else [(say("unbox.machine.gpu"), say("unbox.machine.none"), say("unbox.machine.cpu_is_enough"))]),
        (say("unbox.machine.python"), found.python, found.system),
    ]
    cards = "".join(
        f'<li class="here"><div><p>{escape(name)}</p><b>{escape(value)}</b><p>{escape(more)}</p></div></li>'
        for name, value, more in rows
    )
    alt = " · ".join(f"{name} {value} ({more})" for name, value, more in rows)
    data = pd.DataFrame(rows, columns=["fact", "value", "detail"])
    with page.shown(key="machine", badge=Badge.live(), alt=alt, data=data):
        st.html(f'<ul class="boxes">{cards}</ul>')
    if not found.writable:
        st.warning(page.say("unbox.machine.readonly"))


def _speeds(page: Page, found: Measurement, badge: Badge) -> None:
    """Draw one bar a dtype, as long as it is fast, and say which is the fastest."""
    say = page.say
    top = max(speed.gflops or 0.0 for speed in found.speeds)
    bars = "".join(_bar(page, speed, top) for speed in found.speeds)
    best = say("unbox.machine.fastest", dtype=found.fastest, device=found.device_name, s=f"{found.seconds:.1f}")
    alt = f"{best} " + page.say("common.comma").join(f"{speed.dtype}: {_rate(page, speed)}" for speed in found.speeds)
    data = pd.DataFrame(
        [(found.device, speed.dtype, speed.gflops, speed.width, speed.runs) for speed in found.speeds],
        columns=["device", "dtype", "gflops", "width", "runs"],
    )
    with page.shown(key="speeds", badge=badge, alt=alt, data=data):
        icon = pictograms.picture("check", size="small")
        st.html(f'<p style="display:flex;gap:.5rem;font-weight:700">{icon}<span>{escape(best)}</span></p>')
        st.html(f'<ul style="{LIST}">{bars}</ul>')


def _bar(page: Page, speed: Speed, top: float) -> str:
    """One dtype as HTML; the fastest in the accent's colour."""
    share = (speed.gflops or 0.0) / top if top else 0.0
    colour = "var(--accent)" if share == 1.0 else "var(--line)"
    bar = f"display:block;height:1.6rem;min-width:3px;width:{share:.2%};background:{colour}"
    return (
        f'<li style="{ROW}"><b>{escape(speed.dtype)}</b><span style="{bar}"></span>'
        f"<span>{escape(_rate(page, speed))}</span></li>"
    )


def _rate(page: Page, speed: Speed) -> str:
    if speed.gflops is None:
        return page.say("unbox.machine.cannot")
    return page.say("unbox.machine.gflops", n=f"{speed.gflops:,.1f}")


def _versions(page: Page, found: tuple[Package, ...]) -> None:
    """List the packages; where one is not the pinned version, say so."""
    wrong = [package for package in found if not package.fits]
    if wrong:
        names = page.say("common.comma").join(f"{package.name} {package.pinned}" for package in wrong)
        st.warning(page.say("unbox.machine.versions_differ", names=names))
    versions = " · ".join(f"{package.name} {package.installed or '–'}" for package in found)
    st.html(f"<p>{escape(versions)}</p>")
