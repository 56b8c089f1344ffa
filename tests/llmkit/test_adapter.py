"""Adapters against peft itself and numpy, with tiny random boxes of all families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

from llmkit.reference import Assembled
from llmkit.reference.box import open_folder
from llmkit.tune.adapter import (
    AdapterError,
    adapted,
    adapter_tensors,
    changes,
    read_adapter,
    write_adapter,
)
from tests.llmkit.random_box import random_box

IDS = [5, 9, 200, 77, 31, 8, 64]
THEIRS = {"gpt2": ["c_attn", "c_fc"], "bert": ["query", "value"], "llama": ["q_proj", "v_proj", "down_proj"]}
KINDS = pytest.mark.parametrize("kind", [{}, {"use_rslora": True}, {"use_dora": True}], ids=["lora", "rslora", "dora"])


@pytest.fixture(params=["gpt2", "bert", "llama"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Assembled:
    return open_folder(random_box(tmp_path / request.param, request.param, seed=3))


def reference(box: Assembled, to: Path, **kind: bool) -> PeftModel:
    """The reference's own model with an adapter of its own whose every number counts, saved by peft."""
    auto = AutoModelForMaskedLM if box.family == "bert" else AutoModelForCausalLM
    model = auto.from_pretrained(box.folder, dtype=torch.float32).eval()
    config = LoraConfig(
        r=3, lora_alpha=12, target_modules=THEIRS[box.family], fan_in_fan_out=box.family == "gpt2", **kind
    )
    torch.manual_seed(1)
    peft = get_peft_model(model, config).eval()
    with torch.no_grad():
        for name, parameter in peft.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    peft.save_pretrained(to)
    return peft


@KINDS
@pytest.mark.parametrize("merged", [True, False])
def test_the_box_with_an_adapter_is_that_of_peft(
    box: Assembled, tmp_path: Path, kind: dict[str, bool], merged: bool
) -> None:
    peft = reference(box, tmp_path / "adapter", **kind)
    adapter = read_adapter(tmp_path / "adapter", box)
    with torch.inference_mode():
        theirs = peft(input_ids=torch.tensor([IDS])).logits
        ours = adapted(box, adapter, merged=merged)(torch.tensor([IDS]))
        alone = box.model(torch.tensor([IDS]))
        folded = peft.merge_and_unload()(input_ids=torch.tensor([IDS])).logits
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-5)
    torch.testing.assert_close(ours, folded, atol=2e-4, rtol=2e-5)
    assert (ours - alone).abs().max() > 0.1


@KINDS
def test_directions_are_those_of_numpy(tmp_path: Path, kind: dict[str, bool]) -> None:
    box = open_folder(random_box(tmp_path / "llama", "llama", seed=3))
    peft = reference(box, tmp_path / "adapter", **kind)
    layers = {n: m for n, m in peft.named_modules() if isinstance(m, LoraLayer)}
    merged = None if not kind.get("use_dora") else reference(box, tmp_path / "again", **kind).merge_and_unload()
    found = changes(read_adapter(tmp_path / "adapter", box), box)
    assert len(found) == len(layers) == 6
    names = {"q": "self_attn.q_proj", "v": "self_attn.v_proj", "down": "mlp.down_proj"}
    for one in found:
        name = f"model.layers.{one.layer}.{names[one.matrix]}"
        layer = layers[f"base_model.model.{name}"]
        weight = layer.get_base_layer().weight.detach().double().numpy()
        if merged is None:
            delta = layer.get_delta_weight("default").detach().double().numpy()
        else:
            delta = merged.get_submodule(name).weight.detach().double().numpy() - weight
        singular = np.linalg.svd(delta, compute_uv=False)
        n = len(one.singular)
        assert one.shape == delta.shape
        assert one.singular == pytest.approx(singular[:n], rel=1e-4, abs=1e-5)
        assert (one.left * one.singular) @ one.right == pytest.approx(delta, abs=1e-5)
        assert one.norm == pytest.approx(np.linalg.norm(delta), rel=1e-4)
        assert one.norm_before == pytest.approx(np.linalg.norm(weight), rel=1e-6)
        best = (one.left[:, :2] * one.singular[:2]) @ one.right[:2]
        assert one.error(2) == pytest.approx(np.linalg.norm(delta - best), rel=1e-3)
        assert one.nonzero() == (3 if merged is None else np.linalg.matrix_rank(delta, tol=1e-5 * singular[0]))
        assert 1 < one.effective_rank <= n


