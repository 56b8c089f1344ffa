"""The logit lens, beside the reference's hidden states put through the reference's own head."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from llmkit.reference import Assembled, load_reference, open_box, open_folder
from llmkit.trace import Trace, trace_model
from llmkit.trace.lens import LENS_PARTS, Lens, nearness, read_lens
from tests.llmkit.random_box import random_box

TEXT = "The movie was good"


@pytest.fixture(scope="module", params=["gpt2", "bert", "llama"])
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    folder = random_box(tmp_path_factory.mktemp(request.param), request.param, seed=5)
    return open_folder(folder, dtype=torch.float64)


def layered_logits(box: Assembled, trace: Trace) -> Tensor:
    """The reference's head on each of the reference's hidden states: [L + 1, T, V]."""
    reference = load_reference(box, box.dtype)
    with torch.no_grad():
        out = reference(torch.tensor([trace.encoding.ids]), output_hidden_states=True)
        if box.family == "bert":
            layers = [reference.cls(state) for state in out.hidden_states[:-1]]
        elif box.family == "gpt2":
            layers = [reference.lm_head(reference.transformer.ln_f(state)) for state in out.hidden_states[:-1]]
        else:
            layers = [reference.lm_head(reference.model.norm(state)) for state in out.hidden_states[:-1]]
        return torch.cat([*layers, out.logits])


def agrees(found: Lens, logits: Tensor, *, atol: float) -> None:
    probs = logits.double().softmax(-1).numpy()
    np.testing.assert_allclose(found.entropy_bits, scipy.stats.entropy(probs, base=2, axis=-1), atol=atol)
    answers = probs[-1].argmax(-1)
    np.testing.assert_array_equal(found.answers, answers)
    order = np.argsort(-probs, axis=-1)
    ranks = np.argmax(order == answers[None, :, None], axis=-1) + 1
    assert (np.abs(found.ranks - ranks) <= (0 if atol < 1e-6 else 1)).all()
    np.testing.assert_allclose(np.take_along_axis(probs, found.ids.astype(int), -1), found.probs, atol=atol)
    np.testing.assert_allclose(np.sort(probs, -1)[..., ::-1][..., : found.ids.shape[-1]], found.probs, atol=atol)
    np.testing.assert_allclose(
        found.answer_probs, np.take_along_axis(probs, np.broadcast_to(answers, probs.shape[:2])[..., None], -1)[..., 0],
        atol=atol,
    )  # fmt: skip


def test_every_layer_reads_as_the_references_head_does(box: Assembled) -> None:
    trace = trace_model(box, TEXT, parts=LENS_PARTS)
    agrees(read_lens(box, trace, k=5), layered_logits(box, trace), atol=1e-7)  # kept as float32


@pytest.mark.registry
@pytest.mark.parametrize("box_id", ["gpt2-starter", "smollm2-135m-instruct"])
def test_real_boxes_read_as_the_reference_does(box_id: str, standard_kit: tuple[str, ...]) -> None:
    box = open_box(box_id)
    trace = trace_model(box, TEXT, parts=LENS_PARTS)
    agrees(read_lens(box, trace), layered_logits(box, trace), atol=2e-3)


def test_the_last_row_is_the_machines_own_answer(box: Assembled) -> None:
    trace = trace_model(box, TEXT, parts=LENS_PARTS)
    found = read_lens(box, trace)
    assert (found.ranks[-1] == 1).all()
    np.testing.assert_array_equal(found.ids[-1, :, 0], found.answers)
    np.testing.assert_allclose(found.probs[..., 0].max(), found.probs.max())


def test_the_layer_of_an_answer_is_where_it_comes_to_stay() -> None:
    ranks = np.array([[1, 9, 1], [7, 3, 1], [1, 2, 1], [1, 1, 1]], dtype=np.int32)
    empty = np.zeros((4, 3), dtype=np.float32)
    lens = Lens(
        ids=np.zeros((4, 3, 1), dtype=np.int32), probs=np.zeros((4, 3, 1), dtype=np.float32), entropy_bits=empty,
        answers=np.zeros(3, dtype=np.int32), ranks=ranks, answer_probs=empty,
    )  # fmt: skip
    assert [lens.first_layer(position) for position in range(3)] == [2, 3, 0]


def test_more_tokens_than_there_are_is_all_of_them(box: Assembled) -> None:
    trace = trace_model(box, "a", parts=LENS_PARTS)
    found = read_lens(box, trace, k=10_000)
    np.testing.assert_allclose(found.probs.sum(-1), 1, atol=1e-5)


@pytest.mark.registry
def test_a_box_that_ends_in_states_has_no_lens_but_comes_nearer(standard_kit: tuple[str, ...]) -> None:
    box = open_box("minilm-l6")
    trace = trace_model(box, TEXT, parts=LENS_PARTS)
    with pytest.raises(ValueError, match="no unembedding"):
        read_lens(box, trace)
    reference = load_reference(box, torch.float32)
    with torch.no_grad():
        hidden = reference(torch.tensor([trace.encoding.ids]), output_hidden_states=True).hidden_states
    expected = [torch.cosine_similarity(state, hidden[-1], dim=-1)[0] for state in hidden]
    np.testing.assert_allclose(nearness(trace), torch.stack(expected).numpy(), atol=1e-4)
