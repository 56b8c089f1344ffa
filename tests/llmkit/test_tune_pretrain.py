"""Pre-training against transformers' GPT-2 and torch's own SVD, AdamW and schedule; stopped and taken up again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file

from llmkit.parts import Transformer, assemble
from llmkit.reference.naming import to_parts, to_reference
from llmkit.tune.corpus import Source
from llmkit.tune.pretrain import PretrainConfig, Progress, Run, evaluate, learn, make_optimizers, next_token_loss

ROOT = Path(__file__).parents[2]
POEM = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。"
SOURCES = (
    Source(name="poems", documents=tuple(f"第 {n} 首：{POEM}" for n in range(300))),
    Source(name="cats", documents=tuple(f"The cat number {n} sat on the mat." for n in range(300)), repeats=2),
)
TINY = PretrainConfig(
    vocab_size=320,
    d_model=24,
    n_layers=2,
    n_heads=3,
    max_seq_len=32,
    batch_size=4,
    warmup_steps=3,
    max_steps=20,
    keep_at=(0.1, 0.5),
    evaluate_every=10,
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def reference() -> transformers.GPT2LMHeadModel:
    """A GPT-2 of the library, float64, whose biases and norms are not the 0 and 1 that would hide a mistake."""
    torch.manual_seed(5)
    sizes = transformers.GPT2Config(
        vocab_size=320, n_positions=32, n_embd=24, n_layer=2, n_head=3, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    model = transformers.GPT2LMHeadModel(sizes).double().train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture
def ours(reference: transformers.GPT2LMHeadModel) -> Transformer:
    model = assemble(TINY.parts).double()
    model.load_state_dict(to_parts(reference.state_dict(), "gpt2", TINY.parts))
    return model


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.randint(320, (4, 33), generator=torch.Generator().manual_seed(1))


def their_loss(model: transformers.GPT2LMHeadModel, batch: torch.Tensor) -> torch.Tensor:
    """Their logits, and the mean of each next token's negative log-likelihood."""
    chances = model(batch[:, :-1]).logits.log_softmax(-1)
    return -chances.gather(-1, batch[:, 1:, None]).mean()


