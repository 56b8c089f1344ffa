"""``python -m llmkit record`` and ``play``: what jobs found here, in a file; and from such a file."""

import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.output import Json, print_json, tell

if TYPE_CHECKING:
    from llmkit.jobs import Job

POLL_S = 0.5


def record_command(
    out: Annotated[Path, typer.Option("--out", help="The file to write, a ZIP.", metavar="FILE")],
    plan: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="A TOML list of jobs to run first: [[job]] kind, settings.")
    ] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Pack what was done of this kind; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Pack what jobs found on this machine, so that another one shows it at once.

    With PLAN its jobs are run here first, one after the other, and they alone are packed. A fingerprint in it may be
    "" for the box as it is here. Without PLAN all that was done is packed, or what --kind says.
    """
    from llmkit import jobs
    from llmkit.jobs.recording import pack

    if plan is not None:
        ids = [_done(one).id for one in _planned(plan)]
    else:
        ids = [job.id for job in jobs.all_jobs() if job.state == "done" and (not kind or job.kind in kind)]
    packed = pack(ids, out)
    if as_json:
        print_json({"file": str(out), "size_bytes": out.stat().st_size, "jobs": list(packed)})
    else:
        tell(f"{len(packed)} jobs are in {out}.")


def play_command(
    recording: Annotated[Path, typer.Argument(metavar="FILE", help="As record has written it.")], as_json: Json = False
) -> None:
    """Lay a recording among the jobs of this machine: pages show it at once, with where it was recorded."""
    from llmkit.jobs.recording import play

    new = play(recording)
    if as_json:
        print_json({"jobs": list(new)})
    else:
        tell(f"{len(new)} jobs are new here.")


def _planned(plan: Path) -> list[tuple[str, dict[str, Any]]]:
    """The jobs of a plan, with the fingerprints of the boxes that are here."""
    from llmkit import shelf
    from llmkit.jobs import JobError
    from llmkit.jobs.kinds import kinds

    try:
        listed = tomllib.loads(plan.read_text(encoding="utf-8"))["job"]
        found = [(str(one["kind"]), dict(one["settings"])) for one in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise JobError("record_plan", path=str(plan), detail=str(error)) from error
    for kind, settings in found:
        if kind not in kinds():
            raise JobError("record_plan", path=str(plan), detail=kind)
        if settings.get("fingerprint") == "":
            settings["fingerprint"] = shelf.fingerprint(str(settings.get("box_id", settings.get("box", ""))))
    return found


def _done(asked: tuple[str, dict[str, Any]]) -> "Job":
    """Run a job to its end and return it; what went wrong is raised."""
    from llmkit import jobs

    job = jobs.submit(*asked)
    tell(job.id)
    while job.active:
        time.sleep(POLL_S)
        job = jobs.get(job.id)
    if job.error is not None:
        raise job.error
    return job
