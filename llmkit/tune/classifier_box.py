"""A classifier as a box: the body where every page finds it, the head beside it, and how both came about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llmkit.reference import Assembled, BoxError, open_box
from llmkit.reference.naming import to_reference
from llmkit.shelf.store import MANIFEST
from llmkit.tune.classifier import Classifier
from llmkit.tune.errors import TuneError
from llmkit.tune.tuned import HEAD, NOTE

_KEPT = ("*.json", "*.jinja", "*.txt", "*.model")
"""What a box holds besides weights that a box made from it needs, too: configuration, tokenizer, chat template."""


@dataclass(frozen=True, kw_only=True)
class TunedBox:
    """A classifier, opened.

    Args:
        box: the box that it lies in. classifier: body and head, in evaluation mode.
        labels: the labels' names, in the order of the logits. facts: how it was made.
    """

    box: Assembled
    classifier: Classifier
    labels: tuple[str, ...]
    facts: Mapping[str, Any]


def write_classifier(
    box: Assembled, classifier: Classifier, folder: Path, *, labels: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Write a classifier into an empty folder: a box that opens on every page, and as the reference's base model.

    Args:
        box: what it was tuned from; its tokenizer, configuration and unembedding go along.
        classifier: adapters merged.
        labels: one name a logit. facts: plain data: how it was made.

    Raises:
        ValueError: labels and logits are not as many.
    """
    if len(labels) != classifier.n_labels:
        raise ValueError(f"{len(labels)} labels for {classifier.n_labels} logits")
    for pattern in _KEPT:
        for path in box.folder.glob(pattern):
            if path.name not in (MANIFEST, NOTE) and not path.name.endswith(".index.json"):
                shutil.copyfile(path, folder / path.name)
    weights = {**box.model.state_dict(), **classifier.body.state_dict()}
    theirs = to_reference({name: tensor.cpu().float() for name, tensor in weights.items()}, box.kind, box.config)
    head = {f"classifier.{name}": tensor.detach().cpu().float() for name, tensor in classifier.head.named_parameters()}
    save_file(theirs, folder / "model.safetensors", metadata={"format": "pt"})
    save_file(head, folder / HEAD)
    note = {"labels": list(labels), "pooling": classifier.pooling, "tuned_from": box.box_id, **facts}
    (folder / NOTE).write_text(json.dumps(note, indent=1, ensure_ascii=False), encoding="utf-8")


def open_classifier(box_id: str, *, device: str = "cpu") -> TunedBox:
    """Open a box that was tuned to classify.

    Raises:
        BoxError: ``box_missing`` or ``box_broken``. TuneError: ``no_head`` when it was never tuned to classify.
        TokenizerError: its tokenizer is broken.
    """
    box = open_box(box_id, device=device)
    if not (box.folder / HEAD).is_file():
        raise TuneError("no_head", box=box_id)
    try:
        note = json.loads((box.folder / NOTE).read_text(encoding="utf-8"))
        head = load_file(box.folder / HEAD)
        labels, pooling = tuple(map(str, note.pop("labels"))), note.pop("pooling")
        if pooling not in ("mean", "last"):
            raise ValueError(f"pooling {pooling}")
        with torch.random.fork_rng(devices=[]):
            classifier = Classifier(box.model.with_parts(unembedding=None), n_labels=len(labels), pooling=pooling)
        classifier.head.load_state_dict({name.removeprefix("classifier."): tensor for name, tensor in head.items()})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise BoxError("box_broken", box=box_id, detail=f"{NOTE}: {type(error).__name__}") from error
    classifier.to(box.device).eval().requires_grad_(False)
    return TunedBox(box=box, classifier=classifier, labels=labels, facts=note)
