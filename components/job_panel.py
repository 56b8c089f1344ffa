"""A job on a page: the button that starts it, how far it is, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import engine
from components.badge import Badge
from components.figure import draw_note
from components.frame import plain
from llmkit import jobs

if TYPE_CHECKING:
    from components.frame import Page
    from lessons import Words

POLL_S = 1.0
JUST_NOW_S = 60.0
"""So long after its end a result that this session has seen being computed is live."""

LOG_LINES = 40
_WATCHED = "_jobs_watched"


def draw_job(
    page: Page,
    kind: str,
    settings: Mapping[str, Any],
    *,
    label: str,
    key: str,
    partial: Callable[[Any], None] | None = None,
) -> engine.Made[Any] | None:
    """Draw a job, from its start button to its result: whatever this machine has computed before is there at once.

    While it waits or runs, the place in the queue, progress, time left, log and cancel are drawn, alone and once a
    second; when it ends, the whole page is drawn again. After a failure, a cancel or an interruption: what happened,
    and retry. It may stand in a section.

    Args:
        page: the sheet.
        kind: a key of `llmkit.jobs.kinds.KINDS`. settings: plain data; everything that changes the result.
        label: the start button's words.
        key: unique on the page.
        partial: draws what the task has shown so far; called again and again while it runs.

    Returns:
        The task's result with its badge: live where it ended just now before the reader's eyes, cached where it was
        found again. None where there is none yet. Its files lie in `jobs.folder(jobs.find(kind, settings).id)`.

    Raises:
        JobError: the list of jobs cannot be used; the sheet says so.
    """
    job = jobs.find(kind, settings)
    if job is None:
        if st.button(label, key=f"{key}_start", type="primary"):
            jobs.submit(kind, settings)
            st.rerun()
        return None
    if job.active:
        _watched().add(job.id)
        _watch(page, job, key, partial)
        return None
    if job.state == "done":
        return engine.Made(value=job.result, badge=_badge(job))
    _explain(page, job, key)
    return None


def progress_line(job: jobs.Job, say: Words) -> str:
    """Return where an active job stands, in one line of Markdown."""
    if job.cancelling:
        return say("jobs.cancelling")
    if job.state == "queued":
        return say("jobs.place", n=job.position)
    if job.total <= 0:
        return say("jobs.starting")
    note = say(f"jobs.note.{job.note}") if f"jobs.note.{job.note}" in say else plain(job.note)
    left = [] if job.seconds_left is None else [say("jobs.left", time=duration(job.seconds_left, say))]
    return " · ".join([*filter(None, [note]), f"{job.done:g}/{job.total:g}", *left])


def duration(seconds: float, say: Words) -> str:
    """Return a time as people say it: seconds up to two minutes, then minutes, then hours."""
    if seconds < 120:
        return say("jobs.seconds", n=f"{max(seconds, 1):.0f}")
    return (
        say("jobs.minutes", n=f"{seconds / 60:.0f}") if seconds < 7200 else say("jobs.hours", n=f"{seconds / 3600:.1f}")
    )


def ended_just_now(job: jobs.Job) -> bool:
    """Return whether a job has ended so lately that its result is still news."""
    return job.ended_at is not None and time.time() - job.ended_at < JUST_NOW_S


def draw_log(job: jobs.Job, say: Words) -> None:
    """Draw the end of what the job's process has written, folded; nothing where it has written nothing."""
    lines = jobs.log(job.id).splitlines()
    if lines:
        with st.expander(say("jobs.log")):
            st.code("\n".join(line[:500] for line in lines[-LOG_LINES:]), language=None, wrap_lines=True)


def _watch(page: Page, seen: jobs.Job, key: str, partial: Callable[[Any], None] | None) -> None:
    """Draw a job that is going on, once a second; when it has ended, the whole page."""

    @st.fragment(run_every=POLL_S)
    def watch() -> None:
        with page._section():
            job = jobs.find(seen.kind, seen.settings)
            if job is None:  # forgotten, in another tab
                st.rerun()
            with st.container(border=True, key=f"{key}_job"):
                st.progress(job.share, text=progress_line(job, page.bench.say))
                with st.container(horizontal=True, vertical_alignment="center"):
                    # on_click is heard even where this redrawing is cut off by the next one
                    st.button(
                        page.say("jobs.cancel"),
                        key=f"{key}_cancel",
                        disabled=job.cancelling,
                        on_click=_cancel,
                        args=(job.id,),
                    )
                    draw_note(page.say("jobs.tab"))
                if partial is not None and job.partial is not None:
                    partial(job.partial)
                draw_log(job, page.bench.say)
            if not job.active:
                st.rerun()

    watch()


def _cancel(job_id: str) -> None:
    jobs.cancel(job_id)


def _explain(page: Page, job: jobs.Job, key: str) -> None:
    """Say why there is no result, and offer to try again."""
    if job.state == "cancelled":
        st.info(page.say("jobs.cancelled"))
    else:
        with page.guard():
            raise job.error or jobs.JobError("job_interrupted")
    if st.button(page.say("jobs.retry"), key=f"{key}_retry", type="primary"):
        jobs.retry(job.id)
        st.rerun()
    draw_log(job, page.bench.say)


def _badge(job: jobs.Job) -> Badge:
    """Return where a result comes from, with the device, date and versions of the process that computed it."""
    return Badge.of_process(job.made_with, live=ended_just_now(job) and job.id in _watched())


def _watched() -> set[str]:
    """The jobs that this session has seen going on."""
    watched: set[str] = st.session_state.setdefault(_WATCHED, set())
    return watched
