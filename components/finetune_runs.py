"""What came of a fine-tuning plan: where each run stands, its start and stop, and what its classifiers say."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components import engine
from components.finetune_plan import METHODS, SEED, Plan
from llmkit import jobs
from llmkit.jobs import Job

KIND = "finetune"
"""The job that fine-tunes."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where one method stands.

    Args:
        method: which. settings: its job's. job: the job; None where nobody asked for it.
        kept: whether its state lies in a folder, so that it can go on.
        course: what it has shown so far or in the end: steps, curve, validation, memory; None where nothing yet.
    """

    method: str
    settings: Mapping[str, Any]
    job: Job | None
    kept: bool
    course: Mapping[str, Any] | None

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.job is not None and self.job.active

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What came of it; None as long as it has no end."""
        return self.job.result if self.job is not None and self.job.state == "done" else None

    @property
    def stopped(self) -> bool:
        """Whether it was ended before its end, so that it can go on."""
        if self.job is None or self.job.active:
            return False
        return self.job.state in ("cancelled", "interrupted") or (self.result or {}).get("ending") == "stopped"


def runs(one: Plan) -> dict[str, Run]:
    """Return where each method stands."""
    return {method: _run(method, one.settings(method)) for method in METHODS}


def _run(method: str, settings: dict[str, Any]) -> Run:
    from llmkit.tune import run_folder

    job = jobs.find(KIND, settings)
    kept = run_folder.is_kept(settings)
    course: Mapping[str, Any] | None = None
    if job is not None:
        course = job.result if job.state == "done" else job.partial
    if course is None and kept:
        with contextlib.suppress(OSError, ValueError):
            text = (run_folder.run_folder(settings) / run_folder.CURVE).read_text(encoding="utf-8")
            course = json.loads(text)
    return Run(method=method, settings=settings, job=job, kept=kept, course=course)


def start(run: Run) -> None:
    """Begin a run, or go on with one that was stopped."""
    from llmkit.tune import resumable

    resumable.begin(KIND, run.settings)


def stop(run: Run) -> None:
    """Stop a run after its step; one that still waits is taken back."""
    from llmkit.tune import resumable

    resumable.stop(run.job, run.settings)


def forget(run: Run) -> None:
    """Throw a run away: its job, its state, and what it put on the shelf."""
    from llmkit.tune import resumable

    resumable.forget(run.job, run.settings)


def interval(share: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of an accuracy that was measured on n rows."""
    from llmkit.generate.few_shot import wilson

    return wilson(round(share * n), n)


@engine.remembered(max_entries=16)
def _probs(job_id: str, ended_at: float) -> dict[str, NDArray[np.float32]]:
    from llmkit.tune.finetune_job import EXAMPLES

    with np.load(jobs.folder(job_id) / EXAMPLES) as file:
        return {name: file[name] for name in file.files}


def test_probs(run: Run) -> Mapping[str, NDArray[np.float32]]:
    """Return the test rows' probabilities [N, n_labels] before a run and after it; nothing where it has no end."""
    if run.job is None or run.result is None:
        return {}
    with contextlib.suppress(OSError):  # its files were deleted
        return _probs(run.job.id, run.job.ended_at or 0.0).value
    return {}


@engine.remembered(max_entries=64)
def typed_probs(box_id: str, fingerprint: str, text: str, max_tokens: int) -> NDArray[np.float32]:
    """Return what a tuned box on the shelf says of a text: probabilities, [n_labels]."""
    from llmkit.tune.classifier import encode_examples, predict

    opened = _tuned(box_id, fingerprint, engine.device()).value
    examples = encode_examples(opened.box, [text], [0], max_tokens=max_tokens)
    probs: NDArray[np.float32] = predict(opened.classifier, examples).numpy()[0]
    return probs


@engine.remembered(max_entries=64)
def fresh_probs(box_id: str, fingerprint: str, text: str, max_tokens: int, n_labels: int) -> NDArray[np.float32]:
    """Return what the same box says of a text before it has learned: its head is fresh."""
    from llmkit.tune.classifier import encode_examples, fresh_classifier, predict

    box = engine.open_box(box_id)
    classifier = fresh_classifier(box, n_labels=n_labels, seed=SEED)
    examples = encode_examples(box, [text], [0], max_tokens=max_tokens)
    probs: NDArray[np.float32] = predict(classifier, examples).numpy()[0]
    return probs


@engine.remembered(max_entries=3)
def _tuned(box_id: str, fingerprint: str, device: str) -> Any:
    from llmkit.tune.classifier_box import open_classifier

    opened = open_classifier(box_id, device=device)
    engine.settle()
    return opened
