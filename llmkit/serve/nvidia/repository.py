"""A box as a model repository of Triton: a graph for its onnxruntime backend, and a model in Python that reads text.

::

    models/
      box/                 text in, text or a vector out
        config.pbtxt       backend: "python"
        1/                 its version
          model.py  box.json  tokenizer.json
      graph/               token ids in, numbers out
        config.pbtxt       backend: "onnxruntime"
        configs/python.pbtxt   the same for a server that has only the Python backend: --model-config-name=python
        1/
          model.onnx  model.onnx.data  model.py

Source: Triton's "Model Repository" and "Model Configuration".
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit import shelf
from llmkit.compress import made
from llmkit.compress.onnx_export import DATA, FACTS, MODEL
from llmkit.serve.errors import ServeError
from llmkit.tokens import Tokenizer

BOX, GRAPH, VERSION = "box", "graph", "1"
PYTHON_CONFIG = "python"
"""The name of the configuration by which ``graph`` runs without the onnxruntime backend."""

FORMS = ("onnx-float32", "onnx-int8", "onnx-int4")
"""The forms that a repository can be made of."""

MAX_BATCH, MAX_QUEUE, DELAY_US = 8, 32, 2_000
TYPES = {1: "TYPE_FP32", 6: "TYPE_INT32", 7: "TYPE_INT64", 10: "TYPE_FP16", 11: "TYPE_FP64", 9: "TYPE_BOOL"}
"""ONNX's numbers for types, and Triton's names."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One input or output of a model.

    Args:
        name: of it. type: Triton's name. dims: without the batch; -1 for any. optional: may be left out.
    """

    name: str
    type: str
    dims: tuple[int, ...]
    optional: bool = False


def write(box_id: str, form_id: str, place: Path) -> Path:
    """Write a box's model repository: all of it, or nothing.

    The graph's files are copied, not linked: ONNX takes weights that have two names for an attack, so the form itself
    could not be read any more.

    Args:
        form_id: one of ``FORMS``, made before. place: a folder that is not there yet.

    Returns:
        ``place``.

    Raises:
        ServeError: ``form_not_made``, ``repository_unsupported``, ``repository_exists``, ``disk_full``.
        ShelfError: the box is not here. TokenizerError: its tokenizer is broken.
    """
    box_folder = shelf.locate(box_id)
    if box_folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    form_folder = require_form(box_id, form_id)
    if place.exists():
        raise ServeError("repository_exists", detail=str(place))
    half = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        half = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        _write(box_id, form_id, box_folder, form_folder, half)
        half.chmod(0o755)
        half.replace(place)
    except Exception as error:
        if made.disk_is_full(error):
            raise ServeError("disk_full", detail=str(place.parent)) from error
        raise
    finally:
        if half is not None:
            shutil.rmtree(half, ignore_errors=True)
    return place


def require_form(box_id: str, form_id: str) -> Path:
    """Where a form's files lie, if a repository can be made of it.

    Raises:
        ServeError: ``repository_unsupported``, ``form_not_made``.
    """
    if form_id not in FORMS:
        raise ServeError("repository_unsupported", detail=f"{form_id}: {', '.join(FORMS)}")
    folder = made.folder(box_id, form_id)
    if folder is None:
        raise ServeError("form_not_made", form=form_id, box=box_id)
    return folder


def _write(box_id: str, form_id: str, box_folder: Path, form_folder: Path, half: Path) -> None:
    facts = json.loads((form_folder / FACTS).read_text(encoding="utf-8"))
    inputs, outputs = read_graph(form_folder / MODEL)
    if not facts["causal"] and outputs[0].name != "last_hidden_state":
        raise ServeError("repository_unsupported", detail=f"{box_id}: an encoder with {outputs[0].name}")
    if not (box_folder / "tokenizer.json").is_file():
        raise ServeError("repository_unsupported", detail=f"{box_id}: tokenizer.json")
    ours = Path(__file__).parent / "models"
    for name in (BOX, GRAPH):
        version = half / name / VERSION
        version.mkdir(parents=True)
        shutil.copyfile(ours / f"{name}.py", version / "model.py")
    for file in (MODEL, DATA):
        shutil.copyfile(form_folder / file, half / GRAPH / VERSION / file)
    shutil.copyfile(box_folder / "tokenizer.json", half / BOX / VERSION / "tokenizer.json")
    tokenizer = Tokenizer.from_folder(box_folder)
    about = {
        "box": box_id,
        "form": form_id,
        "causal": facts["causal"],
        "context_length": facts["max_seq_len"],
        "before": list(tokenizer.before),
        "stop_ids": sorted(token.token_id for token in tokenizer.added if token.special),
    }
    (half / BOX / VERSION / "box.json").write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
    (half / GRAPH / "configs").mkdir()
    for path, text in (
        (half / BOX / "config.pbtxt", box_config(about, dimensions=outputs[0].dims[-1])),
        (half / GRAPH / "config.pbtxt", graph_config("onnxruntime", inputs, outputs)),
        (half / GRAPH / "configs" / f"{PYTHON_CONFIG}.pbtxt", graph_config("python", inputs, outputs)),
    ):
        path.write_text(text, encoding="utf-8")


def read_graph(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A graph's inputs and outputs, without the batch that each begins with."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False).graph
    return tuple(map(_tensor, graph.input)), tuple(map(_tensor, graph.output))


def _tensor(value: Any) -> Tensor:
    found = value.type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in found.shape.dim]
    return Tensor(name=value.name, type=TYPES[found.elem_type], dims=tuple(sizes[1:]))


def box_config(about: dict[str, Any], *, dimensions: int) -> str:
    """The configuration of the model that reads text.

    Args:
        about: ``causal``, ``context_length``, ``box``, ``form``. dimensions: of an encoder's vectors.
    """
    count = Tensor(name="prompt_tokens", type="TYPE_INT32", dims=(1,))
    inputs = [Tensor(name="prompt", type="TYPE_STRING", dims=(1,))]
    if about["causal"]:
        inputs.append(Tensor(name="max_tokens", type="TYPE_INT32", dims=(1,), optional=True))
        written = Tensor(name="completion_tokens", type="TYPE_INT32", dims=(1,))
        outputs = [Tensor(name="text", type="TYPE_STRING", dims=(1,)), count, written]
    else:
        outputs = [Tensor(name="embedding", type="TYPE_FP32", dims=(dimensions,)), count]
    named = {name: str(about[name]) for name in ("box", "form", "context_length")}
    return _config(BOX, "python", inputs, outputs, parameters=named)


def graph_config(backend: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> str:
    """The configuration of the bare graph; every input and output of ours begins with the batch."""
    return _config(GRAPH, backend, inputs, outputs)


def _config(
    name: str,
    backend: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    parameters: dict[str, str] | None = None,
) -> str:
    lines = [f'name: "{name}"', f'backend: "{backend}"', f"max_batch_size: {MAX_BATCH}"]
    for kind, tensors in (("input", inputs), ("output", outputs)):
        lines += [f"{kind} [", ",\n".join(map(_entry, tensors)), "]"]
    lines += [
        "dynamic_batching {",
        f"  max_queue_delay_microseconds: {DELAY_US}",
        f"  default_queue_policy {{ max_queue_size: {MAX_QUEUE} }}",
        "}",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
        "version_policy { latest { num_versions: 1 } }",
    ]
    for key, value in (parameters or {}).items():
        lines.append(f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}")
    return "\n".join(lines) + "\n"


def _entry(tensor: Tensor) -> str:
    dims = ", ".join(map(str, tensor.dims))
    optional = " optional: true" if tensor.optional else ""
    return f"  {{ name: {_quoted(tensor.name)} data_type: {tensor.type} dims: [ {dims} ]{optional} }}"


def _quoted(text: str) -> str:
    r"""A string as the text format of protocol buffers writes it: what is not plain ASCII as octal bytes.

    >>> _quoted('a "b"'), _quoted("é")
    ('"a \\042b\\042"', '"\\303\\251"')
    """
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03o}" for byte in text.encode())
    return f'"{"".join(plain)}"'
