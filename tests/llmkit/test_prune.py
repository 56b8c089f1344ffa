"""Pruning against torch.nn.utils.prune, and removed parts against silenced ones, in all three families."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as theirs

from llmkit.compress.prune import keep_masks, prunable
from llmkit.compress.prune_structured import Keep, smaller
from llmkit.reference import open_folder
from llmkit.trace.intervene import chain, switch_off_heads, switch_off_neurons
from tests.llmkit.random_box import random_box

FAMILIES = ("gpt2", "bert", "llama")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("share", [0.0, 0.37, 0.9, 1.0])
def test_masks_are_torchs(tmp_path: Path, family: str, share: float) -> None:
    model = open_folder(random_box(tmp_path, family, seed=1)).model
    scores = {name: weight.abs() for name, weight in prunable(model).items()}
    for scope in ("global", "matrix"):
        layers = {name: nn.Linear(*weight.shape[::-1], bias=False) for name, weight in prunable(model).items()}
        for name, layer in layers.items():
            layer.weight.data = prunable(model)[name].clone()
        pairs = [(layer, "weight") for layer in layers.values()]
        if scope == "global":
            theirs.global_unstructured(pairs, theirs.L1Unstructured, amount=share)
        else:
            for layer, name in pairs:
                theirs.l1_unstructured(layer, name, amount=share)
        ours = keep_masks(scores, scope, share)
        assert all(torch.equal(ours[name], layer.weight_mask.bool()) for name, layer in layers.items())


def test_two_of_every_four_stay(tmp_path: Path) -> None:
    model = open_folder(random_box(tmp_path, "llama", seed=2)).model
    for name, weight in prunable(model).items():
        mask = keep_masks({name: weight.abs()}, "two_four")[name].reshape(-1, 4)
        fours = weight.abs().reshape(-1, 4)
        assert (mask.sum(1) == 2).all()
        assert (fours.masked_fill(~mask, torch.inf).amin(1) >= fours.masked_fill(mask, 0).amax(1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_removed_equals_silenced(tmp_path: Path, family: str) -> None:
    box = open_folder(random_box(tmp_path, family, seed=3), dtype=torch.float64)
    heads = ((0, 3), (1, 2)) if family == "llama" else ((0, 2, 3), (1, 2, 3))
    neurons = tuple(tuple(range(layer, box.config.d_mlp, 2)) for layer in range(2))
    tap = chain(
        switch_off_heads({(layer, head) for layer in range(2) for head in range(4) if head not in heads[layer]}),
        switch_off_neurons({(l, n) for l in range(2) for n in range(box.config.d_mlp) if n not in neurons[l]}),  # noqa: E741
    )
    ids = torch.randint(256, (2, 20), generator=torch.Generator().manual_seed(0))
    made, config = smaller(box.model, box.config, Keep(layers=(0, 1), heads=heads, neurons=neurons))
    with torch.inference_mode():
        torch.testing.assert_close(made(ids), box.model(ids, tap=tap), rtol=0, atol=1e-9)
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in box.model.parameters())
    assert (config.n_heads, config.d_mlp) == (len(heads[0]), len(neurons[0]))


def test_a_layer_less_is_a_layer_less(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path, "gpt2", seed=4), dtype=torch.float64)
    made, config = smaller(
        box.model, box.config, Keep(layers=(1,), heads=((0, 1, 2, 3),), neurons=(tuple(range(box.config.d_mlp)),))
    )
    ids = torch.arange(30)[None]
    with torch.inference_mode():
        torch.testing.assert_close(made(ids), box.model.with_parts(blocks=[box.model.layers[1]])(ids))
    assert config.n_layers == 1


def test_groups_lose_as_many_heads(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path, "llama", seed=5))
    keep = Keep(layers=(0, 1), heads=((0, 1), (0, 2)), neurons=((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="groups"):
        smaller(box.model, box.config, keep)
