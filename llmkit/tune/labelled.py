"""Labelled texts for a fine-tuning, from a data box or a learner's prepared set; a part of them where that is asked.

Loads no torch. Which texts are taken follows from the source, the sizes and the seed alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from llmkit import shelf
from llmkit.tune.data import prepared
from llmkit.tune.data.columns import NEGATIVE, POSITIVE
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.split import PARTS, Part, split
from llmkit.tune.errors import TuneError

CLEAR = {"reviews-en": 0.5}
"""Ratings nearer to 0 are neither positive nor negative, and left out; of other boxes every rating counts."""

BOX_SEED = 0
"""Of the split of a data box into training, validation and test; a prepared set brings its own."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its label."""

    text: str
    label: str


@dataclass(frozen=True, kw_only=True)
class LabelledSet:
    """What a source holds, as far as it can be learned from. Shared: do not change it.

    Args:
        source: a data box's id or a prepared set's. labels: all of them, sorted.
        train, validation, test: rows with a text and a label, in an order that the seed has shuffled.
        empty, unlabelled: rows that were left out: no text, or no label.
    """

    source: str
    labels: tuple[str, ...]
    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    empty: int
    unlabelled: int

    def take(self, *, train: int, held_out: int) -> LabelledSet:
        """The first rows of each part, each class in its share.

        Args:
            train: rows to learn from, at most. held_out: rows of validation and of test, at most.
        """
        parts = {"train": (self.train, train), "validation": (self.validation, held_out), "test": (self.test, held_out)}
        taken = {name: _share(rows, most) for name, (rows, most) in parts.items()}
        return LabelledSet(
            source=self.source, labels=self.labels, empty=self.empty, unlabelled=self.unlabelled, **taken
        )

    def require_learnable(self) -> None:
        """Refuse what nothing can be learned from.

        Raises:
            TuneError: ``too_few_examples``, or ``one_class``: the rows to learn from have one label only.
        """
        if len(self.train) < 2 or not self.validation or not self.test:
            raise TuneError(
                "too_few_examples", train=len(self.train), validation=len(self.validation), test=len(self.test)
            )
        if len({row.label for row in self.train}) < 2:
            raise TuneError("one_class", rows=len(self.train))

    def commonest(self, rows: Sequence[Labelled]) -> float:
        """Share of rows that always saying the training rows' commonest label gets right; 0 to 1."""
        counts: dict[str, int] = defaultdict(int)
        for row in self.train:
            counts[row.label] += 1
        best = min(counts, key=lambda label: (-counts[label], label), default="")
        return sum(row.label == best for row in rows) / max(len(rows), 1)


def sources_here() -> tuple[str, ...]:
    """Data boxes on this machine, then prepared sets that have labels, the newest first."""
    sets = (about.id for about in prepared.prepared() if about.labels)
    return (*shelf.boxes_here("data"), *sets)


def is_box(source: str) -> bool:
    """Whether a source is a data box of the catalogue rather than a prepared set."""
    box = shelf.catalogue().get(source)
    return box is not None and box.content == "data"


def fingerprint(source: str) -> str:
    """What changes when a source does.

    Raises:
        ShelfError: ``box_missing``. DataError: ``data_missing``.
    """
    if not is_box(source):
        return prepared.about_prepared(source).sha256[:16]
    found = shelf.fingerprint(source)
    if not found:
        raise shelf.ShelfError("box_missing", box=source)
    return found


def open_labelled(source: str, *, expected: str | None = None) -> LabelledSet:
    """Read a source's labelled texts.

    Args:
        source: a data box's id or a prepared set's.
        expected: its fingerprint when the reader chose it; None where any will do.

    Raises:
        ShelfError, DataError: it is not here, or its files were changed. TuneError: ``data_changed`` since it was
            chosen, ``no_labels`` (no row has one).
    """
    now = fingerprint(source)
    if expected is not None and now != expected:
        raise TuneError("data_changed", data=source)
    return _open(source, now)


@lru_cache(maxsize=4)
def _open(source: str, fingerprint: str) -> LabelledSet:
    rows = list(_box_rows(source) if is_box(source) else _prepared_rows(source))
    whole = [(text, label, part) for text, label, part in rows if _is_text(text) and _is_text(label)]
    empty = sum(not _is_text(text) for text, _, _ in rows)
    if not whole:
        raise TuneError("no_labels", data=source, rows=len(rows))
    parts: dict[Part, list[Labelled]] = {part: [] for part in PARTS}
    for text, label, part in whole:
        parts[part].append(Labelled(str(text), str(label)))
    for held in parts.values():
        held.sort(key=lambda row: blake2b(f"{row.label}\0{row.text}".encode(errors="replace"), digest_size=8).digest())
    return LabelledSet(
        source=source,
        labels=tuple(sorted({str(label) for _, label, _ in whole})),
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        empty=empty,
        unlabelled=len(rows) - len(whole) - empty,
    )


def _box_rows(source: str) -> Iterable[tuple[object, object, Part]]:
    """A data box's clear ratings as labels, split by a seed; a text that is rated twice stays on one side."""
    rows = [row for row in shelf.open_data(source).rows if abs(row.rating) >= CLEAR.get(source, 1e-9)]
    texts = [row.text for row in rows]
    labels = [POSITIVE if row.rating > 0 else NEGATIVE for row in rows]
    return zip(texts, labels, split(texts, labels, seed=BOX_SEED), strict=True)


def _prepared_rows(source: str) -> Iterable[tuple[object, object, Part]]:
    opened = prepared.open_prepared(source)
    try:
        return [(row.text, row.label, row.part) for row in opened.rows if row.part in PARTS]
    except (AttributeError, TypeError) as error:
        raise DataError("data_damaged", id=source) from error


def _is_text(value: object) -> bool:
    """Whether a cell holds a text: None, NaN and blanks alone are none."""
    return isinstance(value, str) and bool(value.strip())


def _share(rows: Sequence[Labelled], most: int) -> tuple[Labelled, ...]:
    """At most so many rows in their order, each class in its share, and one of each class as long as there is room."""
    if len(rows) <= most:
        return tuple(rows)
    classes: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        classes[row.label].append(at)
    wanted = _wanted({label: len(places) for label, places in classes.items()}, most)
    chosen = sorted(at for label, places in classes.items() for at in places[: wanted[label]])
    return tuple(rows[at] for at in chosen)


def _wanted(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many rows of each class, `most` in all: largest remainders, after one each for the commonest classes."""
    order = sorted(counts, key=lambda label: (-counts[label], label))
    wanted = {label: int(at < most) for at, label in enumerate(order)}
    left, total = most - sum(wanted.values()), sum(counts.values())
    exact = {label: left * counts[label] / total for label in order}
    for label in order:
        wanted[label] = min(wanted[label] + int(exact[label]), counts[label])
    for label in sorted(order, key=lambda label: int(exact[label]) - exact[label]):
        if sum(wanted.values()) < most and wanted[label] < counts[label]:
            wanted[label] += 1
    return wanted
