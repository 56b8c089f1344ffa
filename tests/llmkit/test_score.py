"""Answers scored behind a shared prefix, against transformers' own log_softmax, token by token, in float64."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit import shelf
from llmkit.generate import score
from llmkit.generate.errors import GenerateError
from llmkit.generate.score import Question, answer_logprobs, label_logprobs, read_prefix, split_at_seam
from llmkit.reference import Assembled, open_box
from llmkit.reference.box import open_folder
from tests.llmkit.random_box import random_box

PREFIX = tuple(b"Review: a fine film\nSentiment:")
ANSWERS = ((32, 112), (32, 112, 111, 115), (7,), (32, 112, 111, 99, 9), (40, 41))


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    folder = random_box(tmp_path_factory.mktemp(request.param), request.param, seed=11)
    return open_folder(folder, dtype=torch.float64)


@cache
def opened(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, local_files_only=True).eval()


def reference(folder: Path, ids: tuple[int, ...], answer: tuple[int, ...]) -> float:
    """The answer's summed log-probability, the whole text read at once by the reference."""
    with torch.no_grad():
        logits = opened(folder)(torch.tensor([ids + answer])).logits[0].log_softmax(-1)
    return sum(float(logits[len(ids) + at - 1, token]) for at, token in enumerate(answer))


def test_scores_are_the_references(box: Assembled) -> None:
    expected = [reference(box.folder, PREFIX, answer) for answer in ANSWERS]
    np.testing.assert_allclose(label_logprobs(box, PREFIX, ANSWERS), expected, atol=1e-9)
    assert np.ptp(expected) > 0.5


def test_scores_on_the_bundled_box() -> None:
    box = open_box("gpt2-starter", dtype=torch.float64)
    ids, answers = split_at_seam(
        box.tokenizer, "這本書很好看。 The movie was", [" good", " really bad", "很"], specials=True
    )
    folder = shelf.locate("gpt2-starter")
    assert folder is not None
    expected = [reference(folder, ids, answer) for answer in answers]
    np.testing.assert_allclose(label_logprobs(box, ids, answers), expected, atol=1e-8)


def test_a_shared_prefix_changes_nothing(box: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [
        Question(ids=PREFIX[at : at + length], answers=ANSWERS[:count])
        for at, length, count in ((0, 3, 5), (2, 9, 2), (1, 1, 3), (5, 4, 1))
    ]
    prefix = read_prefix(box, PREFIX[:20])
    together = answer_logprobs(box, prefix, questions)
    for found, question in zip(together, questions, strict=True):
        alone = [reference(box.folder, PREFIX[:20] + question.ids, answer) for answer in question.answers]
        np.testing.assert_allclose(found, alone, atol=1e-9)
    monkeypatch.setattr(score, "CACHE_BYTES", 1)  # one row a batch
    for one, other in zip(answer_logprobs(box, prefix, questions), together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_a_prefix_is_read_once_and_never_changes(box: Assembled) -> None:
    read: list[int] = []
    handle = box.model.layers[0].register_forward_pre_hook(lambda _, args: read.append(args[0].shape[1]))
    try:
        short = read_prefix(box, PREFIX[:10])
        before = {layer: kept.clone() for layer, kept in short.cache.keys.items()}
        longer = read_prefix(box, PREFIX[:16], after=short)
        other = read_prefix(box, (*PREFIX[:6], 1, 2), after=longer)
        same = read_prefix(box, PREFIX[:8], after=longer)
        answer_logprobs(box, longer, [Question(ids=(1, 2), answers=ANSWERS)])
    finally:
        handle.remove()
    assert read[:3] == [10, 6, 2]
    assert [one.cache.seq_len for one in (short, longer, other, same)] == [10, 16, 8, 8]
    for layer, kept in short.cache.keys.items():
        torch.testing.assert_close(kept, before[layer], rtol=0, atol=0)
    fresh = read_prefix(box, other.ids)
    for layer, kept in other.cache.values.items():
        torch.testing.assert_close(kept, fresh.cache.values[layer], rtol=1e-9, atol=1e-9)
    assert score.kv_bytes(box, 16) == longer.cache.size_bytes


def test_answers_that_begin_alike_are_read_together() -> None:
    assert score._heads([(1, 2, 3), (1, 2, 4), (1,), (5,)]) == [(1, 2)]
    assert score._heads([(1,), (2,)]) == [()]
    assert score._heads([(1, 2), (3, 4, 5)]) == [(1,), (3, 4)]


def test_a_torn_token_goes_to_the_answer() -> None:
    tokenizer = open_box("gpt2-starter").tokenizer
    text, answers = "The movie was go", ["od", "ne"]
    ids, parts = split_at_seam(tokenizer, text, answers)
    own = tokenizer.encode(text, specials=False).ids
    assert ids == own[: len(ids)]
    for part, answer in zip(parts, answers, strict=True):
        assert ids + part == tokenizer.encode(text + answer, specials=False).ids
    assert len(ids) < len(own)  # "go" is no token of "good"
    clean, _ = split_at_seam(tokenizer, "The movie was", [" good", " bad"])
    assert clean == tokenizer.encode("The movie was", specials=False).ids


@pytest.mark.parametrize(
    ("prefix", "answers", "code"),
    [
        ((), ((1,),), "prompt_empty"),
        ((1, 2), ((1,), ()), "answer_empty"),
        ((1, 2), (), "answer_empty"),
        ((1,) * 64, ((1, 2),), "prompt_too_long"),
        ((1,) * 66, ((1,),), "prompt_too_long"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    box: Assembled, prefix: tuple[int, ...], answers: tuple[tuple[int, ...], ...], code: str
) -> None:
    with pytest.raises(GenerateError) as caught:
        label_logprobs(box, prefix, answers)
    assert caught.value.code == code
    if code == "prompt_too_long":
        assert caught.value.values["limit"] == 64


def test_the_last_token_of_an_answer_needs_no_place(box: Assembled) -> None:
    ids = tuple(range(64))
    assert label_logprobs(box, ids, ((9,),))[0] == pytest.approx(reference_last(box, ids, 9), abs=1e-6)


def reference_last(box: Assembled, ids: tuple[int, ...], token: int) -> float:
    with torch.no_grad():
        return float(opened(box.folder)(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token])


def test_an_empty_answer_and_an_empty_text_are_refused() -> None:
    tokenizer = open_box("gpt2-starter").tokenizer
    for text, answers, code in (("a", ["b", ""], "answer_empty"), ("", ["a"], "prompt_empty")):
        with pytest.raises(GenerateError) as caught:
            split_at_seam(tokenizer, text, answers)
        assert caught.value.code == code


def test_a_box_that_looks_both_ways_cannot_be_prompted(tmp_path: Path) -> None:
    encoder = open_folder(random_box(tmp_path / "bert", "bert", seed=2))
    with pytest.raises(GenerateError, match="no_next_token"):
        label_logprobs(encoder, (1, 2), ((3,),))


def test_probabilities_of_all_answers_add_up_to_one(box: Assembled) -> None:
    every = label_logprobs(box, PREFIX, tuple((token,) for token in range(256)))
    assert np.exp(every).sum() == pytest.approx(1, abs=1e-9)
    assert all(a != b for a, b in pairwise(sorted(every)))
