"""A box as an ONNX graph: our own parts, traced by PyTorch's exporter, with the cache as inputs and outputs.

Source: ``torch.onnx.export(dynamo=True)``; inputs and outputs are named as Hugging Face's exports name them.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from llmkit.compress.made import Progress
    from llmkit.parts import Transformer

MODEL, DATA, FACTS = "model.onnx", "model.onnx.data", "export.json"
BATCH, LENGTH, PAST, ALL = "batch", "seq_len", "past_len", "past_len_and_seq_len"
"""The sizes that stay free, as the graph names them."""

LEFT_OUT = ("pkg.torch.onnx.stack_trace", "pkg.torch.onnx.fx_node")
"""What the exporter notes with each node beside its place in the model: lines of code, under this machine's paths."""

POLL_S = 0.3


def export(model: Transformer, out: Path, report: Progress) -> None:
    """Write a transformer as ``model.onnx`` with its weights beside it, and ``export.json``, what a runner must know.

    A causal graph reads ``input_ids`` [B, T], ``attention_mask`` [B, S], ``position_ids`` [B, T] and, for each layer,
    ``past_key_values.N.key`` and ``.value`` [B, n_kv_heads, S - T, head_dim] (S - T may be 0), and gives ``logits``
    [B, T, V] (hidden states without an unembedding) and ``present.N.key`` and ``.value``. Another reads ``input_ids``,
    ``attention_mask`` and, where it has segments, ``token_type_ids``. B, T and S are free.

    Args:
        model: float32, on the CPU.
        out: an existing folder.
        report: told now and then; what it raises ends the export.
    """
    report(0, 3, note="building")
    program = _in_the_background(lambda: _trace(model), report)
    report(1, 3, note="writing")
    _tidy(program.model.graph)
    program.save(str(out / MODEL), external_data=True)
    facts = {"causal": model.causal, "max_seq_len": model.max_seq_len, "n_layers": len(model.layers)}
    if model.causal:
        attention: Any = model.layers[0].attention
        facts |= {"n_kv_heads": attention.n_kv_heads, "head_dim": attention.head_dim}
    (out / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def reference_scores(model: Transformer, input_ids: np.ndarray) -> np.ndarray:
    """What the parts themselves compute for texts [B, T]: [B, T, V] or [B, T, D]."""
    import torch

    with torch.inference_mode():
        return np.asarray(model(torch.from_numpy(input_ids)).numpy())


def _trace(model: Transformer) -> Any:
    """The exporter's program of a model; the examples are small, and no size of theirs stays in the graph."""
    import torch

    B, T, past = 2, 3, 5
    wrapped: Any
    if model.causal:
        attention: Any = model.layers[0].attention
        n = len(model.layers)
        shape = (B, attention.n_kv_heads, past, attention.head_dim)
        examples: dict[str, Any] = {
            "input_ids": torch.zeros(B, T, dtype=torch.int64),
            "attention_mask": torch.ones(B, past + T, dtype=torch.int64),
            "position_ids": (torch.arange(T) + past).expand(B, T).contiguous(),
            "past": [torch.zeros(shape) for _ in range(2 * n)],
        }
        sizes: dict[str, Any] = {name: {0: BATCH, 1: LENGTH} for name in list(examples)[:3]}
        sizes["attention_mask"] = {0: BATCH, 1: ALL}
        sizes["past"] = [{0: BATCH, 2: PAST}] * (2 * n)
        kept = [f"{layer}.{what}" for layer in range(n) for what in ("key", "value")]
        inputs = [*list(examples)[:3], *(f"past_key_values.{name}" for name in kept)]
        outputs = [_answer(model), *(f"present.{name}" for name in kept)]
        wrapped = _decoder(model)
    else:
        examples = {
            "input_ids": torch.zeros(B, past, dtype=torch.int64),
            "attention_mask": torch.ones(B, past, dtype=torch.int64),
        }
        if model.segments is not None:
            examples["token_type_ids"] = torch.zeros(B, past, dtype=torch.int64)
        sizes = {name: {0: BATCH, 1: LENGTH} for name in examples}
        inputs, outputs = list(examples), [_answer(model)]
        wrapped = _encoder(model)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            wrapped.eval(),
            kwargs=examples,
            dynamo=True,
            dynamic_shapes=sizes,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )


def _tidy(graph: Any) -> None:
    """Take this machine's paths out, and write ``x * (1 / y)`` as ``x / y``: so ONNX Runtime knows an RMSNorm."""
    for node in list(graph.all_nodes()):
        for name in LEFT_OUT:
            node.metadata_props.pop(name, None)
        if node.op_type != "Mul":
            continue
        for at, given in enumerate(node.inputs):
            turned = given.producer()
            if turned is not None and turned.op_type == "Reciprocal":
                x, y = node.inputs[1 - at], turned.inputs[0]
                node.op_type = "Div"
                node.replace_input_with(0, x)
                node.replace_input_with(1, y)
                if not given.uses():
                    graph.remove(turned, safe=True)
                break


def _answer(model: Transformer) -> str:
    return "last_hidden_state" if model.unembedding is None else "logits"


def _decoder(model: Transformer) -> Any:
    """The model as a function of its past: what a cache holds goes in and comes out as tensors."""
    import torch

    from llmkit.parts import KVCache

    class GivenCache(KVCache):
        """A cache that only joins what it was given with what is new."""

        def __init__(self, past: list[Tensor]) -> None:
            super().__init__()
            self.keys = dict(enumerate(past[0::2]))
            self.values = dict(enumerate(past[1::2]))
            self._past = past[0].shape[2]

        @property
        def seq_len(self) -> int:
            return self._past

        def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            self.keys[layer] = torch.cat((self.keys[layer], k), dim=2)
            self.values[layer] = torch.cat((self.values[layer], v), dim=2)
            return self.keys[layer], self.values[layer]

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past: list[Tensor]
        ) -> tuple[Tensor, ...]:
            cache = GivenCache(past)
            logits = self.model(input_ids, attention_mask=attention_mask, positions=position_ids, cache=cache)
            kept = (tensor for layer in cache.keys for tensor in (cache.keys[layer], cache.values[layer]))
            return logits, *kept

    return Decoder()


def _encoder(model: Transformer) -> Any:
    """The model as a function of texts of several lengths, padded."""
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
            found: Tensor = self.model(input_ids, attention_mask=attention_mask, segment_ids=token_type_ids)
            return found

    return Encoder()


def _in_the_background(work: Any, report: Progress) -> Any:
    """Do it in a thread, so that the report is heard meanwhile; a thread nobody waits for ends with the process."""
    done: dict[str, Any] = {}

    def do() -> None:
        try:
            done["value"] = work()
        except BaseException as error:  # noqa: BLE001  handed to who waits
            done["error"] = error

    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(POLL_S)
        report(0, 3, note="building")
    if "error" in done:
        raise done["error"]
    return done["value"]
