"""What the fine-tuning page asks for: the plan as its widgets have it, the jobs' settings, what ran, what it takes."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from components import engine
from components.engine import Made
from components.material_choice import current_data
from components.tokens_engine import open_tokenizer
from components.workbench import DEFAULT_BOX
from llmkit import jobs, shelf
from llmkit.jobs import Job

if TYPE_CHECKING:
    from llmkit.tokens.measure import Cost
    from llmkit.tune.labelled import LabelledSet
    from llmkit.tune.what_learns import WhatLearns

KIND, PACE = "finetune", "finetune_pace"
METHODS = ("full", "frozen", "lora")
USUAL_BOX, USUAL_DATA = "minilm-l6", "reviews-en"

ROWS = (200, 500, 1_000, 2_000, 5_000, 10_000, 50_000)
BATCHES = (4, 8, 16, 32, 64)
LENGTHS = (32, 64, 128, 256, 512)
RATES = (1e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 0.1, 1.0, 10.0, 1000.0)
RANKS = (1, 2, 4, 8, 16, 32, 64)
ALPHAS = (1, 2, 4, 8, 16, 32, 64, 128)
MOST_EPOCHS = 10
USUAL_RATES = {"full": 5e-5, "frozen": 1e-2, "lora": 1e-3}
USUAL: dict[str, Any] = {
    "rows": 1_000,
    "epochs": 2,
    "batch": 16,
    "tokens": 64,
    "patience": 0,
    "rank": 8,
    "alpha": 16,
    "targets": ("q", "v"),
    **{f"rate_{method}": rate for method, rate in USUAL_RATES.items()},
}
"""Where the widgets stand at first: about two minutes of minilm-l6 for all three methods on two cores."""

HELD_OUT = 200
"""Rows of validation and of test, at most: all are read for every measurement."""

MEASUREMENTS = 8
"""Measurements on the validation rows that a run makes."""

TOO_HIGH = 20
"""So many times a method's usual learning rate mostly diverges."""

SEED = 0
TEXT_LIMIT = 2_000
FOREIGN_SHARE = 0.3
"""Share of Chinese characters above which texts are Chinese."""


class PlanError(ValueError):
    """Something that the page is asked for is not there yet.

    Args:
        code: ``finetune_not_run``, ``finetune_text_empty`` or ``typed_too_long``. values: what the message names.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is fine-tuned, on what, and how.

    Args:
        box_id, data: the box and the source of texts. device: where it runs. train: rows to learn from, as taken.
        rows, epochs, batch, tokens, patience: as the sliders stand. rates: method → learning rate.
        rank, alpha, targets: LoRA's.
    """

    box_id: str
    data: str
    device: str
    train: int
    rows: int
    epochs: int
    batch: int
    tokens: int
    patience: int
    rates: Mapping[str, float]
    rank: int
    alpha: int
    targets: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Steps of a run."""
        return math.ceil(self.train / self.batch) * self.epochs

    def config(self, method: str) -> dict[str, Any]:
        """One method's `FinetuneConfig` as plain data; what only LoRA looks at stands in LoRA's alone."""
        adapters = {"rank": self.rank, "alpha": self.alpha, "targets": list(self.targets)} if method == "lora" else {}
        return {
            "method": method,
            "learning_rate": self.rates[method],
            "epochs": self.epochs,
            "batch_size": self.batch,
            "max_tokens": self.tokens,
            "evaluate_every": math.ceil(self.steps / MEASUREMENTS),
            "patience": self.patience,
            "seed": SEED,
            **adapters,
        }

    def settings(self, method: str) -> dict[str, Any]:
        """The settings of one method's job: everything that changes its result."""
        return {**self._common(), "config": self.config(method)}

    def pace_settings(self) -> dict[str, Any]:
        """The settings of the job that measures how fast steps are; what changes no step's time is left as it is."""
        adapters = {"rank": self.rank, "targets": list(self.targets)}
        config = {"batch_size": self.batch, "max_tokens": self.tokens, "seed": SEED, **adapters}
        return {**self._common(), "config": config, "methods": list(METHODS)}

    def _common(self) -> dict[str, Any]:
        from llmkit.tune.labelled import fingerprint

        return {
            "box_id": self.box_id,
            "fingerprint": engine.fingerprint(self.box_id),
            "data": self.data,
            "data_fingerprint": fingerprint(self.data),
            "rows": self.train,  # what is there, so that asking for more is no other run
            "held_out": HELD_OUT,
            "device": self.device,
        }


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


