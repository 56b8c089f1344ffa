"""What the LoRA page would train: texts, kind of adapter and settings, as its widgets have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import engine
from components.engine import Made

if TYPE_CHECKING:
    from llmkit.tune.adapter_texts import Texts
    from llmkit.tune.what_learns import WhatLearns

TRAIN, MEMORY, STRENGTH = "adapter_train", "adapter_memory", "adapter_strength"
"""The jobs of this page."""

KINDS = ("lora", "rslora", "dora", "qlora")
RANKS = (1, 2, 4, 8, 16, 32, 64)
ALPHAS = (1, 2, 4, 8, 16, 32, 64, 128)
RATES = (1e-5, 1e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 0.1, 1.0)
STEPS = (20, 40, 60, 120, 240, 480)
USUAL: dict[str, Any] = {
    "kind": "lora",
    "rank": 8,
    "alpha": 16,
    "rate": 5e-3,
    "steps": 60,
    "targets": ("q", "v", "up", "down"),
}
"""Where the widgets stand at first: about half a minute of the bundled box on two cores."""

BATCH, TOKENS, ROWS, SEED = 8, 48, 1_000, 0
TOO_HIGH = 3e-2
"""A learning rate from which on losses mostly jump."""

STRONG_SCALE = 8.0
"""A factor before B·A from which on a step moves the box far."""

MEMORY_METHODS = ("full", "frozen", "lora", "dora")
DRAWN = ("full", "frozen", "lora")
"""Of the machines that are drawn: nothing frozen, a frozen body, an adapter beside frozen matrices."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, on what, and how.

    Args:
        box_id: the box. device: where it runs. data: the source of texts. label: only its texts; None for all.
        kind, rank, alpha, rate, steps, targets: the adapter's, as the widgets stand.
    """

    box_id: str
    device: str
    data: str
    label: str | None
    kind: str
    rank: int
    alpha: int
    rate: float
    steps: int
    targets: tuple[str, ...]

    @property
    def scale(self) -> float:
        """What B·A is multiplied by."""
        from llmkit.tune.adapter import scaling

        return scaling(self.alpha, self.rank, rslora=self.kind == "rslora")

    def settings(self) -> dict[str, Any]:
        """The training job's settings: everything that changes its result."""
        return {**self._common(), "rows": ROWS, "config": self._config(self.kind)}

    def memory_settings(self) -> dict[str, Any]:
        """The settings of the job that measures a step: what changes no step's memory is left as it is."""
        from llmkit.tune.qlora import why_not

        methods = [*MEMORY_METHODS, *([] if why_not() else ["qlora"])]
        config = {**self._config("lora"), "steps": USUAL["steps"], "learning_rate": USUAL["rate"]}
        return {**self._common(), "config": config, "methods": methods}

    def _common(self) -> dict[str, Any]:
        from llmkit.tune.adapter_texts import fingerprint

        return {
            "box_id": self.box_id,
            "fingerprint": engine.fingerprint(self.box_id),
            "data": self.data,
            "data_fingerprint": fingerprint(self.data),
            "label": self.label,
            "device": self.device,
        }

    def _config(self, kind: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": list(self.targets),
            "learning_rate": self.rate,
            "steps": self.steps,
            "batch_size": BATCH,
            "max_tokens": TOKENS,
            "seed": SEED,
        }


def key(name: str) -> str:
    """Return the widget's key of one setting."""
    return f"lora_{name}"


def plan(box_id: str, data: str, label: str | None) -> Plan:
    """Return the plan as the widgets stand now."""
    state = {name: st.session_state.get(key(name)) or usual for name, usual in USUAL.items()}
    linears = learns(box_id, engine.fingerprint(box_id), "full", 1, ("q",)).value.linears
    targets = tuple(one for one in linears if one in state["targets"]) or linears[:1]
    return Plan(box_id=box_id, device=engine.device(), data=data, label=label, **{**state, "targets": targets})


def counted(one: Plan, method: str) -> Made[WhatLearns]:
    """Return which parts of the box learn by a method: ``full``, ``frozen``, or a kind of adapter."""
    shared = method in ("full", "frozen")
    rank, targets = (1, ("q",)) if shared else (one.rank, one.targets)
    return learns(one.box_id, engine.fingerprint(one.box_id), method, rank, targets)


@engine.remembered(max_entries=64)
def learns(box_id: str, fingerprint: str, method: str, rank: int, targets: tuple[str, ...]) -> WhatLearns:
    """Return which parts of a box learn by a method, counted on the model."""
    from llmkit.tune.adapter_learning import adapter_learns
    from llmkit.tune.adapter_train import AdapterConfig

    config = AdapterConfig(rank=rank, targets=targets)
    return adapter_learns(box_id, method, config)  # type: ignore[arg-type]


@engine.remembered(max_entries=8)
def texts(data: str, fingerprint: str, label: str | None) -> Texts:
    """Return the texts of a source.

    Raises:
        Exception: with a ``.code``, where it cannot be read.
    """
    from llmkit.tune.adapter_texts import open_texts

    return open_texts(data, label=label, expected=fingerprint)


def too_wide(one: Plan, shapes: Mapping[str, tuple[int, int]]) -> str | None:
    """Return the first target whose A and B hold as many numbers as the matrix itself; None where there is none.

    Args:
        shapes: (outputs, inputs) of each kind of matrix.
    """
    for name in one.targets:
        out, into = shapes[name]
        if one.rank * (out + into) >= out * into:
            return name
    return None


def shapes(box_id: str) -> dict[str, tuple[int, int]]:
    """Return (outputs, inputs) of each kind of matrix that a layer has."""
    layer = engine.open_box(box_id).model.layers[0]
    found = ((name, weight) for name, weight in layer.named_parameters() if weight.ndim == 2)
    return {name.split(".")[-2]: (weight.shape[0], weight.shape[1]) for name, weight in found}
