"""Train a small GPT from nothing: windows of a text, each next token guessed, every weight pushed a little.

A run can be stopped at any step and taken up again, to the same weights bit for bit. It keeps the weights that were
best on the held-out text, and stops by itself when it diverges.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from llmkit.doctor import is_out_of_memory
from llmkit.parts import Transformer, assemble
from llmkit.tune.atomic import save_atomically, write_atomically
from llmkit.tune.pretrain import initialise
from llmkit.tune.pretrain_errors import PretrainError
from llmkit.tune.recipe import Recipe
from llmkit.tune.shards import Shards, one_thread_each, usual_shards

Ending = Literal["finished", "stopped", "diverged"]

WILD_LOSS, WILD_STEPS = 3.0, 5
"""A run has diverged when the loss was so many times that of a blind guess, ``ln vocab_size``, for so many steps on
end, or is no number."""

MEASURED_WINDOWS = 64
SAVE_EVERY_S = 10.0

STATE, CONFIG, LOG = "state.safetensors", "config.json", "log.jsonl"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A step, as the log keeps it.

    Args:
        step: steps done; 0 for what was measured before the first. loss: of this step, nats per token; None at step 0,
            and where it is no number.
        rate: the learning rate. seconds: spent on steps, all sittings together.
        held_out, train: mean loss on held-out windows, and on as many of the text that is learned from; None where
            they were not measured.
        sample: what the model writes now; None where it was not asked.
    """

    step: int
    loss: float | None
    rate: float
    seconds: float
    held_out: float | None = None
    train: float | None = None
    sample: str | None = None