def boxes(own: str) -> tuple[str, ...]:
    """Return the boxes here that can be fine-tuned, the workbench's among them."""
    return engine.boxes_here(DEFAULT_BOX, own)


def usual_box(own: str, here: Sequence[str]) -> str:
    """Return the box to tune as long as nobody has chosen: the workbench's, but minilm-l6 for the bundled one."""
    return USUAL_BOX if own == DEFAULT_BOX and USUAL_BOX in here else own


def sources() -> tuple[str, ...]:
    """Return what there is to learn from on this machine."""
    from llmkit.tune.labelled import sources_here

    return sources_here()


def usual_source(here: Sequence[str]) -> int:
    """Return which source to begin with: the learner's own choice, else the English reviews."""
    own = current_data()
    for one in (own, USUAL_DATA):
        if one in here:
            return here.index(one)
    return 0


def key(name: str) -> str:
    """Return the widget's key of one setting."""
    return f"finetune_{name}"


def plan(box_id: str, data: str) -> Plan:
    """Return the plan as the widgets stand now."""
    from llmkit.tune.labelled import fingerprint

    state = {name: st.session_state.get(key(name), usual) for name, usual in USUAL.items()}
    linears = learns(box_id, engine.fingerprint(box_id), "full", 2, 1, ("q",)).value.linears
    targets = tuple(one for one in linears if one in (state["targets"] or ()))
    limit = context(box_id)
    taken = labelled(data, fingerprint(data), state["rows"]).value
    return Plan(
        box_id=box_id,
        data=data,
        device=engine.device(),
        train=len(taken.train),
        rows=state["rows"],
        epochs=state["epochs"],
        batch=state["batch"],
        tokens=min(state["tokens"], limit),
        patience=state["patience"],
        rates={method: state[f"rate_{method}"] for method in METHODS},
        rank=state["rank"],
        alpha=state["alpha"],
        targets=targets or tuple(linears[:1]),
    )


def context(box_id: str) -> int:
    """Return how many tokens the box reads at most."""
    from llmkit.reference.config_file import read_config

    folder = shelf.locate(box_id)
    if folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    return read_config(folder, unembedding=False)[1].max_seq_len


@engine.remembered(max_entries=8)
def labelled(data: str, fingerprint: str, rows: int) -> LabelledSet:
    """Return the rows that a run takes.

    Raises:
        Exception: with a ``.code``, where nothing can be learned from them.
    """
    from llmkit.tune.labelled import open_labelled

    taken = open_labelled(data, expected=fingerprint).take(train=rows, held_out=HELD_OUT)
    taken.require_learnable()
    return taken


def taken(one: Plan) -> LabelledSet:
    """Return the rows that a plan takes."""
    from llmkit.tune.labelled import fingerprint

    return labelled(one.data, fingerprint(one.data), one.rows).value


def whole_size(data: str) -> int:
    """Return how many rows a source has to learn from in all."""
    from llmkit.tune.labelled import open_labelled

    return len(open_labelled(data).train)


@engine.remembered(max_entries=64)
def learns(
    box_id: str, fingerprint: str, method: str, n_labels: int, rank: int, targets: tuple[str, ...]
) -> WhatLearns:
    """Return which parts of a box learn under a method, counted on the model."""
    from llmkit.tune.finetune import FinetuneConfig
    from llmkit.tune.what_learns import what_learns

    config = FinetuneConfig(method=method, rank=rank, targets=targets)  # type: ignore[arg-type]
    return what_learns(box_id, config, n_labels=n_labels)


