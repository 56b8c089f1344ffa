"""An ONNX graph read without its weights: operators, what goes in and comes out, how many bytes the weights take.

Nothing in the file is run. Weights that lie in other files are looked for beside it, and nowhere else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from llmkit.compress.errors import GraphError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

MOST_BYTES = 512 * 2**20
"""A greater file is not read: weights belong into a file of their own, and protobuf ends at 2 GiB."""

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
"""Whose operators ONNX Runtime brings along; any other would be code from elsewhere."""

KINDS: Mapping[str, frozenset[str]] = {
    "matrices": frozenset({"MatMul", "Gemm", "FusedMatMul", "MatMulNBits", "MatMulInteger", "QLinearMatMul"}),
    "norms": frozenset(
        "LayerNormalization SimplifiedLayerNormalization SkipLayerNormalization SkipSimplifiedLayerNormalization "
        "RMSNormalization ReduceMean Pow Sqrt Reciprocal EmbedLayerNormalization".split()
    ),
    "attention": frozenset("Softmax IsNaN Attention MultiHeadAttention GroupQueryAttention RotaryEmbedding".split()),
    "activations": frozenset("Gelu FastGelu BiasGelu QuickGelu Sigmoid Tanh Erf Relu Swish".split()),
    "arithmetic": frozenset("Add Sub Mul Div Neg Sin Cos And Or Not Equal GreaterOrEqual Greater Less Where".split()),
}
"""What an operator is there for. All others move numbers about, or ask for sizes: ``shapes``."""

_LAYER = re.compile(r"(?:^|[./_])(?:layers?|h|blocks?)[._/](\d+)(?=[./:_ ]|$)")


@dataclass(frozen=True, kw_only=True)
class Port:
    """What goes into a graph or comes out: a size is a number, or the name of one that is free ("" without a name)."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """What an ONNX file holds.

    Args:
        operators: how many nodes of each; an operator that is not ONNX's own has its domain before its name.
        layers: nodes by layer of the model, as far as their names tell; "" for those of none.
        inputs, outputs: weights are none of them.
        weights, weights_bytes: how many tensors, and their bytes wherever they lie.
        opsets: version by domain. producer: who wrote the file. file_bytes: of the graph's own file.
    """

    operators: Mapping[str, int]
    layers: Mapping[str, int]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weights: int
    weights_bytes: int
    opsets: Mapping[str, int]
    producer: str
    file_bytes: int

    @property
    def nodes(self) -> int:
        """How many operators in all."""
        return sum(self.operators.values())


def kind(operator: str) -> str:
    """What an operator is there for.

    >>> kind("MatMul"), kind("com.microsoft.FastGelu"), kind("Reshape")
    ('matrices', 'activations', 'shapes')
    """
    name = operator.rpartition(".")[2]
    return next((one for one, names in KINDS.items() if name in names), "shapes")


def read_graph(path: Path) -> Graph:
    """Read a graph and check it: whole, by ONNX's rules, with operators that are known and weights that are there.

    Raises:
        GraphError: any code.
    """
    model = _load(path)
    _check_domains(path, model)
    _check_weights(path, model)
    _check_rules(path)
    return summarise(model, path.stat().st_size)


def read_own(path: Path) -> Graph:
    """Read a graph that ONNX Runtime has just written: its own operators follow no rules but its own.

    Raises:
        GraphError: it cannot be read.
    """
    return summarise(_load(path), path.stat().st_size)


def summarise(model: ModelProto, file_bytes: int) -> Graph:
    """Count what a model holds; nodes inside of others count, too."""
    operators: Counter[str] = Counter()
    layers: Counter[str] = Counter()
    for node in _nodes(model):
        operators[node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"] += 1
        layers[_layer(node)] += 1
    tensors = model.graph.initializer
    own = {tensor.name for tensor in model.graph.initializer}
    return Graph(
        operators=dict(operators.most_common()),
        layers=dict(sorted(layers.items(), key=lambda item: int(item[0] or -1))),
        inputs=tuple(_port(one) for one in model.graph.input if one.name not in own),
        outputs=tuple(_port(one) for one in model.graph.output),
        weights=len(tensors),
        weights_bytes=sum(_bytes(tensor) for tensor in tensors),
        opsets={one.domain: one.version for one in model.opset_import},
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        file_bytes=file_bytes,
    )


def _load(path: Path) -> ModelProto:
    if find_spec("onnx") is None:
        raise GraphError("graph_no_onnx", file=path.name)
    if not path.is_file():
        raise GraphError("graph_missing", file=path.name)
    if path.stat().st_size > MOST_BYTES:
        limit = MOST_BYTES // 2**20
        raise GraphError("graph_too_big", file=path.name, detail=f"{path.stat().st_size // 2**20} MiB, {limit} at most")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise GraphError("graph_broken", file=path.name, detail=_first(error)) from error
    if not model.opset_import or not model.graph.node:
        raise GraphError("graph_broken", file=path.name, detail="it holds no operator")
    return model


def _check_domains(path: Path, model: ModelProto) -> None:
    """An operator from elsewhere could not run; functions that the file itself defines are no such operators."""
    defined = {(one.domain, one.name) for one in model.functions}
    foreign = sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in _nodes(model)
            if node.domain not in DOMAINS and (node.domain, node.op_type) not in defined
        }
    )
    if foreign:
        raise GraphError("graph_foreign", file=path.name, detail=", ".join(foreign[:3]))


def _check_weights(path: Path, model: ModelProto) -> None:
    """Weights in other files: beside the graph, and as long as they are said to be."""
    for tensor in _weights(model.graph):
        place = {entry.key: entry.value for entry in tensor.external_data}
        if not place:
            continue
        named = place.get("location", "")
        found = _beside(path, named)
        try:
            begin, length = int(place.get("offset", 0)), int(place.get("length", 0))
        except ValueError:
            begin = length = -1
        if begin < 0 or length < 0:
            raise GraphError("graph_broken", file=path.name, detail=f"{tensor.name[:60]} lies nowhere in {named[:60]}")
        if not found.is_file() or found.stat().st_size < begin + (length or _bytes(tensor)):
            raise GraphError("graph_data_missing", file=path.name, detail=named[:100])


def _beside(path: Path, named: str) -> Path:
    """Where a file of weights lies; its name may not lead out of the graph's own folder."""
    folder = path.parent.resolve()
    parts = {*PurePosixPath(named).parts, *PureWindowsPath(named).parts}
    absolute = PurePosixPath(named).is_absolute() or PureWindowsPath(named).drive or PureWindowsPath(named).root
    try:
        found = (folder / named).resolve()
        unsafe = not named or bool(absolute) or ".." in parts or not found.is_relative_to(folder)
    except (OSError, ValueError):  # a NUL in it, or links in a circle
        unsafe = True
    if unsafe:
        raise GraphError("graph_unsafe", file=path.name, detail=named[:100])
    return found