class FromNothing:
    """A training from nothing.

    Args:
        recipe: what decides it. train, held_out: [N], token ids; at least a window each.
        folder: where its state lives; None to keep nothing. If one is there already, this run goes on from it.
        sample: writes a text with the model as it is; None for no samples.
        shards: in how many threads; what the machine has when not given. Kept in the folder: another number adds the
            same gradients in another order.
        device: ``cpu`` or ``cuda``.

    Attributes:
        step, seconds: done, and spent on steps. rows: the log. best: the weights [N] with the least held-out loss,
        best_step, best_loss: when, and how much.

    Raises:
        PretrainError: ``pretrain_text_short``, ``pretrain_another_run``.
    """

    def __init__(
        self,
        recipe: Recipe,
        train: NDArray[np.int32],
        held_out: NDArray[np.int32],
        *,
        folder: Path | None = None,
        sample: Callable[[Transformer], str] | None = None,
        shards: int | None = None,
        device: str = "cpu",
    ) -> None:
        require_text(recipe, len(train), len(held_out))
        self.recipe, self.folder, self.sample, self.device = recipe, folder, sample, device
        self.text = torch.from_numpy(train.astype(np.int64)).to(device)
        self._windows = {"train": even_windows(train, recipe), "held_out": even_windows(held_out, recipe)}
        shards = self._open(shards or usual_shards(recipe.batch_size, device))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = initialise(assemble(recipe.parts), recipe.n_layers).to(device)
        self.shards = Shards(model, shards)
        self.optimizer = make_optimizer(self.shards, recipe)
        self.step, self.seconds, self.wild = 0, 0.0, 0
        self.rows: list[Row] = []
        self.best, self.best_step, self.best_loss = self.shards.weights.clone(), 0, math.inf
        self._saved_at = time.monotonic()
        self._take_up()

    @property
    def model(self) -> Transformer:
        """The model as it is now."""
        return self.shards.model

    def run(
        self, *, on_step: Callable[[Row], None] = lambda row: None, cancelled: Callable[[], bool] = lambda: False
    ) -> Ending:
        """Train to the last step, or until it is stopped or diverges; the state is kept either way.

        Args:
            on_step: told after every step, and once before the first. cancelled: asked before every step.

        Raises:
            PretrainError: ``pretrain_memory``, with the sizes that can be lowered.
        """
        try:
            with one_thread_each():
                return self._run(on_step, cancelled)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise no_memory(self.recipe) from error

    def lay_best_in(self) -> Transformer:
        """The model with the weights that were best on held-out text."""
        self.shards.weights.copy_(self.best)
        return self.model

    def close(self) -> None:
        """End the threads."""
        self.shards.close()

    def _run(self, on_step: Callable[[Row], None], cancelled: Callable[[], bool]) -> Ending:
        recipe = self.recipe
        self._shorten_log()
        if not self.rows:
            self._tell(self._measured(Row(step=0, loss=None, rate=recipe.rate(0), seconds=0.0)), on_step)
        while self.step < recipe.max_steps:
            if cancelled():
                self._save()
                return "stopped"
            began = time.monotonic()
            rate = recipe.rate(self.step)
            loss = self._learn(rate)
            self.step += 1
            self.seconds += time.monotonic() - began
            row = Row(step=self.step, loss=loss if math.isfinite(loss) else None, rate=rate, seconds=self.seconds)
            if self._is_wild(loss):
                self._tell(row, on_step)
                self._save()
                return "diverged"
            self._tell(self._measured(row), on_step)
            if time.monotonic() - self._saved_at > SAVE_EVERY_S:
                self._save()
        self._save()
        return "finished"

    def _learn(self, rate: float) -> float:
        """One step: read some windows, and move every weight. A loss or gradient that is no number moves none."""
        loss = self.shards.learn(self._batch(self.step))
        if not math.isfinite(loss) or not math.isfinite(self.shards.clip(self.recipe.clip)):
            return math.nan
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return loss

    def _batch(self, step: int) -> Tensor:
        """The windows of a step [B, T + 1]: anywhere in the text, decided by seed and step alone."""
        recipe = self.recipe
        places = np.random.default_rng([recipe.seed, step]).integers(
            len(self.text) - recipe.max_seq_len, size=recipe.batch_size
        )
        starts = torch.from_numpy(places).to(self.device)
        return self.text[starts[:, None] + torch.arange(recipe.max_seq_len + 1, device=self.device)]

    def _measured(self, row: Row) -> Row:
        """The row with what is measured and written at this step."""
        last = self.step == self.recipe.max_steps
        found: dict[str, Any] = {}
        if last or self.step % self.recipe.evaluate_every == 0:
            found = {name: self.measure(name) for name in ("held_out", "train")}
            if found["held_out"] < self.best_loss:
                self.best.copy_(self.shards.weights)
                self.best_step, self.best_loss = self.step, found["held_out"]
            found = {name: value if math.isfinite(value) else None for name, value in found.items()}
        due = last or self.step % self.recipe.sample_every == 0
        if self.sample is not None and due and self._has_numbers():
            self.model.eval()
            found["sample"] = self.sample(self.model)
            self.model.train()
        return Row(**{**asdict(row), **found})

    def _has_numbers(self) -> bool:
        """Whether the model still says numbers: from others no token can be drawn."""
        return math.isfinite(self.shards.measure(self._windows["held_out"][:1].to(self.device)))

    def measure(self, which: Literal["train", "held_out"]) -> float:
        """Mean loss over windows spread evenly over a text, in nats per token."""
        windows = self._windows[which].to(self.device)
        size = 4 * self.recipe.batch_size
        losses = [self.shards.measure(batch) * len(batch) for batch in torch.split(windows, size)]
        return sum(losses) / len(windows)

    def _is_wild(self, loss: float) -> bool:
        wild = not loss <= WILD_LOSS * math.log(self.recipe.vocab_size)
        self.wild = self.wild + 1 if wild else 0
        return self.wild >= WILD_STEPS or not math.isfinite(loss)

    def _tell(self, row: Row, on_step: Callable[[Row], None]) -> None:
        self.rows.append(row)
        if self.folder is not None:
            with (self.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
        on_step(row)

    def _open(self, shards: int) -> int:
        """Make the folder, or know it again; how many threads its run has."""
        if self.folder is None:
            return shards
        note = self.folder / CONFIG
        settings = {**asdict(self.recipe), "tokens": len(self.text)}
        if note.exists():
            kept = json.loads(note.read_text(encoding="utf-8"))
            shards = kept.pop("shards")
            if kept != settings:
                raise PretrainError("pretrain_another_run", folder=self.folder.name)
            return int(shards)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(json.dumps({**settings, "shards": shards}, indent=1), note)
        return shards

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self.folder is None:
            return
        tensors = {"weights": self.shards.weights, "best": self.best}
        moments = self.optimizer.state_dict()["state"]
        tensors |= {f"moment.{i}.{key}": value for i, values in moments.items() for key, value in values.items()}
        figures = [self.step, self.seconds, self.wild, self.best_step, self.best_loss]
        tensors["figures"] = torch.tensor(figures, dtype=torch.float64)
        save_atomically(tensors, self.folder / STATE)

    def _take_up(self) -> None:
        if self.folder is None or not (self.folder / STATE).exists():
            return
        tensors = load_file(self.folder / STATE)
        step, self.seconds, wild, best_step, self.best_loss = tensors.pop("figures").tolist()
        self.step, self.wild, self.best_step = int(step), int(wild), int(best_step)
        self.shards.weights.copy_(tensors.pop("weights"))
        self.best.copy_(tensors.pop("best"))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            _, i, key = name.split(".")
            moments.setdefault(int(i), {})[key] = tensor
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        self.rows = [row for row in read_log(self.folder) if row.step <= self.step]

    def _shorten_log(self) -> None:
        """Take back the lines of steps that an interrupted sitting did not save."""
        if self.folder is not None:
            lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in self.rows)
            write_atomically("".join(lines), self.folder / LOG)


