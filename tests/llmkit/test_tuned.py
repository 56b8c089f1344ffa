"""The list of boxes that were tuned to classify, read without opening one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit import shelf
from llmkit.reference.box import open_folder
from llmkit.tune.classifier import build_classifier
from llmkit.tune.classifier_box import NOTE, open_classifier, write_classifier
from llmkit.tune.tuned import tuned_box, tuned_boxes
from tests.llmkit.random_box import random_box

pytestmark = pytest.mark.usefixtures("own_home")


def put(tmp_path: Path, name: str, **facts: object) -> str:
    """Put a box with a fresh head on the shelf."""
    box = open_folder(random_box(tmp_path / name, "bert", seed=3))
    classifier = build_classifier(box, n_labels=2, seed=0)
    return shelf.put(name, lambda to: write_classifier(box, classifier, to, labels=["壞", "<b>good</b>"], facts=facts))


def test_nothing_was_tuned_on_an_empty_shelf() -> None:
    assert tuned_boxes() == ()
    assert tuned_box("gpt2-starter") is None
    assert tuned_box("made:nothing") is None


def test_the_newest_comes_first_with_what_it_can_tell_apart(tmp_path: Path) -> None:
    old = put(tmp_path, "old", made_at=1.0)
    new = put(tmp_path, "new", made_at=2.0, method="lora", data="reviews-en", rows=9, accuracy=0.75, max_tokens=64)
    first, second = tuned_boxes()
    assert (first.box_id, second.box_id) == (new, old)
    assert first.labels == open_classifier(new).labels == ("壞", "<b>good</b>")
    assert (first.method, first.data, first.rows, first.accuracy, first.max_tokens) == (
        "lora",
        "reviews-en",
        9,
        0.75,
        64,
    )
    assert (second.method, second.accuracy, second.tuned_from) == ("", None, "old")
    assert first.size_bytes == sum(path.stat().st_size for path in shelf.folder_of(new).iterdir())


@pytest.mark.parametrize("note", ["{", "[]", '{"labels": 3}', '{"labels": ["a"], "tuned_from": "b", "rows": "many"}'])
def test_a_broken_one_is_passed_over(tmp_path: Path, note: str) -> None:
    box_id = put(tmp_path, "broken")
    path = shelf.folder_of(box_id) / NOTE
    path.write_text(note, encoding="utf-8")
    manifest = shelf.folder_of(box_id) / "manifest.json"
    listed = json.loads(manifest.read_text(encoding="utf-8"))
    listed["files"][NOTE]["size"] = path.stat().st_size
    manifest.write_text(json.dumps(listed), encoding="utf-8")
    assert shelf.locate(box_id)
    assert tuned_boxes() == ()


def test_listing_loads_no_torch() -> None:
    code = "import sys; from llmkit.tune.tuned import tuned_boxes; tuned_boxes(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
