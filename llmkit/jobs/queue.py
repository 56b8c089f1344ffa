"""Ask for work, look how far it is, and take it back; every function may be called from any process at any time."""

import contextlib
import hashlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from llmkit.database import all_or_nothing
from llmkit.home import home
from llmkit.jobs.job import Job, JobError
from llmkit.jobs.kinds import kinds
from llmkit.jobs.store import (
    database,
    database_path,
    is_alive,
    is_held,
    job_folder,
    jobs_home,
    kill_tree,
    remove,
    work_folder,
    worker_lock,
)

ROOT = Path(__file__).parents[2]
LOG_TAIL_BYTES = 64_000
_LIGHT = """id, kind, settings, state, place, cancel, done, total, note, seconds_left, reported_at, created_at,
    started_at, ended_at, error, made_with, has_files, size_bytes"""
_POSITION = (
    "(SELECT count(*) FROM jobs AS other WHERE other.state = 'queued' AND other.place <= jobs.place) AS position"
)

STARTING_S = 3.0
"""So long after a worker was started no other is, unless that one has ended well."""

START_TRIES = 3

_workers: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}
_failures: dict[Path, int] = {}
_attended: dict[Path, FileLock] = {}
"""The locks of this process, by which workers know that it lives."""


def submit(kind: str, settings: Mapping[str, Any]) -> Job:
    """Ask for work. What waits, runs or is done with the same kind and settings is that job; what ended otherwise
    is queued again.

    The work belongs to the process that asks (the app): it goes on when a tab is closed, and is interrupted a few
    seconds after the last process that asked, or attends, has ended.

    Args:
        kind: a key of `llmkit.jobs.kinds.KINDS`.
        settings: plain data; everything that changes the result.

    Raises:
        ValueError: there is no such kind, or the settings hold what JSON cannot.
        JobError: ``job_database``, ``job_database_newer``.
    """
    if kind not in kinds():
        raise ValueError(f"no kind of job is called {kind!r}")
    job_id, text = identify(kind, settings)
    with database(make=True) as connection:
        mend(connection)
        with all_or_nothing(connection):
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None or _lost(row):
                connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
                connection.execute(
                    "INSERT INTO jobs (id, kind, settings, state, place, created_at) VALUES (?, ?, ?, 'queued', "
                    "(SELECT coalesce(max(place), 0) + 1 FROM jobs), ?)",
                    (job_id, kind, text, time.time()),
                )
            else:
                _queue_again(connection, job_id)
        attend()
        return _read(connection, job_id)


def find(kind: str, settings: Mapping[str, Any]) -> Job | None:
    """The job of this kind with these settings; None where there is none. Nothing is written where there are no jobs.

    Raises:
        JobError: ``job_database``, ``job_database_newer``.
    """
    if not database_path().exists():
        return None
    job_id, _ = identify(kind, settings)
    try:
        return get(job_id)
    except JobError as error:
        if error.code != "job_unknown":
            raise
        return None


def get(job_id: str) -> Job:
    """Where a job stands.

    Raises:
        JobError: ``job_unknown``, ``job_database``, ``job_database_newer``.
    """
    _require_name(job_id)
    with database() as connection:
        mend(connection)
        return _read(connection, job_id)


def all_jobs() -> tuple[Job, ...]:
    """Every job without its result: what runs, what waits in its order, what ended, newest first.

    Raises:
        JobError: ``job_database``, ``job_database_newer``.
    """
    if not database_path().exists():
        return ()
    with database() as connection:
        mend(connection)
        rows = connection.execute(
            f"SELECT {_LIGHT}, {_POSITION} FROM jobs ORDER BY state <> 'running', state <> 'queued', "
            "CASE state WHEN 'queued' THEN place ELSE -coalesce(ended_at, created_at) END"
        ).fetchall()
    return tuple(_job(row) for row in rows if not _lost(row))


def cancel(job_id: str) -> Job:
    """Take a job back: one that waits is over at once, one that runs ends within seconds; others stay as they are.

    Raises:
        JobError: ``job_unknown``, ``job_database``, ``job_database_newer``.
    """
    _require_name(job_id)
    with database() as connection, all_or_nothing(connection):
        connection.execute(
            "UPDATE jobs SET state = 'cancelled', ended_at = ? WHERE id = ? AND state = 'queued'", (time.time(), job_id)
        )
        connection.execute("UPDATE jobs SET cancel = 1 WHERE id = ? AND state = 'running'", (job_id,))
        return _read(connection, job_id)


