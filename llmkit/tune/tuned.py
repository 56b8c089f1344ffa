"""The boxes of this machine that were tuned to classify: what each tells apart, and what it learned from.

Reads files alone, so that a page can list them without loading torch; `llmkit.tune.classifier_box` opens one.
"""

import json
from dataclasses import dataclass
from typing import Any

from llmkit import shelf

HEAD, NOTE = "classifier.safetensors", "classifier.json"
"""A tuned box's head, and what is written down about it; beside the body's own files."""


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A box that was tuned to classify, as its own files describe it.

    Args:
        box_id: its id on the shelf. labels: the labels' names, in the order of the logits.
        tuned_from: the box that it began as. method: ``full``, ``frozen`` or ``lora``; empty where it is not said.
        data: the data box or prepared set that it learned from; empty where it is not said. rows: how many texts.
        max_tokens: where it cut texts while it learned; 0 where it is not said.
        accuracy: on the held-out texts of that data, 0 to 1; None where it was not measured.
        date: ISO date on which it was made; empty where it is not said.
        size_bytes: of its files. facts: everything that was written down, as it is.
    """

    box_id: str
    labels: tuple[str, ...]
    tuned_from: str
    method: str = ""
    data: str = ""
    rows: int = 0
    max_tokens: int = 0
    accuracy: float | None = None
    date: str = ""
    size_bytes: int = 0
    facts: dict[str, Any]


def tuned_boxes() -> tuple[Tuned, ...]:
    """Every box on this machine that was tuned to classify, the newest first; a broken one is passed over."""
    found = [tuned for box_id in shelf.boxes_here("model") if (tuned := tuned_box(box_id)) is not None]
    return tuple(sorted(found, key=lambda one: (one.facts.get("made_at", 0.0), one.box_id), reverse=True))


def tuned_box(box_id: str) -> Tuned | None:
    """What a box was tuned for; None where it is not here, was never tuned to classify, or cannot be read.

    Raises:
        ShelfError: there can be no such box.
    """
    folder = shelf.locate(box_id)
    if folder is None or not (folder / HEAD).is_file():
        return None
    try:
        note: dict[str, Any] = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        accuracy = note.get("accuracy")
        return Tuned(
            box_id=box_id,
            labels=tuple(str(label) for label in note["labels"]),
            tuned_from=str(note["tuned_from"]),
            method=str(note.get("method", "")),
            data=str(note.get("data", "")),
            rows=int(note.get("rows", 0)),
            max_tokens=int(note.get("max_tokens", 0)),
            accuracy=None if accuracy is None else float(accuracy),
            date=str(note.get("date", "")),
            size_bytes=sum(path.stat().st_size for path in folder.iterdir() if path.is_file()),
            facts={**note, "made_at": float(note.get("made_at", 0.0))},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
