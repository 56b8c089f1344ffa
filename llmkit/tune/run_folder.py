"""Folders in which a training outlives its job: a run that was stopped or interrupted goes on from there.

``LLMKIT_HOME/runs/<digest of everything that decides the run>`` holds the run's state. It is there only while the run
is not over: what was finished lies on the shelf. Beyond `MAX_RUNS` runs, or `MAX_BYTES`, the longest untouched go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmkit.home import home

MAX_RUNS = 8
MAX_BYTES = 8_000_000_000

STOP, CURVE = "stop", "curve.json"


def run_id(settings: Mapping[str, Any]) -> str:
    """A run's name: equal settings are the same run."""
    text = json.dumps(dict(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_folder(settings: Mapping[str, Any]) -> Path:
    """Where a run's state is kept, or would be."""
    return home() / "runs" / run_id(settings)


def is_kept(settings: Mapping[str, Any]) -> bool:
    """Whether a run has a state that it can go on from."""
    return (run_folder(settings) / "state.safetensors").is_file()


def ask_to_stop(settings: Mapping[str, Any]) -> None:
    """Ask a run that goes on to stop after its step; it keeps its state and lays its best aside."""
    folder = run_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STOP).touch()


def asked_to_stop(folder: Path) -> bool:
    """Whether a run was asked to stop."""
    return (folder / STOP).exists()


def forget_run(settings: Mapping[str, Any]) -> None:
    """Throw a run's state away; it begins anew the next time."""
    shutil.rmtree(run_folder(settings), ignore_errors=True)


def tidy(keep: Path) -> None:
    """Throw away the runs that were left untouched the longest, beyond what is kept; never `keep`."""
    root = home() / "runs"
    others = [path for path in root.iterdir() if path.is_dir() and path != keep] if root.is_dir() else []
    used = 0
    for place, folder in enumerate(sorted(others, key=_touched, reverse=True)):
        used += sum(size for size, _ in _files(folder))
        if place + 1 >= MAX_RUNS or used > MAX_BYTES:
            shutil.rmtree(folder, ignore_errors=True)


def _touched(folder: Path) -> float:
    return max((at for _, at in _files(folder)), default=0.0)


def _files(folder: Path) -> Iterator[tuple[int, float]]:
    """Size and time of a folder and its files; what an app throws away meanwhile is passed over."""
    for path in (folder, *folder.glob("*")):
        with contextlib.suppress(OSError):
            about = path.stat()
            yield (0 if path == folder else about.st_size), about.st_mtime
