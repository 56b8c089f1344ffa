"""The next token's logits and odds as arrays: the reference's logits, its processors' odds, the draw of a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit.generate.decode import sampled, stream
from llmkit.generate.errors import GenerateError
from llmkit.generate.next_token import draw_next, filtered, next_logits
from llmkit.generate.sampling import STAGES, Sampling
from llmkit.reference.box import open_folder
from tests.llmkit.random_box import random_box

PROMPT = list(b"The movie was")


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_are_the_references(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    folder = random_box(tmp_path / family, family, seed=5)
    box = open_folder(folder, dtype=dtype)
    with torch.no_grad():
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()(torch.tensor([PROMPT])).logits[0, -1]
    found = next_logits(box, PROMPT)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.numpy(), atol=1e-5)


def test_a_prompt_fills_the_context_and_no_more(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "gpt2", "gpt2", seed=5))
    assert next_logits(box, [1] * 64).shape == (256,)
    for ids, code in (([], "prompt_empty"), ([1] * 65, "prompt_too_long")):
        with pytest.raises(GenerateError) as error:
            next_logits(box, ids)
        assert error.value.code == code


def test_an_encoder_predicts_nothing(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "bert", "bert", seed=5))
    with pytest.raises(GenerateError) as error:
        next_logits(box, PROMPT)
    assert error.value.code == "no_next_token"


def test_the_first_token_of_a_text_is_the_one_that_is_drawn(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "gpt2", "gpt2", seed=5))
    logits = next_logits(box, PROMPT)
    drawn = []
    for seed in range(8):
        sampling = Sampling(temperature=1.3, top_p=0.9, repetition_penalty=1.2, seed=seed)
        text = list(stream(box, PROMPT, max_new_tokens=1, choose=sampled(sampling)))
        drawn.append(draw_next(logits, sampling, PROMPT))
        assert drawn[-1] == text[0].token_id
    assert len(set(drawn)) > 2
    assert draw_next(logits, Sampling(temperature=0.0), PROMPT) == int(logits.argmax())


def test_odds_are_the_stages_and_nothing_is_changed_in_place(tmp_path: Path) -> None:
    logits = np.linspace(-3, 4, 50, dtype=np.float32)
    before = logits.copy()
    found = filtered(logits, Sampling(temperature=0.5, top_k=7, top_p=0.8, min_p=0.1, repetition_penalty=2.0), [49, 0])
    assert tuple(one.name for one in found) == STAGES
    np.testing.assert_array_equal(logits, before)
    raw = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(found[0].probs, raw / raw.sum(), atol=1e-6)
    assert [one.kept for one in found][:4] == [50, 50, 50, 7]
    assert found[1].logits[49] == pytest.approx(2.0)
    assert found[1].logits[0] == pytest.approx(-6.0)
