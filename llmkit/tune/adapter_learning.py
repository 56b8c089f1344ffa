"""What learns in one step by each method: everything, what stands on the body, or an adapter beside it.

A box that predicts the next token learns texts; an encoder learns to classify, since it writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from llmkit import shelf
from llmkit.parts import Transformer, assemble
from llmkit.reference import Assembled, BoxError
from llmkit.reference.config_file import read_config
from llmkit.tune.adapter_train import AdapterConfig, encode_texts, next_token_loss, put_adapter
from llmkit.tune.classifier import Classifier, collate, encode_examples
from llmkit.tune.what_learns import WhatLearns, count_parts

Method = Literal["full", "frozen", "lora", "rslora", "dora", "qlora"]
METHODS: tuple[Method, ...] = get_args(Method)

N_LABELS = 2
"""Of the classifier that an encoder learns."""


def set_learning(model: Transformer, method: Method, config: AdapterConfig) -> None:
    """Freeze what stays and put an adapter in, in place; the machine is a copy of the caller's own.

    Args:
        method: ``full``, ``frozen`` (final norm and LM head learn), or a kind of adapter.

    Raises:
        TuneError: ``no_targets``.
    """
    if method != "full" and method != "frozen":  # so spelt, the type checker knows what is left
        put_adapter(model, replace(config, kind=method))
        return
    model.requires_grad_(method == "full")
    for part in (model.norm_final, model.unembedding):
        if part is not None:
            part.requires_grad_(True)


def learner(
    box: Assembled, texts: Sequence[str], method: Method, config: AdapterConfig
) -> tuple[nn.Module, Callable[[], Tensor], int]:
    """The box's own machine set to learn, the loss of one batch of texts, and how many tokens that is, padded.

    The box is changed: it is a process's own. An encoder's texts all count as the first label: which one takes no
    other memory.

    Raises:
        TuneError: ``no_targets``, ``too_few_examples``.
    """
    if box.config.causal and box.model.unembedding is not None:
        batch = encode_texts(box, texts, max_tokens=config.max_tokens)[: config.batch_size]
        set_learning(box.model, method, config)
        return box.model, lambda: next_token_loss(box.model, batch, box.device), len(batch) * max(map(len, batch))
    classifier = _classifier(box.model, causal=box.config.causal).to(box.device)
    set_learning(classifier.body, method, config)
    examples = encode_examples(box, texts, [0] * len(texts), max_tokens=config.max_tokens)
    given = collate(examples, range(min(len(texts), config.batch_size)), box.device)

    def loss() -> Tensor:
        return nn.functional.cross_entropy(classifier(given.input_ids, given.attention_mask), given.labels)

    return classifier, loss, given.input_ids.numel()


def adapter_learns(box_id: str, method: Method, config: AdapterConfig) -> WhatLearns:
    """Count which parts of a box learn by a method; no weight is made.

    QLoRA learns the same numbers as LoRA: it is counted as such.

    Raises:
        BoxError: ``box_missing`` or ``box_broken``. TuneError: ``no_targets``.
    """
    folder = shelf.locate(box_id)
    if folder is None:
        raise BoxError("box_missing", box=box_id)
    _, parts = read_config(folder, unembedding=False)
    method = "lora" if method == "qlora" else method
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        model = assemble(parts)
        linears = {name.rpartition(".")[2] for name, one in model.layers.named_modules() if isinstance(one, nn.Linear)}
        head: list[nn.Module] = [one for one in (model.norm_final, model.unembedding) if one is not None]
        if not parts.causal:
            classifier = _classifier(model, causal=False)
            model, head = classifier.body, [classifier.head]
        elif parts.tied and model.unembedding is not None:
            model.unembedding.weight = model.embedding.weight
        set_learning(model, method, config)
    return WhatLearns(parts=tuple(count_parts(model, head)), linears=tuple(sorted(linears)))


def _classifier(model: Transformer, *, causal: bool) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        return Classifier(model.with_parts(unembedding=None), n_labels=N_LABELS, pooling="last" if causal else "mean")
