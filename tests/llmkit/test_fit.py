"""Weights put onto planned parts: what fits is within rounding of the reference, what was built otherwise says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llmkit import shelf
from llmkit.assembly import saved
from llmkit.assembly.errors import PlanError
from llmkit.assembly.plan import from_config
from llmkit.jobs.report import DirectReport
from llmkit.reference import open_box, open_folder
from llmkit.reference.fit import fit_box, run
from tests.llmkit.random_box import random_box

TEXT = "A short text."
FAMILIES = ("gpt2", "bert", "llama")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("boxes")
    return {family: random_box(place / family, family, seed=5) for family in FAMILIES}


def fit(folder: Path, **changes: object):
    box = open_folder(folder)
    return fit_box(box, replace(box.config, **changes), list(box.tokenizer.encode(TEXT).ids))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_box_fits_its_own_parts(boxes: dict[str, Path], family: str) -> None:
    found = fit(boxes[family])
    assert {piece.state for piece in found.pieces} == {"fits"}
    assert all(piece.delta is not None and piece.delta < 1e-5 for piece in found.pieces)
    assert len(found.pieces) == {"gpt2": 4 + 8, "bert": 5 + 8, "llama": 4 + 8}[family]
    assert found.differences == ()
    assert found.whole is not None
    assert found.whole.fits
    assert found.whole.of == "logits"
    assert [one for one, _ in found.whole.ours] == [one for one, _ in found.whole.theirs]
    assert bool(found.whole.ours) == (family != "bert")


def test_a_wrong_number_in_one_part_is_found(boxes: dict[str, Path]) -> None:
    """The measure has teeth: one weight off, and that part alone differs."""
    box = open_folder(boxes["llama"])
    with torch.no_grad():
        box.model.layers[1].attention.k.weight[0, 0] += 0.5
    found = fit_box(box, box.config, list(box.tokenizer.encode(TEXT).ids))
    assert [(piece.part, piece.layer) for piece in found.pieces if piece.state != "fits"] == [("attention", 1)]
    assert found.whole is not None
    assert not found.whole.fits


@pytest.mark.parametrize(
    ("family", "changes", "part", "state", "reason"),
    [
        ("gpt2", {"positions": "rotary"}, "positions", "refused", "kind"),
        ("gpt2", {"norm": "rms"}, "norm_2", "refused", "kind"),
        ("gpt2", {"feed_forward": "swiglu"}, "feed_forward", "refused", "kind"),
        ("gpt2", {"d_mlp": 95}, "feed_forward", "refused", "shape"),
        ("gpt2", {"vocab_size": 255}, "embedding", "refused", "shape"),
        ("gpt2", {"max_seq_len": 63}, "positions", "refused", "shape"),
        ("gpt2", {"attention_bias": False}, "attention", "refused", "extra"),
        ("llama", {"attention_bias": True}, "attention", "refused", "lacks"),
        ("llama", {"tied": True}, "unembedding", "refused", "tied"),
        ("llama", {"n_kv_heads": 4}, "attention", "refused", "shape"),
        ("gpt2", {"n_segments": 2}, "segments", "refused", "none"),
        ("gpt2", {"n_layers": 3}, "norm_1", "refused", "none"),
        ("gpt2", {"n_layers": 1}, "attention", "left", ""),
        ("bert", {"n_segments": 0}, "segments", "left", ""),
        ("gpt2", {"causal": False}, "attention", "differs", ""),
        ("gpt2", {"n_heads": 2, "n_kv_heads": 2, "head_dim": 12}, "attention", "differs", ""),
        ("gpt2", {"norm_eps": 0.1}, "norm_1", "differs", ""),
        ("llama", {"rope_theta": 10.0}, "positions", "differs", ""),
        ("bert", {"feed_forward": "gelu_tanh"}, "feed_forward", "differs", ""),
    ],
)
def test_what_was_built_otherwise_says_why(
    boxes: dict[str, Path], family: str, changes: dict[str, object], part: str, state: str, reason: str
) -> None:
    found = fit(boxes[family], **changes)
    odd = [piece for piece in found.pieces if piece.state != "fits"]
    assert (part, state, reason) in {(piece.part, piece.state, piece.reason) for piece in odd}
    refused = any(piece.state == "refused" for piece in found.pieces)
    assert (found.whole is None) == refused
    assert found.whole is None or not found.whole.fits
    assert {field for field, _, _ in found.differences} == set(changes)
    for piece in odd:
        if piece.reason in ("kind", "shape"):
            assert piece.yours != piece.theirs


def test_parts_fit_but_the_machine_does_not(boxes: dict[str, Path]) -> None:
    """Norms in another order: every part alone is right, the whole is not."""
    found = fit(boxes["gpt2"], norm_order="post")
    assert {piece.state for piece in found.pieces} == {"fits"}
    assert found.whole is not None
    assert not found.whole.fits


def test_a_copy_of_a_tied_matrix_fits(boxes: dict[str, Path]) -> None:
    found = fit(boxes["gpt2"], tied=False)
    assert found.whole is not None
    assert found.whole.fits


def test_a_text_longer_than_the_plan_is_refused(boxes: dict[str, Path]) -> None:
    with pytest.raises(PlanError) as refused:
        fit(boxes["llama"], max_seq_len=3)
    assert refused.value.code == "plan_context"
    assert refused.value.values == {"tokens": len(TEXT), "limit": 3}


def test_the_job_tells_each_part_as_it_goes(tmp_path: Path) -> None:
    box = open_box("gpt2-starter")
    report = DirectReport(tmp_path)
    settings = {
        "box_id": "gpt2-starter",
        "fingerprint": shelf.fingerprint("gpt2-starter"),
        "plan": saved.to_link(from_config(box.config)),
        "sentence": "A book. 一本書。",
    }
    found = run(settings, report)
    assert [len(partial["pieces"]) for partial in report.partials[:3]]
    assert report.said[-1][:2] == (28, 28)
    assert found["whole"]["delta"] < found["whole"]["limit"]


@pytest.mark.registry
@pytest.mark.parametrize(("box_id", "of"), [("minilm-l6", "states"), ("smollm2-135m-instruct", "logits")])
def test_real_boxes_fit(standard_kit: tuple[str, ...], box_id: str, of: str) -> None:
    box = open_box(box_id)
    found = fit_box(box, box.config, list(box.tokenizer.encode(TEXT).ids))
    assert {piece.state for piece in found.pieces} == {"fits"}
    assert found.whole is not None
    assert found.whole.fits
    assert found.whole.of == of
