"""Boxes made on this machine: whole or not there, opened by name, named so that they lead nowhere else."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest

from llmkit import shelf
from llmkit.reference import open_box
from llmkit.shelf.store import BUNDLED


def copy_of_the_starter(folder: Path) -> None:
    for path in (BUNDLED / "gpt2-starter").iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)


@pytest.mark.usefixtures("own_home")
def test_a_made_box_opens_and_can_be_taken_away() -> None:
    box_id = shelf.put("my-first", copy_of_the_starter, made_from="gpt2-starter")
    assert box_id == "made:my-first"
    assert box_id in shelf.boxes_here()
    assert open_box(box_id).family == "gpt2"
    assert shelf.check(box_id) == ()
    manifest = json.loads((shelf.folder_of(box_id) / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["made_from"] == "gpt2-starter"
    assert shelf.get(box_id) == shelf.folder_of(box_id)
    shelf.remove(box_id)
    assert box_id not in shelf.boxes_here()
    with pytest.raises(shelf.ShelfError, match="box_missing"):
        shelf.get(box_id)


def test_a_box_that_could_not_be_finished_leaves_the_older_one(own_home: Path) -> None:
    shelf.put("mine", copy_of_the_starter)
    before = shelf.fingerprint("made:mine")

    def fails(folder: Path) -> None:
        copy_of_the_starter(folder)
        raise OSError(errno.ENOSPC, "no space", "model.safetensors")

    with pytest.raises(shelf.ShelfError, match="no_space"):
        shelf.put("mine", fails)
    assert shelf.fingerprint("made:mine") == before
    assert [path.name for path in (own_home / "boxes").iterdir()] == ["made--mine"]


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize("name", ["", "../out", "a/b", "a--b", "..", "a b", "名字", "x" * 200, "<script>"])
def test_no_name_leads_out_of_the_shelf(name: str) -> None:
    with pytest.raises(shelf.ShelfError, match="bad_name"):
        shelf.put(name, copy_of_the_starter)
