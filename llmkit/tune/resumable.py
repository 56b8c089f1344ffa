"""Jobs that outlive a stop: begun or taken up again, stopped after a step, thrown away with all they left."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from llmkit import jobs, shelf
from llmkit.jobs import Job
from llmkit.tune.run_folder import STOP, ask_to_stop, asked_to_stop, forget_run, run_folder


def begin(kind: str, settings: Mapping[str, Any]) -> None:
    """Begin a run, or go on with one that was stopped."""
    (run_folder(settings) / STOP).unlink(missing_ok=True)
    job = jobs.find(kind, settings)
    if job is not None and job.state == "done":
        with contextlib.suppress(jobs.JobError):
            jobs.forget(job.id)
    jobs.submit(kind, settings)


def stop(job: Job | None, settings: Mapping[str, Any]) -> None:
    """Stop a run after its step; one that still waits is taken back."""
    if job is None:
        return
    if job.state == "queued":
        jobs.cancel(job.id)
    else:
        ask_to_stop(settings)


def stopping(job: Job, settings: Mapping[str, Any]) -> bool:
    """Whether a run was asked to stop, and has not yet."""
    return job.cancelling or asked_to_stop(run_folder(settings))


def forget(job: Job | None, settings: Mapping[str, Any]) -> None:
    """Throw a run away: its job, its state, and what it put on the shelf."""
    if job is not None:
        box = (job.result or {}).get("box")
        if box:
            shelf.remove(box)
        with contextlib.suppress(jobs.JobError):
            jobs.forget(job.id)
    forget_run(settings)