def test_strength_is_a_factor_and_the_box_stays_as_it_is(box: Assembled, tmp_path: Path) -> None:
    reference(box, tmp_path / "adapter")
    adapter = read_adapter(tmp_path / "adapter", box)
    before = {name: tensor.clone() for name, tensor in box.model.state_dict().items()}
    low = adapter.lows[0]
    weight = box.model.get_parameter(f"{low.name}.weight")
    for strength in (0.0, 0.5, 2.0):
        made = adapted(box, adapter, strength)
        got = made.get_parameter(f"{low.name}.weight")
        assert torch.allclose(got, weight + strength * low.scale * low.b @ low.a, atol=1e-6)
        assert got.data_ptr() != weight.data_ptr()
        assert made.embedding is box.model.embedding
        untouched = box.model.layers[0].norm_1
        assert made.layers[0].norm_1.weight is untouched.weight
        beside = adapted(box, adapter, strength, merged=False)(torch.tensor([IDS]))
        torch.testing.assert_close(made(torch.tensor([IDS])), beside, atol=2e-4, rtol=2e-5)
    assert torch.equal(adapted(box, adapter, 0.0)(torch.tensor([IDS])), box.model(torch.tensor([IDS])))
    after = box.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    for wrong in (-0.1, 2.1, float("nan")):
        with pytest.raises(AdapterError, match="adapter_strength"):
            adapted(box, adapter, wrong)


@KINDS
def test_our_own_parts_adapter_is_read_as_it_was_written(box: Assembled, tmp_path: Path, kind: dict[str, bool]) -> None:
    import copy

    model = copy.deepcopy(box.model)
    config = LoraConfig(r=2, lora_alpha=8, target_modules=["q", "down"], **kind)
    inject_adapter_in_model(config, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    write_adapter(adapter_tensors(model), config.to_dict(), tmp_path / "own")
    adapter = read_adapter(tmp_path / "own", box)
    assert [low.matrix for low in adapter.lows] == ["q", "down"] * 2
    with torch.inference_mode():
        theirs, ours = model(torch.tensor([IDS])), adapted(box, adapter)(torch.tensor([IDS]))
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-5)
    learned = sum(p.numel() for n, p in model.named_parameters() if "lora_" in n)
    assert adapter.parameters == learned


def test_what_is_no_adapter_of_this_box_is_said(box: Assembled, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="adapter_broken"):
        read_adapter(tmp_path, box)
    reference(box, tmp_path / "adapter")
    other = open_folder(random_box(tmp_path / "other", "llama" if box.family != "llama" else "bert", seed=1))
    with pytest.raises(AdapterError, match="adapter_other_box"):
        read_adapter(tmp_path / "adapter", other)
    (tmp_path / "adapter" / "adapter_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(AdapterError, match="adapter_broken"):
        read_adapter(tmp_path / "adapter", box)


def test_no_change_has_no_rank(box: Assembled, tmp_path: Path) -> None:
    reference(box, tmp_path / "adapter")
    adapter = read_adapter(tmp_path / "adapter", box)
    still = replace(adapter, lows=tuple(replace(low, b=torch.zeros_like(low.b)) for low in adapter.lows))
    one = changes(still, box)[0]
    assert (one.norm, one.nonzero(), one.effective_rank, one.error(0)) == (0, 0, 0, 0)
