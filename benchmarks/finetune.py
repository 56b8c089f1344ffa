"""Fine-tuning minilm-l6 on rated reviews, ours beside plain transformers + peft on the same batches, in one run.

    python -m benchmarks.finetune [--methods full lora] [--minutes 5] [--rows 8000] [--json]

Both start from the same weights, read the same batches with the same optimizer, schedule and clipping, and take
turns of a few steps each, so that a machine whose speed drifts is the same for both. What is printed: steps a second
(and ours over theirs), and the accuracy of both on the same held-out reviews after the same number of steps.
"""

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer, get_linear_schedule_with_warmup

from llmkit import shelf
from llmkit.reference import open_box
from llmkit.tune.classifier import Examples, collate, encode_examples, predict, scores
from llmkit.tune.finetune import FinetuneConfig, Finetuning, epoch_order, learn

BOX, DATA = "minilm-l6", "reviews-en"
HELD_OUT = 1_000
CLEAR = 0.5
"""Reviews rated nearer to 0 than this are neither good nor bad."""
TURN = 10
"""Steps that each does before the other's turn."""
RATES = {"full": 5e-5, "lora": 1e-3, "frozen": 1e-2}


class Plain(nn.Module):
    """What a user would write with transformers: the mean of the last states, one linear layer."""

    def __init__(self, method: str, config: FinetuneConfig, head: nn.Linear) -> None:
        super().__init__()
        body = AutoModel.from_pretrained(shelf.locate(BOX), dtype=torch.float32).requires_grad_(method == "full")
        if method == "lora":
            lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=["query", "value"])
            body = get_peft_model(body, lora)
        self.body = body
        self.head = nn.Linear(head.in_features, head.out_features)
        self.head.load_state_dict(head.state_dict())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of the labels, [B, n_labels]."""
        states = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        share = attention_mask[..., None]
        logits: Tensor = self.head((states * share).sum(1) / share.sum(1))
        return logits


def labelled(rows: int) -> tuple[list[str], list[int]]:
    """Clear reviews in an order that does not change: held-out ones first."""
    found = {row.text: int(row.rating > 0) for row in shelf.open_data(DATA).rows if abs(row.rating) >= CLEAR}
    texts = sorted(found)
    random.Random(0).shuffle(texts)
    texts = texts[: rows + HELD_OUT]
    return texts, [found[text] for text in texts]


def plain_examples(texts: Sequence[str], labels: Sequence[int], max_tokens: int) -> Examples:
    """The same texts, cut by the reference's tokenizer."""
    cut = AutoTokenizer.from_pretrained(shelf.locate(BOX))
    ids = cut(list(texts), truncation=True, max_length=max_tokens)["input_ids"]
    return Examples(ids=tuple(map(tuple, ids)), labels=tuple(labels))


def endless(examples: Examples, config: FinetuneConfig) -> Iterator[list[int]]:
    """Batches, epoch after epoch."""
    for epoch in range(config.epochs):
        yield from epoch_order(examples, config, epoch)


def compare(method: str, minutes: float, rows: int) -> dict[str, object]:
    """Train both for so long; steps a second of both, and accuracy on the held-out reviews."""
    config = FinetuneConfig(method=method, learning_rate=RATES[method], epochs=1, evaluate_every=10**6)
    texts, labels = labelled(rows)
    box = open_box(BOX)
    ours_examples = encode_examples(box, texts, labels, max_tokens=config.max_tokens)
    theirs_examples = plain_examples(texts, labels, config.max_tokens)
    differ = sum(a != b for a, b in zip(ours_examples.ids, theirs_examples.ids, strict=True))

    def part(examples: Examples, first: int, last: int) -> Examples:
        return Examples(ids=examples.ids[first:last], labels=examples.labels[first:last])

    train, held_out = (part(ours_examples, HELD_OUT, len(texts)), part(ours_examples, 0, HELD_OUT))
    their_train, their_held_out = (part(theirs_examples, HELD_OUT, len(texts)), part(theirs_examples, 0, HELD_OUT))
    run = Finetuning(box, train, held_out, n_labels=2, config=config)
    run.classifier.train()
    plain = Plain(method, config, run.classifier.head).train(False)  # like ours without dropout
    learning = [p for p in plain.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    schedule = get_linear_schedule_with_warmup(optimizer, math.ceil(config.warmup_share * run.steps), run.steps)
    device = torch.device("cpu")

    def our_step(batch_rows: Sequence[int], step: int) -> None:
        batch = collate(train, batch_rows, device)
        learn(run.classifier, run.optimizer, batch, config.learning_rate * config.pace(step, run.steps))

    def their_step(batch_rows: Sequence[int]) -> None:
        batch = collate(their_train, batch_rows, device)
        loss = nn.functional.cross_entropy(plain(batch.input_ids, batch.attention_mask), batch.labels)
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)

    pace: dict[str, list[float]] = {"ours": [], "theirs": []}
    batches, step, began = endless(train, config), 0, time.monotonic()
    while time.monotonic() - began < 2 * 60 * minutes and (turn := list(islice(batches, TURN))):
        for name in ("ours", "theirs") if (step // TURN) % 2 else ("theirs", "ours"):
            at = time.monotonic()
            for offset, batch_rows in enumerate(turn):
                if name == "ours":
                    our_step(batch_rows, step + offset)
                else:
                    their_step(batch_rows)
            pace[name].append((time.monotonic() - at) / len(turn))
        step += len(turn)
    ratios = [theirs / ours for ours, theirs in zip(pace["ours"], pace["theirs"], strict=True)]
    ratios = ratios[1:] or ratios  # the first turn warms up
    run.classifier.eval()
    ours = scores(predict(run.classifier, held_out), held_out.labels)
    theirs = scores(predict_plainly(plain, their_held_out), their_held_out.labels)
    return {
        "method": method,
        "steps": step,
        "of_steps": run.steps,
        "seconds": {name: round(sum(times) * TURN, 1) for name, times in pace.items()},
        "steps_per_second": {name: round(1 / statistics.median(times), 3) for name, times in pace.items()},
        "ratio": {"median": round(statistics.median(ratios), 3), "least": round(min(ratios), 3)},
        "accuracy": {"ours": ours["accuracy"], "theirs": theirs["accuracy"]},
        "loss": {"ours": round(ours["loss"], 4), "theirs": round(theirs["loss"], 4)},
        "texts_cut_otherwise": differ,
    }


@torch.inference_mode()
def predict_plainly(plain: Plain, examples: Examples) -> Tensor:
    """Probabilities of the plain model, [N, 2]."""
    probs = torch.zeros(len(examples), 2)
    for first in range(0, len(examples), 64):
        rows = range(first, min(first + 64, len(examples)))
        batch = collate(examples, rows, torch.device("cpu"))
        probs[list(rows)] = plain(batch.input_ids, batch.attention_mask).softmax(-1)
    return probs


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["full", "lora"], choices=sorted(RATES))
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each of the two")
    parser.add_argument("--rows", type=int, default=8_000, help="reviews to learn from, read once")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    print(f"{BOX} on {DATA}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for method in asked.methods:
        row = compare(method, asked.minutes, asked.rows)
        print(json.dumps(row) if asked.json else "\n".join(f"  {key:20} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