def _check_rules(path: Path) -> None:
    """ONNX's own checker: every operator known in that version, every value made before it is used."""
    import onnx

    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        raise GraphError("graph_broken", file=path.name, detail=_first(error)) from error


def _nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node: of the graph, inside of others (a loop's, a branch's), and of functions."""

    def walk(nodes: Any) -> Iterator[NodeProto]:
        for node in nodes:
            yield node
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    yield from walk(attribute.g.node)
                for graph in attribute.graphs:
                    yield from walk(graph.node)

    yield from walk(model.graph.node)
    for function in model.functions:
        yield from walk(function.node)


def _weights(graph: GraphProto) -> Iterator[TensorProto]:
    """Every tensor that the file brings along, inside of nodes, too: any of them can lie in another file."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _weights(inner)


def _bytes(tensor: TensorProto) -> int:
    """What a tensor's numbers take, packed; 0 for text."""
    from onnx import TensorProto, helper

    if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    count = 1
    for size in tensor.dims:
        count *= max(size, 0)
    four_bits = {getattr(TensorProto, name, -1) for name in ("INT4", "UINT4", "FLOAT4E2M1")}
    if tensor.data_type in four_bits:
        return (count + 1) // 2
    return count * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _layer(node: NodeProto) -> str:
    """Which layer of the model a node belongs to, as its exporter wrote down or its name says."""
    noted = next((one.value for one in node.metadata_props if one.key == "namespace"), "")
    for text in (noted, node.name, *node.input):
        found = _LAYER.search(text)
        if found:
            return found.group(1)
    return ""


def _port(value: ValueInfoProto) -> Port:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    shape = tuple(size.dim_param if not size.HasField("dim_value") else size.dim_value for size in tensor.shape.dim)
    return Port(name=value.name, dtype=TensorProto.DataType.Name(tensor.elem_type).lower(), shape=shape)


def _first(error: Exception) -> str:
    """The first line of what a library says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
