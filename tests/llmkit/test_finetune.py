"""Fine-tuning against plain torch, transformers and peft with the same weights, batches and settings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from llmkit.reference import Assembled
from llmkit.reference.box import open_folder
from llmkit.tune.classifier import Examples, build_classifier, collate, encode_examples, predict, scores
from llmkit.tune.errors import TuneError
from llmkit.tune.finetune import (
    FinetuneConfig,
    FinetuneStep,
    Finetuning,
    epoch_order,
    merge_adapters,
    prepare,
    trainable,
)
from tests.llmkit.random_box import random_box

WORDS = {0: ("bad", "awful", "boring", "weak"), 1: ("good", "lovely", "funny", "strong")}
ADAPTED = {"bert": ["query", "value"], "llama": ["q_proj", "v_proj"]}


@pytest.fixture(params=["gpt2", "bert", "llama"])
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Assembled:
    return open_folder(random_box(tmp_path / request.param, request.param, seed=3))


@pytest.fixture
def bert(tmp_path: Path) -> Assembled:
    return open_folder(random_box(tmp_path / "bert", "bert", seed=3))


def told(box: Assembled, n: int = 48) -> Examples:
    """Texts of many lengths whose label can be learned from one word."""
    texts = [f"{'so ' * (at % 7)}{WORDS[at % 2][at // 2 % 4]} {at}" for at in range(n)]
    return encode_examples(box, texts, [at % 2 for at in range(n)], max_tokens=64)


def weights(classifier: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in classifier.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Plain(nn.Module):
    """What a user would write: the reference's body, the mean or last state, one linear layer."""

    def __init__(self, body: nn.Module, head: nn.Linear, *, mean: bool) -> None:
        super().__init__()
        self.body, self.mean = body, mean
        self.head = nn.Linear(head.in_features, head.out_features)
        self.head.load_state_dict(head.state_dict())

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        states = self.body(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.mean:
            return self.head((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return self.head(states[torch.arange(len(ids)), mask.sum(1) - 1])


def train_plainly(run: Finetuning, plain: Plain) -> list[float]:
    """The reference's own loop on the same batches: AdamW, its schedule, clipping; the loss of each step."""
    config, losses = run.config, []
    learning = [p for p in plain.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in learning if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    warmup = math.ceil(config.warmup_share * run.steps)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, run.steps)
    for epoch in range(config.epochs):
        for rows in epoch_order(run.train, config, epoch):
            batch = collate(run.train, rows, torch.device("cpu"))
            loss = nn.functional.cross_entropy(plain(batch.input_ids, batch.attention_mask), batch.labels)
            loss.backward()
            nn.utils.clip_grad_norm_(learning, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


def train_ours(run: Finetuning) -> list[float]:
    steps: list[FinetuneStep] = []
    run.run(on_step=steps.append)
    return [step.loss for step in steps]


@pytest.mark.parametrize("method", ["full", "frozen"])
def test_losses_are_those_of_the_reference(box: Assembled, method: str) -> None:
    config = FinetuneConfig(method=method, learning_rate=1e-3, epochs=2, batch_size=8)
    run = Finetuning(box, told(box), told(box, 8), n_labels=2, config=config)
    body = AutoModel.from_pretrained(box.folder, dtype=torch.float32).eval()
    plain = Plain(body.requires_grad_(method == "full"), run.classifier.head, mean=box.family == "bert")
    plainly = train_plainly(run, plain)
    ours = train_ours(run)
    assert ours == pytest.approx(plainly, abs=2e-5)
    assert ours[-1] != ours[0]


@pytest.mark.parametrize("family", ["bert", "llama"])  # the reference's GPT-2 has q, k and v in one matrix
def test_lora_is_that_of_peft(tmp_path: Path, family: str) -> None:
    box = open_folder(random_box(tmp_path / family, family, seed=3))
    config = FinetuneConfig(method="lora", learning_rate=1e-2, epochs=2, batch_size=8, rank=4, alpha=16)
    run = Finetuning(box, told(box), told(box, 8), n_labels=2, config=config)
    body = AutoModel.from_pretrained(box.folder, dtype=torch.float32).eval()
    theirs = get_peft_model(body, LoraConfig(r=4, lora_alpha=16, lora_dropout=0.0, target_modules=ADAPTED[family]))
    ours = {name: p for name, p in run.classifier.body.named_parameters() if "lora_" in name}
    adapters = [p for name, p in theirs.named_parameters() if "lora_" in name]
    assert [p.shape for p in adapters] == [p.shape for p in ours.values()]
    with torch.no_grad():
        for parameter, start in zip(adapters, ours.values(), strict=True):
            parameter.copy_(start)
    plain = Plain(theirs, run.classifier.head, mean=family == "bert")
    counted = sum(p.numel() for p in plain.parameters() if p.requires_grad)
    assert counted == sum(p.numel() for p in trainable(run.classifier).values())
    plainly = train_plainly(run, plain)
    assert train_ours(run) == pytest.approx(plainly, abs=2e-5)


def test_merged_adapters_say_the_same(box: Assembled) -> None:
    config = FinetuneConfig(method="lora", learning_rate=1e-2, epochs=1, batch_size=8, targets=("q", "v", "down"))
    run = Finetuning(box, told(box), told(box, 8), n_labels=2, config=config)
    names = set(build_classifier(box, n_labels=2, seed=0).state_dict())
    run.run()
    before = predict(run.classifier, run.train)
    merged = merge_adapters(run.classifier)
    assert torch.allclose(predict(merged, run.train), before, atol=1e-5)
    assert set(merged.state_dict()) == names


def test_only_what_may_learn_learns(box: Assembled) -> None:
    before = weights(box.model)
    for method, moved in (("frozen", {"head"}), ("lora", {"head", "adapters"}), ("full", {"head", "body"})):
        config = FinetuneConfig(method=method, learning_rate=1e-2, epochs=1, batch_size=16)
        run = Finetuning(box, told(box), told(box, 8), n_labels=2, config=config)
        start = weights(run.classifier)
        run.run()
        now = run.classifier.state_dict()
        changed = {name for name in now if not torch.equal(now[name], start[name])}
        kinds = {"adapters" if "lora_" in n else "head" if n.startswith("head") else "body" for n in changed}
        assert kinds == moved
    assert same(weights(box.model), before)


def test_a_stopped_run_ends_with_the_same_weights(bert: Assembled, tmp_path: Path) -> None:
    config = FinetuneConfig(method="lora", learning_rate=1e-2, epochs=3, batch_size=8, evaluate_every=4)
    train, validation = told(bert), told(bert, 12)
    whole = Finetuning(bert, train, validation, n_labels=2, config=config)
    whole.run()
    at_once = []
    for stop_after in (5, 9, 100):  # within an epoch, and within the next
        run = Finetuning(bert, train, validation, n_labels=2, config=config, folder=tmp_path / "run")
        at_once.append(run.run(cancelled=lambda run=run, stop_after=stop_after: run.step >= stop_after))
    assert at_once == ["stopped", "stopped", "finished"]
    assert same(weights(run.classifier), weights(whole.classifier))
    with pytest.raises(TuneError, match="another_run"):
        Finetuning(bert, train, validation, n_labels=2, config=replace(config, seed=1), folder=tmp_path / "run")


def test_the_best_is_kept_and_it_stops_early(bert: Assembled) -> None:
    config = FinetuneConfig(learning_rate=1e-3, epochs=50, batch_size=16, evaluate_every=1, patience=5)
    run = Finetuning(bert, told(bert), told(bert, 12), n_labels=2, config=config)
    steps: list[FinetuneStep] = []
    assert run.run(on_step=steps.append) == "early"
    measured = [step.validation for step in steps if step.validation]
    best = max(measured, key=lambda one: (one["accuracy"], -one["loss"]))
    kept = scores(predict(run.classifier, run.validation), run.validation.labels)
    assert kept == pytest.approx(best)
    assert [step.best for step in steps[-5:]] == [False] * 5


def test_a_rate_of_1000_diverges_and_the_best_is_kept(bert: Assembled) -> None:
    config = FinetuneConfig(learning_rate=1000.0, epochs=20, batch_size=8, warmup_share=0.5, evaluate_every=1)
    run = Finetuning(bert, told(bert), told(bert, 12), n_labels=2, config=config)
    steps: list[FinetuneStep] = []
    assert run.run(on_step=steps.append) == "diverged"
    assert steps[-1].step < run.steps
    kept = scores(predict(run.classifier, run.validation), run.validation.labels)
    assert kept["accuracy"] == max(step.validation["accuracy"] for step in steps if step.validation)


def test_a_loss_that_is_no_number_ends_the_run_and_moves_nothing(bert: Assembled) -> None:
    run = Finetuning(bert, told(bert), told(bert, 12), n_labels=2, config=FinetuneConfig())
    with torch.no_grad():
        run.classifier.head.bias[0] = math.inf
    before = weights(run.classifier)
    steps: list[FinetuneStep] = []
    assert run.run(on_step=steps.append) == "diverged"
    assert len(steps) == 1
    assert same(weights(run.classifier), before)


def test_a_gradient_that_is_no_number_moves_nothing(bert: Assembled) -> None:
    run = Finetuning(bert, told(bert), told(bert, 12), n_labels=2, config=FinetuneConfig())
    run.classifier.head.weight.register_hook(lambda gradient: gradient * math.inf)
    before = weights(run.classifier)
    assert run.run() == "diverged"
    assert same(weights(run.classifier), before)
    assert not run._keep_if_better({"accuracy": 1.0, "loss": math.nan})


def test_memory_that_runs_out_is_said(bert: Assembled, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Finetuning(bert, told(bert), told(bert, 8), n_labels=2, config=FinetuneConfig(batch_size=8))

    def full(*_: object) -> float:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(run, "_learn", full)
    with pytest.raises(TuneError) as caught:
        run.run()
    assert (caught.value.code, caught.value.values["batch"]) == ("out_of_memory", 8)


def test_last_state_is_what_the_reference_classifies(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "gpt2", "gpt2", seed=3))
    ours = build_classifier(box, n_labels=3, seed=0)
    theirs = AutoModelForSequenceClassification.from_pretrained(
        box.folder, num_labels=3, pad_token_id=0, dtype=torch.float32
    )
    with torch.no_grad():
        theirs.score.weight.copy_(ours.head.weight)
    examples = encode_examples(box, ["one", "a longer text", "text"], [0, 1, 2], max_tokens=64)
    batch = collate(examples, range(3), torch.device("cpu"))
    with torch.inference_mode():
        wanted = theirs.eval()(batch.input_ids, attention_mask=batch.attention_mask).logits
        assert torch.allclose(ours(batch.input_ids, batch.attention_mask), wanted, atol=1e-5)


def test_long_and_empty_texts(bert: Assembled) -> None:
    examples = encode_examples(bert, ["", "x" * 1_000, "😀 </script>"], [0, 1, 0], max_tokens=16)
    assert [len(ids) for ids in examples.ids] == [1, 16, len("😀 </script>".encode())]
    assert examples.cut == 1
    assert predict(build_classifier(bert, n_labels=2, seed=0), examples).sum(1).tolist() == pytest.approx([1, 1, 1])


def test_padding_changes_nothing(box: Assembled) -> None:
    classifier = build_classifier(box, n_labels=2, seed=0)
    examples = told(box)
    alone = torch.cat([predict(classifier, Examples(ids=(ids,), labels=(0,))) for ids in examples.ids])
    assert torch.allclose(predict(classifier, examples, batch_size=13), alone, atol=1e-5)


def test_every_text_is_read_once_an_epoch(bert: Assembled) -> None:
    examples, config = told(bert, 47), FinetuneConfig(batch_size=8)
    epochs = [epoch_order(examples, config, epoch) for epoch in range(2)]
    for batches in epochs:
        assert sorted(row for rows in batches for row in rows) == list(range(47))
    assert epochs[0] != epochs[1]
    assert epochs[0] == epoch_order(examples, config, 0)


@pytest.mark.parametrize(
    ("setting", "asked"), [("learning_rate", math.nan), ("learning_rate", -1), ("epochs", 0), ("rank", 0)]
)
def test_a_setting_out_of_range_is_named(setting: str, asked: float) -> None:
    with pytest.raises(TuneError) as caught:
        FinetuneConfig(**{setting: asked})
    assert caught.value.values["setting"] == setting


def test_what_cannot_be_learned_is_refused(bert: Assembled) -> None:
    one = replace(told(bert), labels=(0,) * 48)
    with pytest.raises(TuneError, match="one_class"):
        Finetuning(bert, one, one, n_labels=2, config=FinetuneConfig())
    with pytest.raises(TuneError, match="too_few_examples"):
        Finetuning(bert, told(bert), Examples(ids=(), labels=()), n_labels=2, config=FinetuneConfig())
    with pytest.raises(TuneError, match="no_targets"):
        FinetuneConfig(method="lora", targets=())
    with pytest.raises(TuneError, match="no_targets"):
        prepare(build_classifier(bert, n_labels=2, seed=0), FinetuneConfig(method="lora", targets=("nothing",)))