def weights_of(run: Run) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def test_loss_and_gradients_are_the_references(
    reference: transformers.GPT2LMHeadModel, ours: Transformer, batch: torch.Tensor
) -> None:
    loss, theirs = next_token_loss(ours, batch), their_loss(reference, batch)
    assert abs(loss.item() - theirs.item()) <= 1e-9
    library = reference(batch[:, :-1], labels=batch[:, :-1]).loss  # shifts its labels itself, sums in float32
    assert abs(next_token_loss(ours, batch[:, :-1]).item() - library.item()) <= 1e-5
    loss.backward()
    theirs.backward()
    gradients = to_reference({name: p.grad for name, p in ours.named_parameters()}, "gpt2", TINY.parts)
    expected = {name: p.grad for name, p in reference.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert expected[name].abs().max() > 1e-6, name
        assert (gradient - expected[name]).abs().max() <= 1e-9, name


def test_adamw_with_clipping_is_torchs_plain_loop(
    reference: transformers.GPT2LMHeadModel, ours: Transformer, batch: torch.Tensor
) -> None:
    """The layers' matrices stand still, so that AdamW alone moves."""
    paces = (0.25, 0.5, 1.0, 0.3)
    optimizers = make_optimizers(ours, replace(TINY, matrix_learning_rate=0.0))
    still = {n: p for n, p in reference.named_parameters() if ".h." in n and p.dim() == 2}
    moved = [p for n, p in reference.named_parameters() if n not in still]
    plain = torch.optim.AdamW(moved, lr=TINY.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, foreach=False)
    for pace in paces:
        loss = learn(ours, optimizers, batch, pace)
        theirs = their_loss(reference, batch)
        assert abs(loss - theirs.item()) <= 1e-9
        reference.zero_grad()
        theirs.backward()
        length = torch.cat([p.grad.flatten() for p in reference.parameters()]).norm()
        for parameter in reference.parameters():
            parameter.grad *= min(1.0, 1.0 / (length.item() + 1e-6))
        plain.param_groups[0]["lr"] = TINY.learning_rate * pace
        plain.step()
    found = to_reference(ours.state_dict(), "gpt2", TINY.parts)
    for name, expected in reference.named_parameters():
        assert (found[name] - expected).abs().max() <= 1e-9, name


def test_muon_moves_each_matrix_by_its_gradients_u_vt(ours: Transformer, batch: torch.Tensor) -> None:
    """Jordan et al. 2024: five steps of the iteration give U S' V^T with S' within 0.5 to 1.5, in bfloat16.

    Directions below a hundredth of the gradient's norm have not converged after five steps, and are left out.
    """
    model = ours.float()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    next_token_loss(model, batch).backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    learn(model, make_optimizers(model, replace(TINY, learning_rate=0.0)), batch)
    matrices = [name for name in before if name.startswith("layers.") and before[name].dim() == 2]
    assert len(matrices) == 6 * TINY.n_layers
    for name, after in model.named_parameters():
        if name not in matrices:
            assert after.equal(before[name]), name
            continue
        rate = TINY.matrix_learning_rate
        step = 0.2 * max(after.shape) ** 0.5 * rate  # as long as AdamW's: Liu et al. 2025, equation 4
        direction = (before[name] * (1 - rate * TINY.weight_decay) - after.detach()) / step
        u, sizes, vt = torch.linalg.svd(gradients[name], full_matrices=False)
        strong = sizes > 0.01 * sizes.norm()
        assert strong.sum() >= 8, name
        seen = u[:, strong].T @ direction @ vt[strong].T  # the identity, were it U V^T itself
        assert seen.diagonal().min() > 0.5, name
        assert seen.diagonal().max() < 1.5, name
        assert (seen - seen.diagonal().diag()).abs().max() < 0.05, name
        ideal = u[:, strong] @ vt[strong]
        kept = u[:, strong] @ seen @ vt[strong]
        assert torch.nn.functional.cosine_similarity(ideal.flatten(), kept.flatten(), dim=0) > 0.95, name


def test_the_schedule_is_transformers_warmup_stable_decay() -> None:
    config = replace(TINY, warmup_steps=60, max_steps=1_000)
    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = transformers.get_wsd_schedule(
        dummy, num_warmup_steps=60, num_decay_steps=400, num_training_steps=1_000, decay_type="linear"
    ).lr_lambdas[0]
    for step in range(1_000):
        at = step + 1 if step < 60 else step  # theirs wastes its first step at rate 0
        assert config.schedule(step, config.share_done(step, 0.0)) == pytest.approx(theirs(at), abs=1e-12)


def test_the_schedule_at_its_closed_form_points() -> None:
    config = replace(TINY, warmup_steps=60, max_steps=1_000)
    points = {0: 1 / 60, 29: 0.5, 59: 1.0, 600: 1.0, 800: 0.5, 900: 0.25, 1_000: 0.0}
    assert {s: config.schedule(s, config.share_done(s, 0.0)) for s in points} == pytest.approx(points)


def test_the_end_is_by_steps_or_by_the_clock_whichever_is_first() -> None:
    both = replace(TINY, max_steps=100, minutes=2.0)
    assert both.share_done(50, 30.0) == 0.5
    assert both.share_done(10, 90.0) == 0.75
    assert both.share_done(10, 500.0) == 1.0
    assert replace(both, minutes=None).share_done(10, 1e9) == 0.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_steps": None},
        {"max_steps": 0},
        {"max_steps": -5},
        {"max_steps": None, "minutes": 0.0},
        {"max_steps": None, "minutes": float("nan")},
        {"batch_size": 0},
        {"warmup_steps": 0},
        {"evaluate_every": 0},
        {"decay_share": 0.0},
        {"vocab_size": 256},
        {"vocab_size": 65_537},
        {"n_heads": 5},
        {"d_model": 0},
        {"max_seq_len": 0},
    ],
    ids=str,
)
def test_a_run_that_would_not_end_or_not_fit_is_refused(wrong: dict[str, float | None]) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        replace(TINY, **wrong)


def test_loss_falls_and_every_step_is_told(tmp_path: Path) -> None:
    told: list[Progress] = []
    run = Run(TINY, SOURCES, tmp_path)
    first = run.measure()
    run.train(on_step=told.append)
    assert [p.step for p in told] == list(range(1, 21))
    assert told[0].loss == pytest.approx(torch.tensor(320.0).log().item(), abs=0.1)  # knows nothing: ln of the choices
    assert told[-1].loss < 0.8 * told[0].loss
    assert told[-1].share == 1.0
    assert told[-1].tokens == 20 * 4 * 32
    assert [p.step for p in told if p.held_out] == [10, 20]
    assert told[-1].held_out is not None
    assert told[-1].held_out == run.measure()
    assert all(told[-1].held_out[name] < 0.8 * first[name] for name in ("poems", "cats"))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["loss"] for row in log] == [p.loss for p in told]
    assert [row["learning_rate"] for row in log][:4] == pytest.approx([1e-3, 2e-3, 3e-3, 3e-3])


