"""Training from nothing against plain torch with the same weights; stopped and taken up; characters; the shelf."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from llmkit import jobs, shelf
from llmkit.parts import assemble
from llmkit.reference import verify_box
from llmkit.reference.naming import to_parts, to_reference
from llmkit.tokens import Tokenizer
from llmkit.tune import from_nothing, own_text, pretrain_job
from llmkit.tune.characters import character_tokenizer
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.source import keep_file
from llmkit.tune.from_nothing import FromNothing, Row, make_optimizer, read_log
from llmkit.tune.pretrain_errors import PretrainError
from llmkit.tune.recipe import Recipe, from_depth
from llmkit.tune.shards import Shards

ROOT = Path(__file__).parents[2]
TINY = Recipe(
    vocab_size=96,
    d_model=24,
    n_layers=2,
    n_heads=3,
    max_seq_len=16,
    batch_size=5,
    max_steps=20,
    warmup_steps=4,
    learning_rate=3e-3,
    least_rate=3e-4,
    evaluate_every=5,
    sample_every=10,
)
ROW = (np.arange(4_000) * np.arange(4_000) // 7 % 96).astype(np.int32)
MIXED = "這本書很好看。\r\n\t😀👩‍👩‍👧 café \x00\x07\x1b end\u2028\n\n  two  spaces 𠮷"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def reference() -> transformers.GPT2LMHeadModel:
    """A GPT-2 of the library, float64, with biases and norms that are not 0 and 1."""
    torch.manual_seed(5)
    sizes = transformers.GPT2Config(
        vocab_size=96,
        n_positions=16,
        n_embd=24,
        n_layer=2,
        n_head=3,
        activation_function="gelu",
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
    )
    model = transformers.GPT2LMHeadModel(sizes).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randint(96, (5, 17), generator=torch.Generator().manual_seed(1))


def sharded(reference: transformers.GPT2LMHeadModel, shards: int) -> Shards:
    model = assemble(TINY.parts).double()
    model.load_state_dict(to_parts(reference.state_dict(), "gpt2", TINY.parts))
    return Shards(model, shards)


def their_loss(model: transformers.GPT2LMHeadModel, batch: torch.Tensor) -> torch.Tensor:
    chances = model(batch[:, :-1]).logits.log_softmax(-1)
    return -chances.gather(-1, batch[:, 1:, None]).mean()


@pytest.mark.parametrize("shards", [1, 2, 3, 5, 8])
def test_loss_and_gradients_are_the_references_in_any_number_of_threads(
    reference: transformers.GPT2LMHeadModel, batch: torch.Tensor, shards: int
) -> None:
    ours = sharded(reference, shards)
    theirs = their_loss(reference, batch)
    theirs.backward()
    for _ in range(2):  # the second time, nothing is left over from the first
        assert abs(ours.learn(batch) - theirs.item()) <= 1e-9
    assert abs(ours.measure(batch) - theirs.item()) <= 1e-9
    gradients = to_reference({n: p.grad for n, p in ours.model.named_parameters()}, "gpt2", TINY.parts)
    expected = {name: p.grad for name, p in reference.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert expected[name].abs().max() > 1e-6, name
        assert (gradient - expected[name]).abs().max() <= 1e-9, name
    ours.close()


def test_four_steps_are_torchs_plain_loop(reference: transformers.GPT2LMHeadModel, batch: torch.Tensor) -> None:
    """AdamW as torch writes it parameter by parameter, the gradient's length over all of them."""
    ours = sharded(reference, 2)
    optimizer = make_optimizer(ours, TINY)
    matrices = [p for p in reference.parameters() if p.dim() >= 2]
    others = [p for p in reference.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99), foreach=False)
    for step in range(4):
        rate = TINY.rate(step)
        ours.learn(batch)
        ours.clip()
        for group in (*optimizer.param_groups, *plain.param_groups):
            group["lr"] = rate
        optimizer.step()
        reference.zero_grad()
        their_loss(reference, batch).backward()
        torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0, foreach=False)
        plain.step()
    found = to_reference(ours.model.state_dict(), "gpt2", TINY.parts)
    for name, expected in reference.named_parameters():
        assert (found[name] - expected).abs().max() <= 1e-9, name
    ours.close()


