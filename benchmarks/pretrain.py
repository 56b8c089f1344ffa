"""A small GPT on one text file, our training loop beside plain PyTorch, each in a process of its own, turn by turn.

    python -m benchmarks.pretrain FILE [--steps 2000] [--turn 100] [--json]

The well-known recipe for Shakespeare on a CPU, character by character: 4 layers, 4 heads, 128 wide, context 64, batch
12, 2,000 steps, no dropout, AdamW (0.9, 0.99), weight decay 0.1, gradients clipped to 1, learning rate 1e-3 falling to
1e-4 along a cosine after 100 steps up. Its published loss on the last tenth of Shakespeare is 1.88. Plain is what a
user would write: torch's own layers with a fused q, k, v and ``scaled_dot_product_attention``, a batch stacked from
slices, ``AdamW`` as it comes, torch's own number of threads. Both have the same sizes, vocabulary and schedule, learn
from the first nine tenths, and are measured by the same code on the whole last tenth. While one has its turn the other
waits, so that both meet the same machine. Reading the file is not counted; each side's first turn is, in the seconds,
but not in the ratio.
"""

import argparse
import json
import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from llmkit.tune.from_nothing import FromNothing
from llmkit.tune.own_text import from_bytes
from llmkit.tune.recipe import Recipe
from llmkit.tune.shards import keep_memory, one_thread_each

PUBLISHED_LOSS = 1.88
SIDES = ("ours", "plain")


