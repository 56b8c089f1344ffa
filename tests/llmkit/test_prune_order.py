"""Orders of pruning against finite differences, autograd done otherwise, and losses that are really measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from llmkit.compress.prune import keep_masks, prunable
from llmkit.compress.prune_curve import holds_until
from llmkit.compress.prune_ladder import NEVER, make_ladder, pruned, unit_counts, zeros_share
from llmkit.compress.prune_loss import Measure, Texts, loss_of, vectors
from llmkit.compress.prune_order import KINDS, ORDERS, Kind, gate_slopes, gates_worth, layers_worth, scores, sizes
from llmkit.compress.prune_order import weights_worth as worth_of_weights
from llmkit.reference import Assembled, open_box, open_folder
from llmkit.trace.intervene import switch_off_heads
from llmkit.trace.sentence import sentence_vectors
from tests.llmkit.random_box import random_box

FAMILIES = ("gpt2", "bert", "llama")


def some_texts(box: Assembled, count: int = 6) -> Texts:
    """Random tokens; an encoder's as pairs, the beginning first."""
    rows = torch.randint(256, (count, 20), generator=torch.Generator().manual_seed(3)).tolist()
    if box.config.causal:
        return Texts(rows=tuple(map(tuple, rows)))
    pairs = [part for row in rows for part in (tuple(row[:9]), tuple(row))]
    return Texts(rows=tuple(pairs), words=("a text",) * count)


