"""Prepared data sets: checked, mended, split, and kept on this machine for the steps that train on them.

One folder a set, ``data/<id>/``: ``rows.jsonl`` and ``dataset.json``. A set arrives in one move, so it is whole or not
there; the same rows, labels and split are the same set.
"""

import hashlib
import json
import re
import shutil
import time
import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmkit.home import home
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.split import PARTS, Part

MAX_SETS = 40
MAX_SET_BYTES = 300_000_000
MAX_ALL_BYTES = 2_000_000_000

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,60}")
ROWS, ABOUT = "rows.jsonl", "dataset.json"


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """One text. ``label`` is None where there are no labels; ``row`` is its number in the source."""

    text: str
    label: str | None
    part: Part
    row: int


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a prepared set without opening it.

    Args:
        id: its name in the store and in the address bar.
        name: of its source: a data box or a file.
        created: ISO date and time, UTC.
        text, label: the source's columns. threshold: where ratings were turned into labels.
        labels: the classes, sorted; empty where there are none.
        mendings: what was done, in order.
        seed, shares: of the split.
        counts: rows of each part and class: ``{"train": {"positive": 3, …}, …}``; no class is ``""``.
        size_bytes: of its rows. sha256: of the same.
    """

    id: str
    name: str
    created: str
    text: str
    label: str | None
    threshold: float | None
    labels: tuple[str, ...]
    mendings: tuple[str, ...]
    seed: int
    shares: tuple[float, float, float]
    counts: Mapping[str, Mapping[str, int]]
    size_bytes: int
    sha256: str

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return sum(sum(classes.values()) for classes in self.counts.values())


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A prepared set, opened. Shared: do not change it."""

    about: About
    rows: tuple[PreparedRow, ...]

    def part(self, name: Part) -> tuple[PreparedRow, ...]:
        """The rows of one part, in the source's order."""
        return tuple(row for row in self.rows if row.part == name)


def keep(
    rows: Sequence[PreparedRow],
    *,
    name: str,
    text: str,
    label: str | None,
    threshold: float | None,
    mendings: Sequence[str],
    seed: int,
    shares: tuple[float, float, float],
) -> About:
    """Write a prepared set; one that is already here is returned as it is.

    Raises:
        DataError: ``data_empty``, ``data_too_big`` or ``data_shelf_full``, with the way out.
    """
    if not rows:
        raise DataError("data_empty", name=name)
    lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    body = lines.encode("utf-8", errors="replace")
    if len(body) > MAX_SET_BYTES:
        raise DataError("data_too_big", name=name, size=f"{len(body) / 1e6:.1f}", limit=f"{MAX_SET_BYTES / 1e6:.1f}")
    digest = hashlib.sha256(body).hexdigest()
    counts = {part: Counter(row.label or "" for row in rows if row.part == part) for part in PARTS}
    about = About(
        id=f"{_slug(name)}-{digest[:8]}",
        name=name[:200],
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        text=text,
        label=label,
        threshold=threshold,
        labels=tuple(sorted({row.label for row in rows if row.label is not None})),
        mendings=tuple(mendings),
        seed=seed,
        shares=shares,
        counts={part: dict(sorted(classes.items())) for part, classes in counts.items()},
        size_bytes=len(body),
        sha256=digest,
    )
    here = {one.id: one for one in prepared()}
    if about.id in here:
        return here[about.id]
    total = sum(one.size_bytes for one in here.values())
    if len(here) >= MAX_SETS or total + len(body) > MAX_ALL_BYTES:
        raise DataError("data_shelf_full", n=len(here), size=f"{total / 1e6:.0f}", limit=MAX_SETS)
    _write(about, body)
    return about


def prepared() -> tuple[About, ...]:
    """Every prepared set on this machine, the newest first; a folder that is not whole is passed over."""
    found = [about for folder in _folders() if (about := _read_about(folder)) is not None]
    return tuple(sorted(found, key=lambda about: (about.created, about.id), reverse=True))


def open_prepared(set_id: str) -> Prepared:
    """Open a prepared set.

    Raises:
        DataError: ``data_missing`` when there is no such set, ``data_damaged`` when its rows are not what was written.
    """
    about = about_prepared(set_id)
    try:
        body = (folder_of(set_id) / ROWS).read_bytes()
    except OSError as error:
        raise DataError("data_missing", id=set_id) from error
    if hashlib.sha256(body).hexdigest() != about.sha256:
        raise DataError("data_damaged", id=set_id)
    return Prepared(about=about, rows=_parse(body))


def about_prepared(set_id: str) -> About:
    """What is known of a set without opening it.

    Raises:
        DataError: ``data_missing``.
    """
    about = _read_about(folder_of(set_id))
    if about is None:
        raise DataError("data_missing", id=set_id[:80])
    return about


def folder_of(set_id: str) -> Path:
    """Where a set is kept, or would be; its name cannot lead out of the store.

    Raises:
        DataError: ``data_missing`` when there can be no such set.
    """
    if not _ID.fullmatch(set_id):
        raise DataError("data_missing", id=set_id[:80])
    return home() / "data" / set_id


def remove(set_id: str) -> None:
    """Throw a prepared set away; one that is not here is gone already."""
    shutil.rmtree(folder_of(set_id), ignore_errors=True)


def _write(about: About, body: bytes) -> None:
    target = folder_of(about.id)
    staging = target.parent / f".staging-{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        (staging / ROWS).write_bytes(body)
        (staging / ABOUT).write_text(json.dumps(asdict(about), ensure_ascii=False, indent=1), encoding="utf-8")
        if target.exists() and _read_about(target) is None:
            shutil.rmtree(target, ignore_errors=True)  # a broken one of the same name
        try:
            staging.replace(target)
        except OSError:
            if _read_about(target) is None:  # not another session that was faster
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _folders() -> Iterator[Path]:
    root = home() / "data"
    if root.is_dir():
        yield from (path for path in sorted(root.iterdir()) if path.is_dir() and _ID.fullmatch(path.name))


def _read_about(folder: Path) -> About | None:
    try:
        raw: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        for name in ("labels", "mendings", "shares"):
            raw[name] = tuple(raw[name])
        about = About(**raw)
        whole = (folder / ROWS).stat().st_size == about.size_bytes and about.id == folder.name
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return about if whole else None


def _parse(body: bytes) -> tuple[PreparedRow, ...]:
    return tuple(PreparedRow(**json.loads(line)) for line in body.decode("utf-8").split("\n") if line)


def _slug(name: str) -> str:
    """A name as a part of an id: ASCII letters and digits, without the file's ending; ``data`` where none is left."""
    stem = name.rpartition(".")[0] or name
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", errors="ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "data"
