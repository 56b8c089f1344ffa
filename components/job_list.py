"""All jobs, in the sidebar of every page: what runs, what waits, what ended; nothing is drawn where there are none."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from components.frame import plain
from components.job_panel import duration, progress_line
from components.workbench import Workbench
from lessons import Words
from llmkit import jobs

POLL_S = 4.0
"""Every session asks while anything goes on; who waits for a job has its panel, which asks more often."""

SHOWN = 12


def draw_jobs(bench: Workbench) -> None:
    """Draw the list of jobs under the workbench, and let the worker know that the app is there.

    It is drawn again by itself only while a job waits or runs.
    """
    say = bench.say
    with st.sidebar:
        try:
            jobs.attend()
            listed = jobs.all_jobs()
        except jobs.JobError as error:
            _offer_a_new_list(error, say)
            return
        if listed:
            _watch(say, active=any(job.active for job in listed))


def _watch(say: Words, *, active: bool) -> None:
    @st.fragment(run_every=POLL_S if active else None)
    def watch() -> None:
        try:
            listed = jobs.all_jobs()
            _draw(listed, say)
        except jobs.JobError as error:
            st.error(_sentence(error, say))
            return
        if active and not any(job.active for job in listed):
            st.rerun()  # the whole page: it stops asking

    watch()


def _draw(listed: tuple[jobs.Job, ...], say: Words) -> None:
    """Draw the folded list; its title says how many run and wait."""
    counts = {state: sum(job.state == state for job in listed) for state in ("running", "queued")}
    title = [say("jobs.title"), *(say(f"jobs.count.{state}", n=n) for state, n in counts.items() if n)]
    with st.expander(" · ".join(title), key="jobs_list"):
        for job in listed[:SHOWN]:
            _draw_one(job, say)
        if len(listed) > SHOWN:
            st.caption(say("jobs.more", n=len(listed) - SHOWN))


def _draw_one(job: jobs.Job, say: Words) -> None:
    """Draw one job: what it is, how far, and what can be done with it."""
    kind = say(f"jobs.kind.{job.kind}") if f"jobs.kind.{job.kind}" in say else plain(job.kind)
    box = plain(job.settings.get("box_id", ""))
    with st.container(key=f"job_{job.id}", gap="xsmall"):
        st.markdown(f"**{kind}**" + (f" · {box}" if box else ""))
        if job.active:
            st.progress(job.share, text=progress_line(job, say))
            buttons: dict[str, Callable[[str], object]] = {} if job.cancelling else {"cancel": jobs.cancel}
        else:
            took = [] if job.seconds is None else [duration(job.seconds, say)]
            st.caption(" · ".join([say(f"jobs.state.{job.state}"), *took]))
            buttons = {"forget": jobs.forget} if job.state == "done" else {"retry": jobs.retry, "forget": jobs.forget}
        with st.container(horizontal=True):
            for name, act in buttons.items():
                if st.button(say(f"jobs.{name}"), key=f"job_{name}_{job.id}"):
                    act(job.id)
                    st.rerun()  # the page may be drawing this very job


def _offer_a_new_list(error: jobs.JobError, say: Words) -> None:
    """Say what is wrong with the list of jobs, and offer to begin a new one beside it."""
    st.error(_sentence(error, say))
    if st.button(say("jobs.set_aside"), key="jobs_set_aside"):
        jobs.set_aside()
        st.rerun()


def _sentence(error: jobs.JobError, say: Words) -> str:
    return say(f"common.error.{error.code}", **{name: plain(value) for name, value in error.values.items()})
