"""Which parts of a classifier learn under a method and which are frozen, counted on the model itself.

The model is put together without memory for its numbers (torch's ``meta`` device), so that any box is counted at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from peft.tuners.lora import LoraLayer
from torch import nn

from llmkit import shelf
from llmkit.parts import Transformer, TransformerConfig, assemble
from llmkit.reference import BoxError
from llmkit.reference.config_file import read_config
from llmkit.tune.classifier import Classifier
from llmkit.tune.finetune import FinetuneConfig, prepare

BYTES = 4
"""Of a number: fine-tuning computes in float32."""

MOMENTS = 2
"""Numbers that AdamW keeps beside each weight that learns. Source: Kingma and Ba 2015, algorithm 1."""


@dataclass(frozen=True, kw_only=True)
class PartLearns:
    """One part of the model.

    Args:
        name: ``embedding``, ``attention``, ``feed_forward`` or ``head``. layer: from 0; None outside the layers.
        parameters: weights that the box brought, or the fresh head's. learning: of these, how many learn.
        adapters: weights of the adapters beside it; they learn.
    """

    name: str
    layer: int | None
    parameters: int
    learning: int
    adapters: int


@dataclass(frozen=True, kw_only=True)
class WhatLearns:
    """A classifier under one method.

    Args:
        parts: from the input to the labels. linears: names of the linear layers that an adapter can stand beside.
    """

    parts: tuple[PartLearns, ...]
    linears: tuple[str, ...]

    @property
    def total(self) -> int:
        """All weights, adapters among them."""
        return sum(part.parameters + part.adapters for part in self.parts)

    @property
    def learning(self) -> int:
        """The weights that learn, adapters among them."""
        return sum(part.learning + part.adapters for part in self.parts)

    @property
    def frozen(self) -> int:
        """The weights that stay as they are."""
        return self.total - self.learning

    @property
    def gradient_bytes(self) -> int:
        """One gradient for each weight that learns."""
        return self.learning * BYTES

    @property
    def optimizer_bytes(self) -> int:
        """AdamW's two moments of each weight that learns."""
        return self.learning * BYTES * MOMENTS

    @property
    def least_bytes(self) -> int:
        """What training takes at the least: weights, gradients, moments; activations come on top."""
        return self.total * BYTES + self.gradient_bytes + self.optimizer_bytes


def what_learns(box_id: str, config: FinetuneConfig, *, n_labels: int) -> WhatLearns:
    """Count a box's classifier under a method.

    Raises:
        BoxError: ``box_missing`` or ``box_broken``. TuneError: ``no_targets``.
    """
    folder = shelf.locate(box_id)
    if folder is None:
        raise BoxError("box_missing", box=box_id)
    _, parts = read_config(folder, unembedding=False)
    return count_learning(parts, config, n_labels=n_labels)


def count_learning(parts: TransformerConfig, config: FinetuneConfig, *, n_labels: int) -> WhatLearns:
    """Count a classifier of these parts under a method; no weight is made.

    >>> from llmkit.parts import gpt2
    >>> small = gpt2(vocab_size=100, d_model=8, n_layers=2, n_heads=2, max_seq_len=16)
    >>> count_learning(small, FinetuneConfig(method="frozen"), n_labels=3).learning
    27
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        body = assemble(parts).with_parts(unembedding=None)
        linears = tuple(sorted({name.rpartition(".")[2] for name in _linears(body)}))
        classifier = prepare(Classifier(body, n_labels=n_labels, pooling="last" if parts.causal else "mean"), config)
    head = [*filter(None, (body.norm_final,)), classifier.head]
    return WhatLearns(parts=tuple(count_parts(classifier.body, head)), linears=linears)


def count_parts_learning(classifier: Classifier) -> tuple[int, int]:
    """All weights of a real classifier, and those that learn."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in classifier.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, learns in sizes if learns)


def _linears(body: Transformer) -> Iterator[str]:
    return (name for name, module in body.named_modules() if isinstance(module, nn.Linear))


def count_parts(body: Transformer, head: list[nn.Module]) -> Iterator[PartLearns]:
    """Count a machine's parts from the input to what stands on its body; a tensor of two parts counts in the first."""
    seen: set[int] = set()
    before = [body.embedding, body.positions, *filter(None, (body.segments, body.norm_embeddings))]
    yield _part("embedding", None, before, seen)
    for layer, block in enumerate(body.layers):
        attention = [module for name, module in block.named_children() if name in ("attention", "norm_1")]
        rest = [module for name, module in block.named_children() if name not in ("attention", "norm_1")]
        yield _part("attention", layer, attention, seen)
        yield _part("feed_forward", layer, rest, seen)
    yield _part("head", None, head, seen)


def _part(name: str, layer: int | None, modules: list[nn.Module], seen: set[int]) -> PartLearns:
    own: dict[int, nn.Parameter] = {}
    adapters: dict[int, nn.Parameter] = {}
    for module in modules:
        for inner in module.modules():
            if isinstance(inner, LoraLayer):
                adapters |= {id(p): p for n, p in inner.named_parameters() if "lora_" in n}
        own |= {id(p): p for p in module.parameters()}
    kept = [p for key, p in own.items() if key not in adapters and key not in seen]
    seen |= set(own)
    return PartLearns(
        name=name,
        layer=layer,
        parameters=sum(p.numel() for p in kept),
        learning=sum(p.numel() for p in kept if p.requires_grad),
        adapters=sum(p.numel() for p in adapters.values()),
    )
