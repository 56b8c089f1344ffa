"""The jobs ``finetune`` and ``finetune_pace``: learn a task by one method and put the result on the shelf; how fast.

A run can be stopped and taken up again: its state lies in a folder of its own (`llmkit.tune.run_folder`), and equal
settings find it. What came of it is a box ``made:…`` that every page opens.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmkit import shelf
from llmkit.jobs import Cancelled, Report
from llmkit.reference import Assembled, open_box
from llmkit.tune.adapter import adapter_tensors, write_adapter
from llmkit.tune.atomic import write_atomically
from llmkit.tune.classifier import Examples, collate, encode_examples, predict, scores
from llmkit.tune.classifier_box import write_classifier
from llmkit.tune.curve import thin
from llmkit.tune.finetune import (
    Ending,
    FinetuneConfig,
    FinetuneStep,
    Finetuning,
    epoch_order,
    learn,
    lora_config,
    merge_adapters,
    said_out_of_memory,
)
from llmkit.tune.labelled import Labelled, LabelledSet, open_labelled
from llmkit.tune.memory import PeakMemory
from llmkit.tune.run_folder import CURVE, STOP, asked_to_stop, forget_run, run_folder, run_id, tidy
from llmkit.tune.what_learns import count_parts_learning

PARTIAL_S = 0.5
"""How often what ran so far is put together for whoever looks."""

PACE_STEPS = 5
"""Steps that are timed, over batches of all lengths, after one that warms up."""

EXAMPLES = "examples.npz"

ADAPTER = "adapter"
"""The folder of a box that was tuned by LoRA in which the adapter lies, before it was merged."""


def config_of(settings: Mapping[str, Any]) -> FinetuneConfig:
    """The fine-tuning's own settings among a job's.

    Raises:
        TuneError: ``setting_out_of_range``, ``no_targets``.
    """
    given = dict(settings["config"])
    return FinetuneConfig(**{**given, "targets": tuple(given.get("targets", ("q", "v")))})


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``finetune``.

    Args:
        settings: box_id, fingerprint; data, data_fingerprint; rows, held_out (of training, and of validation and test,
            at most); device; config (`FinetuneConfig` as plain data).
        report: told after every step; partial: what the result has so far.

    Returns:
        ending, step, steps, seconds, steps_per_second; labels; total, learning (weights); memory (bytes: before, peak,
        weights, gradients, optimizer); curve [[step, loss]], validation [[step, loss, accuracy]], best (the same, or
        None); test (n, before, after: loss and accuracy, the latter None where nothing was measured; commonest);
        rows (train, validation, test, cut, empty, unlabelled); box (its id on the shelf, or None), run.
        ``examples.npz`` has before, after: [N, n_labels], probabilities of the test rows.

    Raises:
        TuneError: as `Finetuning`, and ``data_changed``; BoxError, ShelfError, DataError: as they are.
        Cancelled: after the state was kept.
    """
    config = config_of(settings)
    report(0, 0)
    data = _open_data(settings)
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    folder = run_folder(settings)
    tidy(keep=folder)
    try:
        box = open_box(settings["box_id"], device=settings["device"])
        with PeakMemory(settings["device"]) as memory:
            course = _Course(box, data, config, folder, report, memory)
            ending = course.run()
            if course.cancelled:
                raise Cancelled
        result = course.result(ending)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if (told := said_out_of_memory(error, config)) is None:
            raise
        raise told from error
    finally:
        (folder / STOP).unlink(missing_ok=True)  # it was meant for this sitting
    result |= {"run": run_id(settings), "box": None}
    if course.tuning.best:
        result["box"] = _put_on_shelf(course, settings, result)
    if ending != "stopped":
        forget_run(settings)
    return result


