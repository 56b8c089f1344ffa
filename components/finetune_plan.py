"""What the fine-tuning page is asked for: box, data, the plan as its widgets have it, and what the plan will take."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import engine
from components.engine import Made
from components.tokens_engine import open_tokenizer
from components.workbench import DEFAULT_BOX
from llmkit import shelf

if TYPE_CHECKING:
    from llmkit.tokens.measure import Cost
    from llmkit.tune.labelled import LabelledSet
    from llmkit.tune.what_learns import WhatLearns

PACE = "finetune_pace"
"""The job that times steps."""

METHODS = ("full", "frozen", "lora")
USUAL_BOX = "minilm-l6"

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
FOREIGN_SHARE = 0.3
"""Share of Chinese characters above which texts are Chinese."""


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


def boxes(own: str) -> tuple[str, ...]:
    """Return the boxes here that can be fine-tuned, the workbench's among them."""
    return engine.boxes_here(DEFAULT_BOX, own)


def usual_box(own: str, here: Sequence[str]) -> str:
    """Return the box to tune as long as nobody has chosen: the workbench's, but minilm-l6 for the bundled one."""
    return USUAL_BOX if own == DEFAULT_BOX and USUAL_BOX in here else own


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
