"""One training step in a process of its own, so that its peak is its own: ``python -m llmkit.tune.adapter_step``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from llmkit.reference import open_box
from llmkit.tune.adapter_job import config_of
from llmkit.tune.adapter_learning import learner
from llmkit.tune.adapter_texts import open_texts
from llmkit.tune.memory import PeakMemory

STEPS = 3
"""Steps that are timed; the first one also makes the optimizer's states."""


def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Open the box, learn the same batch a few times, and count what is held.

    Args:
        settings: as of the job ``adapter_memory``, and method: one of `llmkit.tune.adapter_learning.METHODS`.

    Returns:
        peak, before (bytes of the process, or of the GPU's allocator; before: until the box was opened); weights,
        gradients, optimizer (bytes, counted on the tensors); learning, total (weights); step_s (median of the steps
        after the first); loss (nats, of the first step); tokens (of the batch, padding among them).
    """
    config = config_of(settings)
    texts = open_texts(settings["data"], label=settings["label"], expected=settings["data_fingerprint"]).train
    with PeakMemory(settings["device"]) as memory:
        box = open_box(settings["box_id"], device=settings["device"])
        model, loss_of, tokens = learner(box, texts[: config.batch_size * 4], settings["method"], config)
        learning = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(learning, lr=config.learning_rate)
        model.train()
        seconds, losses, gradients = [], [], 0
        for _ in range(STEPS):
            began = time.perf_counter()
            loss = loss_of()
            loss.backward()  # type: ignore[no-untyped-call]
            gradients = sum(p.grad.numel() * p.grad.element_size() for p in learning if p.grad is not None)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
            seconds.append(time.perf_counter() - began)
    moments = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    return {
        "before": memory.before_bytes,
        "peak": memory.peak_bytes,
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
        "gradients": gradients,
        "optimizer": sum(value.numel() * value.element_size() for value in moments),
        "learning": sum(p.numel() for p in learning),
        "total": sum(p.numel() for p in model.parameters()),
        "step_s": sorted(seconds[1:])[len(seconds[1:]) // 2],
        "loss": losses[0],
        "tokens": tokens,
    }


if __name__ == "__main__":
    asked, told = map(Path, sys.argv[1:])
    told.write_text(json.dumps(measure(json.loads(asked.read_text(encoding="utf-8")))), encoding="utf-8")
