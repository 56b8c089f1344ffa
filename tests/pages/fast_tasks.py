"""Tasks for tests: an export, a race and a try of providers at once, in place of minutes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from llmkit.compress.onnx_graph import Graph, Port
from llmkit.compress.row import Row
from llmkit.jobs import Report
from tests.pages.quantise_tasks import spread

MARKUP = "<img src=x>"


def graph(**operators: int) -> Graph:
    """A graph with these operators."""
    names = {name.replace("__", "."): n for name, n in operators.items()}
    kept = [Port(name=f"past_key_values.{n}.key", dtype="float", shape=("batch", 2, "past_len", 4)) for n in range(2)]
    return Graph(
        operators=names,
        layers={"": sum(operators.values())},
        inputs=(Port(name="input_ids", dtype="int64", shape=("batch", "seq_len")), *kept),
        outputs=(Port(name="logits", dtype="float", shape=("batch", "seq_len", 99)),),
        weights=3,
        weights_bytes=2**21,
        opsets={"": 20},
        producer=f"tests {MARKUP}",
        file_bytes=1000,
    )


def run_onnx(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """An export whose norms were joined; one step is 1.8 times faster."""
    report(1, 3, note="building")
    return {
        "before": asdict(graph(MatMul=9, Sqrt=5, Div=5, Softmax=2)),
        "after": asdict(graph(MatMul=9, SimplifiedLayerNormalization=5, Softmax=2, **{MARKUP: 1})),
        "timed": {"plain_ms": 9.0, "fused_ms": 5.0, "n": 7},
        "max_delta": {"whole": 2e-5, "cached": 1e-5},
        "files": {"model.onnx": 1000, "model.onnx.data": 2**21},
        "made_s": 12.0,
        "made_with": {},
    }


def run_zip(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A ZIP with one file."""
    with zipfile.ZipFile(report.folder / "box-onnx.zip", "w") as archive:
        archive.writestr("box-onnx/README.md", "card")
    return {"file": "box-onnx.zip", "size_bytes": 100, "files": {"README.md": 4}}


def run_provider(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The CPU took everything."""
    return {
        "asked": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
        "session": ["CPUExecutionProvider"],
        "nodes": {"CPUExecutionProvider": 17},
        "open_s": 0.1,
        "run_ms": 2.0,
        "max_delta": 0.0,
        "fp16": settings["fp16"],
        "said": ["no TensorRT"],
    }


def run_bench(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Every next way is twice as fast; the second compiles; an encoder where the prompt says so."""
    rows = [
        Row(
            box=settings["box"],
            form=form,
            size_bytes=2**24,
            prefill_tokens_s={"1": spread(100 * 2**at), "8": spread(200 * 2**at)},
            decode_tokens_s={} if settings["prompt"] == "encoder" else {"1": spread(10 * 2**at)},
            first_token_ms=None if settings["prompt"] == "encoder" else spread(64 / 2**at),
            about={"open_s": 1.0, "threads": 2, **({"compile_s": 41.0} if form == "torch-compiled" else {})},
        )
        for at, form in enumerate(settings["forms"])
    ]
    return {"rows": [asdict(row) for row in rows]}


def run_onnx_with_form(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The same, and a form on the disk that is whole."""
    from llmkit.compress import made

    place = made._place(settings["box"], "onnx-float32")
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.onnx").write_bytes(b"graph")
    (place / made.FACTS).write_text(json.dumps({"files": {"model.onnx": 5}}))
    return run_onnx(settings, report)
