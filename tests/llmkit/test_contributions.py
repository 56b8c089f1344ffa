"""What every part adds to a logit: beside autograd through the reference, its norms held, its side ways cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmkit.reference import Assembled, load_reference, open_box, open_folder
from llmkit.trace import trace_model
from llmkit.trace.contributions import (
    CONTRIBUTION_PARTS,
    Contributions,
    Piece,
    direction_contributions,
    logit_contributions,
)
from tests.llmkit.random_box import random_box

TEXT = "good movie"
FAMILIES = ["gpt2", "bert", "llama"]


def opened(folder: Any, family: str, dtype: torch.dtype) -> Assembled:
    return open_folder(random_box(folder, family, seed=7), dtype=dtype)


@pytest.fixture(scope="module", params=FAMILIES)
def box(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    return opened(tmp_path_factory.mktemp(request.param), request.param, torch.float64)


def some_targets(T: int, vocab_size: int) -> np.ndarray:
    """Two different tokens for each position."""
    return np.stack((np.arange(T) * 7 % vocab_size, (np.arange(T) * 11 + 3) % vocab_size), axis=-1)


def attributed(box: Assembled, text: str = TEXT) -> tuple[Contributions, np.ndarray, tuple[int, ...]]:
    trace = trace_model(box, text, parts=CONTRIBUTION_PARTS)
    targets = some_targets(trace.seq_len, box.config.vocab_size)
    return logit_contributions(box, trace, targets), targets, trace.encoding.ids


def test_the_sum_is_the_logit_and_the_rounding_collapses(box: Assembled) -> None:
    found, targets, ids = attributed(box)
    assert found.error < 1e-9
    with torch.no_grad():
        logits = load_reference(box, torch.float64)(torch.tensor([ids])).logits[0].numpy()
    np.testing.assert_allclose(found.values.sum(0), np.take_along_axis(logits, targets, -1), atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32_only_rounding_is_left(family: str, tmp_path: Any) -> None:
    found, _, _ = attributed(opened(tmp_path, family, torch.float32))
    assert found.error < 1e-4


def test_each_piece_is_its_direct_way_through_the_reference(box: Assembled) -> None:
    found, targets, ids = attributed(box)
    got = dict(zip(found.pieces, found.values, strict=True))
    for column in range(targets.shape[1]):
        expected = _DirectWays(box).to(ids, targets[:, column])
        assert set(expected) == {piece for piece in got if not piece.kind.endswith("bias")}
        for piece, value in expected.items():
            np.testing.assert_allclose(got[piece][:, column], value.numpy(), atol=1e-10, err_msg=str(piece))


class _DirectWays:
    """The reference in float64, changed so that autograd sees nothing but each part's direct way to the logit."""

    def __init__(self, box: Assembled) -> None:
        self.model, self.box = load_reference(box, torch.float64), box
        self.made: dict[Piece, Tensor] = {}
        {"gpt2": self._gpt2, "bert": self._bert, "llama": self._llama}[box.family]()

    def to(self, ids: tuple[int, ...], targets: np.ndarray) -> dict[Piece, Tensor]:
        logits = self.model(torch.tensor([ids])).logits[0]
        logits[torch.arange(len(ids)), torch.tensor(targets)].sum().backward()
        found = {}
        for piece, value in self.made.items():
            product = (value.grad * value)[0]  # [T, …]
            if piece.kind == "head":
                for head, part in enumerate(product.chunk(self.box.config.n_heads, dim=-1)):
                    found[Piece(kind="head", layer=piece.layer, head=head)] = part.sum(-1).detach()
            else:
                found[piece] = product.sum(-1).detach()
        return found

    def _gpt2(self) -> None:
        body = self.model.transformer
        self._leaf(body.wte, Piece(kind="token"))
        self._leaf(body.wpe, Piece(kind="position"))
        for layer, block in enumerate(body.h):
            self._cut(block.ln_1)
            self._cut(block.ln_2)
            self._leaf(block.attn.c_proj, Piece(kind="head", layer=layer), entry=True)
            self._leaf(block.mlp, Piece(kind="mlp", layer=layer))
        body.ln_f = _held(body.ln_f)

    def _llama(self) -> None:
        body = self.model.model
        self._leaf(body.embed_tokens, Piece(kind="token"))
        for layer, block in enumerate(body.layers):
            self._cut(block.input_layernorm)
            self._cut(block.post_attention_layernorm)
            self._leaf(block.self_attn.o_proj, Piece(kind="head", layer=layer), entry=True)
            self._leaf(block.mlp, Piece(kind="mlp", layer=layer))
        body.norm = _held(body.norm)

    def _bert(self) -> None:
        rows = self.model.bert.embeddings
        self._leaf(rows.word_embeddings, Piece(kind="token"))
        self._leaf(rows.position_embeddings, Piece(kind="position"))
        self._leaf(rows.token_type_embeddings, Piece(kind="segment"))
        rows.LayerNorm = _held(rows.LayerNorm)
        for layer, block in enumerate(self.model.bert.encoder.layer):
            self._cut(block.attention.self)
            self._cut(block.intermediate)
            self._leaf(block.attention.output.dense, Piece(kind="head", layer=layer), entry=True)
            self._leaf(block.output.dense, Piece(kind="mlp", layer=layer))
            block.attention.output.LayerNorm = _held(block.attention.output.LayerNorm)
            block.output.LayerNorm = _held(block.output.LayerNorm)
        head = self.model.cls.predictions.transform
        head.LayerNorm = _held(head.LayerNorm)
        head.transform_act_fn = _Gate()

    def _leaf(self, module: nn.Module, piece: Piece, *, entry: bool = False) -> None:
        """Make what a module gives (or gets) a leaf, so that its gradient is its own way on."""

        def fresh(value: Tensor) -> Tensor:
            value = value.detach().expand(1, *value.shape[-2:]).clone().requires_grad_()
            value.retain_grad()
            self.made[piece] = value
            return value

        if entry:
            module.register_forward_pre_hook(lambda _module, args: (fresh(args[0]), *args[1:]))
        else:
            module.register_forward_hook(lambda _module, _args, output: fresh(output))

    def _cut(self, module: nn.Module) -> None:
        """Nothing flows back through a part: what it did to later parts is not counted here."""

        def detach(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            cut: Callable[[Any], Any] = lambda value: value.detach() if isinstance(value, Tensor) else value  # noqa: E731
            return tuple(map(cut, args)), {name: cut(value) for name, value in kwargs.items()}

        module.register_forward_pre_hook(detach, with_kwargs=True)


class _Gate(nn.Module):
    """GELU with its gate held, written with the error function."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (0.5 * (1 + torch.erf(x / 2**0.5))).detach()


def _held(norm: nn.Module) -> nn.Module:
    """A norm whose statistics are held at what they are, mean subtraction kept: it is linear anyway."""

    class Held(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if isinstance(norm, nn.LayerNorm):
                centred = x - x.mean(-1, keepdim=True)
                return (
                    centred / (x.var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt().detach() * norm.weight
                    + norm.bias
                )
            return x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach() * norm.weight

    return Held()


@pytest.mark.registry
@pytest.mark.parametrize("box_id", ["gpt2-starter", "smollm2-135m-instruct"])
def test_real_boxes_add_up(box_id: str, standard_kit: tuple[str, ...]) -> None:
    box = open_box(box_id)
    found, _, _ = attributed(box)
    assert found.error < 1e-3
    heads = sum(piece.kind == "head" for piece in found.pieces)
    assert heads == box.config.n_layers * box.config.n_heads
    assert any(piece.kind == "norm_bias" for piece in found.pieces) == (box.family == "gpt2")


@pytest.mark.registry
def test_a_box_that_ends_in_states_is_measured_along_a_direction(standard_kit: tuple[str, ...]) -> None:
    box = open_box("minilm-l6", dtype=torch.float64)
    trace = trace_model(box, TEXT, parts=CONTRIBUTION_PARTS)
    with pytest.raises(ValueError, match="no unembedding"):
        logit_contributions(box, trace, some_targets(trace.seq_len, 100))
    mean = np.asarray(trace["final"]).mean(0)
    direction = mean / np.linalg.norm(mean)
    found = direction_contributions(box, trace, direction)
    assert found.error < 1e-9
    np.testing.assert_allclose(found.values.sum(0).mean(), np.linalg.norm(mean), atol=1e-9)
    kinds = {piece.kind for piece in found.pieces}
    assert kinds == {"token", "position", "segment", "head", "attention_bias", "mlp", "norm_bias"}


def test_pieces_stand_in_the_machines_order(box: Assembled) -> None:
    found, _, _ = attributed(box)
    assert found.pieces[0] == Piece(kind="token")
    layers = [piece.layer for piece in found.pieces if piece.layer is not None]
    assert layers == sorted(layers)
    heads = [piece.head for piece in found.pieces if piece.kind == "head" and piece.layer == 1]
    assert heads == list(range(box.config.n_heads))
