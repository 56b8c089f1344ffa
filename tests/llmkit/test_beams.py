"""Beam search against transformers' own, and its tree against the model's probabilities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit.generate.beams import beam_search
from llmkit.generate.decode import stream
from llmkit.generate.errors import GenerateError
from llmkit.reference import Assembled
from llmkit.reference.box import open_folder
from tests.llmkit.random_box import random_box

PROMPT = list(b"The movie was")


@pytest.fixture(params=["gpt2", "llama"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Assembled:
    return open_folder(random_box(tmp_path / request.param, request.param, seed=5))


@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_finds_what_the_reference_finds(box: Assembled, width: int, length_penalty: float) -> None:
    model = AutoModelForCausalLM.from_pretrained(box.folder, dtype=torch.float32).eval()
    likely = [step.token_id for step in stream(box, PROMPT, max_new_tokens=9)]
    for stop in ((), (likely[4],), (likely[1], likely[7])):
        tree = beam_search(box, PROMPT, width=width, max_new_tokens=12, stop_ids=stop, length_penalty=length_penalty)
        theirs = model.generate(
            torch.tensor([PROMPT]),
            num_beams=width,
            num_return_sequences=width,
            do_sample=False,
            max_new_tokens=12,
            length_penalty=length_penalty,
            eos_token_id=list(stop) or None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        for at, (end, score) in enumerate(zip(tree.found, tree.scores, strict=True)):
            ids = list(tree.text_ids(end))
            assert theirs.sequences[at, len(PROMPT) :].tolist()[: len(ids)] == ids
            if width > 1:
                assert score == pytest.approx(float(theirs.sequences_scores[at]), abs=1e-4)


def test_one_beam_is_greedy(box: Assembled) -> None:
    tree = beam_search(box, PROMPT, width=1, max_new_tokens=10)
    steps = list(stream(box, PROMPT, max_new_tokens=10))
    assert tree.text_ids(tree.found[0]) == tuple(step.token_id for step in steps)
    assert tree.branches[tree.found[0]].total == pytest.approx(sum(step.logprob for step in steps), abs=1e-4)


def test_totals_are_sums_along_the_way(box: Assembled) -> None:
    tree = beam_search(box, PROMPT, width=3, max_new_tokens=6)
    for number, branch in enumerate(tree.branches):
        way = [tree.branches[at] for at in tree.path(number)]
        assert branch.total == pytest.approx(sum(one.logprob for one in way), abs=1e-4)
        assert [one.depth for one in way] == list(range(1, branch.depth + 1))


def test_it_can_be_stopped(box: Assembled) -> None:
    def stop(step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        beam_search(box, PROMPT, width=2, max_new_tokens=50, on_step=stop)


def test_it_ends_where_the_box_has_no_more_room(box: Assembled) -> None:
    prompt = [1] * 60
    tree = beam_search(box, prompt, width=2, max_new_tokens=50)
    assert max(branch.depth for branch in tree.branches) == 5
    with pytest.raises(GenerateError, match="prompt_too_long"):
        beam_search(box, [1] * 65, width=2, max_new_tokens=5)
    with pytest.raises(ValueError, match="at least 1"):
        beam_search(box, prompt, width=0, max_new_tokens=5)
