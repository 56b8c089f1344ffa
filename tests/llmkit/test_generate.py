"""Decoding against the reference's own generate(), cached against uncached, rows of a batch against one alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from llmkit.generate import GenerateError, generate_batch, greedy, stream
from llmkit.parts import assemble
from llmkit.parts import gpt2 as gpt2_parts
from llmkit.reference import Assembled, load_reference, open_box, open_folder
from tests.llmkit.random_box import CONFIGS, SIZES, random_box

LLAMA = dict(SIZES, intermediate_size=40, num_key_value_heads=2, max_position_embeddings=64)
SCALINGS = {
    "linear": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
        "rope_theta": 10_000.0,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10_000.0},
}
FAMILIES = ("gpt2", "llama", *SCALINGS)
PROMPTS = ((5, 9, 77, 200, 31, 8), (44,), (1, 2, 3), (250, 17, 17, 17, 17, 99, 3, 8, 120, 0, 64))


def make_box(path: Path, family: str) -> Path:
    if family in CONFIGS:
        return random_box(path, family, seed=11)
    folder = random_box(path, "llama", seed=11)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, rope_parameters=SCALINGS[family]))
    model.load_state_dict(transformers.LlamaForCausalLM.from_pretrained(folder).state_dict())
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    return open_folder(make_box(tmp_path_factory.mktemp(request.param), request.param), dtype=torch.float64)


@cache
def reference(folder: Path, dtype: torch.dtype) -> Any:
    return load_reference(open_folder(folder), dtype)


def theirs(box: Assembled, prompt: Sequence[int], n: int, **settings: object) -> list[int]:
    """What the reference goes on with."""
    model = reference(box.folder, box.dtype)
    ids = torch.tensor([list(prompt)])
    settings = {"eos_token_id": None, "pad_token_id": 0, **settings}
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, **settings)
    return out[0, len(prompt) :].tolist()


def ours(box: Assembled, prompt: Sequence[int], n: int, **settings: object) -> list[int]:
    return [step.token_id for step in stream(box, prompt, max_new_tokens=n, **settings)]


@pytest.mark.parametrize("prompt", PROMPTS, ids=len)
def test_the_same_tokens_as_the_reference(box: Assembled, prompt: tuple[int, ...]) -> None:
    assert ours(box, prompt, 40) == theirs(box, prompt, 40)


def test_logprobs_are_the_reference_log_softmax(box: Assembled) -> None:
    steps = list(stream(box, PROMPTS[0], max_new_tokens=12))
    ids = [*PROMPTS[0], *(step.token_id for step in steps)]
    with torch.no_grad():
        logits = reference(box.folder, torch.float64)(torch.tensor([ids])).logits[0]
    expected = logits.log_softmax(-1)[range(len(PROMPTS[0]) - 1, len(ids) - 1), ids[len(PROMPTS[0]) :]]
    assert [step.logprob for step in steps] == pytest.approx(expected.tolist(), abs=1e-9)


def test_a_cache_changes_no_logit(box: Assembled) -> None:
    seen: list[Tensor] = []

    def look(logits: Tensor, ids: Sequence[int], /) -> int:
        seen.append(logits)
        assert len(ids) == len(PROMPTS[0]) + len(seen) - 1
        return greedy(logits)

    new = ours(box, PROMPTS[0], 12, choose=look)
    with torch.inference_mode():
        whole = box.model(torch.tensor([[*PROMPTS[0], *new[:-1]]]))[0, len(PROMPTS[0]) - 1 :]
    torch.testing.assert_close(torch.stack(seen), whole, atol=1e-10, rtol=0)


def test_a_row_of_a_batch_is_what_it_is_alone(box: Assembled) -> None:
    alone = [tuple(ours(box, prompt, 100)) for prompt in PROMPTS]
    assert generate_batch(box, PROMPTS, max_new_tokens=100) == alone
    assert [len(ids) for ids in alone] == [64 - len(prompt) + 1 for prompt in PROMPTS]  # to the end of the context


def test_a_row_that_has_ended_stays_ended(box: Assembled) -> None:
    free = [ours(box, prompt, 30) for prompt in PROMPTS]
    stops = {free[0][4], free[2][9]}
    ended = generate_batch(box, PROMPTS, max_new_tokens=30, stop_ids=stops)
    assert ended == [tuple(ours(box, prompt, 30, stop_ids=stops)) for prompt in PROMPTS]
    for ids, whole in zip(ended, free, strict=True):
        assert list(ids) == whole[: len(ids)]
        assert not stops & set(ids[:-1])
        assert ids[-1] in stops or len(ids) == 30
    assert len({len(ids) for ids in ended}) > 1
    assert list(ended[0]) == theirs(box, PROMPTS[0], 30, eos_token_id=sorted(stops))


def test_choose_decides_and_the_logprob_stays_the_model_s(box: Assembled) -> None:
    def second(logits: Tensor, _ids: Sequence[int], /) -> int:
        return int(logits.topk(2).indices[1])

    step = next(stream(box, PROMPTS[0], max_new_tokens=1, choose=second))
    with torch.no_grad():
        logits = reference(box.folder, torch.float64)(torch.tensor([PROMPTS[0]])).logits[0, -1]
    assert step.token_id == int(logits.argsort(descending=True)[1])
    assert step.logprob == pytest.approx(float(logits.log_softmax(-1)[step.token_id]), abs=1e-9)


def test_nothing_to_make(box: Assembled) -> None:
    assert ours(box, PROMPTS[0], 0) == []
    assert generate_batch(box, PROMPTS, max_new_tokens=0) == [()] * 4
    assert generate_batch(box, (), max_new_tokens=5) == []


def test_what_cannot_be_gone_on_with_is_refused_at_once(box: Assembled, tmp_path: Path) -> None:
    for prompt, code, tokens in (((), "prompt_empty", 0), ((1,) * 65, "prompt_too_long", 65)):
        for refuse in (
            lambda p=prompt: stream(box, p, max_new_tokens=1),
            lambda p=prompt: generate_batch(box, [(1,), p], max_new_tokens=1),
        ):
            with pytest.raises(GenerateError) as caught:
                refuse()
            assert (caught.value.code, caught.value.values["tokens"], caught.value.values["limit"]) == (
                code,
                tokens,
                64,
            )
    assert len(ours(box, (1,) * 64, 9)) == 1
    both_ways = open_folder(random_box(tmp_path, "bert", seed=1))
    with pytest.raises(GenerateError) as caught:
        stream(both_ways, (1, 2), max_new_tokens=1)
    assert caught.value.code == "no_next_token"


def test_no_mode_leaks_to_who_reads_the_stream(box: Assembled) -> None:
    for _ in stream(box, (1, 2), max_new_tokens=3):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("positions", ["alibi", "none", "sinusoidal", "learned"])
def test_padding_keeps_every_encoding_s_positions(positions: str) -> None:
    torch.manual_seed(3)
    parts = gpt2_parts(vocab_size=256, d_model=24, n_layers=2, n_heads=3, max_seq_len=32)
    config = replace(parts, positions=positions, tied=False)  # type: ignore[arg-type]
    model = assemble(config).double().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.3)
    made = replace(open_box("gpt2-starter"), model=model, config=config)
    assert generate_batch(made, PROMPTS, max_new_tokens=12) == [tuple(ours(made, p, 12)) for p in PROMPTS]
    one_by_one = list(PROMPTS[0])
    for _ in range(12):
        one_by_one.append(int(model(torch.tensor([one_by_one]))[0, -1].argmax()))
    assert ours(made, PROMPTS[0], 12) == one_by_one[len(PROMPTS[0]) :]


def test_the_bundled_box_goes_on_as_the_reference_does() -> None:
    box = open_box("gpt2-starter")
    texts = ("The movie was", "這本書", "春眠不覺曉,處處聞啼鳥。夜來風雨聲", "I")
    prompts = [box.tokenizer.encode(text).ids for text in texts]
    expected = [theirs(box, prompt, 40, eos_token_id=0) for prompt in prompts]
    assert [ours(box, prompt, 40, stop_ids=(0,)) for prompt in prompts] == expected
    assert [list(ids) for ids in generate_batch(box, prompts, max_new_tokens=40, stop_ids=(0,))] == expected


@pytest.mark.registry
@pytest.mark.slow
def test_the_instruct_box_goes_on_as_the_reference_does(standard_kit: tuple[str, ...]) -> None:
    box = open_box("smollm2-135m-instruct")
    prompts = [box.tokenizer.encode(text).ids for text in ("The capital of France is", "Once upon a time there was a")]
    expected = [theirs(box, prompt, 12) for prompt in prompts]
    assert [ours(box, prompt, 12) for prompt in prompts] == expected
    assert [list(ids) for ids in generate_batch(box, prompts, max_new_tokens=12)] == expected
