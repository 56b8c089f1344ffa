"""The sampling pipeline against transformers' own processors, and its draws against the odds."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from llmkit.generate.sampling import STAGES, Sampling, SamplingError, Stage, draw, stages

V = 1_000


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(V, generator=torch.Generator().manual_seed(7)) * 4


def last(made: tuple[Stage, ...]) -> torch.Tensor:
    return made[-1].logits


@pytest.mark.parametrize("temperature", [0.05, 0.7, 1.0, 3.0, 100.0])
@pytest.mark.parametrize("top_k", [0, 1, 40, V, 10 * V])
@pytest.mark.parametrize("top_p", [1e-6, 0.1, 0.9, 1.0])
def test_the_whole_pipeline_is_that_of_the_reference(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float
) -> None:
    history = [3, 3, 999, 0]
    processors = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(1.3), TemperatureLogitsWarper(temperature)])
    if top_k:
        processors.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        processors.append(TopPLogitsWarper(top_p))
    processors.append(MinPLogitsWarper(0.02))
    theirs = processors(torch.tensor([history]), logits[None].clone())[0]
    settings = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=0.02, repetition_penalty=1.3)
    assert torch.equal(last(stages(logits, settings, history)), theirs)


def test_the_order_is_that_of_generate() -> None:
    """`generate` builds its list from a configuration: ours acts in the same order."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tiny = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=8, n_layer=1, n_head=1, n_positions=8))
    asked = GenerationConfig(do_sample=True, temperature=0.7, top_k=5, top_p=0.9, min_p=0.1, repetition_penalty=1.2)
    made = tiny._get_logits_processor(asked, 1, None, None, LogitsProcessorList(), device="cpu")
    names = [type(one).__name__.removesuffix("LogitsProcessor").removesuffix("LogitsWarper") for one in made]
    assert names == ["RepetitionPenalty", "Temperature", "TopK", "TopP", "MinP"]
    assert STAGES[1:] == ("repetition", "temperature", "top_k", "top_p", "min_p")


def test_ties_stay_together_as_in_the_reference() -> None:
    level = torch.zeros(10)
    assert stages(level, Sampling(top_k=3))[-1].kept == 10
    theirs = TopPLogitsWarper(0.5)(torch.tensor([[0]]), level[None].clone())[0]
    assert torch.equal(last(stages(level, Sampling(top_p=0.5))), theirs)


def test_a_probability_is_kept_after_every_stage(logits: torch.Tensor) -> None:
    for stage in stages(logits, Sampling(temperature=0.1, top_k=1, top_p=1e-6, min_p=1.0)):
        assert math.isclose(float(stage.probs.sum()), 1, abs_tol=1e-5)
        assert stage.kept == int((stage.logits > -torch.inf).sum()) >= 1


def test_temperature_zero_takes_the_likeliest(logits: torch.Tensor) -> None:
    made = stages(logits, Sampling(temperature=0))
    assert made[-1].kept == 1
    assert float(made[-1].probs[logits.argmax()]) == 1
    assert made[0].kept == V


def test_logits_are_left_as_they_were(logits: torch.Tensor) -> None:
    before = logits.clone()
    stages(logits, Sampling(temperature=0.5, top_k=3, top_p=0.5, min_p=0.1, repetition_penalty=2), [1, 2])
    assert torch.equal(logits, before)


def test_half_precision_is_widened_first(logits: torch.Tensor) -> None:
    assert stages(logits.half(), Sampling())[0].logits.dtype is torch.float32


def test_draws_follow_the_odds() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    generator = torch.Generator().manual_seed(1)
    counts = torch.bincount(torch.tensor([draw(probs, generator) for _ in range(4_000)]), minlength=5)
    assert counts[4] == 0
    assert chisquare(counts[:4].numpy(), (probs[:4] * 4_000).numpy()).pvalue > 1e-3


def test_the_same_seed_draws_the_same_and_disturbs_nobody(logits: torch.Tensor) -> None:
    probs = logits.softmax(-1)
    state = torch.random.get_rng_state()
    one, other = (torch.Generator().manual_seed(5) for _ in range(2))
    assert [draw(probs, one) for _ in range(20)] == [draw(probs, other) for _ in range(20)]
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("setting", "asked"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", -1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("min_p", -0.1),
        ("repetition_penalty", 0.0),
        ("seed", -1),
    ],
)
def test_a_setting_out_of_range_is_named(setting: str, asked: float) -> None:
    with pytest.raises(SamplingError) as caught:
        Sampling(**{setting: asked})
    assert caught.value.code == "sampling_out_of_range"
    assert caught.value.values["setting"] == setting
