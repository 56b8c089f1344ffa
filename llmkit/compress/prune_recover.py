"""The job ``prune_recover``: a pruned box is trained for a short while, so that what is left takes over.

A box that writes learns the next token of texts that are not held out; an encoder learns to give the sentence vectors
that the unpruned box gives. Weights that were made zero stay zero.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from llmkit import shelf
from llmkit.compress.prune import prunable
from llmkit.compress.prune_box import put_on_shelf, says_head_count
from llmkit.compress.prune_curve import CALIBRATION, Gauge
from llmkit.compress.prune_ladder import make_ladder, pruned
from llmkit.compress.prune_loss import Texts, loss_of, texts_for, vectors
from llmkit.compress.prune_order import SINGLE, Kind, Order, scores
from llmkit.parts import Transformer
from llmkit.reference import Assembled, open_box

if TYPE_CHECKING:
    from llmkit.jobs import Report

LEARNING_RATE = 3e-4
BATCH = 8
"""Texts a step; of an encoder, ``2 PAIRS``."""


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Prune, measure, train, measure, and put the result on the shelf.

    Args:
        settings: ``box`` and its ``fingerprint``, ``kind``, ``order``, ``step`` of the ladder, ``steps`` of training,
            ``prompt`` as of ``prune_curve``.

    Returns:
        ``original``, ``before`` and ``after``: points as of ``prune_curve``; ``losses`` of each step on the texts it
        learned from; ``share``; ``box``: the new box's id; ``zero_heads``: whether those that
        are gone are zeros in matrices of the old size.

    Raises:
        BoxError, ShelfError: the box or a data box is broken, not here, or another by now; ``no_space``. FormError:
            ``two_four`` does not fit its rows.
    """
    kind: Kind = settings["kind"]
    order: Order = settings["order"]
    if settings.get("fingerprint"):
        shelf.require_unchanged(settings["box"], settings["fingerprint"])
    report(0, 1, "opening")
    box = open_box(settings["box"])
    gauge = Gauge(box, settings["prompt"])
    texts = texts_for(box, held_out=False, count=CALIBRATION)
    worth = scores(
        kind, order, box.model, box.config, texts, tell=lambda done, total: report(done, total, "calibrating")
    )
    ladder, step = make_ladder(kind, worth, box.config), settings["step"]
    machine, config = pruned(box.model, box.config, ladder, step)
    machine = copy.deepcopy(machine)
    told: dict[str, Any] = {
        "original": gauge.point(box.model),
        "before": gauge.point(machine),
        "losses": [],
        "share": ladder.shares[step],
    }

    def on_step(done: int, loss: float) -> None:
        told["losses"].append(loss)
        report(done, settings["steps"], "learning", partial=told)

    keeps = ladder.keeps(step)
    train(box, machine, keeps if kind in SINGLE else {}, steps=settings["steps"], on_step=on_step)
    told["after"] = gauge.point(machine)
    facts = {"what": kind, "order": order, "steps": settings["steps"], "share": ladder.shares[step]}
    losses = {name: told[name]["loss"] for name in ("original", "before", "after")}
    keep = keeps["heads"] if kind == "heads" else None
    new = put_on_shelf(box, machine, config, keep, {**facts, **losses})
    return {**told, "box": new, "zero_heads": not says_head_count(box, config)}


def train(
    box: Assembled,
    machine: Transformer,
    keeps: Mapping[str, Tensor],
    *,
    steps: int,
    on_step: Callable[[int, float], None],
) -> None:
    """Train a pruned machine in place, all of its weights; those that were made zero stay zero.

    Args:
        box: the unpruned one, which an encoder is to resemble. machine: of the caller's own.
        keeps: by matrix, True for what may be other than zero; none where nothing was made zero.
        on_step: told the number of steps done and the loss before the last.
    """
    texts = texts_for(box, held_out=False, count=steps * BATCH)
    batches = list(_shuffled(texts).batches(BATCH))
    weights = {name: weight for name, weight in prunable(machine).items() if name in keeps}
    masks = {name: keeps[name].to(weight) for name, weight in weights.items()}
    machine.requires_grad_(True)
    optimizer = torch.optim.AdamW(machine.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(steps):
        warm = min((step + 1) / max(steps // 10, 1), 1.0)
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * warm * (1 - step / steps)
        loss = _loss(box, machine, texts, batches[step % len(batches)])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(machine.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, weight in weights.items():
                weight *= masks[name]
        on_step(step + 1, loss.item())
    machine.eval().requires_grad_(False)


def _shuffled(texts: Texts) -> Texts:
    """The same texts, languages mixed; an encoder's pairs are of one language and stay together."""
    if texts.paired:
        return texts
    order = np.random.default_rng(0).permutation(len(texts.rows))
    return Texts(rows=tuple(texts.rows[at] for at in order))


def _loss(box: Assembled, machine: Transformer, texts: Texts, rows: Any) -> Tensor:
    if not texts.paired:
        return loss_of(machine, rows, paired=False)
    with torch.no_grad():
        wanted = vectors(box.model, rows)
    return 1 - (vectors(machine, rows) * wanted).sum(-1).mean()
