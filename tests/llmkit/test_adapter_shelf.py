"""Adapters taken away, brought and listed: opened by peft beside the reference's own model with the same weights."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file, save_file

from llmkit.jobs import DirectReport
from llmkit.reference import Assembled
from llmkit.reference.box import open_folder
from llmkit.tune import adapter_shelf as here
from llmkit.tune import finetune_job
from llmkit.tune.adapter import (
    CONFIG,
    WEIGHTS,
    Adapter,
    AdapterError,
    adapted,
    adapter_tensors,
    read_adapter,
    write_adapter,
)
from llmkit.tune.adapter_job import run_train
from llmkit.tune.adapter_label import label_probs
from llmkit.tune.adapter_merge import compare_merging
from llmkit.tune.adapter_pack import pack, snippet
from llmkit.tune.classifier import encode_examples, predict
from llmkit.tune.classifier_box import open_classifier
from tests.llmkit.random_box import random_box
from tests.llmkit.test_adapter_job import asked

IDS = [5, 9, 200, 77, 31, 8, 64]
KINDS: dict[str, dict[str, bool]] = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}


def made(box: Assembled, to: Path, targets: list[str], **kind: Any) -> Adapter:
    """An adapter of our parts whose every number counts."""
    import copy

    model = copy.deepcopy(box.model)
    config = LoraConfig(r=3, lora_alpha=12, target_modules=targets, **kind)
    torch.manual_seed(1)
    inject_adapter_in_model(config, model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    write_adapter(adapter_tensors(model), config.to_dict(), to)
    return read_adapter(to, box)


def unpacked(packed: bytes, to: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        file.extractall(to)
    return to


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("targets", [["q", "v"], ["k", "down"], ["out"]], ids="-".join)
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_peft_opens_what_is_taken_away(tmp_path: Path, family: str, targets: list[str], kind: str) -> None:
    box = open_folder(random_box(tmp_path / family, family, seed=3))
    adapter = made(box, tmp_path / "own", targets, **KINDS[kind])
    folder = unpacked(pack(adapter, box), tmp_path / "packed")
    space: dict[str, Any] = {}
    exec(snippet(box, str(folder)), space)
    with torch.inference_mode():
        theirs = space["model"](input_ids=torch.tensor([IDS])).logits
        ours, alone = adapted(box, adapter)(torch.tensor([IDS])), box.model(torch.tensor([IDS]))
        again = adapted(box, read_adapter(folder, box))(torch.tensor([IDS]))
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=2e-5)
    torch.testing.assert_close(ours, again, atol=2e-4, rtol=2e-5)
    assert (ours - alone).abs().max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_merged_is_unmerged_and_rounding_collapses(tmp_path: Path, kind: str) -> None:
    box = open_folder(random_box(tmp_path / "gpt2", "gpt2", seed=3))
    adapter = made(box, tmp_path / "own", ["q", "up"], **KINDS[kind])
    before = {name: tensor.clone() for name, tensor in box.model.state_dict().items()}
    found = compare_merging(box, adapter, IDS)
    assert found.fits
    assert 0 < found.float32 < 1e-3
    assert found.float64 < 1e-11
    assert found.changed > 0.05
    assert found.tokens == len(IDS)
    assert all(torch.equal(box.model.state_dict()[name], tensor) for name, tensor in before.items())
    assert box.dtype == torch.float32


@pytest.fixture
def box(own_home: Path, tmp_path: Path) -> Assembled:
    return open_folder(random_box(tmp_path / "gpt2", "gpt2", seed=3))


def two(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return packed.getvalue()


def test_an_adapter_is_brought_listed_and_thrown_away(box: Assembled, tmp_path: Path) -> None:
    made(box, tmp_path / "own", ["q", "v"])
    first = here.bring(two(tmp_path / "own"), box)
    assert here.bring({"any.zip": zipped({f"a/{k}": v for k, v in two(tmp_path / "own").items()})}, box) == first
    (one,) = here.adapters_here(box.box_id)
    assert (one.id, one.origin, one.box_id) == (first, "brought", box.box_id)
    assert read_adapter(one.folder, box).rank == 3
    assert not here.adapters_here("another")
    here.remove(one)
    assert not here.adapters_here(box.box_id)
    with pytest.raises(AdapterError, match="not here"):
        _ = one.folder


def spoiled(how: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[dict[str, bytes], Path], dict[str, bytes]]:
    def spoil(files: dict[str, bytes], place: Path) -> dict[str, bytes]:
        (place / "w.safetensors").write_bytes(files[WEIGHTS])
        tensors = load_file(place / "w.safetensors")
        how(tensors)
        save_file(tensors, place / "w.safetensors")
        return {**files, WEIGHTS: (place / "w.safetensors").read_bytes()}

    return spoil


def nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def other_names(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[name.replace("attention", "elsewhere")] = tensors.pop(name)


def thinner(tensors: dict[str, torch.Tensor]) -> None:
    for name in list(tensors):
        tensors[name] = (tensors[name][:2] if "lora_A" in name else tensors[name][:, :2]).contiguous()


BAD = {
    "nothing": (lambda files, place: {}, "adapter_files"),
    "config alone": (lambda files, place: {CONFIG: files[CONFIG]}, "adapter_files"),
    "a pickle": (lambda files, place: {CONFIG: files[CONFIG], "adapter_model.bin": b"\x80"}, "adapter_unsafe"),
    "a zip of a pickle": (lambda files, place: {"a.zip": zipped({"adapter_model.bin": b"\x80"})}, "adapter_unsafe"),
    "a zip cut off": (lambda files, place: {"a.zip": zipped(files)[:200]}, "adapter_files"),
    "a zip that swells": (lambda files, place: {"a.zip": zipped({CONFIG: b" " * 2_000_000})}, "adapter_too_big"),
    "too big": (lambda files, place: {WEIGHTS: b"\0" * 100_000_001}, "adapter_too_big"),
    "config of nothing": (lambda files, place: {**files, CONFIG: b"nonsense"}, "adapter_broken"),
    "weights cut off": (lambda files, place: {**files, WEIGHTS: files[WEIGHTS][:100]}, "adapter_broken"),
    "not a number": (spoiled(nan), "adapter_broken"),
    "another rank": (spoiled(thinner), "adapter_broken"),
    "other layers": (spoiled(other_names), "adapter_other_box"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_brought_is_said(box: Assembled, tmp_path: Path, bad: str) -> None:
    made(box, tmp_path / "own", ["q", "v"])
    spoil, code = BAD[bad]
    with pytest.raises(AdapterError, match=code):
        here.bring(spoil(two(tmp_path / "own"), tmp_path), box)  # type: ignore[operator]
    assert not here.adapters_here(box.box_id)


def test_a_trained_one_and_a_classifiers_are_listed(own_home: Path, tmp_path: Path) -> None:
    settings = asked(tmp_path)
    trained = run_train(settings, DirectReport(tmp_path))["adapter"]
    config = {"method": "lora", "rank": 2, "alpha": 8, "targets": ["q", "v"], "learning_rate": 1e-2, "epochs": 1}
    tuned = finetune_job.run({**settings, "held_out": 8, "config": config}, DirectReport(tmp_path))["box"]
    found = {one.id: one for one in here.adapters_here(settings["box_id"])}
    assert {name: one.origin for name, one in found.items()} == {trained: "trained", tuned: "classifier"}
    assert here.base_of(tuned) == settings["box_id"] == here.base_of(settings["box_id"])
    opened, base = open_classifier(tuned), open_folder(Path(settings["box_id"].removeprefix("folder:")))
    adapter = read_adapter(found[tuned].folder, base)
    probs = label_probs(base, opened, adapter, "so good", (0.0, 1.0, 2.0), max_tokens=16)
    merged = predict(opened.classifier, encode_examples(base, ["so good"], [0], max_tokens=16)).numpy()[0]
    assert probs[1] == pytest.approx(merged, abs=1e-5)
    assert np.abs(probs[0] - probs[1]).max() > 1e-4
    assert probs.sum(1) == pytest.approx([1, 1, 1], abs=1e-5)
    here.remove(found[tuned])
    assert tuned in {one.id for one in here.adapters_here(settings["box_id"])}
