"""The job ``prune_curve``: how good a box still is, the more of it is pruned, by size beside by importance."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmkit import shelf
from llmkit.compress.prune_ladder import Ladder, make_ladder, pruned, zeros_share
from llmkit.compress.prune_loss import TOKENS, Measure, Texts, all_vectors, texts_for
from llmkit.compress.prune_order import ORDERS, SINGLE, Kind, Order, scores
from llmkit.generate.decode import continue_ids
from llmkit.parts import Transformer
from llmkit.reference import Assembled, open_box

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from llmkit.jobs import Report

CALIBRATION = 32
"""Texts that importance is measured on, none of them held out."""

HELD_OUT = 16
"""Texts that the loss is measured on, all of them held out."""

NEW_TOKENS = 16
CORNER = (64, 192)
"""Of each matrix, the rows and columns whose steps are kept for the picture."""

GONE = "gone.npz"
TOLERANCE = 0.1


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Prune a box step by step in both orders, and measure it at each.

    Args:
        settings: ``box`` and its ``fingerprint``, ``kind`` of ``prune_order.KINDS``, ``prompt`` that the box goes on
            with (an encoder looks for the held-out text that is nearest to it).

    Returns:
        ``shares`` of the steps; ``points`` by order, one a step (``loss`` as of ``prune_loss.Measure``,
        ``perplexity`` of a box that writes, ``text``, ``parameters``, ``zeros`` share in the layers' matrices);
        ``paired``, ``tokens`` read. In ``gone.npz``, by ``order/name``: the step at which each weight of a matrix's
        corner goes, or each head, neuron, layer.

    Raises:
        BoxError, ShelfError: the box or a data box is broken, not here, or another by now. FormError: ``two_four`` does
            not fit its rows.
    """
    kind: Kind = settings["kind"]
    if settings.get("fingerprint"):
        shelf.require_unchanged(settings["box"], settings["fingerprint"])
    report(0, 1, "opening")
    gauge = Gauge(open_box(settings["box"]), settings["prompt"])
    ladders = ladders_of(gauge.box, kind, report)
    keep_steps(ladders, report.folder)
    shares = ladders["size"].shares
    points: dict[str, list[dict[str, Any]]] = {order: [] for order in ORDERS}
    told = {"kind": kind, "shares": shares, "points": points, "paired": gauge.held_out.paired}
    total, done = 2 * len(shares) - 1, 0
    for step in range(len(shares)):
        for order in ORDERS:
            if step == 0 and points["size"]:
                points[order].append(points["size"][0])
                continue
            report(done, total, "measuring", partial=told)
            machine, _ = pruned(gauge.box.model, gauge.box.config, ladders[order], step)
            points[order].append(gauge.point(machine))
            done += 1
    return {**told, "tokens": gauge.held_out.tokens, "calibration": CALIBRATION}


def ladders_of(box: Assembled, kind: Kind, report: Report) -> dict[Order, Ladder]:
    """Both orders of a box, calibrated."""
    texts = texts_for(box, held_out=False, count=CALIBRATION)
    found: dict[Order, Ladder] = {}
    for order in ORDERS:
        worth = scores(
            kind, order, box.model, box.config, texts, tell=lambda done, total: report(done, total, "calibrating")
        )
        found[order] = make_ladder(kind, worth, box.config)
    return found


def keep_steps(ladders: Mapping[Order, Ladder], folder: Path) -> None:
    """Write down what the picture shows: corners of the matrices, or all heads, neurons and layers."""
    arrays = {
        f"{order}/{name}": (gone[: CORNER[0], : CORNER[1]] if ladder.kind in SINGLE else gone).cpu().numpy()
        for order, ladder in ladders.items()
        for name, gone in ladder.gone.items()
    }
    np.savez_compressed(folder / GONE, **arrays)  # type: ignore[arg-type]


class Gauge:
    """Measures machines that came of one box, on held-out texts.

    Args:
        box: as it was. prompt: what it goes on with, or looks for.
    """

    def __init__(self, box: Assembled, prompt: str) -> None:
        self.box = box
        self.held_out = texts_for(box, held_out=True, count=HELD_OUT)
        put, limit = box.tokenizer, box.config.max_seq_len
        inside = put.encode(prompt, specials=False).ids[: max(limit - NEW_TOKENS - 2, 1)]
        self.prompt = (*put.before, *inside, *put.after) if self.held_out.paired else (*put.before, *inside)
        self.specials = [token.token_id for token in put.added if token.special]
        self.measure = Measure(box.model, self.held_out)

    def point(self, machine: Transformer) -> dict[str, Any]:
        """What one machine makes of the texts."""
        found = all_vectors(machine, self.held_out) if self.held_out.paired else None
        loss = self.measure.loss(machine, found)
        return {
            "loss": loss,
            "perplexity": None if self.held_out.paired else math.exp(min(loss, 700.0)),
            "text": self.write(machine) if found is None else self.nearest(machine, found),
            "parameters": sum(weight.numel() for weight in machine.parameters()),
            "zeros": zeros_share(machine),
        }

    def write(self, machine: Transformer) -> str:
        """The likeliest tokens after the prompt, one after the other; none that ends a text, so that there is one."""

        def choose(logits: Tensor, _ids: Sequence[int], /) -> int:
            return int(logits.index_fill(0, logits.new_tensor(self.specials).long(), -math.inf).argmax())

        steps = continue_ids(machine, self.prompt or (0,), max_new_tokens=NEW_TOKENS, choose=choose)
        return self.box.tokenizer.decode([step.token_id for step in steps])

    def nearest(self, machine: Transformer, found: Tensor) -> str:
        """The held-out text whose vector is nearest to the prompt's."""
        asked = all_vectors(machine, Texts(rows=(self.prompt or (0,),), words=("",)))[0]
        return self.held_out.words[int((found[1::2] @ asked).argmax())]


def seconds_a_text(box: Assembled) -> float:
    """How long a box takes here to read one text of ``TOKENS`` tokens; the first reading warms up."""
    ids = torch.arange(min(TOKENS, box.config.max_seq_len), device=box.device)[None] % box.config.vocab_size
    with torch.inference_mode():
        box.model(ids)
        began = time.perf_counter()
        box.model(ids)
    return time.perf_counter() - began


def nearest_step(shares: Sequence[float], wanted: float) -> int:
    """The step whose share is nearest to what is wanted.

    >>> nearest_step((0.0, 0.5), 0.9)
    1
    """
    return min(range(len(shares)), key=lambda step: abs(shares[step] - wanted))


def holds_until(losses: Sequence[float], *, paired: bool = False) -> int:
    """The last step up to which every loss is within a tenth of the first; an encoder's distance within 0.1.

    >>> holds_until([4.0, 4.2, 4.39, 4.5, 4.1])
    2
    """
    limit = losses[0] + TOLERANCE if paired else losses[0] * (1 + TOLERANCE)
    bad = [step for step, loss in enumerate(losses) if not loss <= limit]
    return (bad[0] if bad else len(losses)) - 1
