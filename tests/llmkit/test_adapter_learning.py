"""What learns by each method, texts of every kind, and QLoRA's 4-bit matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llmkit.reference import open_box
from llmkit.tune import adapter_train, qlora
from llmkit.tune.adapter_learning import METHODS, adapter_learns, learner
from llmkit.tune.adapter_texts import fingerprint, open_texts, sources_here
from llmkit.tune.adapter_train import AdapterConfig, train_adapter
from llmkit.tune.data.prepared import PreparedRow, keep
from llmkit.tune.data.source import keep_file
from llmkit.tune.errors import TuneError
from tests.llmkit.random_box import random_box
from tests.llmkit.told import kept, rows

TEXTS = [row.text for row in rows(24)]


@pytest.mark.parametrize("method", METHODS[:-1])
@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_what_is_counted_is_what_learns(tmp_path: Path, family: str, method: str) -> None:
    box_id = f"folder:{random_box(tmp_path / family, family, seed=3)}"
    config = AdapterConfig(rank=3, alpha=6, targets=("q", "down"), batch_size=4, max_tokens=16)
    counted = adapter_learns(box_id, method, config)
    model, loss, tokens = learner(open_box(box_id), TEXTS, method, config)
    assert counted.learning == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counted.total == sum(p.numel() for p in model.parameters())
    assert loss().item() > 0
    assert 0 < tokens <= 4 * 16
    assert {"q", "down"} <= set(counted.linears)


def test_a_line_is_a_text_and_a_part_only_measures(own_home: Path) -> None:
    lines = [f"line {n}" for n in range(40)]
    source = keep_file("\n\n".join([*lines, lines[0]]).encode(), "lines.txt")
    texts = open_texts(source, expected=fingerprint(source))
    assert sorted([*texts.train, *texts.held_out]) == sorted(lines)
    assert len(texts.held_out) == 4
    assert not texts.labels
    few = open_texts(keep_file(b"a b\nc d\ne f\ng h", "few.txt"))
    assert (len(few.train), len(few.held_out)) == (2, 2)


def test_prepared_rows_come_with_and_without_labels(own_home: Path) -> None:
    told = kept(rows(96))
    whole, yes = open_texts(told), open_texts(told, label="yes")
    assert whole.labels == ("no", "yes")
    assert 0 < len(yes.train) < len(whole.train)
    assert all(any(word in text for word in ("good", "lovely", "funny", "strong")) for text in yes.train)
    plain = [PreparedRow(f"text {n}", None, "validation" if n % 5 == 0 else "train", n) for n in range(20)]
    about = keep(
        plain, name="p.csv", text="text", label=None, threshold=None, mendings=(), seed=0, shares=(0.8, 0.1, 0.1)
    )
    texts = open_texts(about.id)
    assert (len(texts.train), len(texts.held_out), texts.labels) == (16, 4, ())
    assert set(sources_here()) == {told, about.id}
    with pytest.raises(TuneError, match="data_changed"):
        open_texts(told, expected="another")


def test_without_a_gpu_or_bitsandbytes_qlora_says_so(own_home: Path, tmp_path: Path) -> None:
    missing = qlora.why_not()
    if missing is None:
        pytest.skip("QLoRA can run here")
    assert missing.values["detail"]
    box = open_box(f"folder:{random_box(tmp_path / 'gpt2', 'gpt2', seed=3)}")
    texts = [box.tokenizer.encode(text).ids for text in TEXTS]
    with pytest.raises(TuneError, match="qlora_missing"):
        train_adapter(box, texts, texts, AdapterConfig(kind="qlora", steps=1))


def test_qlora_learns_beside_four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(adapter_train, "why_no_qlora", lambda: None)  # on a CPU it computes, too, only slowly
    box = open_box("gpt2-starter")
    texts = [box.tokenizer.encode(text).ids for text in TEXTS]
    config = AdapterConfig(kind="qlora", rank=2, alpha=8, targets=("q", "up"), steps=8, learning_rate=1e-2)
    made = train_adapter(box, texts, texts, config)
    lora = train_adapter(box, texts, texts, replace(config, kind="lora"))
    attention = made.model.layers[0].attention
    assert isinstance(attention.k, bnb.nn.Linear4bit)
    assert attention.k.weight.dtype == torch.uint8
    assert attention.q.lora_A["default"].weight.dtype == torch.float32
    assert made.learning == lora.learning
    assert made.losses[0] == pytest.approx(lora.losses[0], rel=0.05)
    assert made.after < made.before
    assert box.model.layers[0].attention.k.weight.dtype == torch.float32
