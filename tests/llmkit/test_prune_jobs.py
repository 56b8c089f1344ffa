"""The jobs of pruning: a cliff beside torch's own pruning, boxes on the shelf beside transformers, sizes as written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from llmkit import shelf
from llmkit.compress import prune_cost, prune_curve, prune_recover
from llmkit.compress.held_out import windows
from llmkit.compress.prune import prunable
from llmkit.compress.prune_box import says_head_count, write_box
from llmkit.compress.prune_ladder import make_ladder, pruned
from llmkit.compress.prune_order import Kind, sizes
from llmkit.jobs import DirectReport
from llmkit.reference import open_box, open_folder
from llmkit.tune.corpus import is_held_out
from tests.llmkit.random_box import random_box

BOX = "gpt2-starter"
PROMPT = "The movie was"


@pytest.mark.registry
def test_the_cliff_is_transformers_loss_with_the_smallest_weights_gone(
    tmp_path: Path, standard_kit: tuple[str, ...]
) -> None:
    report = DirectReport(tmp_path)
    told = prune_curve.run({"box": BOX, "kind": "weights", "prompt": PROMPT}, report)
    folder = shelf.locate(BOX)
    assert folder is not None
    texts = torch.from_numpy(windows(BOX, folder, tokens=64, count=prune_curve.HELD_OUT))
    for step in (0, 5, 9):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        with torch.no_grad():
            for block in model.transformer.h:
                joined = block.attn.c_attn.weight
                for weight in (
                    *joined.chunk(3, dim=1),
                    block.attn.c_proj.weight,
                    block.mlp.c_fc.weight,
                    block.mlp.c_proj.weight,
                ):
                    cut = weight.abs().flatten().sort().values[round(told["shares"][step] * weight.numel()) - 1]
                    if step:
                        weight[weight.abs() <= cut] = 0
            loss = float(model(input_ids=texts, labels=texts).loss)
        # the box was stored as float16: weights at the threshold are equal, and which of them go is open
        assert told["points"]["size"][step]["loss"] == pytest.approx(loss, rel=3e-3 if step else 1e-5)
    losses = {order: [point["loss"] for point in told["points"][order]] for order in ("size", "importance")}
    assert losses["size"][9] > losses["size"][5] > losses["size"][0] == losses["importance"][0]
    assert told["points"]["size"][9]["zeros"] == pytest.approx(0.9, abs=1e-3)
    assert len(report.partials) == 2 * len(told["shares"]) - 1
    with np.load(tmp_path / prune_curve.GONE) as kept:
        gone = kept["size/layers.1.feed_forward.up.weight"]
    weight = prunable(open_box(BOX).model)["layers.1.feed_forward.up.weight"].abs().numpy()
    corner = weight[: prune_curve.CORNER[0], : prune_curve.CORNER[1]]
    edge = np.sort(weight.ravel())[round(0.5 * weight.size)]  # of several equal weights there, which go is open
    assert (gone <= 5)[corner < edge].all()
    assert not (gone <= 5)[corner > edge].any()
    assert 0.3 < (gone <= 5).mean() < 0.7


@pytest.mark.registry
def test_calibration_and_training_read_nothing_that_is_held_out(standard_kit: tuple[str, ...]) -> None:
    folder = shelf.locate(BOX)
    assert folder is not None
    put = open_box(BOX).tokenizer
    read, kept = (
        put.decode(windows(BOX, folder, tokens=64, count=32, held_out=held_out).ravel().tolist())
        for held_out in (False, True)
    )
    texts = [row.text for row in shelf.open_data("reviews-en").rows if 40 < len(row.text) < 120]
    inside = [text for text in texts if text in read]
    assert len(inside) > 3
    assert not any(is_held_out(text) for text in inside)
    assert [text for text in texts if text in kept]
    assert all(is_held_out(text) for text in texts if text in kept)


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
@pytest.mark.parametrize("kind", ["weights", "heads", "neurons", "layers"])
def test_a_pruned_box_is_the_references(tmp_path: Path, family: str, kind: Kind) -> None:
    box = open_folder(random_box(tmp_path / "box", family, seed=7))
    ladder = make_ladder(kind, sizes(kind, box.model, box.config), box.config)
    step = 5 if kind in ("weights", "neurons") else 1
    machine, config = pruned(box.model, box.config, ladder, step)
    (tmp_path / "new").mkdir()
    write_box(box, machine, config, ladder.keeps(step)["heads"] if kind == "heads" else None, tmp_path / "new")
    auto = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    theirs = auto.from_pretrained(tmp_path / "new", dtype=torch.float32).eval()
    opened = open_folder(tmp_path / "new")
    ids = torch.arange(5, 45)[None]
    with torch.no_grad():
        wanted = machine(ids)
        torch.testing.assert_close(opened.model(ids), wanted, rtol=0, atol=1e-4)
        torch.testing.assert_close(theirs(ids).logits, wanted, rtol=0, atol=1e-4)
    old, new = ((folder / "model.safetensors").stat().st_size for folder in (tmp_path / "box", tmp_path / "new"))
    really = kind in ("neurons", "layers") or (kind == "heads" and family == "llama")
    assert (new < old * 0.97) == really
    if kind == "heads":
        assert says_head_count(box, config) == (family == "llama")
        raw = json.loads((tmp_path / "new" / "config.json").read_text())
        assert family != "llama" or (raw["num_attention_heads"], raw["head_dim"], raw["num_key_value_heads"]) == (
            2,
            6,
            2,
        )


@pytest.mark.registry
@pytest.mark.parametrize(
    ("box_id", "kind", "step"), [(BOX, "heads", 3), (BOX, "weights", 7), ("minilm-l6", "layers", 2)]
)
def test_a_pruned_box_recovers_and_lies_on_the_shelf(
    tmp_path: Path, standard_kit: tuple[str, ...], box_id: str, kind: Kind, step: int
) -> None:
    steps = 12
    settings = {"box": box_id, "kind": kind, "order": "importance", "step": step, "steps": steps, "prompt": PROMPT}
    told = prune_recover.run(settings, DirectReport(tmp_path))
    try:
        original, before, after = (told[name]["loss"] for name in ("original", "before", "after"))
        assert original < before
        assert after < before
        assert len(told["losses"]) == steps
        assert told["box"] in shelf.boxes_here("model")
        made = open_box(told["box"])
        again = prune_curve.Gauge(open_box(box_id), PROMPT).measure.loss(made.model)
        assert again == pytest.approx(after, abs=1e-5)
        if kind == "weights":
            zeros = [(weight == 0).double().mean() for weight in prunable(made.model).values()]
            assert all(float(share) == pytest.approx(0.7, abs=1e-3) for share in zeros)
        if box_id == "minilm-l6":
            theirs = AutoModel.from_pretrained(made.folder, dtype=torch.float32).eval()
            ids = torch.tensor([made.tokenizer.encode(PROMPT).ids])
            with torch.no_grad():
                torch.testing.assert_close(theirs(ids).last_hidden_state, made.model(ids), rtol=0, atol=1e-4)
            assert made.config.n_layers == 4
    finally:
        shelf.remove(told["box"])


def test_what_is_saved_is_what_is_written(tmp_path: Path) -> None:
    told = prune_cost.run({"box": BOX}, DirectReport(tmp_path))
    rows = told["sizes"]["rows"]
    weights = [weight.detach().numpy() for weight in prunable(open_box(BOX).model).values()]
    assert told["sizes"]["layers"] == told["layers"] == 6
    numbers = sum(weight.size for weight in weights)
    assert rows[0]["dense"] == rows[2]["dense"]
    assert 0 <= rows[0]["dense"] - 4 * numbers < 10_000
    stay = sum(weight.size - round(0.9 * weight.size) for weight in weights)
    assert rows[2]["csr"] == pytest.approx(8 * stay + 4 * sum(len(weight) + 1 for weight in weights), rel=1e-3)
    assert rows[0]["zipped"] > rows[1]["zipped"] > rows[2]["zipped"]
    machines = {row["kind"]: row for row in told["machines"]}
    assert machines["weights"]["bytes"] == machines["original"]["bytes"]
    for kind in ("heads", "neurons", "layers"):
        assert machines[kind]["bytes"] < machines["original"]["bytes"]
        assert 4 * machines[kind]["parameters"] == pytest.approx(machines[kind]["bytes"], rel=1e-2)
    assert all(row["ms"]["low"] <= row["ms"]["median"] <= row["ms"]["high"] for row in told["machines"])
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_sparse_product_is_the_dense_one() -> None:
    matrix = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    matrix[matrix.abs() < 0.7] = 0
    text = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    sparse = prune_cost.as_csr(matrix)
    torch.testing.assert_close(sparse @ text, matrix @ text)
    filled = int((matrix != 0).sum())
    assert prune_cost.csr_bytes(matrix) == 8 * filled + 4 * 13
