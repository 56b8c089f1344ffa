"""Providers asked for, found and tried: with what is here, and as if NVIDIA's libraries were."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

from llmkit import jobs, shelf
from llmkit.compress import FormError, form, made
from llmkit.compress import onnx_engine as engine
from llmkit.compress import providers as room
from llmkit.compress.onnx_fusion import run as run_onnx
from llmkit.compress.onnx_fusion import time_both
from llmkit.compress.onnx_graph import read_graph
from tests.llmkit.random_box import random_box

CPU = "CPUExecutionProvider"


def quiet(*_: Any, **__: Any) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("providers") / "home"


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(home))


@pytest.fixture(scope="module")
def boxes(home: Path) -> dict[str, str]:
    """A box of each family, exported."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(home))
        for family in ("gpt2", "llama", "bert"):
            found[family] = f"folder:{random_box(home.parent / family, family, seed=3)}"
            made.make(found[family], room.FORM, quiet)
    return found


def test_the_cpu_lacks_nothing_and_is_asked_last() -> None:
    found = room.look()
    assert [one.name for one in found] == ["tensorrt", "cuda", "cpu"]
    assert {one.full: one.built_in for one in found} == {
        name: name in onnxruntime.get_available_providers() for name in room.PROVIDERS.values()
    }
    assert found[-1].complete
    assert (found[-1].gpu, found[-1].missing, found[-1].package) == (None, (), "onnxruntime")


def test_without_libraries_gpu_and_package_each_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_library", lambda name: "/lib/here.so" if name == "cudart" else None)
    monkeypatch.setattr("llmkit.doctor.find_gpus", lambda: ())
    monkeypatch.setattr(room, "_onnxruntime", lambda: SimpleNamespace(get_available_providers=lambda: [CPU]))
    tensorrt, cuda, cpu = room.look()
    assert (tensorrt.built_in, tensorrt.gpu, tensorrt.package) == (False, "", "onnxruntime-gpu")
    assert "nvinfer" in tensorrt.missing
    assert "cudnn" in cuda.missing
    assert "cudart" not in cuda.missing
    assert "nvinfer" not in cuda.missing
    assert [one.complete for one in (tensorrt, cuda, cpu)] == [False, False, True]


def test_with_all_of_them_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    every = list(room.PROVIDERS.values())
    monkeypatch.setattr(room, "find_library", lambda name: f"/lib/lib{name}.so")
    monkeypatch.setattr("llmkit.doctor.find_gpus", lambda: (SimpleNamespace(name="A GPU"),))
    monkeypatch.setattr(room, "_onnxruntime", lambda: SimpleNamespace(get_available_providers=lambda: every))
    found = room.look()
    assert all(one.complete for one in found)
    assert found[0].gpu == "A GPU"


@pytest.mark.skipif(sys.platform == "win32", reason="another name")
def test_a_library_is_found_on_the_path_and_in_nvidias_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert room.find_library("nobody-has-this") is None
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "libnobody-has-this.so.7").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/nowhere{os.pathsep}{tmp_path / 'set'}")
    assert room.find_library("nobody-has-this") == str(tmp_path / "set" / "libnobody-has-this.so.7")
    for folder in ("nvidia/cudnn/lib", "tensorrt_libs"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "nvidia/cudnn/lib/libnor-this.so.9").touch()
    (tmp_path / "tensorrt_libs/libnor-that.so.10").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert room.find_library("nor-this") == str(tmp_path / "nvidia/cudnn/lib/libnor-this.so.9")
    assert room.find_library("nor-that") == str(tmp_path / "tensorrt_libs/libnor-that.so.10")


def test_tensorrt_is_asked_first_with_its_engines_and_precision(tmp_path: Path) -> None:
    (first, options), *rest = room.order(["cuda", "tensorrt"], engines=tmp_path, fp16=True)
    assert (first, rest) == ("TensorrtExecutionProvider", ["CUDAExecutionProvider", CPU])
    assert (options["trt_fp16_enable"], options["trt_engine_cache_path"]) == ("True", str(tmp_path))
    assert room.order(["tensorrt"], engines=tmp_path)[0][1]["trt_fp16_enable"] == "False"
    assert room.order([]) == [CPU]


@pytest.mark.skipif("CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="a GPU would take it")
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_what_is_not_here_falls_back_to_the_cpu_and_that_is_told(boxes: dict[str, str], family: str) -> None:
    folder = made.folder(boxes[family], room.FORM)
    assert folder is not None
    tried = room.try_out(folder, ["tensorrt", "cuda"])
    assert tried.asked == tuple(room.PROVIDERS.values())
    assert (tried.session, set(tried.nodes)) == ((CPU,), {CPU})
    assert 0 < tried.nodes[CPU] <= read_graph(folder / "model.onnx").nodes
    assert tried.max_delta == 0
    assert "TensorrtExecutionProvider" in tried.said[0]
    assert tried.run_ms > 0


def test_the_example_is_what_our_runner_would_feed_it(boxes: dict[str, str]) -> None:
    """With zeros for a past, as a text of four that was read would have left it elsewhere."""
    folder = made.folder(boxes["llama"], room.FORM)
    assert folder is not None
    runner = engine.open_runner(form(room.FORM), folder, folder)
    assert isinstance(runner, engine.OnnxRunner)
    facts = {"causal": True, "n_kv_heads": 2, "head_dim": 6}
    feed = room.example(runner._session, facts)
    kept = [np.zeros((1, 2, room.PAST, 6), dtype=np.float32)] * 4
    expected = runner.compute(np.arange(room.TOKENS)[None], kept, past=room.PAST)[0]
    np.testing.assert_array_equal(runner._session.run(None, feed)[0], expected)


def test_a_broken_graph_is_said(boxes: dict[str, str], tmp_path: Path) -> None:
    folder = made.folder(boxes["bert"], room.FORM)
    assert folder is not None
    for path in folder.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(FormError, match="form_broken"):
        room.try_out(tmp_path, ["cpu"])


def test_the_job_wants_an_export(boxes: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "empty"))
    settings = {
        "box": boxes["bert"],
        "fingerprint": shelf.fingerprint(boxes["bert"]),
        "providers": ["cpu"],
        "fp16": False,
    }
    with pytest.raises(FormError, match="form_missing"):
        room.run(settings, jobs.DirectReport(tmp_path))
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        room.run({**settings, "fingerprint": "other"}, jobs.DirectReport(tmp_path))


def test_the_job_gives_plain_data(boxes: dict[str, str], tmp_path: Path) -> None:
    settings = {"box": boxes["gpt2"], "fingerprint": shelf.fingerprint(boxes["gpt2"]), "providers": [], "fp16": False}
    told = room.run(settings, jobs.DirectReport(tmp_path))
    assert told["nodes"].keys() == {CPU}


def test_commands_name_box_and_folder_as_a_shell_takes_them() -> None:
    told = room.commands("folder:/my boxes/it's", fp16=True)
    assert "'folder:/my boxes/it'\"'\"'s'" in told
    assert "--provider tensorrt --fp16" in told
    assert "pip uninstall -y onnxruntime\n" in told


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_fusion_is_counted_on_the_graph_that_runs(boxes: dict[str, str], family: str, tmp_path: Path) -> None:
    box = boxes[family]
    told = run_onnx({"box": box, "fingerprint": shelf.fingerprint(box)}, jobs.DirectReport(tmp_path))
    before, after = told["before"]["operators"], told["after"]["operators"]
    assert sum(after.values()) < sum(before.values())
    norms = {"gpt2": 5, "bert": 5, "llama": 5}[family]  # two a layer, and one after the last or before the first
    if family == "llama":
        assert (before["Sqrt"], before.get("Reciprocal", 0), before["Div"]) == (norms, 0, norms)
        joined = ("SimplifiedLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
        assert sum(after.get(name, 0) for name in joined) == norms
        assert "Sqrt" not in after
    else:
        assert before["LayerNormalization"] == norms
        assert after.get("LayerNormalization", 0) + after.get("com.microsoft.SkipLayerNormalization", 0) == norms
    assert set(told["before"]["layers"]) == {"", "0", "1"}
    assert sum(told["before"]["layers"].values()) == sum(before.values())
    assert told["timed"]["n"] >= 3
    assert min(told["timed"]["plain_ms"], told["timed"]["fused_ms"]) > 0
    assert told["max_delta"]["whole"] < 1e-3
    folder = made.folder(box, room.FORM)
    assert folder is not None
    assert not [path for path in folder.parent.iterdir() if "look" in path.name]


def test_timing_hears_a_cancel(boxes: dict[str, str]) -> None:
    folder = made.folder(boxes["bert"], room.FORM)
    assert folder is not None

    def stop() -> None:
        raise jobs.Cancelled

    with pytest.raises(jobs.Cancelled):
        time_both(folder, stop)
