"""The process of one job, ``python -m llmkit.jobs.run ID CLAIM``: started by the worker, never by hand."""

import contextlib
import faulthandler
import importlib.metadata
import json
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from llmkit.database import all_or_nothing
from llmkit.jobs import kinds
from llmkit.jobs.job import JobError
from llmkit.jobs.report import Cancelled
from llmkit.jobs.store import database, job_folder, remove, to_json, work_folder

EVERY_S = 0.25
"""How often at most progress is written and a cancel looked for."""

RESULT_LIMIT_BYTES = 8_000_000
PARTIAL_LIMIT_BYTES = 1_000_000
NICE = 10
VERSIONED = ("torch", "transformers", "peft", "onnxruntime", "sklearn")
"""Packages whose version is told with a result, where it was computed with them."""


class DatabaseReport:
    """The report of a task in its own process: writes into the database, a few times a second at most."""

    def __init__(self, job_id: str, claim: str, folder: Path) -> None:
        self.folder = folder
        self._job = (job_id, claim)
        self._written = -EVERY_S
        self._began: tuple[float, float, float] | None = None  # when progress was first heard of, done, total
        self._partial: Any = None
        self._lock = threading.Lock()

    def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
        with self._lock:
            now = time.monotonic()
            self._partial = self._partial if partial is None else partial
            if self._began is None or self._began[2] != total or done < self._began[1]:
                self._began = (now, done, total)
            if now - self._written >= EVERY_S:
                self._written = now
                self._write(done, total, note, self._seconds_left(now, done, total))

    def log(self, text: str) -> None:
        """Write a line into the job's log."""
        print(text, flush=True)  # noqa: T201 - standard output is the log

    def look(self) -> None:
        """Raise `Cancelled` where the job was taken back, or belongs to another process by now."""
        with database() as connection:
            row = connection.execute(
                "SELECT cancel FROM jobs WHERE id = ? AND claim = ? AND state = 'running'", self._job
            ).fetchone()
        if row is None or row["cancel"]:
            raise Cancelled

    def _seconds_left(self, now: float, done: float, total: float) -> float | None:
        if self._began is None or done <= self._began[1] or total <= 0:
            return None
        return (now - self._began[0]) / (done - self._began[1]) * max(total - done, 0.0)

    def _write(self, done: float, total: float, note: str, seconds_left: float | None) -> None:
        partial = None if self._partial is None else to_json(self._partial)
        if partial is not None and len(partial) > PARTIAL_LIMIT_BYTES:
            self.log(f"a partial result of {len(partial)} bytes was left out")
            partial = None
        self._partial = None
        try:
            with database() as connection:
                row = connection.execute(
                    """UPDATE jobs SET done = ?, total = ?, note = ?, partial = coalesce(?, partial), seconds_left = ?,
                           reported_at = ? WHERE id = ? AND claim = ? AND state = 'running' RETURNING cancel""",
                    (float(done), float(total), note, partial, seconds_left, time.time(), *self._job),
                ).fetchone()
        except JobError as error:  # a full disk or a busy database is no reason to lose the work
            self.log(f"progress was not written: {error}")
            return
        if row is None or row["cancel"]:
            self._written = -EVERY_S  # and so does the next report
            raise Cancelled


def run(job_id: str, claim: str) -> None:
    """Run the job's task and write down what came of it. Nothing is raised: whatever the task raises is its end."""
    place, work = job_folder(job_id), work_folder(job_id, claim)
    for left_over in (place / "files", *place.glob("work-*")):
        remove(left_over)
    work.mkdir(parents=True)
    report = DatabaseReport(job_id, claim, work)
    print(f"— {time.strftime('%Y-%m-%d %H:%M:%S')}", flush=True)  # noqa: T201
    try:
        with database() as connection:
            query = "SELECT kind, settings FROM jobs WHERE id = ? AND claim = ?"
            row = connection.execute(query, (job_id, claim)).fetchone()
        if row is None:
            raise Cancelled
        settings = json.loads(row["settings"])
        result = to_json(kinds.task(row["kind"])(settings, report))
        if len(result) > RESULT_LIMIT_BYTES:
            raise ValueError(f"a result of {len(result)} bytes: what is big belongs into files")
        report.look()
        finish(job_id, claim, result, made_with(settings))
    except Cancelled:
        _end(job_id, claim, "cancelled", None)
    except BaseException as error:  # noqa: BLE001 - SystemExit, too: a task that ends so has no result either
        traceback.print_exc()
        _end(job_id, claim, "failed", describe(error))
    finally:
        remove(work)