def learning(one: Plan, method: str, n_labels: int) -> Made[WhatLearns]:
    """Return which parts learn under one method of a plan."""
    rank, targets = (one.rank, one.targets) if method == "lora" else (1, ("q",))
    return learns(one.box_id, engine.fingerprint(one.box_id), method, n_labels, rank, targets)


@engine.remembered(max_entries=16)
def cost(box_id: str, fingerprint: str, data: str, data_fingerprint: str) -> Cost:
    """Return what the held-out texts cost in the box's tokenizer, unknown tokens among them."""
    from llmkit.tokens.measure import measure_cost

    rows = labelled(data, data_fingerprint, ROWS[0]).value.test
    return measure_cost(open_tokenizer(box_id), [row.text for row in rows])


def is_foreign(one: Plan) -> bool:
    """Return whether the texts are Chinese and the box is known to read English alone."""
    rows = taken(one).test
    letters = "".join(row.text for row in rows[:100])
    chinese = sum(_is_chinese(char) for char in letters) / max(len(letters), 1)
    known = shelf.entry(one.box_id).languages if not one.box_id.startswith("made:") else _languages(one.box_id)
    return chinese > FOREIGN_SHARE and known == ("en",)


def _is_chinese(char: str) -> bool:
    return 0x4E00 <= ord(char) <= 0x9FFF


def _languages(box_id: str) -> tuple[str, ...]:
    """Return the languages of the box that a tuned one began as."""
    from llmkit.tune.tuned import tuned_box

    tuned = tuned_box(box_id)
    with contextlib.suppress(shelf.ShelfError):
        return () if tuned is None else shelf.entry(tuned.tuned_from).languages
    return ()


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
    from llmkit.tune import run_folder

    (run_folder.run_folder(run.settings) / run_folder.STOP).unlink(missing_ok=True)
    job = run.job
    if job is not None and job.state == "done":
        with contextlib.suppress(jobs.JobError):
            jobs.forget(job.id)
    jobs.submit(KIND, run.settings)


def stop(run: Run) -> None:
    """Stop a run after its step; one that still waits is taken back."""
    from llmkit.tune.run_folder import ask_to_stop

    if run.job is None or run.job.state == "queued":
        if run.job is not None:
            jobs.cancel(run.job.id)
        return
    ask_to_stop(run.settings)


def forget(run: Run) -> None:
    """Throw a run away: its job, its state, and what it put on the shelf."""
    from llmkit.tune.run_folder import forget_run

    if run.result is not None and run.result["box"] is not None:
        shelf.remove(run.result["box"])
    if run.job is not None:
        with contextlib.suppress(jobs.JobError):
            jobs.forget(run.job.id)
    forget_run(run.settings)


def estimate(one: Plan, pace: Mapping[str, Any], method: str) -> float:
    """Return how long a run will take, in seconds, from what the pace job measured."""
    held_out = taken(one)
    measured = math.ceil(one.steps / math.ceil(one.steps / MEASUREMENTS)) + 1
    texts = measured * len(held_out.validation) + 2 * len(held_out.test)
    return float(pace["opening_s"] + one.steps * pace["step_s"][method] + texts * pace["text_s"])


def needed_bytes(one: Plan, method: str, n_labels: int) -> int:
    """Return what a run takes at the least: the box, its copy that learns, gradients, moments, and the best so far."""
    counted = learning(one, method, n_labels).value
    return counted.least_bytes + 4 * (counted.total + counted.learning)


def free_bytes() -> int:
    """Return the memory that is free on this machine."""
    from llmkit.doctor import describe_machine

    return describe_machine().memory_free_bytes


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
    probs: NDArray[np.float32] = predict(classifier, encode_examples(box, [text], [0], max_tokens=max_tokens)).numpy()[
        0
    ]
    return probs


@engine.remembered(max_entries=3)
def _tuned(box_id: str, fingerprint: str, device: str) -> Any:
    from llmkit.tune.classifier_box import open_classifier

    opened = open_classifier(box_id, device=device)
    engine.settle()
    return opened
