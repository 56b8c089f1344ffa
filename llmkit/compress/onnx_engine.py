"""ONNX Runtime: a box as a graph of plain operators, float32 or with 8- or 4-bit weights, on the CPU or by CUDA."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form
from llmkit.compress.onnx_export import FACTS, MODEL, export, reference_scores
from llmkit.compress.runner import Ids, Reading, Scores

if TYPE_CHECKING:
    from llmkit.compress.made import Progress
    from llmkit.compress.runner import Runner

PLAIN, DELTA = "onnx-float32", "max_delta"
NEEDED = ("onnxruntime", "onnx", "onnxscript")
CUDA = "CUDAExecutionProvider"


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; loads no torch."""
    for name in NEEDED:
        if find_spec(name) is None:
            return FormError("form_missing", form=form.id, detail=f"{name} is not installed")
    if form.device == "cuda":
        import onnxruntime

        if CUDA not in onnxruntime.get_available_providers():
            detail = f"ONNX Runtime has no {CUDA} here: it comes with onnxruntime-gpu, and wants an NVIDIA GPU"
            return FormError("form_missing", form=form.id, detail=detail)
    return None


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Export the box, quantise the graph where the form wants it, and measure max |Δ| against PyTorch.

    A float32 graph of the same box that lies beside ``out`` is used again instead of exporting once more.
    """
    from llmkit.compress.onnx_quantise import quantise
    from llmkit.compress.parts_runner import open_parts

    model = open_parts(box_folder)
    if form.weights == "float32":
        export(model, out, report)
    else:
        with tempfile.TemporaryDirectory(prefix=f"{out.name}-", dir=out.parent) as room:
            plain = out.parent / PLAIN
            if not (plain / "form.json").is_file():
                plain = Path(room)
                export(model, plain, report)
            report(1, 3, note="quantising")
            quantise(plain, out, bits=form.bits)
    report(2, 3, note="comparing")
    shutil.copyfile(box_folder / "config.json", out / "config.json")
    delta = _delta(form, box_folder, out, model)
    facts = json.loads((out / FACTS).read_text(encoding="utf-8"))
    (out / FACTS).write_text(json.dumps({**facts, DELTA: delta}, indent=1), encoding="utf-8")
    report(3, 3, note="comparing")


def max_delta(made_folder: Path) -> dict[str, float]:
    """The greatest difference from PyTorch in any number, as measured when the form was made: whole texts
    (``whole``) and, of a decoder, further tokens from the cache (``cached``)."""
    found: dict[str, float] = json.loads((made_folder / FACTS).read_text(encoding="utf-8"))[DELTA]
    return found


def open_runner(form: Form, box_folder: Path, made_folder: Path) -> Runner:
    """Open the graph.

    Raises:
        FormError: ``form_broken``; another graph than ours is.
    """
    import onnxruntime

    options = options_like_torch()
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if form.device == "cuda" else ["CPUExecutionProvider"]
    try:
        facts = json.loads((made_folder / FACTS).read_text(encoding="utf-8"))
        session = onnxruntime.InferenceSession(str(made_folder / MODEL), options, providers=wanted)
        runner = OnnxRunner(form, box_folder.name, session, facts)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise FormError("form_broken", form=form.id, detail=f"{type(error).__name__}: {first}") from error
    return runner


def options_like_torch() -> Any:
    """A session's options: silent, and with as many threads as torch takes where ``OMP_NUM_THREADS`` says how many."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        options.intra_op_num_threads = int(threads)
    return options