def finish(job_id: str, claim: str, result: str, made: Mapping[str, str]) -> None:
    """Keep the files and the result, both or none.

    Raises:
        Cancelled: the job was taken back at the last moment.
    """
    work = work_folder(job_id, claim)
    size_bytes = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    has_files = any(work.iterdir())
    with database() as connection, all_or_nothing(connection):
        kept = connection.execute(
            """UPDATE jobs SET state = 'done', result = ?, made_with = ?, has_files = ?, size_bytes = ?, ended_at = ?,
                   done = CASE total WHEN 0 THEN 1 ELSE total END, total = CASE total WHEN 0 THEN 1 ELSE total END,
                   note = '', partial = NULL, seconds_left = NULL
               WHERE id = ? AND claim = ? AND state = 'running' AND cancel = 0""",
            (result, to_json(dict(made)), has_files, size_bytes, time.time(), job_id, claim),
        )
        if not kept.rowcount:
            raise Cancelled
        if has_files:
            os.replace(work, job_folder(job_id) / "files")


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as the job's error: its own code and values where it has them.

    >>> describe(ValueError("no"))
    {'code': 'job_failed', 'values': {'detail': 'ValueError: no'}}
    """
    code = getattr(error, "code", None)
    if isinstance(error, Exception) and isinstance(code, str):
        values = getattr(error, "values", {})
        return {"code": code, "values": {name: _simple(value) for name, value in values.items()}}
    lines = str(error).strip().splitlines() or [""]
    detail = f"{type(error).__name__}: {lines[0]}"[:500]
    no_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    no_memory |= "DefaultCPUAllocator" in detail
    return {"code": "job_memory" if no_memory else "job_failed", "values": {"detail": detail}}


def made_with(settings: Mapping[str, Any]) -> dict[str, str]:
    """What a result depends on besides its settings: device, dtype, versions and date, as far as torch was used."""
    from llmkit.doctor import cpu_name

    torch = sys.modules.get("torch")
    device = torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else cpu_name()
    dtype = str(settings.get("dtype") or (torch.get_default_dtype() if torch else "")).removeprefix("torch.")
    versions = []
    for name in VERSIONED:
        if name in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                package = "scikit-learn" if name == "sklearn" else name
                versions.append(f"{package} {importlib.metadata.version(package)}")
    return {"device": device, "dtype": dtype, "versions": ", ".join(versions), "date": date.today().isoformat()}


def _simple(value: Any) -> Any:
    return value if isinstance(value, int | float | bool) else str(value)[:1000]


def _end(job_id: str, claim: str, state: str, error: Mapping[str, Any] | None) -> None:
    """Write down an end without a result; where even that fails, the worker does it."""
    with contextlib.suppress(JobError, sqlite3.Error), database() as connection:
        connection.execute(
            """UPDATE jobs SET state = CASE cancel WHEN 1 THEN 'cancelled' ELSE ? END, ended_at = ?,
                   error = CASE cancel WHEN 1 THEN NULL ELSE ? END
               WHERE id = ? AND claim = ? AND state = 'running'""",
            (state, time.time(), None if error is None else to_json(dict(error)), job_id, claim),
        )


def _end_with_the_worker() -> None:
    """Kill this process and what it has started as soon as the worker ends, by whatever cause: its pipe closes then."""
    sys.stdin.buffer.read()
    if hasattr(os, "killpg"):
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(1)


def _be_modest() -> None:
    """Leave the processor to the pages, and be the first to go when memory runs out."""
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def main() -> None:
    """Run the job that the command line names."""
    threading.Thread(target=_end_with_the_worker, daemon=True).start()
    faulthandler.enable()
    _be_modest()
    run(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # what is written is written; threads that do not end must not hold the next job up


if __name__ == "__main__":
    main()
