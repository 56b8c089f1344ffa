"""The worker, ``python -m llmkit.jobs.worker``: one process for each folder of jobs; it works the queue off in order.

Each job runs in a process of its own, so that one that crashes takes nothing with it; whatever way that process ends,
the worker writes down how. The worker ends when it has had nothing to do for a while, or when nobody is there any more
for whom it works: then what runs is interrupted.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from typing import BinaryIO

import psutil
from filelock import FileLock, Timeout

from llmkit.database import all_or_nothing
from llmkit.jobs.queue import ROOT, mend, own_environment
from llmkit.jobs.store import (
    app_locks,
    database,
    database_path,
    identity,
    is_held,
    job_folder,
    kill_tree,
    remove,
    work_folder,
    worker_lock,
)

POLL_S = 0.1
IDLE_S = float(os.environ.get("LLMKIT_JOBS_IDLE_S", "30"))
"""The worker ends when it has waited so long for the next job."""

GRACE_S = float(os.environ.get("LLMKIT_JOBS_GRACE_S", "15"))
"""Work goes on so long after the last app has ended, so that one that is started again finds it."""

KILL_AFTER_S = 4.0
"""A job that was cancelled and does not end by itself is killed."""

LOCK_S = 3.0
LOG_LIMIT_BYTES = 8_000_000
KEPT_JOBS = 200
KEPT_BYTES = 2_000_000_000


class Worker:
    """Takes the jobs that wait, one after the other.

    Args:
        connection: the database, open as long as the worker lives.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.stopping = False
        self._app_seen = time.monotonic()
        self._looked = 0.0
        self._database = _file_number()

    def run(self) -> None:
        """Work until there is nothing to do, or nobody to do it for."""
        pid, started = identity()
        self.connection.execute("INSERT OR REPLACE INTO worker VALUES (1, ?, ?)", (pid, started))
        mend(self.connection)
        idle_since = time.monotonic()
        while not self.must_stop():
            job = self.claim()
            if job is not None:
                self.work(job)
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > IDLE_S and self.retire():
                return
            else:
                time.sleep(POLL_S)
        if _file_number() == self._database:
            self.connection.execute("DELETE FROM worker")

    def must_stop(self) -> bool:
        """Whether to end: told to, the database is gone, or no process attends."""
        now = time.monotonic()
        if now - self._looked > min(GRACE_S, 1.0):
            self._looked = now
            if any(is_held(path) for path in app_locks()):
                self._app_seen = now
            self.stopping |= now - self._app_seen > GRACE_S or _file_number() != self._database
        return self.stopping

    def retire(self) -> bool:
        """Say that there is no worker any more, unless a job has come: who asks for work then starts another one."""
        with all_or_nothing(self.connection):
            if self.connection.execute("SELECT 1 FROM jobs WHERE state = 'queued'").fetchone():
                return False
            self.connection.execute("DELETE FROM worker")
        for path in app_locks():
            if not is_held(path):  # of an app that has ended
                path.unlink(missing_ok=True)
        return True

    def claim(self) -> sqlite3.Row | None:
        """Take the next job, if there is one."""
        if self.connection.execute("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1").fetchone() is None:
            return None
        with all_or_nothing(self.connection):
            row: sqlite3.Row | None = self.connection.execute(
                """UPDATE jobs SET state = 'running', claim = ?, started_at = ?, worker_pid = ?, worker_started = ?,
                       child_pid = NULL, child_started = NULL
                   WHERE id = (SELECT id FROM jobs WHERE state = 'queued' ORDER BY place LIMIT 1)
                   RETURNING id, claim""",
                (uuid.uuid4().hex, time.time(), *identity()),
            ).fetchone()
        return row

    def work(self, job: sqlite3.Row) -> None:
        """Run one job in a process of its own, see it end, and write down how where it could not itself."""
        try:
            place = job_folder(job["id"])
            place.mkdir(parents=True, exist_ok=True)
            with (place / "log.txt").open("ab") as log:
                status = self.watch(start_task(job["id"], job["claim"], log.fileno()), job, log)
        except OSError as error:  # no room on the disk, no process to be had
            self.finish(job, "job_crashed", {"detail": str(error)})
        else:
            self.finish(job, *how_it_ended(status))
        self.sweep()

    def watch(self, child: subprocess.Popen[bytes], job: sqlite3.Row, log: BinaryIO) -> int:
        """Wait until a job's process has ended, kill it where it must; return its exit status."""
        started = _start_time(child)
        self.connection.execute(
            "UPDATE jobs SET child_pid = ?, child_started = ? WHERE id = ? AND claim = ?",
            (child.pid, started, job["id"], job["claim"]),
        )
        cancelled_at: float | None = None
        while child.poll() is None:
            if self.must_stop():
                kill_tree(child.pid, started)
            elif self.is_cancelled(job):
                cancelled_at = cancelled_at or time.monotonic()
                if time.monotonic() - cancelled_at > KILL_AFTER_S:
                    kill_tree(child.pid, started)
            if os.fstat(log.fileno()).st_size > LOG_LIMIT_BYTES:
                log.truncate(0)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(POLL_S)
        if child.stdin is not None:
            child.stdin.close()
        _end_group(child.pid)
        return child.returncode

    def is_cancelled(self, job: sqlite3.Row) -> bool:
        """Whether the job was taken back, or is not this worker's any more."""
        row = self.connection.execute("SELECT cancel, claim FROM jobs WHERE id = ?", (job["id"],)).fetchone()
        return row is None or row["claim"] != job["claim"] or bool(row["cancel"])

    def finish(self, job: sqlite3.Row, code: str, values: Mapping[str, str]) -> None:
        """Write down how a job ended whose process has not; throw away what it left half-written."""
        state = "failed"
        if self.stopping:
            state, code, values = "interrupted", "job_interrupted", {}
        self.connection.execute(
            """UPDATE jobs SET state = CASE cancel WHEN 1 THEN 'cancelled' ELSE ? END, ended_at = ?,
                   error = CASE cancel WHEN 1 THEN NULL ELSE ? END
               WHERE id = ? AND claim = ? AND state = 'running'""",
            (state, time.time(), json.dumps({"code": code, "values": dict(values)}), job["id"], job["claim"]),
        )
        remove(work_folder(job["id"], job["claim"]))

    def sweep(self) -> None:
        """Forget the oldest jobs that have ended, so that the list and the disk do not fill."""
        ended = self.connection.execute(
            "SELECT id, size_bytes FROM jobs WHERE state NOT IN ('queued', 'running') ORDER BY ended_at DESC"
        ).fetchall()
        size_bytes = 0
        for number, row in enumerate(ended):
            size_bytes += row["size_bytes"]
            if number and (number >= KEPT_JOBS or size_bytes > KEPT_BYTES):
                with all_or_nothing(self.connection):
                    gone = self.connection.execute(
                        "DELETE FROM jobs WHERE id = ? AND state NOT IN ('queued', 'running')", (row["id"],)
                    )
                    if gone.rowcount:
                        remove(job_folder(row["id"]))