def retry(job_id: str) -> Job:
    """Queue a job again that failed, was cancelled or interrupted; others stay as they are.

    Raises:
        JobError: ``job_unknown``, ``job_database``, ``job_database_newer``.
    """
    _require_name(job_id)
    with database() as connection:
        mend(connection)
        with all_or_nothing(connection):
            _queue_again(connection, job_id)
        attend()
        return _read(connection, job_id)


def forget(job_id: str) -> None:
    """Delete a job that has ended, with its log and files.

    Raises:
        JobError: ``job_active``, ``job_unknown``, ``job_database``, ``job_database_newer``.
    """
    if get(job_id).active:
        raise JobError("job_active", job=job_id)
    with database() as connection, all_or_nothing(connection):
        gone = connection.execute("DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", (job_id,))
        if not gone.rowcount:  # another process has queued it meanwhile
            raise JobError("job_active", job=job_id)
        remove(job_folder(job_id))


def log(job_id: str) -> str:
    """The end of what a job's process has written; empty where it has written nothing."""
    _require_name(job_id)
    path = job_folder(job_id) / "log.txt"
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_TAIL_BYTES, 0))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def folder(job_id: str) -> Path:
    """Where the files of a job that is done lie; there is no such folder where it left none."""
    _require_name(job_id)
    return job_folder(job_id) / "files"


def attend() -> None:
    """Say that this process (the app) is there: work goes on as long as it is, and what waits is begun.

    Raises:
        JobError: ``job_database``, ``job_database_newer``.
    """
    if not database_path().exists():
        return
    place = jobs_home() / f"app-{os.getpid()}.lock"
    if place not in _attended or not place.exists():
        lock = FileLock(place, thread_local=False)
        with contextlib.suppress(OSError):  # the worker is just looking whether it is held: the next time will do
            lock.acquire(timeout=1)
            _attended[place] = lock
    with database() as connection:
        mend(connection)


def stop(timeout_s: float = 10.0) -> None:
    """End the worker: what runs is interrupted, what waits goes on waiting until some process attends again."""
    if lock := _attended.pop(jobs_home() / f"app-{os.getpid()}.lock", None):
        lock.release()
    if not database_path().exists():
        return
    starting, _ = _workers.pop(jobs_home(), (None, 0.0))
    with database() as connection:
        row = connection.execute("SELECT pid, started FROM worker").fetchone()
    if row is not None and is_held(worker_lock()) and is_alive(*row):
        with contextlib.suppress(psutil.NoSuchProcess):
            worker = psutil.Process(row["pid"])
            worker.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                worker.wait(timeout_s)
            kill_tree(*row)
    if starting is not None:
        starting.terminate()
        try:
            starting.wait(timeout_s)
        except subprocess.TimeoutExpired:
            starting.kill()


def set_aside() -> Path:
    """Move a folder of jobs whose database cannot be used out of the way, whole, and return where it went."""
    place = jobs_home()
    aside = place.with_name(f"{place.name}.aside-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}")
    place.rename(aside)  # the worker, if there is one, ends when it finds its database gone
    return aside


