"""Tables that are kept on this machine, so that a page, its jobs and a link work on the same one.

One folder a table, ``tables/<id>/``: ``table.parquet`` and ``about.json``. A table arrives in one move, so it is whole
or not there; the same cells are the same table. The oldest give way.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.home import home
from llmkit.tune.data.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

    from llmkit.tune.data.dataset import Table

MAX_TABLES = 20
MAX_ALL_BYTES = 500_000_000

_ID = re.compile(r"[0-9a-f]{20}")
CELLS, ABOUT = "table.parquet", "about.json"


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a kept table without opening it.

    Args:
        id: the digest of its cells. name: of the file it came from. rows: how many.
        kinds: of each column, in order. sha256: of its file.
    """

    id: str
    name: str
    rows: int
    kinds: dict[str, str]
    sha256: str


def keep_table(table: Table) -> About:
    """Keep a table that was read; one that is already here is returned as it is.

    Args:
        table: as `llmkit.tune.data.dataset.read_table` gives it, within its limits.
    """
    from llmkit.analyse.columns import kinds, typed

    frame = typed(table.frame)
    body = io.BytesIO()
    frame.to_parquet(body, index=False)
    content = body.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    about = About(id=digest[:20], name=table.name[:200], rows=len(frame), kinds=dict(kinds(frame)), sha256=digest)
    if _read_about(_root() / about.id) is not None:
        os.utime(_root() / about.id)
    else:
        _write(about, content)
        _forget_oldest()
    return about


def about_table(table_id: str) -> About:
    """What is known of a kept table.

    Raises:
        DataError: ``data_missing``.
    """
    about = _read_about(_folder(table_id))
    if about is None:
        raise DataError("data_missing", id=table_id[:20])
    return about


def open_table(table_id: str) -> pd.DataFrame:
    """Open a kept table: typed columns, rows numbered from 0. Never change it in place.

    Raises:
        DataError: ``data_missing``, or ``data_damaged`` when its cells are not what was written.
    """
    import pandas as pd

    about = about_table(table_id)
    try:
        content = (_folder(table_id) / CELLS).read_bytes()
    except OSError as error:
        raise DataError("data_missing", id=table_id[:20]) from error
    if hashlib.sha256(content).hexdigest() != about.sha256:
        raise DataError("data_damaged", id=table_id)
    return pd.read_parquet(io.BytesIO(content))


def forget_table(table_id: str) -> None:
    """Throw a kept table away; one that is not here is gone already."""
    shutil.rmtree(_folder(table_id), ignore_errors=True)


def _root() -> Path:
    return home() / "tables"


def _folder(table_id: str) -> Path:
    if not _ID.fullmatch(table_id):
        raise DataError("data_missing", id=table_id[:20])
    return _root() / table_id


def _read_about(folder: Path) -> About | None:
    try:
        raw: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        about = About(**raw)
        whole = (folder / CELLS).is_file() and about.id == folder.name
    except (OSError, ValueError, TypeError):
        return None
    return about if whole else None


def _write(about: About, content: bytes) -> None:
    target = _root() / about.id
    staging = _root() / f".staging-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        (staging / CELLS).write_bytes(content)
        (staging / ABOUT).write_text(json.dumps(asdict(about), ensure_ascii=False), encoding="utf-8")
        if target.exists() and _read_about(target) is None:
            shutil.rmtree(target, ignore_errors=True)
        try:
            staging.replace(target)
        except OSError:
            if _read_about(target) is None:  # not another session that was faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _folders() -> Iterator[Path]:
    root = _root()
    if root.is_dir():
        yield from (path for path in root.iterdir() if path.is_dir() and _ID.fullmatch(path.name))


def _forget_oldest() -> None:
    """Keep the newest tables, up to both limits; one that was used in the last hour stays."""
    folders = sorted(_folders(), key=lambda path: path.stat().st_mtime, reverse=True)
    size = 0
    for at, folder in enumerate(folders):
        try:
            size += (folder / CELLS).stat().st_size
        except OSError:
            continue
        old = time.time() - folder.stat().st_mtime > 3600
        if old and (at >= MAX_TABLES or size > MAX_ALL_BYTES):
            shutil.rmtree(folder, ignore_errors=True)
