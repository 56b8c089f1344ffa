"""Texts that a learner keeps, version after version: one JSON file a journal and place, beside the journal.

The file is replaced whole, so it is never half-written; one that cannot be read is never overwritten.
"""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from llmkit.journal.store import journal_home
from llmkit.write.errors import WriteError

Place = Literal["drafts", "prompts"]

MOST = 100
"""Texts in one place."""

WAIT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A text that was kept.

    Args:
        id: its name in its place. name: what the learner calls it. text: word for word.
        at: when, ISO, in the learner's zone. about: what belongs to it, as plain data.
    """

    id: str
    name: str
    text: str
    at: str
    about: Mapping[str, Any] = field(default_factory=dict)


def kept(owner: str, place: Place) -> tuple[Kept, ...]:
    """Return what a learner has kept in a place, the newest first.

    Args:
        owner: the id of a profile of the journal.

    Raises:
        WriteError: ``kept_broken``.
    """
    path = _path(owner, place)
    try:
        listed = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        return tuple(Kept(**one) for one in listed)
    except (OSError, ValueError, TypeError) as error:
        raise WriteError("kept_broken", path=str(path)) from error


def keep(owner: str, place: Place, *, name: str, text: str, now: datetime, about: Mapping[str, Any]) -> Kept:
    """Keep a text; the same text with the same name and facts is kept once, and comes to the front again.

    Raises:
        WriteError: ``kept_full``, ``kept_broken``.
    """
    about = json.loads(json.dumps(dict(about)))  # as it will be read back: tuples as lists
    made = Kept(id=uuid.uuid4().hex, name=name, text=text, at=now.isoformat(timespec="seconds"), about=about)
    with _writing(owner, place):
        others = [one for one in kept(owner, place) if (one.name, one.text, one.about) != (name, text, about)]
        if len(others) >= MOST:
            raise WriteError("kept_full", n=len(others), limit=MOST)
        _write(owner, place, [made, *others])
    return made


def forget(owner: str, place: Place, kept_id: str) -> Kept | None:
    """Delete a kept text and return it; None where it is gone already.

    Raises:
        WriteError: ``kept_broken``.
    """
    with _writing(owner, place):
        all_of_them = kept(owner, place)
        gone = next((one for one in all_of_them if one.id == kept_id), None)
        if gone is not None:
            _write(owner, place, [one for one in all_of_them if one is not gone])
    return gone


@contextmanager
def _writing(owner: str, place: Place) -> Iterator[None]:
    """Let one tab or process write at a time."""
    path = _path(owner, place)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=WAIT_S):
            yield
    except (OSError, Timeout) as error:
        raise WriteError("kept_broken", path=str(path)) from error


def _write(owner: str, place: Place, texts: list[Kept]) -> None:
    path = _path(owner, place)
    half = path.with_suffix(".part")
    half.write_text(json.dumps([asdict(one) for one in texts], indent=1), encoding="utf-8")
    os.replace(half, path)


def _path(owner: str, place: Place) -> Path:
    """The file of a place; whatever an owner is called, the name leads nowhere else."""
    return journal_home() / "texts" / f"{sha256(owner.encode()).hexdigest()[:16]}-{place}.json"
