"""One part exchanged or left out, against the reference with the same operation done to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llmkit import shelf
from llmkit.jobs.report import DirectReport
from llmkit.reference import Assembled, load_reference, open_box, open_folder
from llmkit.trace.errors import TraceError
from llmkit.trace.exchange import Change, changes, costs, exchange, go_on, read, run
from tests.llmkit.random_box import random_box

TEXT = "A short text."
FAMILIES = ("gpt2", "bert", "llama")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("boxes")
    return {family: random_box(place / family, family, seed=9) for family in FAMILIES}


def wide(folder: Path) -> tuple[Assembled, Any, torch.Tensor]:
    """A box and its reference in float64, and a text."""
    box = open_folder(folder, dtype=torch.float64)
    return box, load_reference(box, torch.float64), torch.tensor([box.tokenizer.encode(TEXT).ids])


def zeroed(module: nn.Module) -> None:
    """Let a module of the reference give zeros."""

    def silence(_module: nn.Module, _args: Any, output: Any) -> Any:
        return (torch.zeros_like(output[0]), *output[1:]) if isinstance(output, tuple) else torch.zeros_like(output)

    module.register_forward_hook(silence)


@torch.inference_mode()
def same(box: Assembled, reference: Any, ids: torch.Tensor, one: Change) -> None:
    ours, theirs = exchange(box, one)(ids), reference(ids, use_cache=False).logits
    assert (ours - theirs).abs().max() < 1e-9
    assert (ours - box.model(ids)).abs().max() > 1e-6  # the change changes something


def test_a_layer_off(folders: dict[str, Path]) -> None:
    for family in ("gpt2", "llama"):
        box, reference, ids = wide(folders[family])
        stack = reference.transformer.h if family == "gpt2" else reference.model.layers
        del stack[1]
        same(box, reference, ids, Change(kind="layer_off", layer=1))


@pytest.mark.parametrize(
    ("family", "part", "name"),
    [
        ("gpt2", "attention", "transformer.h.0.attn"),
        ("gpt2", "feed_forward", "transformer.h.1.mlp"),
        ("llama", "attention", "model.layers.1.self_attn"),
        ("llama", "feed_forward", "model.layers.0.mlp"),
        ("bert", "feed_forward", "bert.encoder.layer.1.output.dense"),
        ("bert", "attention", "bert.encoder.layer.0.attention.output.dense"),
    ],
)
def test_a_part_off(folders: dict[str, Path], family: str, part: str, name: str) -> None:
    box, reference, ids = wide(folders[family])
    zeroed(reference.get_submodule(name))
    layer = int(next(piece for piece in name.split(".") if piece.isdigit()))
    box_change = Change(kind="attention_off" if part == "attention" else "feed_forward_off", layer=layer)
    with torch.inference_mode():
        assert (exchange(box, box_change)(ids) - reference(ids).logits).abs().max() < 1e-9


def test_positions_off(folders: dict[str, Path]) -> None:
    box, reference, ids = wide(folders["gpt2"])
    reference.transformer.wpe.weight.data.zero_()
    same(box, reference, ids, Change(kind="positions", option="none"))


def test_another_activation(folders: dict[str, Path]) -> None:
    for option, function in (("relu", nn.ReLU()), ("none", nn.Identity()), ("gelu", nn.GELU())):
        box, reference, ids = wide(folders["gpt2"])
        for block in reference.transformer.h:
            block.mlp.act = function
        same(box, reference, ids, Change(kind="activation", option=option))
        box, reference, ids = wide(folders["llama"])
        for block in reference.model.layers:
            block.mlp.act_fn = function
        same(box, reference, ids, Change(kind="activation", option=option))


def test_norms_off_and_of_the_other_kind(folders: dict[str, Path]) -> None:
    box, reference, ids = wide(folders["gpt2"])
    reference.transformer.ln_f = nn.Identity()
    same(box, reference, ids, Change(kind="norm_final_off"))
    for block in reference.transformer.h:
        block.ln_1 = block.ln_2 = nn.Identity()
    same(box, reference, ids, Change(kind="norms_off"))
    box, reference, ids = wide(folders["gpt2"])

    def rms(own: nn.LayerNorm) -> nn.RMSNorm:
        norm = nn.RMSNorm(own.normalized_shape, eps=own.eps, dtype=torch.float64)
        norm.weight = own.weight
        return norm

    reference.transformer.ln_f = rms(reference.transformer.ln_f)
    for block in reference.transformer.h:
        block.ln_1, block.ln_2 = rms(block.ln_1), rms(block.ln_2)
    same(box, reference, ids, Change(kind="norm_kind", option="rms"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_change_runs_and_leaves_the_box_alone(folders: dict[str, Path], family: str) -> None:
    box = open_folder(folders[family])
    ids = box.tokenizer.encode(TEXT).ids
    before = {name: tensor.clone() for name, tensor in box.model.state_dict().items()}
    parts = [type(module) for module in box.model.modules()]
    whole, found = costs(box, ids)
    assert len(found) == len(changes(box.config)) == len({cost.change for cost in found})
    assert whole.turned == pytest.approx(0, abs=1e-9)
    assert (whole.loss is None) == (family == "bert")
    assert all(cost.turned is None or -1e-9 <= cost.turned <= 2 for cost in found)
    assert sum(cost.turned is not None and cost.turned > 1e-6 for cost in found) >= len(found) - 1
    assert [type(module) for module in box.model.modules()] == parts
    assert all(torch.equal(before[name], tensor) for name, tensor in box.model.state_dict().items())
    again = costs(box, ids)[1]  # untrained rows are drawn from a seed
    assert again == found


def test_the_loss_is_the_references(folders: dict[str, Path]) -> None:
    box, reference, ids = wide(folders["gpt2"])
    with torch.inference_mode():
        loss = reference(ids, labels=ids).loss.item()
    assert read(box, ids[0].tolist(), None).loss == pytest.approx(loss, rel=1e-6)


def test_it_goes_on_as_the_reference_does(folders: dict[str, Path]) -> None:
    box = open_folder(folders["llama"])
    ids = list(box.tokenizer.encode(TEXT).ids)
    reference = load_reference(box, torch.float32)
    theirs = reference.generate(
        torch.tensor([ids]), max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert go_on(box, ids, None, tokens=6) == tuple(theirs[0, len(ids) :].tolist())
    assert len(go_on(box, ids, Change(kind="layer_off", layer=0), tokens=6)) == 6
    with pytest.raises(ValueError, match="next token"):
        go_on(open_folder(folders["bert"]), ids, None, tokens=2)
    with pytest.raises(ValueError, match="no layer"):
        exchange(box, Change(kind="layer_off", layer=7))


def test_the_job_counts_to_its_end(tmp_path: Path) -> None:
    report = DirectReport(tmp_path)
    box = {"box_id": "gpt2-starter", "fingerprint": shelf.fingerprint("gpt2-starter")}
    found = run({**box, "sentence": "The movie was good."}, report)
    assert len(found["costs"]) == len(changes(open_box("gpt2-starter").config))
    assert report.said[-1][0] == report.said[-1][1] == len(found["costs"])
    assert np.isfinite(found["whole"]["loss"])
    with pytest.raises(TraceError) as refused:
        run({**box, "sentence": "word " * 400}, report)
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        run({**box, "fingerprint": "another", "sentence": "The movie was good."}, report)
    assert refused.value.code == "text_too_long"
