"""What ONNX Runtime makes of a graph before it runs it: the graph that a session saves, and how much faster that is."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.compress.errors import FormError
from llmkit.compress.form import form
from llmkit.compress.onnx_export import FACTS, MODEL
from llmkit.compress.onnx_graph import Graph, read_graph, read_own

if TYPE_CHECKING:
    from llmkit.compress.onnx_engine import OnnxRunner
    from llmkit.jobs import Report

FORM = "onnx-float32"
NORMS = frozenset(
    "LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization "
    "RMSNormalization".split()
)
ATTENTIONS = frozenset("Attention MultiHeadAttention GroupQueryAttention".split())
"""Operators that do a whole norm, or a whole attention, at once."""

TURNS, PREFILL, BUDGET_S = 24, 8, 12.0
"""Steps that are timed each way, after a text so long; fewer where they take longer than that in all."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One token at a time (of an encoder: one short text), without and with the optimisation, in turns.

    Args:
        plain_ms, fused_ms: medians. n: runs of each.
    """

    plain_ms: float
    fused_ms: float
    n: int


def optimised(folder: Path, room: Path) -> Graph:
    """Let a session optimise the graph for the CPU and save what it then runs; read that.

    Args:
        folder: of an export of ours. room: where it is saved meanwhile, weights and all.
    """
    saved = room / "optimised.onnx"
    entries = {
        "session.optimized_model_external_initializers_file_name": "optimised.data",
        "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
    }
    _session(folder, saved=saved, entries=entries)
    return read_own(saved)


def time_both(folder: Path, tick: Callable[[], None]) -> Timed:
    """Run the graph as it was exported and as ONNX Runtime optimises it, a step of each in turns.

    Args:
        tick: called between steps; what it raises ends it.
    """
    plain, fused = _runner(folder, optimise=False), _runner(folder, optimise=True)
    took: dict[str, list[float]] = {"plain": [], "fused": []}
    steps = {"plain": _step(plain), "fused": _step(fused)}
    for step in steps.values():
        step()  # warms up
    began = time.perf_counter()
    while len(took["fused"]) < TURNS and (time.perf_counter() - began < BUDGET_S or len(took["fused"]) < 3):
        for name, step in steps.items():
            at = time.perf_counter()
            step()
            took[name].append(1000 * (time.perf_counter() - at))
        tick()
    plain.close()
    fused.close()
    return Timed(
        plain_ms=statistics.median(took["plain"]), fused_ms=statistics.median(took["fused"]), n=len(took["fused"])
    )


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``onnx``: export the box, read the graph, let ONNX Runtime optimise it, and time both.

    Args:
        settings: ``box`` and its ``fingerprint``.

    Returns:
        ``before`` and ``after``: ``Graph`` as plain data; ``timed``; ``max_delta``; ``files``: name → bytes;
        ``made_s``, ``made_with``: seconds that making took, versions.

    Raises:
        FormError, BoxError, ShelfError: see ``llmkit.compress.made.make``.
    """
    from llmkit import shelf
    from llmkit.compress import made
    from llmkit.compress.onnx_engine import max_delta

    box_id = settings["box"]
    shelf.require_unchanged(box_id, settings["fingerprint"])
    folder = made.make(box_id, FORM, report)
    before = read_graph(folder / MODEL)
    report(2, 3, note="optimising")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{FORM}-look-", dir=folder.parent) as room:
            after = optimised(folder, Path(room))
    except Exception as error:
        if made.disk_is_full(error):
            raise FormError("form_no_space", form=FORM, detail=str(folder.parent)) from error
        raise
    timed = time_both(folder, lambda: report(2, 3, note="measuring"))
    facts = made.facts(box_id, FORM) or {}
    report(3, 3, note="measuring")
    return {
        "before": asdict(before),
        "after": asdict(after),
        "timed": asdict(timed),
        "max_delta": max_delta(folder),
        "files": facts.get("files", {}),
        "made_s": facts.get("seconds", 0.0),
        "made_with": facts.get("versions", {}),
    }


def _session(folder: Path, *, optimise: bool = True, saved: Path | None = None, entries: Mapping[str, str]) -> Any:
    import onnxruntime

    from llmkit.compress.onnx_engine import options_like_torch

    options = options_like_torch()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    if saved is not None:
        options.optimized_model_filepath = str(saved)
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])


def _runner(folder: Path, *, optimise: bool) -> OnnxRunner:
    from llmkit.compress.onnx_engine import OnnxRunner

    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return OnnxRunner(form(FORM), folder.name, _session(folder, optimise=optimise, entries={}), facts)


def _step(runner: OnnxRunner) -> Callable[[], object]:
    """One token after a text that is read; of an encoder, the text."""
    ids = np.ones((1, min(PREFILL, runner.max_seq_len // 4 or 1)), dtype=np.int64)
    if not runner.causal:
        return lambda: runner.scores(ids)
    reading = runner.read(ids)
    most = runner.max_seq_len - ids.shape[1]

    def step() -> None:
        nonlocal reading, most
        if most <= 0:  # a box with little room begins again
            reading, most = runner.read(ids), runner.max_seq_len - ids.shape[1]
        reading.step(ids[:, 0])
        most -= 1

    return step
