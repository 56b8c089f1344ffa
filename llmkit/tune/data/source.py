"""Where a table comes from, as one short name: a data box of the shelf, or a file that a learner brought.

Files are kept for a while under their digest, so that a reload, a link or a job finds them again; the oldest go first.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from llmkit import shelf
from llmkit.home import home
from llmkit.tune.data.dataset import Table, from_box, read_table, refuse
from llmkit.tune.data.errors import DataError

MAX_FILES = 20
MAX_FILES_BYTES = 500_000_000
_FILE = re.compile(r"file:([0-9a-f]{32})")
_CONTENT, _NAME = "content", "name.json"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a file is to be read; None is found out. See `dataset.read_table`."""

    encoding: str | None = None
    delimiter: str | None = None
    header: bool | None = None
    sheet: str | None = None


def keep_file(content: bytes, name: str) -> str:
    """Keep a learner's file and return its source name, ``file:<digest>``.

    Raises:
        DataError: it is no table of a size that can be worked with.
    """
    refuse(content, name)
    digest = hashlib.sha256(name.encode("utf-8", errors="replace") + b"\x00" + content).hexdigest()[:32]
    target = _root() / digest
    if (target / _NAME).is_file():
        os.utime(target)
        return f"file:{digest}"
    staging = _root() / f".staging-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        (staging / _CONTENT).write_bytes(content)
        (staging / _NAME).write_text(json.dumps(name[:200]), encoding="utf-8")
        if not target.exists():
            staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _forget_oldest()
    return f"file:{digest}"


def forget_file(source: str) -> None:
    """Throw a kept file away; a data box stays."""
    if match := _FILE.fullmatch(source):
        shutil.rmtree(_root() / match[1], ignore_errors=True)


def open_source(source: str, reading: Reading | None = None) -> Table:
    """Read a source as a table.

    Args:
        source: a data box's id, or ``file:<digest>``. reading: how, for a file.

    Raises:
        DataError: ``data_missing`` when the file is no longer kept, and all of `read_table`.
        ShelfError: the box is not here.
    """
    if _FILE.fullmatch(source) is None:
        return from_box(source)
    name, content = read_file(source)
    how = reading or Reading()
    return read_table(content, name, encoding=how.encoding, delimiter=how.delimiter, header=how.header, sheet=how.sheet)


def read_file(source: str) -> tuple[str, bytes]:
    """A kept file's name and bytes.

    Raises:
        DataError: ``data_missing`` when there is no such file, or it is no longer kept.
    """
    match = _FILE.fullmatch(source)
    folder = _root() / (match[1] if match else "-")
    try:
        name = str(json.loads((folder / _NAME).read_text(encoding="utf-8")))
        return name, (folder / _CONTENT).read_bytes()
    except (OSError, ValueError) as error:
        raise DataError("data_missing", id=source[:16]) from error


def fingerprint(source: str) -> str:
    """What changes when the source does: for cache keys and jobs. Empty when it is not here.

    Raises:
        ShelfError: there can be no such box.
    """
    if _FILE.fullmatch(source):
        return source if (_root() / source.partition(":")[2] / _NAME).is_file() else ""
    return shelf.fingerprint(source)


def _root() -> Path:
    return home() / "data" / ".files"


def _forget_oldest() -> None:
    """Keep the newest files, up to both limits."""
    folders = [path for path in _root().iterdir() if path.is_dir() and not path.name.startswith(".")]
    folders.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    size = 0
    for at, folder in enumerate(folders):
        try:
            size += (folder / _CONTENT).stat().st_size
        except OSError:
            continue
        if at >= MAX_FILES or (size > MAX_FILES_BYTES and at > 0):
            shutil.rmtree(folder, ignore_errors=True)
