"""Getting a box: progress, cancel, a full disk, no network."""

from __future__ import annotations

import errno
import importlib
import shutil
import time
from pathlib import Path
from typing import NoReturn

import pytest

from llmkit import shelf
from llmkit.cli.errors import sentence
from tests.llmkit.fakes.hub import FakeHub
from tests.llmkit.fakes.serving import Behaviour

BOX = "hub:a/b"


def test_progress_adds_up(hub: FakeHub) -> None:
    hub.put({"model.safetensors": hub.contents["model.safetensors"]})
    hub.behaviour = Behaviour(pause_s=0.002)
    heard: list[tuple[float, shelf.Progress]] = []
    shelf.get(BOX, on_progress=lambda progress: heard.append((time.monotonic(), progress)))
    assert list(dict.fromkeys(progress.stage for _, progress in heard)) == ["download", "unpack", "check"]
    coming = [(at, progress) for at, progress in heard if progress.stage == "download"]
    done = [progress.bytes_done for _, progress in coming]
    total = len(hub.contents["model.safetensors"])
    assert done == sorted(done)
    assert done[-1] == total
    assert {progress.bytes_total for _, progress in coming} == {total}
    assert len(done) > 10
    (began, first), (ended, last) = coming[0], coming[-1]
    assert last.bytes_per_s == pytest.approx((total - first.bytes_done) / (ended - began), rel=0.25)
    assert last.seconds_left == pytest.approx(0)
    middle = coming[len(coming) // 2][1]
    assert middle.seconds_left == pytest.approx((total - middle.bytes_done) / middle.bytes_per_s)


def test_cancel_keeps_what_has_come(hub: FakeHub, own_home: Path) -> None:
    hub.put({"model.safetensors": hub.contents["model.safetensors"]})
    heard: list[shelf.Progress] = []
    with pytest.raises(shelf.ShelfError, match="cancelled"):
        shelf.get(BOX, on_progress=heard.append, cancelled=lambda: len(heard) >= 3)
    assert not (own_home / "boxes").exists()
    kept = heard[-1].bytes_done
    shelf.get(BOX)
    assert hub.asked_for("model.safetensors")[-1].start == kept


def test_cancel_before_the_first_byte(hub: FakeHub) -> None:
    with pytest.raises(shelf.ShelfError, match="cancelled"):
        shelf.get(BOX, cancelled=lambda: True)
    assert hub.asked_for("model.safetensors") == []


def test_a_disk_too_small_is_said_before_a_byte_comes(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 2 * sum(len(body) for body in hub.contents.values()) + 200_000_000  # the download, the box, and room
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(shelf.ShelfError, match=r"no_space.*204 MB needed, 204 MB free") as refused:
        shelf.get(BOX)
    assert "\n" not in sentence(refused.value)
    assert not [one for one in hub.asked if "/resolve/" in one.path]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed))
    assert shelf.get(BOX).is_dir()


@pytest.mark.parametrize("where", ["copyfile", "write_manifest"])
def test_a_disk_that_fills_up_is_said(
    hub: FakeHub, own_home: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    with monkeypatch.context() as patch:
        patch.setattr(shutil if where == "copyfile" else importlib.import_module("llmkit.shelf.get"), where, full)
        with pytest.raises(shelf.ShelfError, match=r"no_space.*model\.safetensors"):
            shelf.get(BOX)
    assert not (own_home / "boxes").exists()
    assert shelf.get(BOX).is_dir()


def test_offline_asks_nobody(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    with pytest.raises(shelf.ShelfError, match="offline") as refused:
        shelf.get(BOX)
    assert "LLMKIT_OFFLINE" in sentence(refused.value)
    assert hub.asked == []
    monkeypatch.setenv("LLMKIT_OFFLINE", "0")
    shelf.get(BOX)
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    assert shelf.get(BOX).is_dir()  # what is here needs no network


def test_a_file_changed_on_the_shelf_is_named_and_fetched_again(hub: FakeHub) -> None:
    file = shelf.get(BOX) / "model.safetensors"
    right = file.read_bytes()
    file.write_bytes(right[:-1] + b"!")
    assert shelf.check(BOX) == (shelf.Damage(file="model.safetensors", what="content"),)
    shelf.get(BOX)
    assert file.read_bytes() == right
    file.write_bytes(right[:1000])
    assert shelf.check(BOX) == (shelf.Damage(file="model.safetensors", what="size"),)
    assert shelf.locate(BOX) is None
    file.unlink()
    assert shelf.check(BOX) == (shelf.Damage(file="model.safetensors", what="missing"),)
    shelf.get(BOX)
    assert file.read_bytes() == right
    assert shelf.check(BOX) == ()


def test_a_damaged_box_stays_until_the_new_one_is_there(hub: FakeHub) -> None:
    folder = shelf.get(BOX)
    (folder / "config.json").write_text("{}")
    hub.behaviour = Behaviour(status=404)
    with pytest.raises(shelf.ShelfError, match="no_source"):
        shelf.get(BOX)
    assert (folder / "model.safetensors").is_file()
