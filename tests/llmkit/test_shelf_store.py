"""The store: what counts as a box, and what broken folders do to it: nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from llmkit import shelf

BOX = "hub:a/b"
BROKEN = [
    *(None, "", "{", "[]", "{}"),
    *('{"files": 3}', '{"files": []}', '{"files": {}}', '{"files": {"config.json": 3}}'),
    *('{"files": {"config.json": {}}}', '{"files": {"config.json": null}}'),
]
pytestmark = pytest.mark.usefixtures("own_home")


def put(folder: Path, manifest: str | None) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    return folder


def facts(**more: object) -> str:
    row = {"size": 2, "sha256": hashlib.sha256(b"{}").hexdigest()} | more
    return json.dumps({"files": {"config.json": row}})


def test_a_whole_box_is_found(own_home: Path) -> None:
    folder = put(own_home / "boxes" / "hub--a--b", facts())
    assert shelf.locate(BOX) == folder
    assert shelf.check(BOX) == ()
    assert BOX in shelf.boxes_here()
    before = shelf.fingerprint(BOX)
    assert before
    (folder / "config.json").write_bytes(b"[]")
    assert shelf.fingerprint(BOX) != before
    shelf.remove(BOX)
    assert shelf.locate(BOX) is None
    assert shelf.fingerprint(BOX) == ""


@pytest.mark.parametrize("manifest", BROKEN)
def test_a_broken_manifest_is_a_box_that_is_not_here(own_home: Path, manifest: str | None) -> None:
    put(own_home / "boxes" / "hub--a--b", manifest)
    assert shelf.locate(BOX) is None
    assert BOX not in shelf.boxes_here()
    assert shelf.fingerprint(BOX) == ""
    if manifest is None:
        with pytest.raises(shelf.ShelfError, match="box_missing"):
            shelf.check(BOX)
    else:
        assert shelf.check(BOX) == (shelf.Damage(file="manifest.json", what="content"),)


@pytest.mark.parametrize("name", ["hub--..--x", "hub--a", "hub--a--b--c--d", "hub--<img>--x", "hub-- --x"])
def test_folders_that_are_no_boxes_are_passed_over(own_home: Path, name: str) -> None:
    put(own_home / "boxes" / name, facts())
    assert shelf.boxes_here() == ("gpt2-starter",)


def test_what_is_not_ours_is_not_removed(tmp_path: Path) -> None:
    folder = put(tmp_path / "own", None)
    shelf.remove(f"folder:{folder}")
    shelf.remove("gpt2-starter")
    assert (folder / "config.json").is_file()
    assert shelf.locate("gpt2-starter") is not None
    assert shelf.check("gpt2-starter") == ()


def test_a_box_that_is_not_here_is_missing() -> None:
    with pytest.raises(shelf.ShelfError, match="box_missing: minilm-l6"):
        shelf.check("minilm-l6")
    with pytest.raises(shelf.ShelfError, match="box_missing: reviews-en"):
        shelf.open_data("reviews-en")


def test_every_file_is_in_the_manifest(tmp_path: Path) -> None:
    from llmkit.shelf.store import read_manifest, write_manifest

    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "詞.txt").write_text("詞", encoding="utf-8")
    write_manifest(tmp_path, id="x", note="繁體")
    manifest = read_manifest(tmp_path)
    assert manifest["note"] == "繁體"
    assert manifest["files"] == {"sub/詞.txt": {"size": 3, "sha256": hashlib.sha256("詞".encode()).hexdigest()}}
