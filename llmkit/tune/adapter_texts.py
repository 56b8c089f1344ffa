"""Texts that an adapter learns from: a data box, a learner's prepared set with or without labels, or pasted lines."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit import shelf
from llmkit.tune.data import prepared
from llmkit.tune.data import source as files
from llmkit.tune.data.encoding import decode
from llmkit.tune.errors import TuneError
from llmkit.tune.labelled import fingerprint as labelled_fingerprint
from llmkit.tune.labelled import open_labelled

FILE = "file:"
HELD_OUT_SHARE = 10
"""Of pasted lines every tenth only measures."""

FEWEST_HELD_OUT = 2


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What a source holds to learn from.

    Args:
        labels: all of them, sorted; none where there are none. train: to learn from. held_out: to measure on.
    """

    labels: tuple[str, ...]
    train: tuple[str, ...]
    held_out: tuple[str, ...]


def sources_here() -> tuple[str, ...]:
    """Data boxes on this machine, then prepared sets, the newest first."""
    return (*shelf.boxes_here("data"), *(about.id for about in prepared.prepared()))


def fingerprint(source: str) -> str:
    """What changes when a source does.

    Raises:
        ShelfError: ``box_missing``. DataError: ``data_missing``.
    """
    return source if source.startswith(FILE) else labelled_fingerprint(source)


def open_texts(source: str, *, label: str | None = None, expected: str | None = None) -> Texts:
    """Read a source's texts.

    Args:
        source: a data box's id, a prepared set's, or ``file:<digest>`` whose lines are a text each.
        label: only its texts; None for all. expected: its fingerprint when the reader chose it.

    Raises:
        ShelfError, DataError: it is not here or cannot be read. TuneError: ``data_changed``.
    """
    if source.startswith(FILE):
        return _lines(source)
    now = labelled_fingerprint(source)
    if expected is not None and now != expected:
        raise TuneError("data_changed", data=source)
    if not source_has_labels(source):
        rows = prepared.open_prepared(source)
        train, held_out = (
            tuple(row.text for row in rows.part(part) if row.text.strip()) for part in ("train", "validation")
        )
        return Texts(labels=(), train=train, held_out=held_out)
    data = open_labelled(source, expected=expected)
    train, held_out = (
        tuple(row.text for row in part if label in (None, row.label)) for part in (data.train, data.validation)
    )
    return Texts(labels=data.labels, train=train, held_out=held_out)


def source_has_labels(source: str) -> bool:
    """Whether a source's texts have labels."""
    return source in shelf.catalogue() or bool(prepared.about_prepared(source).labels)


def _lines(source: str) -> Texts:
    """Pasted lines, each once: every tenth, and two at least, only measures."""
    _, content = files.read_file(source)
    lines = tuple(dict.fromkeys(filter(None, map(str.strip, decode(content, None).text.splitlines()))))
    every = min(HELD_OUT_SHARE, max(len(lines) // FEWEST_HELD_OUT, 1))
    held_out = lines[::every] if len(lines) > FEWEST_HELD_OUT else ()
    return Texts(labels=(), train=tuple(line for line in lines if line not in held_out), held_out=held_out)
