"""Fine-tuning: a box that has read much learns one task from labelled texts, by all its weights, a few, or adapters."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn

from llmkit.doctor import is_out_of_memory
from llmkit.reference import Assembled
from llmkit.tune.atomic import save_atomically, write_atomically
from llmkit.tune.classifier import Batch, Classifier, Examples, build_classifier, collate, predict, scores
from llmkit.tune.errors import TuneError

Method = Literal["full", "frozen", "lora"]

WILD_LOSS, WILD_STEPS = 10.0, 5
"""A run has diverged when the loss was so many times a blind guess's, ``ln(n_labels)``, for so many steps on end."""

SAVE_SHARE = 20
"""After a measurement the state is written where so many times as long has passed as writing it took the last time."""

LENGTH_GROUPS = 50
"""Batches whose texts are sorted by length together, as ``transformers``' ``group_by_length`` does."""


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that decides a fine-tuning, besides box and texts.

    Args:
        method: ``full`` (every weight learns), ``frozen`` (only the head), ``lora`` (the head and adapters).
        learning_rate: its highest value, reached after warm-up; it then falls to 0 in a line.
        epochs: how often each text is read. batch_size: texts a step. max_tokens: longer texts are cut.
        weight_decay: pull of matrices towards zero (AdamW). warmup_share: part of the steps in which the rate rises.
        rank, alpha, dropout, targets: LoRA's: how many rows an adapter has, what it is multiplied by
            (``alpha / rank``), how often its input is dropped, which linear layers of the body get one.
        evaluate_every: steps between two measurements on the validation texts.
        patience: measurements without a better one after which it stops early; 0 for never.
        seed: of the head, the adapters and the order of the texts.

    Raises:
        TuneError: ``setting_out_of_range``.
    """

    method: Method = "full"
    learning_rate: float = 5e-5
    epochs: int = 2
    batch_size: int = 16
    max_tokens: int = 128
    weight_decay: float = 0.01
    warmup_share: float = 0.06
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q", "v")
    evaluate_every: int = 50
    patience: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("learning_rate", 1e-12, 1e6),
            ("epochs", 1, 1_000),
            ("batch_size", 1, 4_096),
            ("max_tokens", 2, 1_000_000),
            ("weight_decay", 0.0, 1e3),
            ("warmup_share", 0.0, 1.0),
            ("rank", 1, 1_024),
            ("alpha", 1, 65_536),
            ("dropout", 0.0, 0.95),
            ("evaluate_every", 1, 1_000_000),
            ("patience", 0, 1_000_000),
        ):
            asked = getattr(self, name)
            if not low <= asked <= high:  # a NaN is in no range
                raise TuneError("setting_out_of_range", setting=name, asked=asked, low=low, high=high)
        if self.method == "lora" and not self.targets:
            raise TuneError("no_targets")

    def pace(self, step: int, steps: int) -> float:
        """Share of the learning rate at a step, in [0, 1]. Matches ``get_linear_schedule_with_warmup``."""
        warmup = math.ceil(self.warmup_share * steps)
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (steps - step) / max(1, steps - warmup))


@dataclass(frozen=True, kw_only=True)
class FinetuneStep:
    """Where a fine-tuning stands after a step.

    Args:
        step, steps: done, and of how many. epoch: how many times each text was read, a fraction.
        seconds: spent on steps, all sittings together. loss: of this step, in nats.
        learning_rate: of this step. validation: loss and accuracy, when measured, else None.
        best: whether it is the best so far.
    """

    step: int
    steps: int
    epoch: float
    seconds: float
    loss: float
    learning_rate: float
    validation: Mapping[str, float] | None
    best: bool


Ending = Literal["finished", "stopped", "early", "diverged"]


class Finetuning:
    """A fine-tuning that can be stopped at any step and taken up again. The box is copied, never changed.

    Args:
        box: an opened box. train, validation: what to learn from, what to measure on.
        n_labels: how many labels there are. config: what decides the run.
        folder: where state and best weights live; None to keep nothing. If a run's state is there, this one goes on.

    Raises:
        TuneError: ``too_few_examples``, ``one_class``, ``no_targets`` (the body has no such layer),
            ``another_run`` (the folder holds one with other settings).
    """

    def __init__(
        self,
        box: Assembled,
        train: Examples,
        validation: Examples,
        *,
        n_labels: int,
        config: FinetuneConfig,
        folder: Path | None = None,
    ) -> None:
        _require_examples(train, validation, config)
        self.config, self.train, self.validation, self.folder = config, train, validation, folder
        self.classifier = prepare(build_classifier(box, n_labels=n_labels, seed=config.seed), config)
        self.optimizer = make_optimizer(self.classifier, config)
        self.steps_per_epoch = math.ceil(len(train) / config.batch_size)
        self.steps = self.steps_per_epoch * config.epochs
        self.step, self.seconds, self.since_best, self.wild = 0, 0.0, 0, 0
        self._saved_at, self._saving_s = -math.inf, 0.0
        self.best_accuracy, self.best_loss = -1.0, math.inf
        self.best: dict[str, Tensor] = {}
        if folder is not None:
            self.take_up(folder)

    def run(
        self,
        *,
        on_step: Callable[[FinetuneStep], None] = lambda step: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Ending:
        """Learn to the end, or until it is stopped, gets no better, or diverges; then lay the best weights in.

        Args:
            on_step: told after every step. cancelled: asked before every step.

        Raises:
            TuneError: ``out_of_memory``, with the batch size; what was saved stays.
        """
        ending: Ending = "finished"
        self.classifier.train()
        try:
            for rows in self._batches():
                if cancelled():
                    ending = "stopped"
                    break
                loss = self._learn(rows)
                measured = self.step % self.config.evaluate_every == 0 or self.step == self.steps
                diverged = self._diverged(loss)
                validation = self._measure() if measured and not diverged else None
                better = validation is not None and self._keep_if_better(validation)
                on_step(self._progress(loss, validation, better))
                if diverged:
                    ending = "diverged"
                    break
                if measured and time.monotonic() - self._saved_at >= SAVE_SHARE * self._saving_s:
                    self._save()
                if measured and self.config.patience and self.since_best >= self.config.patience:
                    ending = "early"
                    break
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if (told := said_out_of_memory(error, self.config)) is None:
                raise
            raise told from error
        if ending == "stopped":
            self._save()
        self._lay_best_in()
        self.classifier.eval()
        return ending

    def _batches(self) -> Iterator[list[int]]:
        """Rows of each step that is still to do."""
        for epoch in range(self.step // self.steps_per_epoch, self.config.epochs):
            done = self.step - epoch * self.steps_per_epoch
            yield from epoch_order(self.train, self.config, epoch)[done:]

    def _learn(self, rows: Sequence[int]) -> float:
        began = time.monotonic()
        batch = collate(self.train, rows, self.classifier.head.weight.device)
        pace = self.config.pace(self.step, self.steps)
        loss = learn(self.classifier, self.optimizer, batch, self.config.learning_rate * pace)
        self.step += 1
        self.seconds += time.monotonic() - began
        return loss

    def _diverged(self, loss: float) -> bool:
        wild = loss > WILD_LOSS * math.log(self.classifier.n_labels)
        self.wild = self.wild + 1 if wild else 0
        return not math.isfinite(loss) or self.wild >= WILD_STEPS

    def _measure(self) -> Mapping[str, float]:
        return scores(predict(self.classifier, self.validation), self.validation.labels)

    def _keep_if_better(self, validation: Mapping[str, float]) -> bool:
        accuracy, loss = validation["accuracy"], validation["loss"]
        better = accuracy > self.best_accuracy or (accuracy == self.best_accuracy and loss < self.best_loss)
        better = better and math.isfinite(loss)  # weights that are no numbers call every text by the first label
        if better:
            self.best_accuracy, self.best_loss, self.since_best = accuracy, loss, 0
            self.best = {name: tensor.detach().clone() for name, tensor in trainable(self.classifier).items()}
        else:
            self.since_best += 1
        return better

    def _progress(self, loss: float, validation: Mapping[str, float] | None, better: bool) -> FinetuneStep:
        return FinetuneStep(
            step=self.step,
            steps=self.steps,
            epoch=self.step / self.steps_per_epoch,
            seconds=self.seconds,
            loss=loss,
            learning_rate=self.config.learning_rate * self.config.pace(self.step - 1, self.steps),
            validation=validation,
            best=better,
        )

    def _lay_best_in(self) -> None:
        if self.best:
            self.classifier.load_state_dict(self.best, strict=False)

    def take_up(self, folder: Path) -> None:
        """Keep the run's state in this folder from now on; where it holds one already, go on from there.

        Raises:
            TuneError: ``another_run``.
        """
        self.folder = folder
        settings = json.dumps(asdict(self.config) | {"train": len(self.train), "steps": self.steps}, indent=1)
        note = folder / "config.json"
        if note.exists() and note.read_text(encoding="utf-8") != settings:
            raise TuneError("another_run", folder=folder.name)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(settings, note)
        if (folder / "state.safetensors").exists():
            self._take_up(load_file(folder / "state.safetensors"))

    def _save(self) -> None:
        if self.folder is None:
            return
        began = time.monotonic()
        tensors = {f"now.{name}": tensor for name, tensor in trainable(self.classifier).items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        moments = self.optimizer.state_dict()["state"]
        tensors |= {f"moment.{i}.{key}": value for i, values in moments.items() for key, value in values.items()}
        figures = [self.step, self.seconds, self.since_best, self.best_accuracy, self.best_loss]
        tensors["figures"] = torch.tensor(figures, dtype=torch.float64)
        save_atomically(tensors, self.folder / "state.safetensors")
        self._saved_at = time.monotonic()
        self._saving_s = self._saved_at - began

    def _take_up(self, tensors: dict[str, Tensor]) -> None:
        step, self.seconds, since_best, self.best_accuracy, self.best_loss = tensors.pop("figures").tolist()
        self.step, self.since_best = int(step), int(since_best)
        moments: dict[int, dict[str, Tensor]] = {}
        now: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "moment":
                at, _, key = rest.partition(".")
                moments.setdefault(int(at), {})[key] = tensor
            else:
                (now if kind == "now" else self.best)[rest] = tensor
        self.classifier.load_state_dict(now, strict=False)
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})


def said_out_of_memory(error: Exception, config: FinetuneConfig) -> TuneError | None:
    """The error ``out_of_memory``, with what decides how much is needed; None where the error is another."""
    if not is_out_of_memory(error):
        return None
    return TuneError("out_of_memory", method=config.method, batch=config.batch_size, tokens=config.max_tokens)


def prepare(classifier: Classifier, config: FinetuneConfig) -> Classifier:
    """Freeze what stays, put adapters in; the head always learns.

    Raises:
        TuneError: ``no_targets`` when the body has none of the layers that were named.

    Source: Hu et al. 2022, "LoRA", section 4; ``peft`` makes the adapters.
    """
    classifier.body.requires_grad_(config.method == "full")
    classifier.head.requires_grad_(True)
    if config.method == "lora":
        adapters = lora_config(config)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            try:
                inject_adapter_in_model(adapters, classifier.body)
            except ValueError as error:
                raise TuneError("no_targets", targets=", ".join(config.targets)) from error
    return classifier


def lora_config(config: FinetuneConfig) -> LoraConfig:
    """LoRA's settings as PEFT's own."""
    return LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets)
    )


def merge_adapters(classifier: Classifier) -> Classifier:
    """Add each adapter's ``B A · alpha / rank`` to the matrix it stands beside, and take it away; in place."""
    found = [name for name, module in classifier.body.named_modules() if isinstance(module, LoraLayer)]
    for name in found:
        parent, _, own = name.rpartition(".")
        layer = classifier.body.get_submodule(name)
        layer.merge()  # type: ignore[operator]
        setattr(classifier.body.get_submodule(parent), own, layer.get_base_layer())  # type: ignore[operator]
    return classifier


