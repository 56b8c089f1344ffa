"""A graph built by hand, against onnx's own counts; and files that are broken, foreign or sly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from llmkit.compress import onnx_graph as room
from llmkit.compress.errors import GraphError
from llmkit.compress.onnx_graph import Port, kind, read_graph

W = np.arange(12, dtype=np.float32).reshape(3, 4)


def built(*, domain: str = "", operator: str = "MatMul") -> onnx.ModelProto:
    """Two layers of one product each, added up; the second inside a branch."""
    inner = helper.make_graph(
        [helper.make_node("MatMul", ["a", "layers.1.w"], ["then"], name="node_then")],
        "then",
        [],
        [helper.make_tensor_value_info("then", TensorProto.FLOAT, None)],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["else"])],
        "else",
        [],
        [helper.make_tensor_value_info("else", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node(operator, ["x", "layers.0.w"], ["a"], name="/model/layers.0/dot", domain=domain),
        helper.make_node("If", ["flag"], ["b"], then_branch=inner, else_branch=other, name="/model/layers.1/if"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    square = np.eye(4, dtype=np.float32)
    weights = [numpy_helper.from_array(W, "layers.0.w"), numpy_helper.from_array(square, "layers.1.w")]
    graph = helper.make_graph(
        nodes,
        "by hand",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
            helper.make_tensor_value_info("layers.0.w", TensorProto.FLOAT, [3, 4]),  # an old file names weights here
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        weights,
    )
    opsets = [helper.make_opsetid("", 20), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, producer_name="hand", producer_version="1")


def lay(folder: Path, model: onnx.ModelProto) -> Path:
    """Write it with its weights beside it."""
    onnx.save(
        model,
        str(folder / "model.onnx"),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location="weights.bin",
        size_threshold=0,
    )
    return folder / "model.onnx"


def test_everything_is_counted(tmp_path: Path) -> None:
    path = lay(tmp_path, built())
    onnx.checker.check_model(str(path))
    found = read_graph(path)
    whole = onnx.load(str(path))
    inner = [node for attribute in whole.graph.node[1].attribute for node in attribute.g.node]
    assert found.nodes == len(whole.graph.node) + len(inner) == 5
    assert found.operators == {"MatMul": 2, "If": 1, "Identity": 1, "Add": 1}
    assert found.layers == {"": 2, "0": 1, "1": 2}
    assert found.inputs == (
        Port(name="x", dtype="float", shape=("batch", 3)),
        Port(name="flag", dtype="bool", shape=()),
    )
    assert found.outputs == (Port(name="y", dtype="float", shape=("batch", 4)),)
    arrays = [numpy_helper.to_array(tensor) for tensor in whole.graph.initializer]
    assert (found.weights, found.weights_bytes) == (2, sum(array.nbytes for array in arrays))
    assert (found.opsets, found.producer) == ({"": 20}, "hand 1")
    assert found.file_bytes == path.stat().st_size


@pytest.mark.parametrize("dtype", ["FLOAT", "FLOAT16", "BFLOAT16", "INT8", "INT4", "INT64", "BOOL"])
def test_weights_are_as_many_bytes_as_onnx_packs(dtype: str) -> None:
    tensor = helper.make_tensor("w", getattr(TensorProto, dtype), [3, 3], [1] * 9)
    data = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    expected = 5 if dtype == "INT4" else len(data)
    assert room._bytes(tensor) == expected


def point(to: str) -> Callable[[Path], object]:
    """Change the place at which the first weight is said to lie."""

    def change(path: Path) -> None:
        model = onnx.load(str(path), load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = to
        path.write_bytes(model.SerializeToString())

    return change


def link_away(path: Path) -> None:
    outside = path.parent.parent / "outside.bin"
    outside.write_bytes(b"x" * 1000)
    (path.parent / "weights.bin").unlink()
    (path.parent / "weights.bin").symlink_to(outside)


def undo_a_value(path: Path) -> None:
    model = onnx.load(str(path), load_external_data=False)
    model.graph.node[2].input[0] = "nobody makes this"
    path.write_bytes(model.SerializeToString())


def negative(path: Path) -> None:
    model = onnx.load(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "offset":
            entry.value = "-8"
    path.write_bytes(model.SerializeToString())


HARM: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no protobuf": (lambda path: path.write_bytes(b"\xff\xfe no graph"), "graph_broken"),
    "empty": (lambda path: path.write_bytes(b""), "graph_broken"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:150]), "graph_broken"),
    "gone": (Path.unlink, "graph_missing"),
    "a value that nobody makes": (undo_a_value, "graph_broken"),
    "weights gone": (lambda path: (path.parent / "weights.bin").unlink(), "graph_data_missing"),
    "weights cut off": (lambda path: (path.parent / "weights.bin").write_bytes(b"x" * 20), "graph_data_missing"),
    "weights before the file": (negative, "graph_broken"),
    "weights from above": (point("../weights.bin"), "graph_unsafe"),
    "weights from above and back": (point("a/../../x/weights.bin"), "graph_unsafe"),
    "weights from the root": (point("/etc/passwd"), "graph_unsafe"),
    "weights from a drive": (point("C:\\Windows\\win.ini"), "graph_unsafe"),
    "weights from above, as Windows writes it": (point("..\\weights.bin"), "graph_unsafe"),
    "weights behind a link": (link_away, "graph_unsafe"),
    "a name with nothing in it": (point("weights.bin\0"), "graph_unsafe"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_bad_file_is_refused_with_its_reason(harm: str, tmp_path: Path) -> None:
    (tmp_path / "graph").mkdir()
    path = lay(tmp_path / "graph", built())
    change, code = HARM[harm]
    change(path)
    with pytest.raises(GraphError) as caught:
        read_graph(path)
    assert (caught.value.code, caught.value.values["file"]) == (code, "model.onnx")


def test_operators_from_elsewhere_are_refused_and_own_functions_are_not(tmp_path: Path) -> None:
    model = built(domain="evil.org", operator="Run")
    with pytest.raises(GraphError, match="graph_foreign") as caught:
        read_graph(lay(tmp_path, model))
    assert caught.value.values["detail"] == "evil.org.Run"
    model.functions.append(
        helper.make_function(
            "evil.org",
            "Run",
            ["p", "q"],
            ["r"],
            [helper.make_node("MatMul", ["p", "q"], ["r"])],
            [helper.make_opsetid("", 20)],
        )
    )
    assert read_graph(lay(tmp_path, model)).operators["evil.org.Run"] == 1


def test_too_big_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lay(tmp_path, built())
    monkeypatch.setattr(room, "MOST_BYTES", path.stat().st_size - 1)
    monkeypatch.setattr(onnx, "load", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(GraphError, match="graph_too_big"):
        read_graph(path)


def test_without_onnx_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_spec", lambda _: None)
    with pytest.raises(GraphError, match="graph_no_onnx"):
        read_graph(lay(tmp_path, built()))


def test_kinds_do_not_overlap() -> None:
    names = [name for one in room.KINDS.values() for name in one]
    assert len(set(names)) == len(names)
    assert kind("com.microsoft.SkipLayerNormalization") == "norms"
    assert kind("Transpose") == "shapes"
