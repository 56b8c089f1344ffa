"""Text adapters, trained, kept, measured and asked, with tiny random boxes; and the one that fine-tuning keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer

from llmkit import shelf
from llmkit.generate.errors import GenerateError
from llmkit.jobs import Cancelled, DirectReport
from llmkit.reference import open_box
from llmkit.tune import finetune_job
from llmkit.tune.adapter import adapted, changes, read_adapter
from llmkit.tune.adapter_job import adapter_folder, adapters_of, run_memory, run_strength, run_train
from llmkit.tune.adapter_step import measure
from llmkit.tune.adapter_train import AdapterConfig, next_token_loss, train_adapter
from llmkit.tune.classifier_box import open_classifier
from llmkit.tune.errors import TuneError
from llmkit.tune.labelled import fingerprint
from tests.llmkit.random_box import random_box
from tests.llmkit.told import kept, rows


def asked(path: Path, family: str = "gpt2", **config: Any) -> dict[str, Any]:
    data, box_id = kept(rows(96)), f"folder:{random_box(path / family, family, seed=3)}"
    settings = {"kind": "lora", "rank": 2, "alpha": 8, "targets": ["q", "v"], "steps": 12, "learning_rate": 1e-2}
    return {
        "box_id": box_id,
        "fingerprint": shelf.fingerprint(box_id),
        "data": data,
        "data_fingerprint": fingerprint(data),
        "label": None,
        "rows": 64,
        "device": "cpu",
        "config": {**settings, "batch_size": 4, "max_tokens": 16, "seed": 0, **config},
    }


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_an_adapter_learns_is_kept_and_is_asked(own_home: Path, tmp_path: Path, family: str, kind: str) -> None:
    settings = asked(tmp_path, family, kind=kind)
    report = DirectReport(tmp_path)
    made = run_train(settings, report)
    assert made["after"] < made["before"]
    assert len(made["curve"]) == len(report.partials) == 12
    box = open_box(settings["box_id"])
    adapter = read_adapter(adapter_folder(made["adapter"]), box)
    assert (adapter.dora, adapter.rslora) == (kind == "dora", kind == "rslora")
    assert made["learning"] == adapter.parameters
    assert made["total"] == adapter.parameters + sum(p.numel() for p in box.model.parameters())
    assert [note["id"] for note in adapters_of(settings["box_id"])] == [made["adapter"]]
    if kind == "lora":
        assert {one.nonzero() for one in changes(adapter, box)} <= {1, 2}
    strengths = [0.0, 1.0, 2.0]
    told = run_strength(
        {**settings, "adapter": made["adapter"], "prompt": "so good", "max_new_tokens": 5, "strengths": strengths},
        report,
    )
    given = torch.tensor([box.tokenizer.encode("so good").ids])
    for answer in told["answers"]:
        with torch.inference_mode():
            probs = adapted(box, adapter, answer["strength"])(given)[0, -1].softmax(-1)
        assert max(p for _, p in answer["next"]) <= float(probs.max()) + 1e-6
        assert all(any(abs(float(q) - p) < 1e-6 for q in probs) for _, p in answer["next"])
    assert told["answers"][0]["next"] != told["answers"][1]["next"]


def test_the_losses_are_those_of_a_loop_with_peft(own_home: Path, tmp_path: Path) -> None:
    import copy

    box = open_box(asked(tmp_path)["box_id"])
    texts = [box.tokenizer.encode(row.text).ids for row in rows(24)]
    config = AdapterConfig(rank=2, alpha=8, steps=3, batch_size=24, max_tokens=64, learning_rate=1e-2)
    ours = train_adapter(box, texts, texts, config).losses
    model = copy.deepcopy(box.model).requires_grad_(False)
    torch.manual_seed(0)
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=8, target_modules=["q", "v"]), model)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-2, weight_decay=0.0)
    theirs = []
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 3)
        each = [torch.nn.functional.cross_entropy(model(torch.tensor([t]))[0, :-1], torch.tensor(t[1:])) for t in texts]
        loss = sum(one * (len(t) - 1) for one, t in zip(each, texts, strict=True)) / sum(len(t) - 1 for t in texts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        theirs.append(float(loss))
    assert list(ours) == pytest.approx(theirs, abs=2e-5)
    assert float(next_token_loss(box.model, texts, box.device)) == pytest.approx(ours[0], abs=1e-6)


def test_a_step_is_measured_in_a_process_of_its_own(own_home: Path, tmp_path: Path) -> None:
    settings = asked(tmp_path)
    methods = ("full", "frozen", "lora", "dora")
    found = run_memory({**settings, "methods": list(methods)}, DirectReport(tmp_path))["methods"]
    full, frozen, lora, dora = (found[name] for name in methods)
    weights = sum(p.numel() for p in open_box(settings["box_id"]).model.parameters())
    assert full["learning"] == full["total"] == weights
    assert full["gradients"] == 4 * weights
    assert full["optimizer"] >= 8 * weights
    assert lora["learning"] == 2 * 2 * 2 * (24 + 24)
    assert dora["learning"] == lora["learning"] + 2 * 2 * 24
    assert lora["gradients"] == 4 * lora["learning"]
    assert frozen["learning"] == 2 * 24 + 256 * 24  # the final norm, and the token table that is the head
    assert lora["loss"] == frozen["loss"] == pytest.approx(full["loss"], abs=1e-5)
    assert all(one["peak"] > one["before"] > 0 for one in found.values())


@pytest.mark.parametrize("method", ["full", "frozen", "dora"])
def test_an_encoders_step_is_that_of_a_classifier(own_home: Path, tmp_path: Path, method: str) -> None:
    settings = {**asked(tmp_path, "bert"), "method": method}
    found = measure(settings)
    body = sum(p.numel() for p in open_box(settings["box_id"]).model.with_parts(unembedding=None).parameters())
    head = 2 * 24 + 2
    adapters = 2 * 2 * 2 * (24 + 24) + 2 * 2 * 24
    assert found["learning"] == {"full": body + head, "frozen": head, "dora": adapters + head}[method]
    assert found["gradients"] == 4 * found["learning"]
    assert found["optimizer"] >= 8 * found["learning"]
    assert found["peak"] > found["before"] > 0


def test_what_cannot_be_learned_is_said(own_home: Path, tmp_path: Path) -> None:
    settings = asked(tmp_path)
    with pytest.raises(TuneError, match="no_targets"):
        run_train({**settings, "config": {**settings["config"], "targets": ["gate"]}}, DirectReport(tmp_path))
    with pytest.raises(TuneError, match="too_few_examples"):
        run_train({**settings, "label": "perhaps"}, DirectReport(tmp_path))
    with pytest.raises(TuneError, match="setting_out_of_range"):
        run_train({**settings, "config": {**settings["config"], "rank": 0}}, DirectReport(tmp_path))
    with pytest.raises(GenerateError, match="no_next_token"):
        run_train(asked(tmp_path, "bert"), DirectReport(tmp_path))
    stopped = DirectReport(tmp_path)
    stopped.cancelled = True
    with pytest.raises(Cancelled):
        run_train(settings, stopped)
    assert not adapters_of(settings["box_id"])


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_fine_tuning_keeps_the_adapter_that_it_merges(own_home: Path, tmp_path: Path, family: str) -> None:
    settings = asked(tmp_path, family)
    config = {"method": "lora", "rank": 2, "alpha": 8, "targets": ["q", "v"], "learning_rate": 1e-2, "epochs": 1}
    done = finetune_job.run({**settings, "held_out": 8, "config": config}, DirectReport(tmp_path))
    tuned = open_classifier(done["box"])
    box = open_box(settings["box_id"])
    folder = tuned.box.folder / finetune_job.ADAPTER
    adapter = read_adapter(folder, box)
    with torch.inference_mode():
        given = torch.tensor([[5, 9, 200, 77]])
        states = adapted(box, adapter).with_parts(unembedding=None)(given)
        torch.testing.assert_close(tuned.classifier.body(given), states, atol=1e-4, rtol=1e-5)
    assert LoraLayer not in map(type, tuned.classifier.modules())