def identify(kind: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """A job's id, and its settings as the one text that equal settings have."""
    text = json.dumps(dict(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}", text


def _require_name(job_id: str) -> None:
    """Refuse what cannot be an id, before it becomes a path."""
    if not re.fullmatch(r"[a-z0-9_]+-[0-9a-f]{16}", job_id) or not database_path().exists():
        raise JobError("job_unknown", job=job_id)


def _queue_again(connection: sqlite3.Connection, job_id: str) -> None:
    connection.execute(
        """UPDATE jobs SET state = 'queued', place = (SELECT max(place) + 1 FROM jobs), claim = NULL, cancel = 0,
               done = 0, total = 0, note = '', partial = NULL, seconds_left = NULL, reported_at = NULL,
               created_at = ?, started_at = NULL, ended_at = NULL, error = NULL, result = NULL
           WHERE id = ? AND state IN ('failed', 'cancelled', 'interrupted')""",
        (time.time(), job_id),
    )


def mend(connection: sqlite3.Connection) -> None:
    """Say of what runs nowhere any more that it was interrupted; begin what waits, where this process attends."""
    rows = connection.execute("SELECT * FROM jobs WHERE state IN ('running', 'queued')").fetchall()
    if not rows:
        return
    working = is_held(worker_lock())
    now = connection.execute("SELECT pid, started FROM worker").fetchone()
    for row in rows:
        ours = now is not None and (row["worker_pid"], row["worker_started"]) == tuple(now)
        if row["state"] == "queued" or (working and ours):
            continue
        kill_tree(row["child_pid"], row["child_started"])
        connection.execute(
            """UPDATE jobs SET state = CASE cancel WHEN 1 THEN 'cancelled' ELSE 'interrupted' END, ended_at = ?,
                   error = CASE cancel WHEN 1 THEN NULL ELSE ? END
               WHERE id = ? AND claim = ? AND state = 'running'""",
            (time.time(), json.dumps({"code": "job_interrupted", "values": {}}), row["id"], row["claim"]),
        )
        remove(work_folder(row["id"], row["claim"]))
    attends = jobs_home() / f"app-{os.getpid()}.lock" in _attended
    if working:
        _failures.pop(jobs_home(), None)
    elif attends and any(row["state"] == "queued" for row in rows):
        _start_worker(connection)


def _start_worker(connection: sqlite3.Connection) -> None:
    """Start the process that works the queue off; where there is one already, the second ends by itself.

    What waits for a worker that cannot be started fails: it would wait for ever.
    """
    place = jobs_home()
    process, started = _workers.get(place, (None, 0.0))
    if process is not None and process.poll() != 0:
        if time.monotonic() - started < STARTING_S:
            return  # it is about to say that it is there, or it cannot start: not again at once
        _failures[place] = _failures.get(place, 0) + 1
        if _failures[place] >= START_TRIES:
            del _failures[place], _workers[place]
            error = {"code": "job_crashed", "values": {"detail": _last_words(place / "worker.log")}}
            connection.execute(
                "UPDATE jobs SET state = 'failed', ended_at = ?, error = ? WHERE state = 'queued'",
                (time.time(), json.dumps(error)),
            )
            return
    with (place / "worker.log").open("ab") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "llmkit.jobs.worker"],
            cwd=ROOT,
            env=own_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,  # what ends the terminal or the app does not end it in mid-work
        )
    _workers[place] = (worker, time.monotonic())


def _last_words(path: Path) -> str:
    """The last line of a log, else the log's name."""
    lines = path.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_BYTES:].split("\n")
    return next((line[:500] for line in reversed(lines) if line.strip()), path.name)


def own_environment() -> dict[str, str]:
    """The variables of a process that we start: it finds llmkit, the boxes and the jobs where this one does."""
    places = {"LLMKIT_JOBS": str(jobs_home().absolute()), "LLMKIT_HOME": str(home().absolute())}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, **places, "PYTHONPATH": path}


def _lost(row: sqlite3.Row) -> bool:
    """Whether the files of a job that was done have been deleted behind its back: then it was not."""
    return row["state"] == "done" and bool(row["has_files"]) and not (job_folder(row["id"]) / "files").is_dir()


def _read(connection: sqlite3.Connection, job_id: str) -> Job:
    row = connection.execute(f"SELECT *, {_POSITION} FROM jobs WHERE id = ?", (job_id,)).fetchone()
    if row is None or _lost(row):
        raise JobError("job_unknown", job=job_id)
    job = _job(row)
    partial, result = (None if row[name] is None else json.loads(row[name]) for name in ("partial", "result"))
    return replace(job, partial=partial, result=result)


def _job(row: sqlite3.Row) -> Job:
    error = None if row["error"] is None else json.loads(row["error"])
    running = row["state"] == "running"
    left = row["seconds_left"] if running else None
    return Job(
        id=row["id"],
        kind=row["kind"],
        settings=json.loads(row["settings"]),
        state=row["state"],
        done=row["done"],
        total=row["total"],
        note=row["note"],
        position=row["position"] if row["state"] == "queued" else None,
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        seconds_left=None if left is None else max(left - (time.time() - row["reported_at"]), 0.0),
        error=None if error is None else JobError(error["code"], **error["values"]),
        cancelling=running and bool(row["cancel"]),
        made_with=json.loads(row["made_with"]),
        size_bytes=row["size_bytes"],
    )