def make_optimizer(shards: Shards, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW over the row of weights; norms and biases are not pulled towards zero.

    Source: Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", algorithm 2; ``torch.optim.AdamW``.
    """
    groups = []
    for first, last, decay in (
        (0, shards.matrices, recipe.weight_decay),
        (shards.matrices, len(shards.weights), 0.0),
    ):
        parameter = nn.Parameter(shards.weights[first:last])  # the same memory
        parameter.grad = shards.gradient[first:last]
        groups.append({"params": [parameter], "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), fused=True)


def require_text(recipe: Recipe, train: int, held_out: int) -> None:
    """Raise ``pretrain_text_short`` unless both parts of a text fill a window.

    Args:
        train, held_out: tokens of each.
    """
    need = recipe.max_seq_len + 2
    if train < 2 * need or held_out < need:
        tokens = train + held_out
        raise PretrainError("pretrain_text_short", tokens=tokens, need=10 * need, context=recipe.max_seq_len)


def even_windows(row: NDArray[np.int32], recipe: Recipe, most: int = MEASURED_WINDOWS) -> Tensor:
    """Windows [W, T + 1] of a row of token ids, spread evenly over it, none overlapping; at most so many."""
    size = recipe.max_seq_len
    starts = np.arange(0, len(row) - size, size)
    chosen = starts[np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int))]
    return torch.from_numpy(np.stack([row[at : at + size + 1] for at in chosen]).astype(np.int64))


def no_memory(recipe: Recipe) -> PretrainError:
    """The error ``pretrain_memory``, with what decides how much is needed."""
    return PretrainError(
        "pretrain_memory",
        depth=recipe.n_layers,
        context=recipe.max_seq_len,
        batch=recipe.batch_size,
        vocab=recipe.vocab_size,
    )


def memory_bytes(recipe: Recipe, shards: int) -> int:
    """About how much memory a run takes: weights, their gradients in each thread, AdamW's two moments, the best, the
    state while it is written; and what a step keeps for its way back."""
    numbers = (1 + shards + 2 + 1 + 4) * recipe.parameters
    a_token = recipe.n_layers * (16 * recipe.d_model + 2 * recipe.n_heads * recipe.max_seq_len) + 3 * recipe.vocab_size
    measured = 4 * recipe.tokens_a_step * 2 * recipe.vocab_size
    return 4 * (numbers + max(recipe.tokens_a_step * a_token, measured))


def read_log(folder: Path) -> tuple[Row, ...]:
    """The rows of a run's log; a line that was not written to its end is left out."""
    path = folder / LOG
    if not path.exists():
        return ()
    return tuple(_whole_rows(path.read_text(encoding="utf-8")))


def _whole_rows(text: str) -> Iterator[Row]:
    for line in text.split("\n"):
        try:
            yield Row(**json.loads(line))
        except (ValueError, TypeError):
            continue
