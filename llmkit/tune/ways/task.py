"""The rows that all ways share: what may be learned from, what may choose settings, what is only ever asked about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.tune.data.columns import NEGATIVE, POSITIVE
from llmkit.tune.errors import TuneError
from llmkit.tune.labelled import Labelled, open_labelled
from llmkit.tune.tuned import Tuned, tuned_boxes

MOST_LABELS = 60
"""More labels are no classes but texts; a confusion matrix of them could not be read."""

MOST_TRAIN = 800
"""Rows that a way learns from; the same for all that learn here."""

SAMPLES = (50, 100, 200, 300, 500)
SAMPLE = 200
"""Held-out rows that are asked about."""

LABEL_CHARACTERS = 40
"""A label in a prompt is cut to so many."""

_CJK = re.compile(r"[\u3400-\u9fff]")

Lang = Literal["en", "zh-TW"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labelled texts, split; no text is in two parts.

    Args:
        labels: all labels, sorted. train, validation, test: the rows. lang: which language most texts are in.
        asked: how many test rows were asked for. empty, unlabelled: rows of the source that were left out.
    """

    labels: tuple[str, ...]
    train: tuple[Labelled, ...]
    validation: tuple[Labelled, ...]
    test: tuple[Labelled, ...]
    lang: Lang
    asked: int
    empty: int = 0
    unlabelled: int = 0

    def numbers(self, rows: Sequence[Labelled]) -> list[int]:
        """Each row's label as its place in ``labels``."""
        places = {label: at for at, label in enumerate(self.labels)}
        return [places[row.label] for row in rows]

    @property
    def rated(self) -> bool:
        """Whether the labels are negative and positive, for which there are tried words."""
        return self.labels == (NEGATIVE, POSITIVE)

    @property
    def chance(self) -> float:
        """Share of test rows that always saying the training rows' commonest label gets right."""
        counts = [sum(row.label == label for row in self.train) for label in self.labels]
        commonest = self.labels[counts.index(max(counts))]
        return sum(row.label == commonest for row in self.test) / len(self.test)


def open_task(settings: Mapping[str, Any]) -> Task:
    """Open the rows.

    Args:
        settings: data (a data box's or a prepared set's id), data_fingerprint (None where any will do), sample (test
            rows, at most).

    Raises:
        TuneError: ``no_labels``, ``one_class``, ``too_few_examples``, ``too_many_labels``, ``data_changed``;
            ShelfError, DataError: as they are.
    """
    whole = open_labelled(settings["data"], expected=settings.get("data_fingerprint"))
    if len(whole.labels) > MOST_LABELS:
        raise TuneError("too_many_labels", data=settings["data"], labels=len(whole.labels), limit=MOST_LABELS)
    data = whole.take(train=MOST_TRAIN, held_out=int(settings["sample"]))
    data.require_learnable()
    return Task(
        labels=data.labels,
        train=data.train,
        validation=data.validation,
        test=data.test,
        lang=language([row.text for row in data.test]),
        asked=int(settings["sample"]),
        empty=data.empty,
        unlabelled=data.unlabelled,
    )


def language(texts: Sequence[str]) -> Lang:
    """Which language to ask in: Chinese where most texts hold a Chinese character."""
    chinese = sum(bool(_CJK.search(text)) for text in texts)
    return "zh-TW" if 2 * chinese > len(texts) else "en"


def short_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as a prompt can name them: one line, not long, no two alike.

    >>> short_labels(["a  b", "x" * 50, "x" * 60])[0::2]
    ('a b', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx 2')
    """
    found: list[str] = []
    for label in labels:
        short = " ".join(label.split())[:LABEL_CHARACTERS].strip() or "?"
        again = sum(one == short or one.startswith(f"{short} ") for one in found)
        found.append(f"{short} {again + 1}" if short in found else short)
    return tuple(found)


def suited(data: str, fingerprint: str, labels: Sequence[str]) -> tuple[Tuned, ...]:
    """The boxes here that were fine-tuned on this very data for these labels, the newest first.

    Only of these is it known that no test row was among what they learned from. Loads no weights.
    """
    return tuple(
        one
        for one in tuned_boxes()
        if one.data == data
        and one.facts.get("data_fingerprint") == fingerprint
        and sorted(one.labels) == sorted(labels)
    )
