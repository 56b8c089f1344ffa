"""The record of all jobs: one SQLite file, with a folder beside it for each job.

Plain sqlite3: of the small queues that keep to one file, huey forgets a task whose worker is killed, and none has
history, place in the queue and cancel of running work, which would all be built around them.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from llmkit.database import BUSY_S, opened
from llmkit.home import home
from llmkit.jobs.job import JobError

VERSION = 1

SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    settings TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'interrupted')),
    place INTEGER NOT NULL,
    claim TEXT,
    cancel INTEGER NOT NULL DEFAULT 0,
    worker_pid INTEGER, worker_started REAL, child_pid INTEGER, child_started REAL,
    done REAL NOT NULL DEFAULT 0, total REAL NOT NULL DEFAULT 0, note TEXT NOT NULL DEFAULT '', partial TEXT,
    seconds_left REAL, reported_at REAL,
    created_at REAL NOT NULL, started_at REAL, ended_at REAL,
    error TEXT, result TEXT, made_with TEXT NOT NULL DEFAULT '{}',
    has_files INTEGER NOT NULL DEFAULT 0, size_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX jobs_by_state ON jobs (state, place);
CREATE TABLE worker (only INTEGER PRIMARY KEY CHECK (only = 1), pid INTEGER NOT NULL, started REAL NOT NULL);
"""
"""``place`` orders the queue; ``claim`` names one start of a job, so that a process left over from an earlier start
cannot write into a later one; ``worker_pid`` and ``worker_started`` are those of the worker that started it."""


def jobs_home() -> Path:
    """The folder of the database and the jobs: ``LLMKIT_JOBS``, else ``jobs`` in `llmkit.home.home()`."""
    given = os.environ.get("LLMKIT_JOBS")
    return Path(given).expanduser() if given else home() / "jobs"


def database_path() -> Path:
    """The SQLite file."""
    return jobs_home() / "jobs.db"


def job_folder(job_id: str) -> Path:
    """Where a job's log and files lie: ``log.txt``, and ``files`` when it is done."""
    return jobs_home() / job_id


def work_folder(job_id: str, claim: str) -> Path:
    """Where one start of a job puts its files while it runs."""
    return job_folder(job_id) / f"work-{claim}"


@contextmanager
def database(*, make: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the database for a moment.

    Args:
        make: make it where there is none.

    Raises:
        JobError: ``job_database`` where it cannot be read or written (nothing is overwritten), or
            ``job_database_newer`` where a newer version of the guide has written it.
    """
    path = database_path()
    with opened(
        path, _make_ready, lambda said: JobError("job_database", path=str(path), detail=said), make=make
    ) as connection:
        yield connection


def to_json(value: Any) -> str:
    """Plain data as text; numpy's and torch's numbers and arrays become plain ones.

    Raises:
        TypeError: it holds something else.
    """
    return json.dumps(value, default=_plain)


def is_held(path: Path) -> bool:
    """Whether a process lives that has locked this file: the system unlocks it whatever way a process ends.

    Unlike a process's number and start time, this tells the truth after a clock was set, too.
    """
    if not path.exists():
        return False
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except OSError:  # Timeout is one; where the file cannot be opened, nothing can be told
        return True
    lock.release()
    return False


def worker_lock() -> Path:
    """The file that the worker has locked as long as it lives."""
    return jobs_home() / "worker.lock"


def app_locks() -> list[Path]:
    """The files that the apps have locked for which work is done."""
    return list(jobs_home().glob("app-*.lock"))


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether the process still runs that had this number at that time: numbers are given again."""
    if pid is None or started is None:
        return False
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < SAME_START_S and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


SAME_START_S = 1.0
"""Start times are told to a hundredth of a second, and after a clock was set otherwise: then a process is let live."""


def identity() -> tuple[int, float]:
    """This process: its number and when it started."""
    return os.getpid(), psutil.Process().create_time()


def kill_tree(pid: int | None, started: float | None) -> None:
    """Kill a process and what it has started, if it is still the same one."""
    if not is_alive(pid, started):
        return
    try:
        process = psutil.Process(pid)
        family = [*process.children(recursive=True), process]
    except psutil.Error:
        return
    for member in family:
        try:
            member.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(family, timeout=5)


def remove(folder: Path) -> None:
    """Delete a folder; what cannot be deleted stays."""
    shutil.rmtree(folder, ignore_errors=True)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _make_ready(connection: sqlite3.Connection) -> None:
    """Bring a new or an older database to this version; refuse a newer one, and one that is not ours."""
    connection.execute("PRAGMA synchronous = NORMAL")
    if _version(connection) == VERSION:
        return
    path = database_path()
    with FileLock(path.with_name("making.lock"), timeout=BUSY_S):
        version = _version(connection)  # another process may have been quicker
        if version > VERSION:
            raise JobError("job_database_newer", path=str(path), version=version, known=VERSION)
        if version == VERSION:
            return
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it holds the tables of something else")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is no plain data")
