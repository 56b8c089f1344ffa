"""The adapters of this machine: trained here, kept beside a box that was tuned to classify, or brought as files."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from llmkit import shelf
from llmkit.reference import Assembled
from llmkit.tune.adapter import CONFIG, WEIGHTS, AdapterError, read_adapter
from llmkit.tune.adapter_job import NOTE, adapter_folder, adapters, adapters_of
from llmkit.tune.atomic import write_atomically
from llmkit.tune.finetune_job import ADAPTER
from llmkit.tune.tuned import tuned_box, tuned_boxes

Origin = Literal["trained", "classifier", "brought"]

LIMIT_MB = 100
"""Megabytes of what may be brought."""

_CONFIG_BYTES = 1_000_000
_UNSAFE = frozenset({".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"})


@dataclass(frozen=True, kw_only=True)
class Here:
    """One adapter on this machine.

    Args:
        id: of its folder, or of the tuned box that it is kept beside. box_id: the box that it stands beside.
        origin: how it got here. made_at: seconds since the epoch. facts: what was written down about it.
    """

    id: str
    box_id: str
    origin: Origin
    made_at: float
    facts: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where PEFT's two files lie.

        Raises:
            AdapterError: ``adapter_broken`` when it is gone.
        """
        if self.origin != "classifier":
            return adapter_folder(self.id)
        place = shelf.locate(self.id)
        if place is None or not (place / ADAPTER).is_dir():
            raise AdapterError("adapter_broken", folder=self.id, detail="not here")
        return place / ADAPTER


def base_of(box_id: str) -> str:
    """The box that a tuned one began as, where its adapter is kept and that box is here; else the box itself."""
    tuned = tuned_box(box_id)
    if tuned is None or not _has_adapter(box_id):
        return box_id
    return tuned.tuned_from if shelf.locate(tuned.tuned_from) is not None else box_id


def adapters_here(box_id: str) -> tuple[Here, ...]:
    """The adapters of a box, the newest first."""
    found = [
        Here(
            id=note["id"],
            box_id=box_id,
            origin="brought" if "brought" in note else "trained",
            made_at=note["made_at"],
            facts=note,
        )
        for note in adapters_of(box_id)
    ]
    found += [
        Here(
            id=one.box_id,
            box_id=box_id,
            origin="classifier",
            made_at=float(one.facts.get("made_at", 0.0)),
            facts={"data": one.data, "labels": one.labels, "max_tokens": one.max_tokens},
        )
        for one in tuned_boxes()
        if one.tuned_from == box_id and _has_adapter(one.box_id)
    ]
    return tuple(sorted(found, key=lambda one: -one.made_at))


def bring(files: Mapping[str, bytes], box: Assembled) -> str:
    """Keep an adapter that somebody brings, once it is known to belong to a box; return its id.

    Args:
        files: PEFT's two files by name, or one ZIP that holds them.

    Raises:
        AdapterError: ``adapter_files``, ``adapter_unsafe``, ``adapter_too_big``, ``adapter_broken``,
            ``adapter_other_box``.
    """
    config, weights = _two_files(files)
    digest = hashlib.sha256(box.box_id.encode() + b"\0" + config + b"\0" + weights).hexdigest()[:16]
    adapter_id, staging = f"brought-{digest}", Path(tempfile.mkdtemp(prefix=".bring-", dir=_made(adapters())))
    try:
        half = _made(staging / "adapter")
        (half / CONFIG).write_bytes(config)
        (half / WEIGHTS).write_bytes(weights)
        made = read_adapter(half, box)
        note = {"box_id": box.box_id, "brought": True, "size_bytes": made.size_bytes, "made_at": time.time()}
        write_atomically(json.dumps(note), half / NOTE)
        if not (adapters() / adapter_id).exists():
            half.replace(adapters() / adapter_id)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return adapter_id


def remove(one: Here) -> None:
    """Throw an adapter away; one that is kept beside a tuned box stays, since it is that box's."""
    if one.origin != "classifier":
        shutil.rmtree(adapter_folder(one.id), ignore_errors=True)


def _has_adapter(box_id: str) -> bool:
    place = shelf.locate(box_id)
    return place is not None and (place / ADAPTER / CONFIG).is_file()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _two_files(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """Config and weights out of what was given; nothing else of it is looked at."""
    if sum(map(len, files.values())) > LIMIT_MB * 1_000_000:
        raise AdapterError("adapter_too_big", limit=LIMIT_MB)
    if len(files) == 1 and next(iter(files.values())).startswith(b"PK\x03\x04"):
        files = _unzipped(next(iter(files.values())))
    unsafe = next((name for name in files if PurePosixPath(name.lower()).suffix in _UNSAFE), None)
    found = {PurePosixPath(name).name: content for name, content in files.items()}
    if CONFIG in found and WEIGHTS in found:
        return found[CONFIG], found[WEIGHTS]
    raise AdapterError("adapter_unsafe", file=unsafe) if unsafe else AdapterError("adapter_files")


def _unzipped(content: bytes) -> dict[str, bytes]:
    """PEFT's two files out of a ZIP, and the names of all others."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            found = {}
            for one in file.infolist():
                name = PurePosixPath(one.filename).name
                limit = {CONFIG: _CONFIG_BYTES, WEIGHTS: LIMIT_MB * 1_000_000}.get(name, 0)
                if limit and one.file_size > limit:
                    raise AdapterError("adapter_too_big", limit=LIMIT_MB)
                with file.open(one) as member:
                    found[name] = member.read(limit) if limit else b""
            return found
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
        raise AdapterError("adapter_files") from error