def test_the_schedule_is_its_closed_form() -> None:
    recipe = Recipe(vocab_size=65)
    steps = np.arange(2_000)
    up = 1e-3 * (steps + 1) / 101
    down = 1e-4 + 0.5 * (1 + np.cos(np.pi * (steps - 100) / 1_900)) * 9e-4
    found = [recipe.rate(int(step)) for step in steps]
    assert np.allclose(found, np.where(steps < 100, up, down), rtol=1e-12)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(
        torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3), T_max=1_900, eta_min=1e-4
    )
    torchs.optimizer.step()
    for step in range(100, 300):
        assert recipe.rate(step) == pytest.approx(torchs.get_last_lr()[0], rel=1e-9)
        torchs.step()


@pytest.mark.parametrize("depth", range(1, 13))
def test_what_follows_from_depth_can_be_assembled(depth: int) -> None:
    recipe = from_depth(depth, vocab_size=300)
    assert (recipe.n_layers, recipe.d_model // recipe.n_heads) == (depth, 32)
    with torch.device("meta"):
        model = assemble(recipe.parts)
    assert sum(p.numel() for p in model.parameters()) == recipe.parameters


@pytest.mark.parametrize(
    "wrong", [{"max_steps": -1}, {"learning_rate": math.nan}, {"max_seq_len": 2}, {"batch_size": 5_000}], ids=str
)
def test_a_setting_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(PretrainError) as caught:
        from_depth(2, vocab_size=300, **wrong)
    assert caught.value.code == "pretrain_setting"
    with pytest.raises(PretrainError):
        from_depth(13, vocab_size=300)


def begin(folder: Path | None, recipe: Recipe = TINY, shards: int = 2) -> FromNothing:
    def sample(model: torch.nn.Module) -> str:
        with torch.no_grad():
            return str(model(torch.tensor([[1, 2, 3]]))[0, -1].argmax().item())

    return FromNothing(recipe, ROW[:3_600], ROW[3_600:], folder=folder, shards=shards, sample=sample)


def figures(rows: list[Row]) -> list[tuple[object, ...]]:
    return [(row.step, row.loss, row.held_out, row.train, row.sample) for row in rows]


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = begin(None)
    assert whole.run() == "finished"
    part = begin(tmp_path)
    assert part.run(cancelled=lambda: part.step == 7) == "stopped"
    again = begin(tmp_path, shards=3)  # the folder knows that there were two
    assert (again.step, len(again.rows)) == (7, 8)
    assert again.run() == "finished"
    assert again.shards.weights.equal(whole.shards.weights)
    assert again.best.equal(whole.best)
    assert figures(again.rows) == figures(whole.rows)
    assert figures(list(read_log(tmp_path))) == figures(whole.rows)
    assert begin(tmp_path).run(on_step=lambda row: pytest.fail("a run at its end goes no further")) == "finished"


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    whole = begin(None)
    whole.run()
    code = (
        "import os, sys, torch\nfrom pathlib import Path\nfrom llmkit.tune import from_nothing\n"
        "from tests.llmkit.test_from_nothing import begin\n"
        "from_nothing.SAVE_EVERY_S = -1.0\ntorch.set_num_threads(1)\n"
        "begin(Path(sys.argv[1])).run(on_step=lambda row: row.step == 13 and os._exit(9))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False, capture_output=True)
    assert ran.returncode == 9, ran.stderr
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 14, "lo')  # the disk was full
    again = begin(tmp_path)
    assert again.step == 12
    again.run()
    assert again.shards.weights.equal(whole.shards.weights)
    assert figures(again.rows) == figures(whole.rows)


def test_a_folder_keeps_to_its_run(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(PretrainError) as caught:
        begin(tmp_path, replace(TINY, seed=1))
    assert caught.value.code == "pretrain_another_run"


def test_loss_begins_at_a_blind_guess_and_falls() -> None:
    run = begin(None)
    run.run()
    first, last = run.rows[0], run.rows[-1]
    assert first.held_out == pytest.approx(math.log(96), abs=0.15)
    assert last.train is not None
    assert last.train < 0.95 * math.log(96)
    assert [row.step for row in run.rows if row.sample is not None] == [0, 10, 20]
    assert run.best_loss == min(row.held_out for row in run.rows if row.held_out is not None)


def test_a_rate_of_a_thousand_diverges_and_the_best_is_kept(tmp_path: Path) -> None:
    run = begin(tmp_path, replace(TINY, learning_rate=1_000.0, max_steps=200))
    assert run.run() == "diverged"
    assert run.step < 30
    assert run.best.isfinite().all()
    run.lay_best_in()
    assert run.measure("held_out") == pytest.approx(run.best_loss, abs=1e-6)
    assert run.best_loss <= math.log(96) + 0.15


def test_a_gradient_that_is_no_number_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(None)
    before = run.shards.weights.clone()

    def endless(batch: torch.Tensor) -> float:
        run.shards.gradient.fill_(math.inf)
        return 1.0

    monkeypatch.setattr(run.shards, "learn", endless)
    assert run.run() == "diverged"
    assert run.shards.weights.equal(before)


def test_a_model_of_no_numbers_is_not_asked_to_write() -> None:
    run = begin(None)
    run.shards.weights.fill_(math.nan)
    row = run._measured(Row(step=0, loss=None, rate=0.0, seconds=0.0))
    assert (row.held_out, row.train, row.sample) == (None, None, None)
    assert run.best.isfinite().all()


def test_no_memory_says_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(None)

    def full(batch: torch.Tensor) -> float:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(run.shards, "learn", full)
    with pytest.raises(PretrainError) as caught:
        run.run()
    assert caught.value.code == "pretrain_memory"
    assert caught.value.values == {"depth": 2, "context": 16, "batch": 5, "vocab": 96}


@pytest.mark.parametrize("text", [MIXED, "русский", "".join(map(chr, range(32))), "<|x|>``", ""], ids=repr)
def test_characters_come_back(tmp_path: Path, text: str) -> None:
    """In the library that wrote them, in ours and in transformers; known characters are one token each."""
    theirs = character_tokenizer(MIXED)
    theirs.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8"
    )
    ours, library = Tokenizer.from_folder(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = theirs.encode(text).ids
    assert list(ours.encode(text).ids) == ids == library(text)["input_ids"]
    assert theirs.decode(ids) == ours.decode(ids) == library.decode(ids) == text
    assert ours.vocab_size == theirs.get_vocab_size() == len(library)
    if text == MIXED:
        assert len(ids) == len(text)


def test_rare_characters_are_bytes() -> None:
    tokenizer = character_tokenizer("好好好是是不", most=2)
    assert [len(tokenizer.encode(char).ids) for char in "好是不"] == [1, 1, 3]


POEMS = "".join(f"第 {n} 首：春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n" for n in range(200))


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(POEMS.encode("cp950"), "Big5"), (POEMS.encode(), "UTF-8"), (POEMS.encode("utf-16"), "UTF-16")],
    ids=["Big5", "UTF-8", "UTF-16"],
)
def test_a_text_in_any_encoding_is_split(content: bytes, encoding: str) -> None:
    text = own_text.from_bytes(content, "詩.txt")
    assert text.encoding == encoding
    assert "".join((*text.train, *text.held_out)) == POEMS.strip("\n")
    assert 0.08 < text.held_out_characters / len(POEMS) < 0.12
    assert text.train[-1].endswith("\n")  # no line on both sides


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"   \n\n ", "data_empty"),
        (bytes(range(256)) * 40, "pretrain_not_text"),
        (b"PK\x03\x04" + b"x" * 100, "pretrain_not_text"),
        (b"a" * 100_000, "pretrain_one_character"),
    ],
    ids=["blank", "bytes", "zip", "one character"],
)
def test_what_is_no_text_is_refused(content: bytes, code: str) -> None:
    with pytest.raises((PretrainError, DataError)) as caught:
        own_text.from_bytes(content, "a.txt")
    assert caught.value.code == code