def run_pace(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``finetune_pace``: time a few steps of each method, on batches of all lengths.

    Args:
        settings: as of ``finetune``, with config's method left out; methods: which.
        report: told after each method.

    Returns:
        opening_s: until the first step could begin; text_s: reading one held-out text; step_s: method → seconds a step.
    """
    began = time.monotonic()
    report(0, 0)
    data = _open_data(settings)
    box = open_box(settings["box_id"], device=settings["device"])
    train, held_out = (
        _encode(box, rows, data.labels, settings["config"]["max_tokens"]) for rows in (data.train, data.validation)
    )
    steps: dict[str, float] = {}
    text_s = opening_s = 0.0
    for at, method in enumerate(settings["methods"]):
        config = config_of({"config": {**settings["config"], "method": method}})
        try:
            tuning = Finetuning(box, train, held_out, n_labels=len(data.labels), config=config)
            opening_s = opening_s or time.monotonic() - began
            report(at, len(settings["methods"]), method)
            steps[method] = _step_seconds(tuning)
            if not text_s:
                at_s = time.monotonic()
                predict(tuning.classifier, held_out)
                text_s = (time.monotonic() - at_s) / len(held_out)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if (told := said_out_of_memory(error, config)) is None:
                raise
            raise told from error
    return {"opening_s": opening_s, "text_s": text_s, "step_s": steps}


class _Course:
    """A fine-tuning with everything that is told of it: before, meanwhile and after."""

    def __init__(
        self,
        box: Assembled,
        data: LabelledSet,
        config: FinetuneConfig,
        folder: Path,
        report: Report,
        memory: PeakMemory,
    ) -> None:
        self.box, self.data, self.config, self.folder = box, data, config, folder
        self.report, self.memory = report, memory
        self.examples = {
            name: _encode(box, rows, data.labels, config.max_tokens)
            for name, rows in (("train", data.train), ("validation", data.validation), ("test", data.test))
        }
        n_labels = len(data.labels)
        train, validation = self.examples["train"], self.examples["validation"]
        self.tuning = Finetuning(box, train, validation, n_labels=n_labels, config=config)
        self.before = {name: predict(self.tuning.classifier, self.examples[name]) for name in ("validation", "test")}
        self.tuning.take_up(folder)
        self.cancelled = False
        self._told_at = -math.inf
        self.curve: list[tuple[int, float | None]] = []
        self.validation: list[tuple[int, float, float]] = []
        self.best: tuple[int, float, float] | None = None
        self.earlier_peak = 0
        self._take_up_curve()

    def run(self) -> Ending:
        """Learn; a cancel of the job becomes a stop that keeps the state."""
        ending = self.tuning.run(on_step=self._on_step, cancelled=lambda: self.cancelled or asked_to_stop(self.folder))
        if ending == "stopped":
            self._keep_curve()
        return ending

    def result(self, ending: Ending) -> dict[str, Any]:
        """What came of it, as plain data; the test rows' probabilities go into a file."""
        after = predict(self.tuning.classifier, self.examples["test"]) if self.tuning.best else None
        labels = self.examples["test"].labels
        files = {"before": self.before["test"].numpy()}
        if after is not None:
            files["after"] = after.numpy()
        np.savez(self.report.folder / EXAMPLES, allow_pickle=False, **files)
        return {
            **self._so_far(),
            "ending": ending,
            "labels": list(self.data.labels),
            "test": {
                "n": len(labels),
                "before": dict(scores(self.before["test"], labels)),
                "after": None if after is None else dict(scores(after, labels)),
                "commonest": self.data.commonest(self.data.test),
            },
            "rows": {
                **{name: len(examples) for name, examples in self.examples.items()},
                "cut": self.examples["train"].cut,
                "empty": self.data.empty,
                "unlabelled": self.data.unlabelled,
            },
        }

    def _on_step(self, step: FinetuneStep) -> None:
        self.curve.append((step.step, step.loss if math.isfinite(step.loss) else None))
        if step.validation is not None:
            self.validation.append((step.step, step.validation["loss"], step.validation["accuracy"]))
            if step.best:
                self.best = self.validation[-1]
            self._keep_curve()
        now = time.monotonic()
        partial = None
        if now - self._told_at >= PARTIAL_S or step.validation is not None:
            self._told_at, partial = now, self._so_far()
        try:
            self.report(step.step, step.steps, "learning", partial)
        except Cancelled:
            self.cancelled = True

    def _so_far(self) -> dict[str, Any]:
        tuning = self.tuning
        total, learning = count_parts_learning(tuning.classifier)
        gradients = sum(p.numel() * p.element_size() for p in tuning.classifier.parameters() if p.requires_grad)
        moments = [value for state in tuning.optimizer.state.values() for value in state.values()]
        return {
            "step": tuning.step,
            "steps": tuning.steps,
            "seconds": tuning.seconds,
            "steps_per_second": tuning.step / tuning.seconds if tuning.seconds else None,
            "total": total,
            "learning": learning,
            "memory": {
                "before": self.memory.before_bytes,
                "peak": max(self.memory.peak_bytes, self.earlier_peak),
                "weights": sum(p.numel() * p.element_size() for p in tuning.classifier.parameters()),
                "gradients": gradients,
                "optimizer": sum(value.numel() * value.element_size() for value in moments if torch.is_tensor(value)),
            },
            "curve": thin(self.curve),
            "validation": list(self.validation),
            "best": self.best,
        }

    def _keep_curve(self) -> None:
        kept = {"curve": self.curve, "validation": self.validation, "best": self.best}
        text = json.dumps({**kept, "peak": max(self.memory.peak_bytes, self.earlier_peak)})
        write_atomically(text, self.folder / CURVE)

    def _take_up_curve(self) -> None:
        """Go on with what earlier sittings drew, as far as the state goes."""
        first = scores(self.before["validation"], self.examples["validation"].labels)
        self.validation = [(0, first["loss"], first["accuracy"])]
        path = self.folder / CURVE
        if not self.tuning.step or not path.is_file():
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        self.curve = [(int(step), loss) for step, loss in kept["curve"] if step <= self.tuning.step]
        self.validation = [tuple(one) for one in kept["validation"] if one[0] <= self.tuning.step]
        measured = [one for one in self.validation if one[0] > 0]
        self.best = max(measured, key=lambda one: (one[2], -one[1]), default=None)
        self.earlier_peak = int(kept["peak"])


def box_name(box_id: str, data: str, method: str, run: str) -> str:
    """What a tuned box is called on the shelf: from what, on what, how, and which run.

    >>> box_name("hub:Some/Model", "reviews-en", "lora", "0123456789abcdef")
    'hub-some-model.reviews-en.lora.012345'
    """
    pieces = [re.sub(r"[^a-z0-9]+", "-", piece.lower()).strip("-")[:36].strip("-") for piece in (box_id, data)]
    return ".".join([*filter(None, pieces), method, run[:6]])


def _put_on_shelf(course: _Course, settings: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Merge adapters, if there are any, and write the box; a later state of the same run takes its place.

    The adapter that was merged is kept beside it, in PEFT's format.
    """
    body, config = course.tuning.classifier.body, course.config
    adapter = adapter_tensors(body) if config.method == "lora" else {}
    classifier = merge_adapters(course.tuning.classifier)
    after = result["test"]["after"]
    facts = {
        "task": "classify",
        "method": course.config.method,
        "merged": course.config.method == "lora",
        "data": settings["data"],
        "data_fingerprint": settings["data_fingerprint"],
        "rows": len(course.data.train),
        "max_tokens": course.config.max_tokens,
        "accuracy": None if after is None else after["accuracy"],
        "test_rows": len(course.data.test),
        "ending": result["ending"],
        "step": result["best"][0] if result["best"] else result["step"],
        "seed": course.config.seed,
        "run": result["run"],
        "date": time.strftime("%F"),
        "made_at": time.time(),
    }
    name = box_name(settings["box_id"], settings["data"], course.config.method, result["run"])

    def build(to: Path) -> None:
        write_classifier(course.box, classifier, to, labels=course.data.labels, facts=facts)
        if adapter:
            write_adapter(adapter, lora_config(config).to_dict(), to / ADAPTER)  # type: ignore[no-untyped-call]

    return shelf.put(
        name,
        build,
        tuned_from=settings["box_id"],
        method=course.config.method,
        data=settings["data"],
    )


def _open_data(settings: Mapping[str, Any]) -> LabelledSet:
    data = open_labelled(settings["data"], expected=settings["data_fingerprint"])
    taken = data.take(train=settings["rows"], held_out=settings["held_out"])
    taken.require_learnable()
    return taken


def _encode(box: Assembled, rows: Sequence[Labelled], labels: Sequence[str], max_tokens: int) -> Examples:
    numbers = {label: at for at, label in enumerate(labels)}
    texts, truth = [row.text for row in rows], [numbers[row.label] for row in rows]
    return encode_examples(box, texts, truth, max_tokens=max_tokens)


def _step_seconds(tuning: Finetuning) -> float:
    """Mean seconds of a step, over batches from the shortest to the longest."""
    batches = sorted(epoch_order(tuning.train, tuning.config, 0), key=lambda rows: _longest(tuning.train, rows))
    chosen = [batches[int(share * (len(batches) - 1))] for share in np.linspace(0.1, 0.9, PACE_STEPS)]
    tuning.classifier.train()
    took = []
    for rows in (chosen[-1], *chosen):
        began = time.monotonic()
        batch = collate(tuning.train, rows, tuning.classifier.head.weight.device)
        learn(tuning.classifier, tuning.optimizer, batch, tuning.config.learning_rate)
        took.append(time.monotonic() - began)
    return float(np.mean(took[1:]))


def _longest(examples: Examples, rows: Sequence[int]) -> int:
    return max(len(examples.ids[row]) for row in rows)
