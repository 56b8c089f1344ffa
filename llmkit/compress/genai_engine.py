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
    facts = json.loads((out / "genai_config.json").read_text(encoding="utf-8"))
    facts["model"]["eos_token_id"] = (
        facts["model"]["vocab_size"] - 1
    )  # seldom met; whoever steps decides what ends a text
    (out / "genai_config.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
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
        return GenaiRunner(
            og, og.Model(str(made_folder)), int(config["model"]["context_length"]), config["model"]["eos_token_id"]
        )
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise FormError("form_broken", form=form.id, detail=f"{type(error).__name__}: {first}") from error


class GenaiRunner:
    """See ``Runner``. limit: tokens of context. end: the token at which the generator would end a row."""

    def __init__(self, og: Any, model: Any, limit: int, end: int) -> None:
        self._og, self._model, self._limit, self._end = og, model, limit, end

    def scores(self, input_ids: Ids) -> Scores:
        """[B, T] → logits [B, T, V]."""
        B, T = input_ids.shape
        reading = GenaiReading(self._og, self._model, input_ids, min(self._limit, T + 1), self._end)
        found: Scores = reading.all_logits().reshape(B, T, -1)
        reading.close()
        return found

    def read(self, input_ids: Ids) -> Reading:
        """Read texts and keep their keys and values."""
        return GenaiReading(self._og, self._model, input_ids, self._limit, self._end)

    def close(self) -> None:
        """Give the memory back."""
        self._model = None


class GenaiReading:
    """See ``Reading``."""

    def __init__(self, og: Any, model: Any, input_ids: Ids, limit: int, end: int) -> None:
        rows = len(input_ids)
        settings = og.GeneratorParams(model)
        settings.set_search_options(
            batch_size=rows, max_length=limit, min_length=0, do_sample=False, past_present_share_buffer=False
        )
        self._ids, self._end = np.asarray(input_ids, dtype=np.int64), end
        self._rows, self._generator = rows, og.Generator(model, settings)
        self._generator.append_tokens(np.ascontiguousarray(input_ids, dtype=np.int32))
        self._take()

    def step(self, tokens: Ids) -> None:
        """Append one token to each text."""
        self._ids = np.concatenate([self._ids, np.asarray(tokens, dtype=np.int64)[:, None]], axis=1)
        if self._rows == 1:
            self._generator.append_tokens(np.ascontiguousarray(tokens, dtype=np.int32).reshape(1, 1))
        elif bool((tokens == self._end).any()):  # the generator would end that row: read all again instead
            self._generator.rewind_to(0)
            self._generator.append_tokens(np.ascontiguousarray(self._ids, dtype=np.int32))
        else:  # of several rows it takes tokens only at the start; later it chooses: it is shown one choice
            wanted = np.full_like(self.logits, -1e9)
            wanted[np.arange(self._rows), tokens] = 0.0
            self._generator.set_logits(wanted)
            self._generator.generate_next_token()
        self._take()

    def close(self) -> None:
        """Give the memory back."""
        self._generator = None

    def all_logits(self) -> Scores:
        """Of every token that was read last: [B, T, V]."""
        return np.array(self._generator.get_output("logits"), dtype=np.float32)

    def _take(self) -> None:
        """Compute, and copy the last logits: the generator's own memory is used again."""
        last = np.array(self._generator.get_logits(), dtype=np.float32)
        self.logits: Scores = last.reshape(self._rows, -1, last.shape[-1])[:, -1]