class PlainBlock(nn.Module):
    """Attention and feed-forward, each after a norm, as tutorials write them."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        d = recipe.d_model
        self.n_heads = recipe.n_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d_model] → [B, T, d_model]."""
        B, T, D = x.shape
        q, k, v = (
            one.view(B, T, self.n_heads, D // self.n_heads).transpose(1, 2)
            for one in self.qkv(self.ln_1(x)).split(D, 2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).contiguous().view(B, T, D))
        return x + self.mlp(self.ln_2(x))


class PlainGPT(nn.Module):
    """A GPT as a user writes one."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.tokens = nn.Embedding(recipe.vocab_size, recipe.d_model)
        self.positions = nn.Embedding(recipe.max_seq_len, recipe.d_model)
        self.blocks = nn.Sequential(*(PlainBlock(recipe) for _ in range(recipe.n_layers)))
        self.norm = nn.LayerNorm(recipe.d_model)
        self.head = nn.Linear(recipe.d_model, recipe.vocab_size, bias=False)
        self.head.weight = self.tokens.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                deep = name.endswith(("out.weight", "mlp.2.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * recipe.n_layers) if deep else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] → [B, T, vocab_size]."""
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        logits: Tensor = self.head(self.norm(self.blocks(x)))
        return logits


def read(path: Path) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """Every character of the file as a number: the first nine tenths, the last, and how many different there are."""
    text = from_bytes(path.read_bytes(), path.name)
    whole = "".join((*text.train, *text.held_out))
    numbers = {char: at for at, char in enumerate(sorted(set(whole)))}
    row = np.array([numbers[char] for char in whole], dtype=np.int32)
    at = int(0.9 * len(row))
    return row[:at], row[at:], len(numbers)


def whole_loss(logits_of: Callable[[Tensor], Tensor], row: NDArray[np.int32], recipe: Recipe) -> float:
    """Mean loss over all of a held-out row, in windows that do not overlap."""
    size = recipe.max_seq_len
    count = (len(row) - 1) // size
    ids = torch.from_numpy(row[: count * size + 1].astype(np.int64))
    seen, wanted = ids[:-1].view(count, size), ids[1:].view(count, size)
    total = 0.0
    with torch.no_grad():
        for at in range(0, count, 64):
            logits = logits_of(seen[at : at + 64]).flatten(0, 1)
            total += F.cross_entropy(logits, wanted[at : at + 64].flatten(), reduction="sum").item()
    return total / (count * size)


def ours(recipe: Recipe, train: NDArray[np.int32], held_out: NDArray[np.int32], pipe: Connection) -> None:
    """Our loop: steps when asked, then the loss."""
    keep_memory()
    run = FromNothing(recipe, train, held_out)

    def steps(first: int, last: int) -> None:
        with one_thread_each():
            for step in range(first, last):
                run._learn(recipe.rate(step))
                run.step += 1

    serve(steps, lambda: whole_loss(run.model, held_out, recipe), pipe)
    run.close()


def plain(recipe: Recipe, train: NDArray[np.int32], held_out: NDArray[np.int32], pipe: Connection) -> None:
    """A user's loop: steps when asked, then the loss."""
    torch.manual_seed(recipe.seed)
    model, data = PlainGPT(recipe), torch.from_numpy(train.astype(np.int64))
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2))
    size = recipe.max_seq_len

    def steps(first: int, last: int) -> None:
        for step in range(first, last):
            places = torch.randint(len(data) - size, (recipe.batch_size,))
            x = torch.stack([data[at : at + size] for at in places])
            y = torch.stack([data[at + 1 : at + 1 + size] for at in places])
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate(step)
            logits = model(x)
            loss = F.cross_entropy(logits.view(-1, recipe.vocab_size), y.view(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()

    serve(steps, lambda: whole_loss(model, held_out, recipe), pipe)


def serve(steps: Callable[[int, int], None], loss: Callable[[], float], pipe: Connection) -> None:
    """Do turns as they are asked for, and say how long each took; None asks for the loss and ends it."""
    pipe.send("ready")
    while (turn := pipe.recv()) is not None:
        began = time.perf_counter()
        steps(*turn)
        pipe.send(time.perf_counter() - began)
    pipe.send(loss())


def compare(path: Path, *, steps: int, turn: int, seed: int) -> dict[str, object]:
    """Train both; their losses, tokens a second, and the ratio turn by turn."""
    train, held_out, vocab_size = read(path)
    recipe = Recipe(vocab_size=vocab_size, max_steps=steps, warmup_steps=min(100, steps // 10), seed=seed)
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name, work in zip(SIDES, (ours, plain), strict=True):
        pipes[name], other = context.Pipe()
        process = context.Process(target=work, args=(recipe, train, held_out, other), daemon=True)
        process.start()
        processes.append(process)
    for pipe in pipes.values():
        pipe.recv()
    took: dict[str, list[float]] = {name: [] for name in SIDES}
    for at, first in enumerate(range(0, steps, turn)):
        last = min(first + turn, steps)
        for name in SIDES if at % 2 else reversed(SIDES):
            pipes[name].send((first, last))
            took[name].append(pipes[name].recv() / (last - first))
    losses = {}
    for name, pipe in pipes.items():
        pipe.send(None)
        losses[name] = round(pipe.recv(), 4)
    for process in processes:
        process.join(10)
    ratios = [plain_s / our_s for our_s, plain_s in zip(took["ours"], took["plain"], strict=True)]
    ratios = ratios[1:] or ratios
    tokens = recipe.tokens_a_step
    return {
        "file": path.name,
        "characters": {"learned": len(train), "held_out": len(held_out), "different": vocab_size},
        "parameters": recipe.parameters,
        "steps": steps,
        "machine": f"{len(os.sched_getaffinity(0))} cores, torch {torch.__version__}",
        "load_before_and_after": [round(value, 1) for value in os.getloadavg()[:2]],
        "loss": losses,
        "blind_guess": round(math.log(vocab_size), 4),
        "published_loss_on_shakespeare": PUBLISHED_LOSS,
        "tokens_per_second": {name: round(tokens / statistics.median(times)) for name, times in took.items()},
        "seconds": {name: round(sum(s * turn for s in times), 1) for name, times in took.items()},
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
        },
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a text, in any encoding")
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--turn", type=int, default=100, help="steps that each does before the other's turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    row = compare(asked.file, steps=asked.steps, turn=asked.turn, seed=asked.seed)
    print(json.dumps(row) if asked.json else "\n".join(f"{key:30} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
