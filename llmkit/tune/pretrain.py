"""Pre-training: show the model text, and let each guess of the next token push every weight a little.

The whole of it: cut the text into tokens, lay them in one row, take windows from it, predict each next token,
follow the gradient. What is learned is measured on text that was held out.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from llmkit.parts import Transformer, TransformerConfig, assemble, gpt2
from llmkit.tune.atomic import save_atomically, write_atomically
from llmkit.tune.corpus import LARGEST_VOCAB, SMALLEST_VOCAB, Source, SourceFigures, encode, one_row, train_tokenizer
from llmkit.tune.machine import describe_machine


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything that decides a run, besides the text.

    Args:
        vocab_size, d_model, n_layers, n_heads, max_seq_len: the GPT-2 parts list.
        batch_size: windows in a step; a step learns from ``batch_size * max_seq_len`` tokens.
        learning_rate: of embeddings, norms and biases (AdamW); its highest value, reached after warm-up.
        matrix_learning_rate: of the layers' matrices (Muon), likewise.
        weight_decay: pull of the layers' matrices towards zero.
        warmup_steps: steps in which the learning rates rise.
        decay_share: the last part of the run, in which the learning rates fall to zero.
        max_steps: how many steps; None when ``minutes`` ends the run.
        minutes: how long; None when ``max_steps`` ends it. With both, whichever comes first.
        keep_at: shares of the run at which a checkpoint is kept.
        evaluate_every: steps between two measurements on held-out text.
        seed: of the weights and of the order of the text.

    Raises:
        ValueError: when nothing would end the run, or a number is out of its range.
    """

    vocab_size: int = 8_192
    d_model: int = 192
    n_layers: int = 6
    n_heads: int = 6
    max_seq_len: int = 256
    batch_size: int = 8
    learning_rate: float = 3e-3
    matrix_learning_rate: float = 8e-3
    weight_decay: float = 0.1
    warmup_steps: int = 60
    decay_share: float = 0.4
    max_steps: int | None = None
    minutes: float | None = None
    keep_at: tuple[float, ...] = (0.01, 0.1)
    evaluate_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_steps is None and self.minutes is None:
            raise ValueError("give max_steps or minutes: something must end the run")
        for name in ("batch_size", "warmup_steps", "evaluate_every", "max_steps", "minutes", "decay_share"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value}")
        if not SMALLEST_VOCAB <= self.vocab_size <= LARGEST_VOCAB:
            raise ValueError(f"vocab_size must be {SMALLEST_VOCAB} to {LARGEST_VOCAB}, not {self.vocab_size}")
        _ = self.parts  # refuses sizes that no model can have

    @property
    def parts(self) -> TransformerConfig:
        """The parts list of the model that is trained."""
        return gpt2(
            vocab_size=self.vocab_size,
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            max_seq_len=self.max_seq_len,
        )

    def share_done(self, step: int, seconds: float) -> float:
        """How much of the run lies behind, in [0, 1]: by steps or by the clock, whichever is further."""
        by_steps = step / self.max_steps if self.max_steps else 0.0
        by_clock = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(by_steps, by_clock))

    def schedule(self, step: int, share: float) -> float:
        """Share of the learning rates' highest value at a step, in [0, 1]: rise, hold, fall.

        Such a schedule need not know the last step (Hu et al. 2024, "MiniCPM", section 4).
        """
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, (1 - share) / self.decay_share)
        return min(rise, fall)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands after a step.

    Args:
        step: steps done. tokens: tokens learned from. seconds: time spent training, all sittings together.
        share: how much of the run is done, in [0, 1]. loss: of this step, in nats per token.
        learning_rate: of this step, AdamW's. held_out: nats per token for each source, when it was measured, else None.
    """

    step: int
    tokens: int
    seconds: float
    share: float
    loss: float
    learning_rate: float
    held_out: Mapping[str, float] | None


class Corpus:
    """The text of a run as tokens: documents to learn from, each source's held-out row, and what there is of it."""

    def __init__(self, sources: Sequence[Source], tokenizer: Tokenizer) -> None:
        self.documents: list[NDArray[np.uint16]] = []
        self.held_out: dict[str, NDArray[np.uint16]] = {}
        self.figures: list[SourceFigures] = []
        for source in sources:
            train, held_out = encode(source.train, tokenizer), encode(source.held_out, tokenizer)
            self.documents += train * source.repeats
            if held_out:
                self.held_out[source.name] = np.concatenate(held_out)
            self.figures.append(SourceFigures.of(source, train, held_out))
        self.tokens_per_epoch = sum(map(len, self.documents))

    def require_batch(self, config: PretrainConfig) -> None:
        """Raise ``ValueError`` when the text does not fill one batch."""
        size = config.batch_size * config.max_seq_len
        if self.tokens_per_epoch <= size:
            raise ValueError(f"{self.tokens_per_epoch} tokens of text do not fill one batch of {size}")

    def windows(self, config: PretrainConfig, *, skip: int = 0) -> Iterator[Tensor]:
        """Batches of windows [batch_size, max_seq_len + 1], epoch after epoch, without end.

        Args:
            config: sizes and seed.
            skip: batches already seen in an earlier sitting.

        Raises:
            ValueError: when the text does not fill one batch.
        """
        self.require_batch(config)
        epoch = 0
        while True:
            row = one_row(self.documents, seed=config.seed + epoch)
            offset = np.random.default_rng(config.seed + epoch).integers(config.max_seq_len)  # other cuts each epoch
            starts = np.arange(offset, len(row) - config.max_seq_len, config.max_seq_len)
            for first in range(0, len(starts) - config.batch_size + 1, config.batch_size):
                if skip:
                    skip -= 1
                    continue
                batch = [row[s : s + config.max_seq_len + 1] for s in starts[first : first + config.batch_size]]
                yield torch.from_numpy(np.stack(batch).astype(np.int64))
            epoch += 1