class OnnxRunner:
    """See ``Runner``. session: of ONNX Runtime. facts: what ``export.json`` holds."""

    def __init__(self, form: Form, box: str, session: Any, facts: dict[str, Any]) -> None:
        self._form, self._box, self._session = form, box, session
        self.causal, self.max_seq_len = bool(facts["causal"]), int(facts["max_seq_len"])
        self._inputs = [one.name for one in session.get_inputs()]
        self._outputs = [one.name for one in session.get_outputs()]
        self._past = [name for name in self._inputs if name.startswith("past_key_values.")]
        self._shape = (int(facts["n_kv_heads"]), int(facts["head_dim"])) if self.causal else (0, 0)
        kept = 2 * int(facts["n_layers"]) if self.causal else 0
        if not {"input_ids", "attention_mask"} <= set(self._inputs) or len(self._past) != kept:
            raise ValueError(f"inputs {self._inputs[:4]} are not those of an export of ours")
        if len(self._outputs) != 1 + kept:
            raise ValueError(f"{len(self._outputs)} outputs, not {1 + kept}")

    def scores(self, input_ids: Ids) -> Scores:
        """[B, T] → logits [B, T, V]; an encoder's final states [B, T, D]."""
        return self.compute(input_ids, None, past=0, all_kept=False)[0]

    def read(self, input_ids: Ids) -> Reading:
        """Read texts and keep their keys and values.

        Raises:
            FormError: ``form_unsupported``, an encoder.
        """
        if not self.causal:
            detail = "an encoder does not go on writing"
            raise FormError("form_unsupported", form=self._form.id, box=self._box, detail=detail)
        return OnnxReading(self, input_ids)

    def close(self) -> None:
        """Give the memory back."""
        self._session = None

    def compute(
        self, input_ids: Ids, kept: list[np.ndarray] | None, *, past: int, all_kept: bool = True
    ) -> list[np.ndarray]:
        """Run the graph on tokens that follow ``past`` others; [answer, *keys and values] comes back.

        Raises:
            ValueError: more tokens than fit.
        """
        B, T = input_ids.shape
        if past + T > self.max_seq_len:
            raise ValueError(f"{past + T} tokens are more than the {self.max_seq_len} that fit")
        feed: dict[str, np.ndarray] = {
            "input_ids": np.ascontiguousarray(input_ids, dtype=np.int64),
            "attention_mask": np.ones((B, past + T), dtype=np.int64),
        }
        if "position_ids" in self._inputs:
            feed["position_ids"] = np.tile(np.arange(past, past + T, dtype=np.int64), (B, 1))
        if "token_type_ids" in self._inputs:
            feed["token_type_ids"] = np.zeros((B, T), dtype=np.int64)
        if kept is None:
            n_kv_heads, head_dim = self._shape
            kept = [np.zeros((B, n_kv_heads, 0, head_dim), dtype=np.float32)] * len(self._past)
        feed.update(zip(self._past, kept, strict=True))
        found: list[np.ndarray] = self._session.run(None if all_kept else self._outputs[:1], feed)
        return found


class OnnxReading:
    """See ``Reading``."""

    def __init__(self, runner: OnnxRunner, input_ids: Ids) -> None:
        self._runner = runner
        self._kept: list[np.ndarray] | None = None
        self._past = 0
        self._read(input_ids)

    @property
    def logits(self) -> Scores:
        """[B, V]."""
        return self._logits

    def step(self, tokens: Ids) -> None:
        """Append one token to each text."""
        self._read(np.asarray(tokens).reshape(-1, 1))

    def close(self) -> None:
        """Give the memory back."""
        self._kept = None

    def _read(self, input_ids: Ids) -> None:
        answer, *kept = self._runner.compute(input_ids, self._kept, past=self._past)
        self._logits: Scores = answer[:, -1]
        self._kept = kept
        self._past += input_ids.shape[1]


def _delta(form: Form, box_folder: Path, out: Path, model: Any) -> dict[str, float]:
    """Two different texts through both, whole and, where it can be, token after token from the cache."""
    rows = model.embedding.weight.shape[0]
    length = min(12, model.max_seq_len)
    input_ids = (np.arange(2 * length, dtype=np.int64).reshape(2, length) * 37 + 11) % rows
    wanted = reference_scores(model, input_ids)
    runner = open_runner(form, box_folder, out)
    found = {"whole": float(np.abs(runner.scores(input_ids) - wanted).max())}
    if model.causal and length > 3:
        reading = runner.read(input_ids[:, : length - 2])
        differences = []
        for at in (length - 2, length - 1):
            reading.step(input_ids[:, at])
            differences.append(float(np.abs(reading.logits - wanted[:, at]).max()))
        found["cached"] = max(differences)
    runner.close()
    return found