def test_held_out_loss_is_the_references(tmp_path: Path, reference: transformers.GPT2LMHeadModel) -> None:
    run = Run(TINY, SOURCES, tmp_path)
    model = assemble(TINY.parts).double()
    model.load_state_dict(to_parts(reference.state_dict(), "gpt2", TINY.parts))
    row = torch.from_numpy(run.corpus.held_out["poems"].astype("int64"))
    windows = [row[at : at + 33] for at in range(0, len(row) - 32, 32)]
    with torch.no_grad():
        expected = sum(their_loss(reference, window[None]).item() for window in windows) / len(windows)
    found = evaluate(model, run.corpus.held_out["poems"], TINY, max_windows=None)
    assert len(windows) > 3
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = Run(TINY, SOURCES, tmp_path / "whole")
    whole.train()
    code = (
        "import os, sys, torch\nfrom pathlib import Path\nfrom llmkit.tune.pretrain import Run\n"
        "from tests.llmkit.test_tune_pretrain import SOURCES, TINY\n"
        "torch.set_num_threads(1)\n"
        "stop = lambda p: p.step == 13 and os._exit(9)\n"
        "Run(TINY, SOURCES, Path(sys.argv[1])).train(on_step=stop, save_every=5)\n"
    )
    folder = tmp_path / "killed"
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=False, capture_output=True)
    assert ran.returncode == 9, ran.stderr
    log = folder / "log.jsonl"
    assert len(log.read_text(encoding="utf-8").splitlines()) == 13
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 14, "tok')  # the disk was full
    again = Run(TINY, SOURCES, folder)
    assert again.step == 10
    again.train()
    assert same(weights_of(again), weights_of(whole))
    for share in TINY.keep_at:
        assert same(load_file(again.kept(share)), load_file(whole.kept(share)))

    def losses(run: Run) -> list[tuple[int, float]]:
        lines = (run.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [(row["step"], row["loss"]) for row in map(json.loads, lines)]

    assert losses(again) == losses(whole)


def test_cancelling_leaves_whole_files_that_are_gone_on_from(tmp_path: Path) -> None:
    whole = Run(TINY, SOURCES, tmp_path / "whole")
    whole.train()
    folder = tmp_path / "cancelled"
    run = Run(TINY, SOURCES, folder)
    run.train(cancelled=lambda: run.step == 7)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.json",
        "tokenizer.json",
        "machine.json",
        "log.jsonl",
        "state.safetensors",
        "kept-0.1.safetensors",
    }
    assert load_file(folder / "state.safetensors")["progress"][0] == 7
    again = Run(TINY, SOURCES, folder)
    assert again.step == 7
    again.train()
    assert same(weights_of(again), weights_of(whole))
    done = weights_of(again)
    Run(TINY, SOURCES, folder).train(on_step=lambda p: pytest.fail("a run at its end goes no further"))
    assert same(weights_of(Run(TINY, SOURCES, folder)), done)


def test_a_write_that_fails_leaves_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(TINY, SOURCES, tmp_path)
    run.train(cancelled=lambda: run.step == 5)
    before = load_file(tmp_path / "state.safetensors")

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("llmkit.tune.atomic.save_file", full)
        with pytest.raises(OSError, match="No space"):
            run.train()
    assert same(load_file(tmp_path / "state.safetensors"), before)
    assert Run(TINY, SOURCES, tmp_path).step == 5


def test_a_folder_keeps_to_its_run(tmp_path: Path) -> None:
    Run(TINY, SOURCES, tmp_path)
    with pytest.raises(ValueError, match="another configuration"):
        Run(replace(TINY, seed=1), SOURCES, tmp_path)


def test_a_refused_run_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="do not fill one batch"):
        Run(TINY, [Source(name="short", documents=("一首",))], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    first, second = (Run(TINY, SOURCES, tmp_path / name) for name in "ab")
    assert same(weights_of(first), weights_of(second))
    other = Run(replace(TINY, seed=1), SOURCES, tmp_path / "c")
    assert not same(weights_of(first), weights_of(other))
