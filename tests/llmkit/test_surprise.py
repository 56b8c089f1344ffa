"""Bits a token, a text as a vector, and the model before its first step, each against the reference."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from llmkit.reference import load_reference, open_box, open_folder
from llmkit.trace import TraceError
from llmkit.trace.sentence import sentence_vectors
from llmkit.trace.surprise import surprise
from llmkit.tune.corpus import Source
from llmkit.tune.pretrain import PretrainConfig, Run
from llmkit.tune.untrained import untrained
from tests.llmkit.random_box import random_box

IDS = (5, 9, 77, 200, 31, 8, 8, 8)
TEXTS = ("The movie was good.", "I liked the film a lot, honestly", "這本書很好看。", "x")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_bits_are_the_reference_s_loss(family: str, tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path, family, seed=4), dtype=torch.float64)
    model = load_reference(box, torch.float64)
    ids = torch.tensor([IDS])
    with torch.no_grad():
        out = model(ids, labels=ids)
    found = surprise(box, IDS, top=7)
    assert found.mean_bits * math.log(2) == pytest.approx(float(out.loss), abs=1e-6)  # llama's loss is float32
    probs = out.logits[0, :-1].softmax(-1)
    np.testing.assert_allclose(2**-found.bits, probs[range(7), IDS[1:]].numpy(), atol=1e-9)
    likeliest = probs.topk(7)
    np.testing.assert_array_equal(found.top_ids, likeliest.indices.numpy())
    np.testing.assert_allclose(found.top_probs, likeliest.values.numpy(), atol=1e-9)
    order = probs.argsort(-1, descending=True)
    expected = [order[t].tolist().index(token) + 1 for t, token in enumerate(IDS[1:])]
    assert found.ranks.tolist() == expected
    assert found.hits.tolist() == [rank == 1 for rank in expected]


def test_what_has_no_next_token_is_refused(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "a", "gpt2", seed=4))
    for ids, code in (((), "text_short"), ((3,), "text_short"), ((3,) * 65, "text_too_long")):
        with pytest.raises(TraceError) as caught:
            surprise(box, ids)
        assert caught.value.code == code
        assert caught.value.values == {"tokens": len(ids), "limit": 64}
    with pytest.raises(ValueError, match="predicts no next token"):
        surprise(open_folder(random_box(tmp_path / "b", "bert", seed=4)), IDS)


def mean_pooled(model: transformers.BertModel, ids: list[list[int]]) -> torch.Tensor:
    """One text after another, so that no padding can matter; as sentence-transformers pools and normalises."""
    means = [model(torch.tensor([one])).last_hidden_state[0].mean(0) for one in ids]
    return torch.nn.functional.normalize(torch.stack(means), dim=-1)


def test_vectors_are_the_reference_s_mean_of_states(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path, "bert", seed=2), dtype=torch.float64)
    reference = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False, dtype=torch.float64)
    with torch.no_grad():
        expected = mean_pooled(reference, [list(box.tokenizer.encode(text).ids) for text in TEXTS])
    np.testing.assert_allclose(sentence_vectors(box, TEXTS), expected.numpy(), atol=1e-6)  # given as float32
    for text, code in (("", "text_empty"), ("x" * 65, "text_too_long")):
        with pytest.raises(TraceError) as caught:
            sentence_vectors(box, [*TEXTS, text])
        assert caught.value.code == code


@pytest.mark.registry
def test_minilm_s_vectors_are_transformers_own(standard_kit: tuple[str, ...]) -> None:
    box = open_box("minilm-l6")
    tokenizer = transformers.AutoTokenizer.from_pretrained(box.folder)
    model = transformers.AutoModel.from_pretrained(box.folder).eval()
    batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    weight = batch["attention_mask"][..., None].float()
    means = (states * weight).sum(1) / weight.sum(1).clamp(min=1e-9)
    expected = torch.nn.functional.normalize(means, dim=-1)
    vectors = sentence_vectors(box, TEXTS)
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[3]


def test_the_untrained_box_is_what_a_run_begins_with(tmp_path: Path) -> None:
    text = tuple(f"The cat number {n} sat on the mat, and the dog number {n + 1} sat on the log." for n in range(200))
    sizes = {"vocab_size": 300, "d_model": 24, "n_layers": 2, "n_heads": 2, "max_seq_len": 32}
    config = PretrainConfig(**sizes, batch_size=2, max_steps=1, seed=5)
    run = Run(config, [Source(name="cats", documents=text)], tmp_path / "run")
    box = open_folder(random_box(tmp_path / "box", "gpt2", seed=4))
    (tmp_path / "box/training.json").write_text('{"config": {"seed": 5}}', encoding="utf-8")
    state = torch.random.get_rng_state()
    fresh = untrained(replace(box, config=config.parts))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(fresh.model.state_dict()[name], tensor), name


def test_the_untrained_bundled_box_knows_nothing() -> None:
    box = open_box("gpt2-starter")
    fresh = untrained(box)
    ids = box.tokenizer.encode("The movie was good, and I liked it.").ids
    assert surprise(fresh, ids).mean_bits == pytest.approx(math.log2(box.config.vocab_size), abs=0.5)
    assert surprise(box, ids).mean_bits < surprise(fresh, ids).mean_bits - 5
    with pytest.raises(FileNotFoundError):
        untrained(open_folder(box.folder / "checkpoints/001pct"))