def start_task(job_id: str, claim: str, log: int) -> subprocess.Popen[bytes]:
    """Start the process of one job. Its standard input is a pipe that closes when this process ends by any cause."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = str(max(cores - 1, min(cores, 2)))  # one core stays for the pages; of two none: the job is nice
    limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads)
    own = {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        [sys.executable, "-m", "llmkit.jobs.run", job_id, claim],
        cwd=ROOT,
        env={**limits, **own_environment(), **own},
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def how_it_ended(status: int) -> tuple[str, dict[str, str]]:
    """The code and values of a process's end that nobody had foreseen.

    >>> how_it_ended(-9)
    ('job_killed', {})
    >>> how_it_ended(3)
    ('job_crashed', {'detail': 'exit 3'})
    """
    if status == -getattr(signal, "SIGKILL", 9):
        return "job_killed", {}
    if status < 0:
        with contextlib.suppress(ValueError):
            return "job_crashed", {"detail": signal.Signals(-status).name}
    return "job_crashed", {"detail": f"exit {status}"}


def _file_number() -> int | None:
    """What tells the database from another one in its place; None where there is none."""
    try:
        return database_path().stat().st_ino
    except OSError:
        return None


def _start_time(child: subprocess.Popen[bytes]) -> float | None:
    try:
        return psutil.Process(child.pid).create_time()
    except psutil.Error:
        return None


def _end_group(pid: int) -> None:
    """Kill what a job's process has started and left behind."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    """Be the worker of this folder of jobs, unless there is one."""
    lock = FileLock(worker_lock())
    try:
        lock.acquire(timeout=LOCK_S)
    except Timeout:
        return
    with lock, database() as connection:
        worker = Worker(connection)

        def stop(*_: object) -> None:
            worker.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        worker.run()


if __name__ == "__main__":
    main()
