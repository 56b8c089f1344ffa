"""Switching heads off, against the reference model with the same heads cut out of its output projection."""

from pathlib import Path

import pytest
import torch

from llmkit.reference import Assembled, load_reference, open_folder
from llmkit.trace import trace_model
from llmkit.trace.intervene import chain, switch_off_heads
from tests.llmkit.random_box import CONFIGS, random_box


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_box(tmp_path_factory.mktemp(request.param), request.param, seed=3)


def reference_without(folder: Path, pairs: set[tuple[int, int]], ids: torch.Tensor) -> torch.Tensor:
    """The reference's logits with the heads' share of the output projection set to zero."""
    model = load_reference(open_folder(folder), torch.float64)
    with torch.no_grad():
        for layer, head in pairs:
            rows = slice(head * 6, head * 6 + 6)
            if hasattr(model, "transformer"):
                model.transformer.h[layer].attn.c_proj.weight[rows] = 0
            elif hasattr(model, "bert"):
                model.bert.encoder.layer[layer].attention.output.dense.weight[:, rows] = 0
            else:
                model.model.layers[layer].self_attn.o_proj.weight[:, rows] = 0
        return model(ids).logits[0]


@pytest.mark.parametrize("pairs", [set(), {(0, 1)}, {(0, 0), (0, 3), (1, 2)}], ids=["none", "one", "three"])
def test_agrees_with_the_reference(folder: Path, pairs: set[tuple[int, int]]) -> None:
    box = open_folder(folder, dtype=torch.float64)
    ids = torch.tensor([[5, 9, 9, 200, 31]])
    ours = box.model(ids, tap=switch_off_heads(pairs))[0]
    torch.testing.assert_close(ours, reference_without(folder, pairs, ids), atol=1e-9, rtol=0)


def test_a_head_that_is_off_changes_the_answer_but_not_the_box(folder: Path) -> None:
    box = open_folder(folder, dtype=torch.float64)
    ids = torch.tensor([[5, 9, 9, 200, 31]])
    before = box.model(ids)
    off = box.model(ids, tap=switch_off_heads({(1, 0)}))
    assert (before - off).abs().max() > 1e-4
    torch.testing.assert_close(box.model(ids), before, atol=0, rtol=0)


def test_a_head_that_is_not_there_is_refused(folder: Path) -> None:
    box = open_folder(folder)
    with pytest.raises(IndexError):
        box.model(torch.tensor([[5, 9]]), tap=switch_off_heads({(0, 4)}))


def test_the_trace_shows_the_machine_with_the_heads_off(folder: Path) -> None:
    box: Assembled = open_folder(folder)
    trace = trace_model(box, "abcabc", parts=("head_values",), tap=switch_off_heads({(1, 2)}))
    assert not trace["head_values"][1][2].any()
    assert trace["head_values"][1][1].any()


def test_taps_run_in_order() -> None:
    tap = chain(lambda _, value: value + 1, switch_off_heads({(0, 0)}), lambda _, value: value * 10)
    made = tap("layers.0.attention.head_values", torch.ones(1, 2, 1, 1))
    assert made.flatten().tolist() == [0.0, 20.0]
    assert chain()("logits", torch.ones(1)).item() == 1.0
