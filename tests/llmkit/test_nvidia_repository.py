"""A box as a model repository, without a server: its files, its configurations, and its model against the reference."""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import transformers

from llmkit.compress import made
from llmkit.compress.onnx_graph import read_graph
from llmkit.serve.errors import ServeError
from llmkit.serve.nvidia import container, repository
from llmkit.serve.nvidia.environment import PINS
from tests.llmkit.random_box import random_box

FAMILIES = ("gpt2", "llama", "bert")
FORM = "onnx-float32"
TEXTS = ("a", "the longest of all these texts, longer than", "這本書 🙂", "b c")
ONNX_TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}
ENTRY = re.compile(r'\{ name: "([^"]+)" data_type: (\w+) dims: \[ ([^\]]+) \]( optional: true)? \}')


def silent(done: float, total: float, note: str = "") -> None:
    """Take no notice."""


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A box of each family with its float32 graph."""
    place = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        found = {family: f"folder:{random_box(place / family, family, seed=5)}" for family in FAMILIES}
        for box in found.values():
            made.make(box, FORM, silent)
        yield found


def test_every_file_is_there_and_both_graphs_can_be_read(boxes: dict[str, str], tmp_path: Path) -> None:
    models = repository.write(boxes["gpt2"], FORM, tmp_path / "models")
    files = {str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()}
    assert files == {
        "box/config.pbtxt",
        "box/1/model.py",
        "box/1/box.json",
        "box/1/tokenizer.json",
        "graph/config.pbtxt",
        "graph/configs/python.pbtxt",
        "graph/1/model.py",
        "graph/1/model.onnx",
        "graph/1/model.onnx.data",
    }
    assert os.listdir(tmp_path) == ["models"]
    form = made.folder(boxes["gpt2"], FORM)
    assert form is not None
    assert (models / "graph/1/model.onnx").read_bytes() == (form / "model.onnx").read_bytes()
    assert read_graph(models / "graph/1/model.onnx") == read_graph(form / "model.onnx")
    about = json.loads((models / "box/1/box.json").read_text())
    assert (about["causal"], about["context_length"], about["box"]) == (True, 64, boxes["gpt2"])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graphs_configuration_is_what_onnx_runtime_reads(
    boxes: dict[str, str], family: str, tmp_path: Path
) -> None:
    models = repository.write(boxes[family], FORM, tmp_path / "models")
    session = onnxruntime.InferenceSession(str(models / "graph/1/model.onnx"))
    wanted = [
        (one.name, ONNX_TYPES[one.type], [size if isinstance(size, int) else -1 for size in one.shape[1:]])
        for one in (*session.get_inputs(), *session.get_outputs())
    ]
    assert all(isinstance(one.shape[0], str) for one in (*session.get_inputs(), *session.get_outputs()))  # any batch
    for name, backend in (("config.pbtxt", "onnxruntime"), ("configs/python.pbtxt", "python")):
        text = (models / "graph" / name).read_text()
        found = [(name, kind, [int(size) for size in dims.split(",")]) for name, kind, dims, _ in ENTRY.findall(text)]
        assert found == wanted
        assert f'backend: "{backend}"' in text
        assert "max_batch_size: 8" in text


def open_model(models: Path) -> Any:
    """The repository's own model, as Triton's Python backend would open it."""
    backend = ModuleType("triton_python_backend_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "triton_python_backend_utils", backend)
        module = importlib.import_module("llmkit.serve.nvidia.models.box")
    found = module.TritonPythonModel()
    found.initialize({"model_repository": str(models / "box"), "model_version": "1"})
    return found


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_batch_of_several_lengths_is_written_as_the_reference_writes_each(
    boxes: dict[str, str], family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(repository.write(boxes[family], FORM, tmp_path / "models"))
    monkeypatch.setattr(sys.modules[type(model).__module__], "PIECE", 7)  # prompts are read in several pieces
    folder = boxes[family].removeprefix("folder:")
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    ids = [model._ids(text.encode(), 8)[0] for text in TEXTS]
    assert len({len(one) for one in ids}) == len(TEXTS)
    most = [8, 5, 1, 8]
    written = model.write(ids, most, lambda: False)
    for one, n, found in zip(ids, most, written, strict=True):
        whole = reference.generate(torch.tensor([one]), do_sample=False, max_new_tokens=n, pad_token_id=0)
        wanted = whole[0, len(one) :].tolist()
        assert found == wanted[: len(found)]
        assert len(found) == n
    assert model.write(ids, most, lambda: True) == [found[:1] for found in written]  # nobody wants them any more


def test_a_text_that_takes_too_long_is_given_up_and_the_others_are_answered(
    boxes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(repository.write(boxes["gpt2"], FORM, tmp_path / "models"))
    module: Any = sys.modules[type(model).__module__]
    monkeypatch.setattr(module, "pb_utils", FakeBackend)
    monkeypatch.setattr(module, "MOST_S", -1.0)  # nothing but the first token is in time
    long, short, wrong = model.execute([FakeRequest(b"a", 8), FakeRequest(b"b", 1), FakeRequest(b"", 1)])
    assert (long.kind, long.message.partition(":")[0]) == ("UNAVAILABLE", "timeout")
    assert short["completion_tokens"].tolist() == [[1]]
    assert (wrong.kind, wrong.message.partition(":")[0]) == ("INVALID_ARG", "prompt_empty")
    monkeypatch.setattr(module, "MOST_S", 60.0)
    (whole,) = model.execute([FakeRequest(b"a", 8)])
    assert whole["completion_tokens"].tolist() == [[8]]
    (gone,) = model.execute([FakeRequest(b"a", 8, cancelled=True)])
    assert gone.kind == "UNAVAILABLE"


class FakeRequest:
    """A request of one prompt, as the backend hands it over."""

    def __init__(self, prompt: bytes, most: int, *, cancelled: bool = False) -> None:
        self.given = {"prompt": np.array([[prompt]], dtype=object), "max_tokens": np.array([[most]])}
        self.cancelled = cancelled

    def is_cancelled(self) -> bool:
        return self.cancelled


class FakeBackend:
    """What the model takes of Triton's Python backend; an answer is its tensors, or its error."""

    class TritonError:
        INVALID_ARG, UNAVAILABLE = "INVALID_ARG", "UNAVAILABLE"

        def __init__(self, message: str, kind: str) -> None:
            self.message, self.kind = message, kind

    @staticmethod
    def get_input_tensor_by_name(request: FakeRequest, name: str) -> Any:
        return SimpleNamespace(as_numpy=lambda: request.given[name])

    @staticmethod
    def Tensor(name: str, values: np.ndarray) -> tuple[str, np.ndarray]:  # noqa: N802
        return name, values

    @staticmethod
    def InferenceResponse(output_tensors: Any = (), error: Any = None) -> Any:  # noqa: N802
        return error or dict(output_tensors)


