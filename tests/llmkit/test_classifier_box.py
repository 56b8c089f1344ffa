"""A tuned classifier as a box: opens as itself, on every page, and as the reference's own model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModel

from llmkit import shelf
from llmkit.reference import BoxError, open_box, verify_box
from llmkit.reference.box import open_folder
from llmkit.tune.classifier import build_classifier, encode_examples, predict
from llmkit.tune.classifier_box import HEAD, NOTE, TunedBox, open_classifier, write_classifier
from llmkit.tune.errors import TuneError
from llmkit.tune.finetune import FinetuneConfig, Finetuning, merge_adapters
from tests.llmkit.random_box import random_box

pytestmark = pytest.mark.usefixtures("own_home")
TEXTS = ["good", "bad film", "so so good", "又好又壞"]


@pytest.fixture(params=["gpt2", "bert", "llama"])
def tuned(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[TunedBox, torch.Tensor]:
    """A tuned box on the shelf, opened, and what its classifier said before it was written."""
    box = open_folder(random_box(tmp_path / request.param, request.param, seed=3))
    examples = encode_examples(box, TEXTS, [0, 1, 0, 1], max_tokens=32)
    config = FinetuneConfig(method="lora", learning_rate=1e-2, epochs=2, batch_size=2)
    run = Finetuning(box, examples, examples, n_labels=2, config=config)
    run.run()
    classifier = merge_adapters(run.classifier)
    said = predict(classifier, examples)
    box_id = shelf.put(
        "tuned", lambda to: write_classifier(box, classifier, to, labels=["bad", "好"], facts={"rows": 4})
    )
    return open_classifier(box_id), said


def test_it_says_what_it_said_before(tuned: tuple[TunedBox, torch.Tensor]) -> None:
    opened, said = tuned
    examples = encode_examples(opened.box, TEXTS, [0, 1, 0, 1], max_tokens=32)
    assert torch.allclose(predict(opened.classifier, examples), said, atol=1e-6)
    assert opened.labels == ("bad", "好")
    assert opened.facts["rows"] == 4


def test_the_reference_opens_it_and_every_part_fits(tuned: tuple[TunedBox, torch.Tensor]) -> None:
    opened, _ = tuned
    ids = torch.tensor([opened.box.tokenizer.encode("a good film").ids])
    theirs = AutoModel.from_pretrained(opened.box.folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        wanted = theirs(ids).last_hidden_state
        assert torch.allclose(opened.classifier.body(ids), wanted, atol=1e-5)
    assert verify_box(opened.box.box_id, text="a good film").passed


def test_a_box_that_was_never_tuned_has_no_head() -> None:
    with pytest.raises(TuneError, match="no_head"):
        open_classifier("gpt2-starter")


@pytest.mark.parametrize("broken", ["labels", "pooling", "json", "shape", "truncated"])
def test_a_broken_head_is_said(tuned: tuple[TunedBox, torch.Tensor], broken: str) -> None:
    folder = tuned[0].box.folder
    note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    if broken == "labels":
        (folder / NOTE).write_text(json.dumps(note | {"labels": 3}), encoding="utf-8")
    elif broken == "pooling":
        (folder / NOTE).write_text(json.dumps(note | {"pooling": "__class__"}), encoding="utf-8")
    elif broken == "json":
        (folder / NOTE).write_text("{", encoding="utf-8")
    elif broken == "shape":
        save_file({"classifier.weight": torch.zeros(2, 3), "classifier.bias": torch.zeros(2)}, folder / HEAD)
    else:
        (folder / HEAD).write_bytes(b"nothing")
    own = f"folder:{folder}"  # a fetched box whose files have other sizes is not even there
    with pytest.raises(BoxError, match="box_broken"):
        open_classifier(own)


def test_labels_must_be_as_many_as_logits(tmp_path: Path) -> None:
    box = open_box("gpt2-starter")
    with pytest.raises(ValueError, match="3 labels"):
        write_classifier(box, build_classifier(box, n_labels=2, seed=0), tmp_path, labels=["a", "b", "c"], facts={})
