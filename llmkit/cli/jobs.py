"""``python -m llmkit jobs``: what the app is doing, has done and will do; cancel, retry, forget, and the log."""

import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.errors import SENTENCES, plain, sentence
from llmkit.cli.output import Json, print_json, print_table, size, tell

if TYPE_CHECKING:
    from llmkit.jobs import Job

POLL_S = 0.3
JobId = Annotated[str, typer.Argument(metavar="ID", help="As `python -m llmkit jobs` shows it.")]

jobs_app = typer.Typer(invoke_without_command=True)


@jobs_app.callback()
def jobs_command(context: typer.Context, as_json: Json = False) -> None:
    """Show every job: what runs, what waits, what ended. LLMKIT_JOBS says where jobs are kept."""
    if context.invoked_subcommand is not None:
        return
    from llmkit import jobs

    listed = jobs.all_jobs()
    if as_json:
        print_json([as_data(job) for job in listed])
        return
    rows = [
        [
            job.id,
            job.state if job.position is None else f"{job.state}, {job.position}.",
            f"{job.share:.0%}" if job.total else "",
            "" if job.seconds is None else f"{job.seconds:.0f} s",
            f"{datetime.fromtimestamp(job.created_at):%Y-%m-%d %H:%M}",
            size(job.size_bytes) if job.size_bytes else "",
            plain(job.settings.get("box_id", "")),
        ]
        for job in listed
    ]
    print_table(["job", "state", "done", "took", "asked for", "files", "box"], rows, right=[2, 3, 5])


@jobs_app.command("cancel")
def cancel_command(job_id: JobId, as_json: Json = False) -> None:
    """Take a job back; what runs ends within seconds and leaves nothing half-written."""
    from llmkit import jobs

    job = jobs.cancel(job_id)
    while job.cancelling:
        time.sleep(POLL_S)
        job = jobs.get(job_id)
    _show(job, as_json=as_json)


@jobs_app.command("retry")
def retry_command(job_id: JobId, as_json: Json = False) -> None:
    """Do a job again that failed, was cancelled or interrupted, and wait for it; Ctrl-C cancels it."""
    from llmkit import jobs

    job, said = jobs.retry(job_id), ""
    try:
        while job.active:
            if (line := describe(job)) != said:
                tell(said := line)
            time.sleep(POLL_S)
            job = jobs.get(job_id)
    except KeyboardInterrupt:
        job = jobs.cancel(job_id)
    _show(job, as_json=as_json)
    raise typer.Exit(0 if job.state == "done" else 1)


@jobs_app.command("forget")
def forget_command(job_id: JobId, as_json: Json = False) -> None:
    """Delete a job that has ended, with its log and files."""
    from llmkit import jobs

    job = jobs.get(job_id)
    jobs.forget(job_id)
    if as_json:
        print_json({"forgotten": job.id})
    else:
        tell(f"{job.id}  forgotten")


@jobs_app.command("log")
def log_command(job_id: JobId, as_json: Json = False) -> None:
    """Print the end of what a job's process has written."""
    from llmkit import jobs

    job = jobs.get(job_id)
    text = jobs.log(job.id)
    if as_json:
        print_json({"id": job.id, "log": text})
    else:
        typer.echo("\n".join(plain(line) for line in text.splitlines()))


def as_data(job: "Job") -> dict[str, Any]:
    """A job as plain data."""
    error = None if job.error is None else {"code": job.error.code, "values": job.error.values}
    return vars(job) | {"error": error, "seconds": job.seconds}


def describe(job: "Job") -> str:
    """State, share done in steps of ten per cent, and what is being done.

    >>> from llmkit.jobs import Job
    >>> describe(Job(id="add-0", kind="add", settings={}, state="running", done=25, total=40, note="reading"))
    'add-0  running · 60% · reading'
    """
    pieces = [job.state, f"{int(job.share * 10) * 10}%" if job.total else "", plain(job.note)]
    return f"{job.id}  {' · '.join(filter(None, pieces))}"


def _show(job: "Job", *, as_json: bool) -> None:
    """Say how a job stands, and why it has no result."""
    if as_json:
        print_json(as_data(job))
        return
    tell(f"{job.id}  {job.state}")
    if job.error is not None:
        tell(sentence(job.error) if job.error.code in SENTENCES else plain(job.error))