class Run:
    """A pre-training that can be stopped at any step and taken up again.

    Args:
        config: what decides the run.
        sources: the text.
        folder: where tokenizer, state, kept checkpoints and ``log.jsonl`` live. If a run's state is there
            already, this one goes on from it.

    Raises:
        ValueError: when the folder holds a run with another configuration, or the text does not fill one batch; a
            run that is refused writes nothing.
    """

    def __init__(self, config: PretrainConfig, sources: Sequence[Source], folder: Path) -> None:
        self.config, self.folder = config, folder
        settings = json.dumps(asdict(config), indent=1)
        if (folder / "config.json").exists() and (folder / "config.json").read_text(encoding="utf-8") != settings:
            raise ValueError(f"{folder} holds a run with another configuration")
        self.tokenizer = self._tokenizer(sources)
        self.corpus = Corpus(sources, self.tokenizer)
        self.corpus.require_batch(config)
        torch.manual_seed(config.seed)
        self.model = initialise(assemble(config.parts), config.n_layers)
        self.optimizers = make_optimizers(self.model, config)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.tokenizer.to_str(pretty=True), folder / "tokenizer.json")
        write_atomically(settings, folder / "config.json")
        self.step, self.seconds = 0, 0.0
        self._take_up()

    def train(
        self,
        *,
        on_step: Callable[[Progress], None] = lambda progress: None,
        cancelled: Callable[[], bool] = lambda: False,
        save_every: int = 100,
        compiled: bool = False,
    ) -> Transformer:
        """Train to the end of the schedule, or until ``cancelled()``; the state is saved either way.

        Args:
            on_step: told after every step.
            cancelled: asked before every step.
            save_every: steps between two saved states.
            compiled: let ``torch.compile`` fuse the step (needs a C++ compiler; about a minute at the start, then
                a third faster on a CPU). The numbers differ by rounding only.

        Returns:
            The model as it is then.
        """
        config = self.config
        loss_of = torch.compile(next_token_loss) if compiled else next_token_loss
        batches = self.corpus.windows(config, skip=self.step)
        kept = [share for share in config.keep_at if not self.kept(share).exists()]
        self._begin_sitting()
        while (share := config.share_done(self.step, self.seconds)) < 1 and not cancelled():
            began = time.monotonic()
            pace = config.schedule(self.step, share)
            loss = learn(self.model, self.optimizers, next(batches), pace, loss_of)
            self.step += 1
            self.seconds += time.monotonic() - began
            share = config.share_done(self.step, self.seconds)
            measured = self.step % config.evaluate_every == 0 or share >= 1
            progress = Progress(
                step=self.step,
                tokens=self.step * config.batch_size * config.max_seq_len,
                seconds=self.seconds,
                share=share,
                loss=loss,
                learning_rate=config.learning_rate * pace,
                held_out=self.measure() if measured else None,
            )
            self._write_log(progress)
            while kept and share >= kept[0]:
                save_atomically(self.model.state_dict(), self.kept(kept.pop(0)))
            if self.step % save_every == 0:
                self._save()
            on_step(progress)
        self._save()
        return self.model

    def measure(self) -> dict[str, float]:
        """Mean loss on each source's held-out text, in nats per token."""
        return {name: evaluate(self.model, row, self.config) for name, row in self.corpus.held_out.items()}

    def kept(self, share: float) -> Path:
        """Where the checkpoint of a share of the run is kept."""
        return self.folder / f"kept-{share:g}.safetensors"

    def _tokenizer(self, sources: Sequence[Source]) -> Tokenizer:
        path = self.folder / "tokenizer.json"
        if path.exists():
            return Tokenizer.from_file(str(path))
        texts = (text for source in sources for text in source.train * source.repeats)
        return train_tokenizer(texts, vocab_size=self.config.vocab_size)

    def _begin_sitting(self) -> None:
        """Note the machine, and take back log lines of steps that an interrupted sitting did not save."""
        machine, log = self.folder / "machine.json", self.folder / "log.jsonl"
        if not machine.exists():
            write_atomically(json.dumps(asdict(describe_machine()), indent=1) + "\n", machine)
        if log.exists():
            lines = [
                line for line in log.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
            ]  # whole ones
            write_atomically("".join(line for line in lines if json.loads(line)["step"] <= self.step), log)

    def _write_log(self, progress: Progress) -> None:
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(asdict(progress)) + "\n")

    def _save(self) -> None:
        tensors = dict(self.model.state_dict())
        for number, optimizer in enumerate(self.optimizers):
            moments = optimizer.state_dict()["state"]
            tensors |= {f"optimizer.{number}.{i}.{k}": v for i, values in moments.items() for k, v in values.items()}
        tensors["progress"] = torch.tensor([self.step, self.seconds], dtype=torch.float64)
        save_atomically(tensors, self.folder / "state.safetensors")

    def _take_up(self) -> None:
        path = self.folder / "state.safetensors"
        if not path.exists():
            return
        tensors = load_file(path)
        step, self.seconds = tensors.pop("progress").tolist()
        self.step = int(step)
        moments: list[dict[int, dict[str, Tensor]]] = [{} for _ in self.optimizers]
        for name in [name for name in tensors if name.startswith("optimizer.")]:
            _, number, i, key = name.split(".")
            moments[int(number)].setdefault(int(i), {})[key] = tensors.pop(name)
        self.model.load_state_dict(tensors)
        for optimizer, state in zip(self.optimizers, moments, strict=True):
            optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def learn(
    model: Transformer,
    optimizers: Sequence[torch.optim.Optimizer],
    batch: Tensor,
    pace: float = 1.0,
    loss_of: Callable[[Transformer, Tensor], Tensor] | None = None,
) -> float:
    """One step: guess, compare, follow the gradient.

    Args:
        batch: [B, T + 1] token ids; token t + 1 is what should have been guessed after token t.
        pace: share of each optimizer's highest learning rate.
        loss_of: the loss; ``next_token_loss`` when not given, or a compiled form of it.

    Returns:
        The mean loss before the step, in nats per token.
    """
    loss = (loss_of or next_token_loss)(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * pace
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return loss.item()


def next_token_loss(model: Transformer, batch: Tensor) -> Tensor:
    """Mean cross entropy of each next token: [B, T + 1] ids → a scalar, in nats."""
    logits = model(batch[:, :-1])
    return nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


@torch.no_grad()
def evaluate(
    model: Transformer, row: NDArray[np.uint16], config: PretrainConfig, max_windows: int | None = 64
) -> float:
    """Mean loss over windows of a held-out row, in nats per token.

    Args:
        row: [N] token ids, N at least 2.
        max_windows: at most so many windows, spread evenly over the row; None for all of them.
    """
    size = min(config.max_seq_len, len(row) - 1)
    starts = np.arange(0, len(row) - size, size)
    starts = starts[:: math.ceil(len(starts) / (max_windows or len(starts)))]
    windows = torch.from_numpy(np.stack([row[s : s + size + 1] for s in starts]).astype(np.int64))
    batches = torch.split(windows, config.batch_size)
    losses = [next_token_loss(model, batch) * len(batch) for batch in batches]
    return float(sum(losses) / len(windows))


@torch.no_grad()
def initialise(model: Transformer, n_layers: int) -> Transformer:
    """GPT-2's fresh weights: normal, std 0.02; what adds to the residual stream smaller by ``sqrt(2 n_layers)``.

    Source: Radford et al. 2019, section 2.3.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("attention.out.weight", "feed_forward.down.weight")):
            nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * n_layers))
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
    return model


def make_optimizers(model: Transformer, config: PretrainConfig) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the layers' matrices, AdamW for embeddings, norms and biases.

    Muon makes every direction of a matrix's update equally large. On a small budget that learns from the same text
    more than twice as fast as AdamW alone.

    Source: Jordan et al. 2024, "Muon"; its step size as AdamW's: Liu et al. 2025, "Muon is Scalable for LLM Training".
    """
    named = dict(model.named_parameters())
    matrices = {name: p for name, p in named.items() if name.startswith("layers.") and p.dim() == 2}
    others = [p for name, p in named.items() if name not in matrices]
    optimizers: tuple[torch.optim.Optimizer, ...] = (
        torch.optim.Muon(
            matrices.values(),
            lr=config.matrix_learning_rate,
            weight_decay=config.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        ),
        torch.optim.AdamW(others, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers
