"""The hub as a source: what is taken of a repository, what is refused, and how a fetch survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import errors as hub_errors

from llmkit import shelf
from llmkit.cli.errors import sentence
from tests.llmkit.fakes.hub import FakeHub
from tests.llmkit.fakes.serving import Behaviour

ROOT = Path(__file__).parents[2]
BOX = "hub:a/b"
PART = Path("staging", "hub--a--b", "downloads", "model.safetensors.part")
pytestmark = pytest.mark.usefixtures("roomy")


def start_get() -> subprocess.Popen[str]:
    code = f"from llmkit import shelf; print(shelf.get({BOX!r}))"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, stdout=subprocess.PIPE)


def wait_for(path: Path, size_bytes: int) -> None:
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size_bytes:
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.02)


def test_a_box_arrives_whole(hub: FakeHub, own_home: Path) -> None:
    folder = shelf.get(BOX)
    assert folder == own_home / "boxes" / "hub--a--b"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"} == hub.contents
    assert shelf.check(BOX) == ()
    assert shelf.boxes_here()[-1] == BOX
    assert list((own_home / "staging").iterdir()) == []
    before = len(hub.asked)
    shelf.get(BOX)
    assert len(hub.asked) == before


def test_only_what_cannot_run_is_taken(hub: FakeHub) -> None:
    hub.put(hub.contents | {"pytorch_model.bin": b"\x80\x04.", "modeling.py": b"boom", "onnx/config.json": b"{}"})
    shelf.get(BOX)
    assert not [one for one in hub.asked if one.path.endswith((".bin", ".py", "onnx/config.json"))]


@pytest.mark.parametrize("pickled", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickled_weights_alone_are_refused(hub: FakeHub, own_home: Path, pickled: str) -> None:
    hub.put({"config.json": b"{}", pickled: b"\x80\x04."})
    with pytest.raises(shelf.ShelfError, match="unsafe_file") as refused:
        shelf.get(BOX)
    assert "safetensors" in sentence(refused.value)
    assert not (own_home / "boxes").exists()


def test_code_of_its_own_is_refused(hub: FakeHub, own_home: Path) -> None:
    hub.put(hub.contents | {"config.json": json.dumps({"auto_map": {"AutoModel": "modeling.Boom"}}).encode()})
    with pytest.raises(shelf.ShelfError, match=r"unsafe_file.*auto_map"):
        shelf.get(BOX)
    assert not (own_home / "boxes").exists()


def test_a_folder_with_pickled_weights_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(shelf.ShelfError, match=r"unsafe_file.*pytorch_model\.bin"):
        shelf.get(f"folder:{tmp_path}")


def test_no_code_of_a_box_is_ever_trusted() -> None:
    trusting = [path for path in (ROOT / "llmkit").rglob("*.py") if "trust_remote_code=True" in path.read_text("utf-8")]
    assert trusting == []


@pytest.mark.parametrize("status", [404, 500])
def test_a_hub_that_fails_is_said_in_a_sentence(hub: FakeHub, own_home: Path, status: int) -> None:
    hub.behaviour = Behaviour(status=status)
    with pytest.raises(shelf.ShelfError, match=r"no_source.*hub a/b") as failed:
        shelf.get(BOX)
    said = sentence(failed.value)
    assert said.startswith("No source of “hub:a/b” answered")
    assert "\n" not in said
    assert not (own_home / "boxes").exists()
    assert issubclass(hub_errors.HfHubHTTPError, OSError)  # what the shelf relies on


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_gone_on_from(hub: FakeHub, ranges: bool) -> None:
    hub.behaviour = Behaviour(cut_after=131_072, cuts=2, ranges=ranges)
    hub.put({"model.safetensors": hub.contents["model.safetensors"]})
    folder = shelf.get(BOX)
    assert (folder / "model.safetensors").read_bytes() == hub.contents["model.safetensors"]
    starts = [one.start for one in hub.asked_for("model.safetensors")]
    assert starts[0] is None
    assert starts[1] == 131_072


def test_wrong_bytes_are_refused_named_and_fetched_again(hub: FakeHub, own_home: Path) -> None:
    hub.put({"model.safetensors": hub.contents["model.safetensors"]})
    hub.behaviour = Behaviour(wrong=True)
    with pytest.raises(shelf.ShelfError, match=r"tampered.*model\.safetensors"):
        shelf.get(BOX)
    assert not (own_home / "boxes").exists()
    hub.behaviour = Behaviour()
    shelf.get(BOX)
    assert shelf.check(BOX) == ()


def test_what_was_left_wrong_in_staging_is_fetched_again(hub: FakeHub, own_home: Path) -> None:
    hub.behaviour = Behaviour(pause_s=0.001)
    calls: list[shelf.Progress] = []
    with pytest.raises(shelf.ShelfError, match="cancelled"):
        shelf.get(BOX, on_progress=calls.append, cancelled=lambda: len(calls) > 4)
    part = own_home / PART
    part.write_bytes(b"\0" * part.stat().st_size)
    hub.behaviour = Behaviour()
    folder = shelf.get(BOX)
    assert (folder / "model.safetensors").read_bytes() == hub.contents["model.safetensors"]


def test_two_revisions_are_never_mixed(hub: FakeHub) -> None:
    hub.behaviour = Behaviour(pause_s=0.001)
    calls: list[shelf.Progress] = []
    with pytest.raises(shelf.ShelfError, match="cancelled"):
        shelf.get(BOX, on_progress=calls.append, cancelled=lambda: len(calls) > 4)
    hub.behaviour = Behaviour()
    hub.put(hub.contents | {"config.json": b'{"model_type": "bert"}'}, commit="2" * 40)
    folder = shelf.get(BOX)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "bert"
    assert (folder / "model.safetensors").read_bytes() == hub.contents["model.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL to send")
def test_a_kill_leaves_nothing_half_there_and_is_gone_on_from(hub: FakeHub, own_home: Path) -> None:
    hub.behaviour = Behaviour(pause_s=0.05)
    process = start_get()
    try:
        wait_for(own_home / PART, 100_000)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)
    finally:
        process.kill()
    assert not (own_home / "boxes").exists()
    assert shelf.locate(BOX) is None
    kept = (own_home / PART).stat().st_size
    hub.behaviour = Behaviour()
    shelf.get(BOX)
    assert hub.asked_for("model.safetensors")[-1].start == kept
    assert shelf.check(BOX) == ()


def test_two_processes_fetch_a_box_once(hub: FakeHub) -> None:
    hub.behaviour = Behaviour(pause_s=0.01)
    both = [start_get(), start_get()]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert len(hub.asked_for("model.safetensors")) == 1
    assert shelf.check(BOX) == ()


def test_a_wait_for_another_is_said_and_can_be_cancelled(hub: FakeHub, own_home: Path) -> None:
    hub.behaviour = Behaviour(pause_s=0.05)
    process = start_get()
    try:
        wait_for(own_home / PART, 1)
        stages: list[str] = []
        with pytest.raises(shelf.ShelfError, match="cancelled"):
            shelf.get(BOX, on_progress=lambda p: stages.append(p.stage), cancelled=lambda: len(stages) > 0)
        assert stages == ["wait"]
    finally:
        process.kill()
        process.communicate()
