"""onnxruntime-genai: a LLaMA-like box as one ONNX graph of fused operators; its unembedding is quantised, too.

Source: Microsoft's onnxruntime-genai, ``models.builder``. The builder runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form
from llmkit.compress.runner import Ids, Reading, Scores

if TYPE_CHECKING:
    from llmkit.compress.made import Progress
    from llmkit.compress.runner import Runner

PRECISION = {"float32": "fp32", "int8": "int8", "int4": "int4"}
BUILDER_S = 1800.0


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; loads nothing."""
    if find_spec("onnxruntime_genai") is None:
        return FormError("form_missing", form=form.id, detail="onnxruntime-genai is not installed")
    return None


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Let the builder write the graph; it wants the box's tokenizer files beside the weights.

    Raises:
        FormError: ``form_unsupported``, the builder does not take this box; its last words are the detail.
    """
    config = json.loads((box_folder / "config.json").read_text(encoding="utf-8"))
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    if head_dim % 8:
        detail = f"head_dim {head_dim} is no multiple of 8"
        raise FormError("form_unsupported", form=form.id, box=box_folder.name, detail=detail)
    with tempfile.TemporaryDirectory(prefix=".cache-", dir=out.parent) as cache, tempfile.TemporaryFile() as said:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", str(box_folder), "-o", str(out)]
        command += ["-p", PRECISION[form.weights], "-e", "cpu", "-c", cache]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment)
        began = time.monotonic()
        try:
            while process.poll() is None:
                report(min(time.monotonic() - began, BUILDER_S), BUILDER_S, note="building")
                if time.monotonic() - began > BUILDER_S:
                    raise FormError("form_unsupported", form=form.id, box=box_folder.name, detail="the builder hangs")
                time.sleep(0.2)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        if process.returncode or not (out / "genai_config.json").is_file():
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines() or ["no word"]
            if any("No space left" in line for line in lines):
                raise FormError("form_no_space", form=form.id, detail=str(out.parent))
            raise FormError("form_unsupported", form=form.id, box=box_folder.name, detail=lines[-1][:300])
    for path in out.iterdir():  # the runner is given ids: the tokenizer stays in the box
        if path.name.startswith(("tokenizer", "special_tokens", "vocab", "merges", "chat_template", "added_tokens")):
            path.unlink()


def open_runner(form: Form, box_folder: Path, made_folder: Path) -> Runner:
    """Open the graph.

    Raises:
        FormError: ``form_broken``.
    """
    import onnxruntime_genai as og

    try:
        config = json.loads((made_folder / "genai_config.json").read_text(encoding="utf-8"))
        return GenaiRunner(og, og.Model(str(made_folder)), int(config["model"]["context_length"]))
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise FormError("form_broken", form=form.id, detail=f"{type(error).__name__}: {first}") from error


class GenaiRunner:
    """See ``Runner``. limit: tokens of context; a reading makes room for as many only where it grows so long."""

    def __init__(self, og: Any, model: Any, limit: int) -> None:
        self._og, self._model, self._limit = og, model, limit

    def scores(self, input_ids: Ids) -> Scores:
        """[B, T] → logits [B, T, V]."""
        B, T = input_ids.shape
        reading = GenaiReading(self._og, self._model, input_ids, min(self._limit, T + 1))
        found: Scores = np.asarray(reading.all_logits, dtype=np.float32).reshape(B, T, -1)
        reading.close()
        return found

    def read(self, input_ids: Ids) -> Reading:
        """Read texts and keep their keys and values."""
        return GenaiReading(self._og, self._model, input_ids, self._limit)

    def close(self) -> None:
        """Give the memory back."""
        self._model = None


class GenaiReading:
    """See ``Reading``."""

    def __init__(self, og: Any, model: Any, input_ids: Ids, limit: int) -> None:
        rows = len(input_ids)
        settings = og.GeneratorParams(model)
        settings.set_search_options(
            batch_size=rows, max_length=limit, min_length=0, do_sample=False, past_present_share_buffer=False
        )
        self._rows, self._generator = rows, og.Generator(model, settings)
        self._generator.append_tokens(np.ascontiguousarray(input_ids, dtype=np.int32))
        self._take()

    def step(self, tokens: Ids) -> None:
        """Append one token to each text."""
        self._generator.append_tokens(np.ascontiguousarray(tokens, dtype=np.int32).reshape(self._rows, 1))
        self._take()

    def close(self) -> None:
        """Give the memory back."""
        self._generator = None

    def _take(self) -> None:
        self.all_logits = self._generator.get_output("logits")  # [B, T, V]
        last = np.array(self.all_logits, dtype=np.float32)[:, -1]  # a copy: the generator's own memory is used again
        self.logits: Scores = last.reshape(self._rows, -1)