def trainable(classifier: Classifier) -> dict[str, Tensor]:
    """The weights that learn, by name."""
    return {name: parameter for name, parameter in classifier.named_parameters() if parameter.requires_grad}


def make_optimizer(classifier: Classifier, config: FinetuneConfig) -> torch.optim.Optimizer:
    """AdamW over what learns; biases and norms are not pulled towards zero, as in ``transformers``' Trainer."""
    learning = trainable(classifier).values()
    groups = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learn(classifier: Classifier, optimizer: torch.optim.Optimizer, batch: Batch, learning_rate: float) -> float:
    """One step: predict the labels, compare, follow the gradient (clipped to length 1).

    Returns:
        The mean loss before the step, in nats; a loss or a gradient that is no number changes no weight, and is NaN.
    """
    loss = nn.functional.cross_entropy(classifier(batch.input_ids, batch.attention_mask), batch.labels)
    if not loss.isfinite():
        return math.nan
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_([p for p in classifier.parameters() if p.requires_grad], 1.0)
    if not norm.isfinite():
        optimizer.zero_grad(set_to_none=True)
        return math.nan
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def epoch_order(examples: Examples, config: FinetuneConfig, epoch: int) -> list[list[int]]:
    """The batches of an epoch: shuffled, like lengths together within ``LENGTH_GROUPS`` batches, batches shuffled."""
    random = np.random.default_rng([config.seed, epoch])
    order = random.permutation(len(examples)).tolist()
    size = config.batch_size
    group = size * LENGTH_GROUPS
    batches: list[list[int]] = []
    for first in range(0, len(order), group):
        rows = sorted(order[first : first + group], key=lambda row: -len(examples.ids[row]))
        batches += [rows[at : at + size] for at in range(0, len(rows), size)]
    return [batches[at] for at in random.permutation(len(batches))]


def _require_examples(train: Examples, validation: Examples, config: FinetuneConfig) -> None:
    if len(train) < 2 or not len(validation):
        raise TuneError("too_few_examples", train=len(train), validation=len(validation))
    if len(set(train.labels)) < 2:
        raise TuneError("one_class", rows=len(train))
