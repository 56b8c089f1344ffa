"""What the prune page reads off the workbench's box and off its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import engine
from components.engine import Made
from llmkit import jobs

if TYPE_CHECKING:
    from components.workbench import Workbench
    from llmkit.compress.prune_order import Kind

KINDS = ("weights", "two_four", "heads", "neurons", "layers")
SINGLE = ("weights", "two_four")
ORDERS = ("size", "importance")
CURVE, COST, RECOVER = "prune_curve", "prune_cost", "prune_recover"
STEPS = (30, 100, 300)
"""Of training, to choose from."""


class PrunePageError(Exception):
    """Something that the reader has to do first.

    Args:
        code: ``prune_first`` (no cliff has been measured yet).
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.values: Mapping[str, Any] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """What is drawn, cell by cell.

    Args:
        values: [rows, columns], weights of a corner of one matrix, or the sizes of all heads, neurons or layers.
        gone: the same shape, the step from which a cell is gone when it goes by size; 255 for never.
        shape: of the whole matrix. shares: of each step.
    """

    values: NDArray[np.float32]
    gone: NDArray[np.uint8]
    shape: tuple[int, int]
    shares: tuple[float, ...]


def curve_settings(bench: Workbench, kind: str) -> dict[str, Any]:
    """What the job ``prune_curve`` is given."""
    return {
        "box": bench.box_id,
        "fingerprint": engine.fingerprint(bench.box_id),
        "kind": kind,
        "prompt": bench.sentence,
    }


def curve(bench: Workbench, kind: str) -> Mapping[str, Any] | None:
    """The cliff that was measured for the workbench; None where it was not yet."""
    job = jobs.find(CURVE, curve_settings(bench, kind))
    return job.result if job is not None and job.state == "done" else None


def importance_gone(bench: Workbench, kind: str, name: str) -> NDArray[np.uint8] | None:
    """The step from which each cell is gone when it goes by importance, as the job has written it down."""
    from llmkit.compress.prune_curve import GONE

    job = jobs.find(CURVE, curve_settings(bench, kind))
    if job is None or job.state != "done":
        return None
    with np.load(jobs.folder(job.id) / GONE) as kept:
        found: NDArray[np.uint8] = kept[f"importance/{name}"]
    return found


def writes(box_id: str) -> bool:
    """Whether a box predicts the next token; an encoder does not."""
    box = engine.open_box(box_id)
    return box.config.causal and box.config.unembedding


def matrices(box_id: str) -> tuple[str, ...]:
    """The matrices of every layer that can be pruned, in the order in which a text passes them."""
    from llmkit.compress.prune import prunable

    first = "layers.0."
    names = prunable(engine.open_box(box_id).model)
    return tuple(name.removeprefix(first).removesuffix(".weight") for name in names if name.startswith(first))


def counts(box_id: str) -> dict[str, int]:
    """How many weights, heads, neurons and layers a box has that can go."""
    from llmkit.compress.prune import prunable

    box = engine.open_box(box_id)
    config = box.config
    return {
        "weight": sum(weight.numel() for weight in prunable(box.model).values()),
        "head": config.n_layers * config.n_heads,
        "neuron": config.n_layers * config.d_mlp,
        "layer": config.n_layers,
    }


def matrix(box_id: str, kind: Any, layer: int, name: str) -> Made[Picture]:
    """A corner of one matrix, and when its weights go.

    Raises:
        FormError: ``form_unsupported`` where its rows cannot be cut into fours.
    """
    return _matrix(box_id, engine.fingerprint(box_id), kind, layer, name)


def units(box_id: str, kind: Any) -> Made[Picture]:
    """All heads, neurons or layers, and when they go."""
    return _units(box_id, engine.fingerprint(box_id), kind)


def shares(box_id: str, kind: Any) -> tuple[float, ...]:
    """Which shares can be pruned of a box."""
    from llmkit.compress.prune_ladder import SHARES, unit_counts

    if kind in SINGLE:
        return SHARES if kind == "weights" else (0.0, 0.5)
    found = unit_counts(kind, engine.open_box(box_id).config)
    return tuple(1 - count / found[0] for count in found)


def pace_s(box_id: str) -> float:
    """How long the box takes here to read one text, measured once."""
    return _pace(box_id, engine.fingerprint(box_id)).value


def curve_seconds(box_id: str, kind: str) -> float:
    """About how long the cliff will take: texts read at each step, the calibration there and back, a text written."""
    from llmkit.compress.prune_curve import CALIBRATION, HELD_OUT, NEW_TOKENS

    measured = 2 * len(shares(box_id, kind)) - 1
    learned = len(engine.open_box(box_id).model.layers) if kind == "layers" else 3
    written = NEW_TOKENS / 4  # a token takes far less than a text, but not a 64th of it
    return pace_s(box_id) * (measured * (HELD_OUT + written) + learned * CALIBRATION)


def recover_seconds(box_id: str, steps: int) -> float:
    """About how long the training will take: a step reads a batch of texts, and goes back for twice as long."""
    from llmkit.compress.prune_recover import BATCH

    return pace_s(box_id) * 3 * BATCH * steps


def points_frame(told: Mapping[str, Any]) -> pd.DataFrame:
    """Every point of a cliff, one a row."""
    rows = [
        {"order": order, "share": share, **point}
        for order in ORDERS
        for share, point in zip(told["shares"], told["points"][order], strict=False)
    ]
    return pd.DataFrame(rows)


@engine.remembered(max_entries=24)
def _matrix(box_id: str, fingerprint: str, kind: Kind, layer: int, name: str) -> Picture:
    from llmkit.compress.prune_curve import CORNER
    from llmkit.compress.prune_ladder import make_ladder

    box = engine.open_box(box_id)
    weights = dict(box.model.layers[layer].named_parameters())[f"{name}.weight"].detach()
    ladder = make_ladder(kind, {name: weights.abs()}, box.config)
    cut = tuple(slice(0, most) for most in CORNER)
    return Picture(
        values=np.ascontiguousarray(weights[cut].float().cpu().numpy()),
        gone=np.ascontiguousarray(ladder.gone[name][cut].cpu().numpy()),
        shape=(weights.shape[0], weights.shape[1]),
        shares=ladder.shares,
    )


@engine.remembered(max_entries=12)
def _units(box_id: str, fingerprint: str, kind: Kind) -> Picture:
    from llmkit.compress.prune_ladder import make_ladder
    from llmkit.compress.prune_order import sizes

    box = engine.open_box(box_id)
    found = sizes(kind, box.model, box.config)
    ladder = make_ladder(kind, found, box.config)
    values = found[kind].float().cpu().numpy()
    gone = np.ascontiguousarray(ladder.gone[kind].cpu().numpy())
    return Picture(values=values, gone=gone, shape=(values.shape[0], values.shape[1]), shares=ladder.shares)


@engine.remembered(max_entries=8)
def _pace(box_id: str, fingerprint: str) -> float:
    from llmkit.compress.prune_curve import seconds_a_text

    return seconds_a_text(engine.open_box(box_id))