def opened(path: Path, family: str, *, seed: int) -> Assembled:
    return open_folder(random_box(path, family, seed=seed), dtype=torch.float64)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_weights_worth_is_the_finite_difference(tmp_path: Path, family: str) -> None:
    box = opened(tmp_path, family, seed=1)
    texts = some_texts(box)
    found = worth_of_weights(box.model, texts)
    batches = list(texts.batches(1))
    for name in ("layers.0.attention.v.weight", "layers.1.feed_forward.down.weight"):
        weight = prunable(box.model)[name]
        for place in ((0, 0), (3, 7), (11, 5)):
            slopes = []
            for rows in batches:
                ends = []
                for step in (1e-5, -1e-5):
                    old = weight.data[place].clone()
                    weight.data[place] += step
                    ends.append(float(loss_of(box.model, rows, paired=texts.paired)))
                    weight.data[place] = old
                slopes.append(abs((ends[0] - ends[1]) / 2e-5 * float(weight[place])))
            assert float(found[name][place]) == pytest.approx(float(np.mean(slopes)), rel=1e-4, abs=1e-9)
    assert not any(weight.requires_grad for weight in box.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gates_slope_is_autograds_with_the_gate_written_out(tmp_path: Path, family: str) -> None:
    box = opened(tmp_path, family, seed=2)
    config, texts = box.config, some_texts(box)
    rows = next(texts.batches(2))
    heads = torch.ones(config.n_layers, config.n_heads, dtype=torch.float64, requires_grad=True)
    neurons = torch.ones(config.n_layers, config.d_mlp, dtype=torch.float64, requires_grad=True)

    def gate(name: str, value: torch.Tensor, /) -> torch.Tensor:
        for layer in range(config.n_layers):
            if name == f"layers.{layer}.attention.head_values":
                return value * heads[layer][:, None, None]
            if name == f"layers.{layer}.feed_forward.act":
                return value * neurons[layer]
        return value

    wanted = torch.autograd.grad(loss_of(box.model, rows, paired=texts.paired, tap=gate), [heads, neurons])
    found = gate_slopes(box.model, config, rows, paired=texts.paired)
    torch.testing.assert_close(found["heads"], wanted[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found["neurons"], wanted[1], rtol=1e-9, atol=1e-12)


def test_sizes_are_lengths_of_what_really_goes(tmp_path: Path) -> None:
    for family in FAMILIES:
        box = opened(tmp_path / family, family, seed=4)
        whole = sum(float(weight.square().sum()) for weight in prunable(box.model).values())
        layers = sizes("layers", box.model, box.config)["layers"]
        assert float(layers.square().sum()) == pytest.approx(whole)
        for kind in ("heads", "neurons"):
            lengths = sizes(kind, box.model, box.config)[kind]
            ladder = make_ladder(kind, {kind: lengths}, box.config)
            made, _ = pruned(box.model, box.config, ladder, 1)
            gone = float(lengths[ladder.gone[kind] == 1].square().sum())
            left = sum(float(weight.square().sum()) for weight in prunable(made).values())
            assert whole - left == pytest.approx(gone)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_nested_and_give_the_share_they_say(tmp_path: Path, family: str, kind: Kind) -> None:
    box = opened(tmp_path, family, seed=5)
    texts = some_texts(box)
    for order in ORDERS:
        worth = scores(kind, order, box.model, box.config, texts)
        ladder = make_ladder(kind, worth, box.config)
        assert ladder.shares[0] == 0
        for step, share in enumerate(ladder.shares):
            kept = ladder.keeps(step)
            for name, keep in kept.items():
                assert 1 - float(keep.double().mean()) == pytest.approx(share, abs=0.5 / keep.numel() + 1e-9)
                kept_scores, gone_scores = worth[name][keep], worth[name][~keep]
                if kind == "weights" and step:
                    assert torch.equal(keep, keep_masks(worth, "matrix", share)[name])
                    assert gone_scores.max() <= kept_scores.min()
            made, config = pruned(box.model, box.config, ladder, step)
            if kind in ("weights", "two_four"):
                assert zeros_share(made) == pytest.approx(share, abs=0.01)
            ids = torch.arange(9)[None]
            assert made(ids).isfinite().all()
            if step == 0:
                torch.testing.assert_close(made(ids), box.model(ids))
            elif kind not in ("weights", "two_four"):
                assert (config.n_heads, config.d_mlp, config.n_layers) != (
                    box.config.n_heads,
                    box.config.d_mlp,
                    box.config.n_layers,
                )
        assert set(torch.cat([gone.flatten() for gone in ladder.gone.values()]).tolist()) <= {
            *range(1, len(ladder.shares)),
            NEVER,
        }


def test_importance_ranks_heads_as_silencing_them_does() -> None:
    box = open_box("gpt2-starter")
    texts = Texts(rows=tuple(tuple(box.tokenizer.encode(text).ids) for text in SENTENCES))
    worth = gates_worth(box.model, box.config, texts)["heads"].flatten()
    changes = []
    with torch.no_grad():
        for layer in range(box.config.n_layers):
            for head in range(box.config.n_heads):
                tap = switch_off_heads({(layer, head)})
                each = [
                    float(loss_of(box.model, [row], paired=False, tap=tap) - loss_of(box.model, [row], paired=False))
                    for row in texts.rows
                ]
                changes.append(float(np.mean(np.abs(each))))
    assert stats.spearmanr(worth.numpy(), changes).statistic > 0.6


def test_a_layers_worth_is_the_loss_without_it() -> None:
    box = open_box("gpt2-starter")
    texts = Texts(rows=tuple(tuple(box.tokenizer.encode(text).ids) for text in SENTENCES[:3]))
    worth = layers_worth(box.model, texts)[:, 0]
    measure = Measure(box.model, texts)
    for layer in (0, 4):

        def bypass(name: str, value: torch.Tensor, /, layer: int = layer) -> torch.Tensor:
            if name in (f"layers.{layer}.attention.out", f"layers.{layer}.feed_forward.out"):
                return torch.zeros_like(value)
            return value

        losses = [loss_of(box.model, [row], paired=False, tap=bypass) * (len(row) - 1) for row in texts.rows]
        without = float(sum(losses)) / sum(len(row) - 1 for row in texts.rows)
        assert float(worth[layer]) == pytest.approx(without - measure.loss(box.model), abs=1e-4)


@pytest.mark.registry
def test_an_encoders_distance_is_of_its_sentence_vectors(standard_kit: tuple[str, ...]) -> None:
    box = open_box("minilm-l6")
    rows = tuple(tuple(box.tokenizer.encode(text).ids) for text in SENTENCES[:4])
    found = vectors(box.model, rows)
    np.testing.assert_allclose(found.numpy(), sentence_vectors(box, SENTENCES[:4]), atol=1e-5)
    texts = Texts(rows=rows, words=("", ""))
    measure = Measure(box.model, texts)
    assert measure.loss(box.model) == pytest.approx(0, abs=1e-6)
    ladder = make_ladder("weights", sizes("weights", box.model, box.config), box.config)
    made, _ = pruned(box.model, box.config, ladder, 5)
    cosines = torch.nn.functional.cosine_similarity(vectors(made, rows), found)
    assert measure.loss(made) == pytest.approx(1 - float(cosines.mean()), abs=1e-5)


def test_counts_are_those_a_group_can_keep(tmp_path: Path) -> None:
    config = opened(tmp_path, "llama", seed=6).config
    assert unit_counts("heads", config) == (4, 2)
    assert unit_counts("layers", config) == (2, 1)
    assert holds_until([0.0, 0.05, 0.2, 0.05], paired=True) == 1
    assert holds_until([2.0, float("nan"), 2.0]) == 0


SENTENCES = (
    "The movie was good, and I liked it.",
    "This book is long, but the story is worth reading twice.",
    "The room was clean and the staff were friendly.",
    "I bought this camera last year and it still works.",
    "這本書很好看，我很喜歡。",
    "飯店的房間很乾淨，服務人員也很親切。",
)