def test_a_batch_of_vectors_is_the_references(boxes: dict[str, str], tmp_path: Path) -> None:
    model = open_model(repository.write(boxes["bert"], FORM, tmp_path / "models"))
    encoder = transformers.AutoModel.from_pretrained(boxes["bert"].removeprefix("folder:"), local_files_only=True)
    ids = [model._ids(text.encode(), None)[0] for text in TEXTS]
    for one, found in zip(ids, model.vectors(ids), strict=True):
        with torch.no_grad():
            mean = encoder(torch.tensor([one])).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(found, (mean / mean.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "most", "code"),
    [
        (b"", 4, "prompt_empty"),
        (b"\xff", 4, "text_not_unicode"),
        (b"a" * 62, 4, "context_length_exceeded"),
        (b"a", 64, "context_length_exceeded"),
        (b"a", 0, "invalid_request"),
        (b"a" * 1_000_001, 4, "body_too_large"),
    ],
)
def test_what_is_refused_is_named(boxes: dict[str, str], tmp_path: Path, given: bytes, most: int, code: str) -> None:
    model = open_model(repository.write(boxes["gpt2"], FORM, tmp_path / "models"))
    with pytest.raises(Exception, match=f"^{code}: "):
        model._ids(given, most)


@pytest.mark.parametrize("at", range(1, 6))
def test_a_full_disk_leaves_nothing(
    boxes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """The disk is full at the first file, at the second, ...; links are not possible there either."""
    copy, calls = shutil.copyfile, 0

    def full(source: Any, target: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy(source, target, **more)

    def no_link(*_args: Any) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(shutil, "copyfile", full)
    monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(ServeError) as caught:
        repository.write(boxes["gpt2"], FORM, tmp_path / "models")
    assert caught.value.code == "disk_full"
    assert calls == at
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written_is_said(boxes: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for box, form, place, code in (
        (boxes["gpt2"], FORM, tmp_path / "there", "repository_exists"),
        (boxes["gpt2"], "torch-float32", tmp_path / "new", "repository_unsupported"),
        (boxes["gpt2"], "onnx-int8", tmp_path / "new", "form_not_made"),
    ):
        with pytest.raises(ServeError) as caught:
            repository.write(box, form, place)
        assert caught.value.code == code
    assert os.listdir(tmp_path) == ["there"]


def test_the_container_gets_the_same_packages_in_the_same_versions() -> None:
    needed = {pin for pin in PINS if not pin.startswith("nvidia-pytriton")}
    assert needed <= set(container.dockerfile().split())
    assert needed <= set(container.docker_run(0).split())
    assert container.IMAGE in container.dockerfile()
    assert '"127.0.0.1:9000:8000"' in container.compose(9000)
    assert "0.0.0.0" not in container.compose(0) + container.docker_run(0)
    pinned = set((Path(__file__).parents[2] / "requirements.txt").read_text().split())
    assert {pin for pin in needed if not pin.startswith("numpy")} <= pinned