def test_bpe_is_learned_from_the_text_and_no_word_is_endless() -> None:
    text = own_text.from_bytes(("ab" * 20_000).encode(), "a.txt")
    tokenizer = own_text.make_tokenizer(text, "bpe", 280)
    ids = own_text.one_row(text, text.train, tokenizer)
    assert tokenizer.decode(ids.tolist()) == "".join(text.train)
    assert len(ids) < text.characters


def settings(**other: object) -> dict[str, object]:
    source = keep_file(POEMS.encode("cp950"), "詩.txt")
    plain = {"fingerprint": source, "encoding": None, "cut": "characters", "vocab_size": 0, "depth": 1, "seed": 0}
    return {"source": source, **plain, "asked": {"max_steps": 24}, "prompt": "", **other}


@pytest.mark.parametrize("cut", ["characters", "bpe"])
def test_the_box_on_the_shelf_fits_the_reference(own_home: Path, tmp_path: Path, cut: str) -> None:
    report = jobs.DirectReport(tmp_path)
    result = pretrain_job.run(settings(cut=cut, vocab_size=300), report)
    assert result["ending"] == "finished"
    assert report.partials
    assert [step for step, _ in result["samples"]][0::10] == [0, 20]
    assert result["box"] in shelf.boxes_here()
    assert verify_box(result["box"], text="春眠不覺曉 abc😀").passed
    folder = shelf.locate(result["box"])
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer(MIXED)["input_ids"]) == MIXED
    text = own_text.open_text(result["text"]["name"] and settings()["source"])
    row = own_text.one_row(text, text.held_out, pretrain_job.Tokenizer.from_file(str(folder / "tokenizer.json")))
    windows = from_nothing.even_windows(row, pretrain_job.recipe_of(settings(), result["vocab_size"]))
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    assert result["best_loss"] == pytest.approx(loss.item(), abs=1e-4)
    assert f"{result['best_loss']:.3f}" in (folder / "README.md").read_text(encoding="utf-8")


