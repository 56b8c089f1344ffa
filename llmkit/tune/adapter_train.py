"""A text adapter: a frozen box learns to write as some texts do, by LoRA, rsLoRA or DoRA, next token by next token."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from llmkit.generate.decode import require_next_token
from llmkit.parts import Transformer
from llmkit.reference import Assembled
from llmkit.tune.errors import TuneError
from llmkit.tune.qlora import quantise_base
from llmkit.tune.qlora import why_not as why_no_qlora

Kind = Literal["lora", "rslora", "dora", "qlora"]
KINDS: tuple[Kind, ...] = get_args(Kind)
IGNORED = -100
"""The label of padding: it counts in no loss, as in ``torch.nn.functional.cross_entropy``."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Everything that decides an adapter, besides box and texts.

    Args:
        kind: ``lora``, ``rslora`` (scaled by ``alpha / sqrt(rank)``), ``dora`` (each row's length learned, too) or
            ``qlora`` (LoRA beside matrices that are frozen as 4-bit numbers).
        rank, alpha, targets: as PEFT's ``LoraConfig``; targets are our parts' names ("q").
        learning_rate: its highest value; it falls to 0 in a line. steps, batch_size, max_tokens: of the training.
        seed: of the adapter and of the order of the texts.

    Raises:
        TuneError: ``setting_out_of_range``, ``no_targets``.
    """

    kind: Kind = "lora"
    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ("q", "v")
    learning_rate: float = 2e-3
    steps: int = 60
    batch_size: int = 8
    max_tokens: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("rank", 1, 1_024),
            ("alpha", 1, 65_536),
            ("learning_rate", 1e-12, 1e6),
            ("steps", 1, 1_000_000),
            ("batch_size", 1, 4_096),
            ("max_tokens", 2, 1_000_000),
        ):
            asked = getattr(self, name)
            if not low <= asked <= high:  # a NaN is in no range
                raise TuneError("setting_out_of_range", setting=name, asked=asked, low=low, high=high)
        if not self.targets:
            raise TuneError("no_targets", targets="")

    def peft(self) -> LoraConfig:
        """The same as PEFT's own settings."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=list(self.targets),
            use_rslora=self.kind == "rslora",
            use_dora=self.kind == "dora",
        )


def put_adapter(model: Transformer, config: AdapterConfig) -> Transformer:
    """Freeze a machine and put adapters into it, in place; it is a copy of the caller's own.

    Raises:
        TuneError: ``no_targets`` when it has none of the layers that were named, ``qlora_missing``.
    """
    model.requires_grad_(False)
    if config.kind == "qlora":
        if (missing := why_no_qlora()) is not None:
            raise missing
        quantise_base(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        try:
            inject_adapter_in_model(config.peft(), model)
        except ValueError as error:
            raise TuneError("no_targets", targets=", ".join(config.targets)) from error
    return model


def encode_texts(box: Assembled, texts: Sequence[str], *, max_tokens: int) -> tuple[tuple[int, ...], ...]:
    """Cut texts into tokens, each at most so long; one of less than two tokens predicts nothing and is left out.

    Raises:
        TuneError: ``too_few_examples`` when fewer than two are left.
    """
    limit = min(max_tokens, box.config.max_seq_len)
    found = tuple(ids[:limit] for text in texts if len(ids := box.tokenizer.encode(text).ids) > 1)
    if len(found) < 2:
        raise TuneError("too_few_examples", train=len(found), validation=len(found), test=len(found))
    return found


def next_token_loss(model: nn.Module, texts: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Mean loss of each token after the first, in nats; padded on the right, where a causal model never looks."""
    longest = max(map(len, texts))
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    labels = torch.full_like(ids, IGNORED)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = labels[row, : len(text)] = torch.tensor(list(text))
    logits = model(ids.to(device))[:, :-1]
    loss: Tensor = nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten().to(device))
    return loss


@torch.inference_mode()
def held_out_loss(model: nn.Module, texts: Sequence[Sequence[int]], device: torch.device, *, batch: int = 16) -> float:
    """Mean loss in nats over all tokens of some texts."""
    total = 0.0
    for at in range(0, len(texts), batch):
        some = texts[at : at + batch]
        total += float(next_token_loss(model, some, device)) * sum(len(text) - 1 for text in some)
    return total / sum(len(text) - 1 for text in texts)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training.

    Args:
        model: a copy of the box's machine with the adapters in it, not merged.
        losses: of each step, in nats, before it. before, after: on the held-out texts, in nats.
        learning, total: weights that learn, and all, adapters among them. step_s: median seconds of a step.
    """

    model: Transformer
    losses: tuple[float, ...]
    before: float
    after: float
    learning: int
    total: int
    step_s: float


def train_adapter(
    box: Assembled,
    train: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    config: AdapterConfig,
    *,
    on_step: Callable[[int, float], Any] = lambda step, loss: None,
) -> Trained:
    """Train an adapter beside a copy of the box's machine; the box stays as it is.

    Args:
        box: one that predicts the next token. train, held_out: texts as tokens, at least two tokens each.
        on_step: told the number of steps done and the loss; what it raises ends the training.

    Raises:
        GenerateError: ``no_next_token``. TuneError: ``no_targets``, ``setting_out_of_range`` (the learning rate, when
            the loss is no number any more), ``qlora_missing``.
    """
    require_next_token(box)
    before = held_out_loss(box.model, held_out, box.device)
    model = put_adapter(copy.deepcopy(box.model), config)
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=config.learning_rate, weight_decay=0.0)
    order = _order(len(train), config)
    losses: list[float] = []
    seconds: list[float] = []
    model.train()
    for step in range(config.steps):
        began = time.perf_counter()
        optimizer.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.steps)
        loss = next_token_loss(model, [train[row] for row in order[step]], box.device)
        if not loss.isfinite():
            at = config.learning_rate
            raise TuneError("setting_out_of_range", setting="learning_rate", asked=at, low=0, high=at / 10)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - began)
        losses.append(loss.item())
        on_step(step + 1, losses[-1])
    model.eval()
    return Trained(
        model=model,
        losses=tuple(losses),
        before=before,
        after=held_out_loss(model, held_out, box.device),
        learning=sum(p.numel() for p in learning),
        total=sum(p.numel() for p in model.parameters()),
        step_s=float(np.median(seconds)),
    )


def _order(n: int, config: AdapterConfig) -> list[list[int]]:
    """Which texts each step reads: all in a shuffled order, then all again in another."""
    needed, size = config.steps * config.batch_size, config.batch_size
    random = np.random.default_rng(config.seed)
    order = np.concatenate([random.permutation(n) for _ in range(math.ceil(needed / n))]).tolist()
    return [order[at : at + size] for at in range(0, needed, size)]
