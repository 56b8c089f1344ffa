"""Recordings: what jobs found on one machine, packed into a file, and played back on another at once.

A job is found by its kind and settings, so a page that would begin a job finds the recorded one done; whatever is not
in the recording runs live. ``made_with`` says where it was recorded, and the page's badge says it in turn.
"""

import json
import re
import shutil
import stat
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmkit.database import all_or_nothing
from llmkit.jobs.job import Job, JobError
from llmkit.jobs.kinds import kinds
from llmkit.jobs.queue import all_jobs, folder, get, identify
from llmkit.jobs.store import database, job_folder, remove, to_json

FORMAT, VERSION = "llmkit-recording", 1
BOOK = "recording.json"
RECORDED = "recorded"
"""The name in ``made_with`` by which a job that was played back is known."""

MOST_BYTES = 2 << 30
MOST_BOOK_BYTES = 256 << 20
MOST_FILES = 20_000
MOST_RATIO = 1_000
PIECE_BYTES = 1 << 20
SAFE_ENDS = frozenset({".npz", ".npy", ".json", ".jsonl", ".safetensors", ".txt", ".md", ".csv", ".parquet", ".png"})
"""Files that a page reads without running anything; arrays are read without pickle. Others are not packed."""

_NAME = re.compile(r"files/([a-z0-9_]+-[0-9a-f]{16})/([\w.-]+(?:/[\w.-]+)*)", re.ASCII)


def pack(job_ids: Iterable[str], out: Path) -> tuple[str, ...]:
    """Write a recording of jobs that are done; returns their ids. Half a recording is never seen.

    Raises:
        JobError: ``record_nothing`` where none of them is done; ``job_unknown``, ``job_database``.
        OSError: it cannot be written.
    """
    found = [job for job in map(get, dict.fromkeys(job_ids)) if job.state == "done"]
    if not found:
        raise JobError("record_nothing")
    book = {"format": FORMAT, "version": VERSION, "made_at": time.time(), "jobs": [_plain(job) for job in found]}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".recording-", dir=out.parent) as half:
        written = Path(half) / out.name
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(BOOK, to_json(book))
            for job in found:
                for path in _files(job):
                    archive.write(path, f"files/{job.id}/{path.relative_to(folder(job.id)).as_posix()}")
        written.replace(out)
    return tuple(job.id for job in found)


def play(recording: Path) -> tuple[str, ...]:
    """Lay a recording's jobs among those of this machine; one that is there stays. Returns the ids of the new ones.

    Raises:
        JobError: ``record_broken`` (no recording, or a broken one), ``record_newer``, ``record_unsafe`` (a path that
            leaves its folder, a file that no recording has), ``record_large``; ``job_database``.
    """
    try:
        with zipfile.ZipFile(recording) as archive:
            _inspect(archive.infolist())
            book = _read_book(archive)
            there = {job.id for job in all_jobs()}
            new = [job for job in book["jobs"] if job["id"] not in there]
            for job in new:
                _lay(archive, job)
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise JobError("record_broken", path=str(recording), detail=type(error).__name__) from error
    except (NotImplementedError, RuntimeError, RecursionError) as error:  # another method, a password, deep JSON
        raise JobError("record_broken", path=str(recording), detail=type(error).__name__) from error
    return tuple(job["id"] for job in new)


def _plain(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": job.kind,
        "settings": dict(job.settings),
        "result": job.result,
        "made_with": dict(job.made_with),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }


def _files(job: Job) -> list[Path]:
    """The files of a job that a recording takes along."""
    place = folder(job.id)
    found = sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in found if path.suffix in SAFE_ENDS]


def _inspect(infos: list[zipfile.ZipInfo]) -> None:
    """Look at what the ZIP says of its files before any is read."""
    if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > MOST_BYTES:
        raise JobError("record_large", most=MOST_BYTES)
    names = [info.filename for info in infos]
    for info in infos:
        known = info.filename == BOOK or _is_known(info.filename)
        is_file = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG)
        if not known or not is_file or info.orig_filename != info.filename or names.count(info.filename) > 1:
            raise JobError("record_unsafe", name=info.orig_filename[:80])
        if info.file_size > PIECE_BYTES and info.file_size > MOST_RATIO * max(info.compress_size, 1):
            raise JobError("record_large", most=MOST_BYTES)


def _is_known(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and Path(name).suffix in SAFE_ENDS and ".." not in name.split("/")


def _read_book(archive: zipfile.ZipFile) -> dict[str, Any]:
    with archive.open(BOOK) as file:
        text = file.read(MOST_BOOK_BYTES + 1)
    if len(text) > MOST_BOOK_BYTES:
        raise JobError("record_large", most=MOST_BOOK_BYTES)
    book = json.loads(text)
    if not isinstance(book, dict) or book.get("format") != FORMAT or not isinstance(book.get("jobs"), list):
        raise ValueError("format")
    if book.get("version") != VERSION:
        raise JobError("record_newer", version=str(book.get("version"))[:20], known=VERSION)
    for job in book["jobs"]:
        _require_job(job)
    return book


def _require_job(job: Mapping[str, Any]) -> None:
    """Refuse a job whose id is not that of its kind and settings: it would be found where it does not belong."""
    if not isinstance(job["settings"], dict) or not isinstance(job["made_with"], dict):
        raise ValueError("settings")
    if job["kind"] not in kinds() or job["id"] != identify(job["kind"], job["settings"])[0]:
        raise ValueError("id")
    for name in ("created_at", "started_at", "ended_at"):
        float(job[name])


def _lay(archive: zipfile.ZipFile, job: Mapping[str, Any]) -> None:
    """Put a job's files in their place, then its row: it is there with both, or not at all."""
    files = [info for info in archive.infolist() if info.filename.startswith(f"files/{job['id']}/")]
    place = job_folder(job["id"])
    size = 0
    try:
        for info in files:
            to = place / "files" / info.filename.split("/", 2)[2]
            to.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, to.open("wb") as target:
                shutil.copyfileobj(source, target, PIECE_BYTES)
            size += to.stat().st_size
        made_with = {str(name): str(value)[:300] for name, value in job["made_with"].items()} | {RECORDED: "1"}
        row = (
            job["id"], job["kind"], identify(job["kind"], job["settings"])[1], float(job["created_at"]),
            float(job["started_at"]), float(job["ended_at"]), to_json(job["result"]), to_json(made_with),
            int(bool(files)), size,
        )  # fmt: skip
        with database(make=True) as connection, all_or_nothing(connection):
            connection.execute(
                "INSERT INTO jobs (id, kind, settings, state, place, created_at, started_at, ended_at, result,"
                " made_with, has_files, size_bytes) VALUES (?, ?, ?, 'done',"
                " (SELECT coalesce(max(place), 0) + 1 FROM jobs), ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
    except BaseException:
        remove(place)
        raise