def test_a_cancelled_job_goes_on(own_home: Path, tmp_path: Path) -> None:
    report = jobs.DirectReport(tmp_path)

    class Impatient(jobs.DirectReport):
        def __call__(self, done: float, total: float, note: str = "", partial: object = None) -> None:
            self.cancelled = done >= 9
            super().__call__(done, total, note, partial)

    with pytest.raises(jobs.Cancelled):
        pretrain_job.run(settings(), Impatient(tmp_path))
    assert [row.step for row in pretrain_job.kept(settings())][-1] == 9
    result = pretrain_job.run(settings(), report)
    assert report.said[1][0] == 10
    assert result["step"] == 24


def test_a_text_that_is_too_short_says_how_much_it_takes(own_home: Path, tmp_path: Path) -> None:
    source = keep_file("短短的一段。".encode(), "a.txt")
    with pytest.raises(PretrainError) as caught:
        pretrain_job.run(settings(source=source), jobs.DirectReport(tmp_path))
    assert caught.value.code == "pretrain_text_short"
    assert caught.value.values["need"] == 10 * (64 + 2)


def test_a_model_that_memory_does_not_hold_is_not_begun(
    own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_job, "memory_bytes", lambda recipe, shards: 1 << 60)
    with pytest.raises(PretrainError) as caught:
        pretrain_job.run(settings(), jobs.DirectReport(tmp_path))
    assert caught.value.code == "pretrain_memory"
