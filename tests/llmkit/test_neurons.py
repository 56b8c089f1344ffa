"""Neurons against the reference: activations, what they write towards, switched off, parameters and work."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.activations import ACT2FN

from llmkit.parts.count import count_parts
from llmkit.reference import load_reference, open_folder
from llmkit.trace import trace_model
from llmkit.trace.intervene import switch_off_feed_forward, switch_off_neurons
from llmkit.trace.neurons import activation_curve, choose_neurons, output_norms, written_towards
from tests.llmkit.random_box import CONFIGS, random_box

TEXT = "a bad book"


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_box(tmp_path_factory.mktemp(request.param), request.param, seed=4)


class Theirs:
    """The reference model, and where each family keeps its feed-forward part."""

    def __init__(self, folder: Path) -> None:
        self.box = open_folder(folder, dtype=torch.float64)
        self.model: Any = load_reference(self.box, torch.float64)
        self.family = self.box.family

    def layers(self) -> Any:
        if self.family == "gpt2":
            return self.model.transformer.h
        return self.model.bert.encoder.layer if self.family == "bert" else self.model.model.layers

    def down(self, layer: int) -> torch.Tensor:
        """[d_mlp, d_model], one row a neuron; a view of the reference's own weights."""
        block = self.layers()[layer]
        if self.family == "gpt2":
            return block.mlp.c_proj.weight
        return (block.output.dense if self.family == "bert" else block.mlp.down_proj).weight.T

    def down_bias(self, layer: int) -> torch.Tensor | None:
        block = self.layers()[layer]
        if self.family == "llama":
            return None
        return (block.mlp.c_proj if self.family == "gpt2" else block.output.dense).bias

    def unembedding(self) -> torch.Tensor:
        return self.model.get_output_embeddings().weight

    def hidden(self, ids: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """What stands before and after each layer's activation, by forward hooks on the reference's own modules."""
        kept: list[dict[str, torch.Tensor]] = []
        for block in self.layers():
            found: dict[str, torch.Tensor] = {}
            kept.append(found)
            if self.family == "llama":
                self.watch(block.mlp.gate_proj, found, "pre")
                self.watch(block.mlp.up_proj, found, "up")
                block.mlp.down_proj.register_forward_pre_hook(
                    lambda _, args, found=found: found.update(act=args[0].detach()[0])
                )
            elif self.family == "gpt2":
                self.watch(block.mlp.c_fc, found, "pre")
                self.watch(block.mlp.act, found, "act")
            else:
                self.watch(block.intermediate.dense, found, "pre")
                self.watch(block.intermediate, found, "act")
        with torch.no_grad():
            self.model(ids)
        return kept

    @staticmethod
    def watch(module: Any, found: dict[str, torch.Tensor], name: str) -> None:
        module.register_forward_hook(lambda _, __, out: found.update({name: out.detach()[0]}))


def test_activations_are_the_references(folder: Path) -> None:
    theirs = Theirs(folder)
    trace = trace_model(theirs.box, TEXT)
    kept = theirs.hidden(torch.tensor([trace.encoding.ids]))
    for layer, found in enumerate(kept):
        for name, value in found.items():
            ours = trace[f"mlp_{name}"][layer]  # type: ignore[index]
            np.testing.assert_allclose(ours, value.numpy(), atol=1e-9, rtol=0)
    assert ("mlp_up" in trace) == (theirs.family == "llama")


def test_a_neuron_writes_towards_its_output_weights_through_the_unembedding(folder: Path) -> None:
    theirs = Theirs(folder)
    neurons = np.array([3, 17, 0])
    written = written_towards(theirs.box, 1, neurons, top=5)
    products = theirs.down(1).detach().numpy()[neurons] @ theirs.unembedding().detach().numpy().T
    order = np.argsort(products, axis=1)
    assert written.through == "unembedding"
    np.testing.assert_array_equal(written.promoted, order[:, ::-1][:, :5])
    np.testing.assert_array_equal(written.suppressed, order[:, :5])
    np.testing.assert_allclose(written.promoted_by, np.sort(products)[:, ::-1][:, :5], rtol=1e-6)
    np.testing.assert_allclose(written.suppressed_by, np.sort(products)[:, :5], rtol=1e-6)
    lengths = np.linalg.norm(theirs.down(1).detach().numpy(), axis=1)
    np.testing.assert_allclose(output_norms(theirs.box, 1), lengths, rtol=1e-6)


def test_an_activation_of_one_raises_the_logits_by_the_product(tmp_path: Path) -> None:
    """Nothing stands between the last layer and a linear unembedding but the final norm; take it away and see."""
    box = open_folder(random_box(tmp_path, "gpt2", seed=6), dtype=torch.float64)
    model = box.model
    model.norm_final = None
    ids = torch.tensor([[5, 9, 31]])

    def louder(name: str, value: torch.Tensor, /) -> torch.Tensor:
        if name != "layers.1.feed_forward.act":
            return value
        value = value.clone()
        value[0, -1, 7] += 1
        return value

    with torch.inference_mode():
        rise = (model(ids, tap=louder) - model(ids))[0, -1]
    written = written_towards(box, 1, np.array([7]), top=256)
    np.testing.assert_allclose(rise.numpy()[written.promoted[0]], written.promoted_by[0], rtol=1e-5, atol=1e-7)


def test_without_an_unembedding_the_nearest_input_embeddings_are_told(tmp_path: Path) -> None:
    folder = random_box(tmp_path, "bert", seed=7)
    whole = load_reference(open_folder(folder), torch.float32)
    whole.bert.save_pretrained(folder)
    box = open_folder(folder)
    assert box.model.unembedding is None
    written = written_towards(box, 0, np.array([2]), top=4)
    row = whole.bert.encoder.layer[0].output.dense.weight[:, 2].detach().numpy()
    table = whole.bert.embeddings.word_embeddings.weight.detach().numpy()
    cosine = table @ row / np.linalg.norm(row) / np.linalg.norm(table, axis=1)
    assert written.through == "embedding"
    np.testing.assert_array_equal(written.promoted[0], np.argsort(-cosine)[:4])
    np.testing.assert_allclose(written.suppressed_by[0], np.sort(cosine)[:4], atol=1e-6)


@pytest.mark.parametrize("pairs", [set(), {(0, 1)}, {(0, 0), (0, 39), (1, 22)}], ids=["none", "one", "three"])
def test_a_neuron_that_is_off_is_a_column_of_zeros(folder: Path, pairs: set[tuple[int, int]]) -> None:
    theirs, ids = Theirs(folder), torch.tensor([[5, 9, 9, 200, 31]])
    with torch.no_grad():
        before = theirs.model(ids).logits[0]
        for layer, neuron in pairs:
            theirs.down(layer)[neuron] = 0
        expected = theirs.model(ids).logits[0]
    ours = theirs.box.model(ids, tap=switch_off_neurons(pairs))[0]
    torch.testing.assert_close(ours, expected, atol=1e-9, rtol=0)
    assert bool(pairs) == ((before - ours).abs().max().item() > 1e-4)


def test_a_feed_forward_that_is_off_writes_nothing(folder: Path) -> None:
    theirs, ids = Theirs(folder), torch.tensor([[5, 9, 9, 200, 31]])
    with torch.no_grad():
        theirs.down(1)[:] = 0
        if theirs.down_bias(1) is not None:
            theirs.down_bias(1)[:] = 0
        expected = theirs.model(ids).logits[0]
    ours = theirs.box.model(ids, tap=switch_off_feed_forward({1}))[0]
    torch.testing.assert_close(ours, expected, atol=1e-9, rtol=0)


def test_a_neuron_that_is_not_there_is_refused(folder: Path) -> None:
    box = open_folder(folder)
    with pytest.raises(IndexError):
        box.model(torch.tensor([[5, 9]]), tap=switch_off_neurons({(0, box.config.d_mlp)}))


@pytest.mark.parametrize(("kind", "name"), [("gelu", "gelu"), ("gelu_tanh", "gelu_new"), ("swiglu", "silu")])
def test_the_curve_is_the_references(kind: Any, name: str) -> None:
    x = np.linspace(-8, 8, 101)
    np.testing.assert_allclose(activation_curve(kind, x), ACT2FN[name](torch.from_numpy(x)).numpy(), atol=1e-12)


def test_chosen_neurons_hear_every_token() -> None:
    strength = np.abs(np.random.default_rng(0).standard_normal((9, 50))).astype(np.float32)
    chosen = choose_neurons(strength, 20)
    assert len(set(chosen.tolist())) == 20
    assert set(strength.argmax(1)) <= set(chosen.tolist())
    loners = set(range(50)) - set(chosen.tolist())
    assert min(loners) in choose_neurons(strength, 20, always=[min(loners)])
    assert sorted(choose_neurons(strength, 99).tolist()) == list(range(50))
    owners = strength[:, chosen].argmax(0)
    assert (np.diff(owners) >= 0).all()
    for token in set(owners.tolist()):
        assert (np.diff(strength[token, chosen[owners == token]]) <= 0).all()


def test_parameters_and_work_are_the_references(folder: Path) -> None:
    theirs, ids = Theirs(folder), torch.tensor([[5, 9, 9, 200, 31]])
    block = theirs.layers()[0]
    modules = (block.intermediate.dense, block.output.dense) if theirs.family == "bert" else (block.mlp,)
    counts = count_parts(theirs.box.config, seq_len=ids.shape[1])
    part = counts["feed_forward"]
    assert part.parameters == sum(p.numel() for module in modules for p in module.parameters())
    x = torch.zeros(1, ids.shape[1], theirs.box.config.d_model, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for module in modules:
            x = module(x)
    assert part.flops == counter.get_total_flops()
