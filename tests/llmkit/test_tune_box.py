"""The box that a run is written to, its card, its samples, and the command line that makes one."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from typer.testing import CliRunner

from llmkit.cli import app
from llmkit.generate.sampling import Sampling
from llmkit.parts import Transformer
from llmkit.reference import open_folder, verify_folder
from llmkit.tune.box import SEEDS, read_log, shorten, write_box
from llmkit.tune.corpus import END_OF_TEXT, Source
from llmkit.tune.pretrain import PretrainConfig, Run
from llmkit.tune.sample import continue_text

ROOT = Path(__file__).parents[2]
POEM = "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。"
SOURCES = (
    Source(name="poems", documents=tuple(f"第 {n} 首：{POEM}" for n in range(300))),
    Source(name="cats", documents=tuple(f"The cat number {n} sat on the mat." for n in range(300)), repeats=2),
)
ABOUT = {"poems": "one poem by 孟浩然, counted; public domain"}
CONFIG = PretrainConfig(
    vocab_size=320,
    d_model=24,
    n_layers=2,
    n_heads=3,
    max_seq_len=64,
    batch_size=4,
    warmup_steps=3,
    max_steps=45,
    keep_at=(0.2, 0.6),
    evaluate_every=15,
)
TEXTS = ("The cat 貓 sat.", " 兩  個空格 ", "第 7 首：\n春眠\t不覺曉", "👩‍👩‍👧‍👦 𠮷", "don't  stop ,  now .")
SMALL = "--vocab-size 300 --d-model 16 --n-layers 1 --n-heads 2 --max-seq-len 16 --batch-size 2 --max-steps 3".split()


@dataclass(frozen=True)
class Written:
    """A run, the box it was written to, and what the reference library makes of the box."""

    run: Run
    folder: Path
    facts: dict[str, Any]
    card: str
    model: transformers.GPT2LMHeadModel
    tokenizer: Tokenizer


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    torch.set_num_threads(1)
    run = Run(CONFIG, SOURCES, tmp_path_factory.mktemp("run"))
    run.train()
    folder = tmp_path_factory.mktemp("boxes") / "tiny"
    write_box(run, folder, command="python -m llmkit pretrain --tiny", about=ABOUT, max_new_tokens=9)
    return Written(
        run,
        folder,
        json.loads((folder / "training.json").read_text(encoding="utf-8")),
        (folder / "README.md").read_text(encoding="utf-8"),
        transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval(),
        Tokenizer.from_file(str(folder / "tokenizer.json")),
    )


def stored(run: Run) -> Transformer:
    """The run's model with its weights rounded to float16, as a box holds them."""
    model = copy.deepcopy(run.model)
    model.load_state_dict({name: tensor.half().float() for name, tensor in run.model.state_dict().items()})
    return model.eval()


def their_loss(model: transformers.GPT2LMHeadModel, row: torch.Tensor, size: int) -> float:
    """The reference's nats per token over the whole windows of a row, or over all of a shorter row."""
    size = min(size, len(row) - 1)
    windows = torch.stack([row[at : at + size + 1] for at in range(0, len(row) - size, size)])
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).item()


def test_the_box_opens_in_transformers_with_the_same_logits(written: Written) -> None:
    ids = torch.randint(320, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = written.model.double()(ids).logits
        assert (stored(written.run).double()(ids) - theirs).abs().max() <= 1e-9
        assert (open_folder(written.folder, dtype=torch.float64).model(ids) - theirs).abs().max() <= 1e-9
    written.model.float()
    assert verify_folder(written.folder).passed


def test_a_box_is_nothing_but_text_and_safetensors(written: Written) -> None:
    files = {str(path.relative_to(written.folder)) for path in written.folder.rglob("*") if path.is_file()}
    model = {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    kept = {f"checkpoints/{share}/{name}" for share in ("020pct", "060pct") for name in model}
    assert files == model | kept | {"README.md", "curve.svg", "log.jsonl", "training.json"}
    assert [path.name for path in written.folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_round_trips_and_is_the_runs(written: Written, text: str) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(written.folder, local_files_only=True)
    ids = theirs(text)["input_ids"]
    assert theirs.decode(ids) == text
    assert ids == written.run.tokenizer.encode(text).ids
    assert ids == list(open_folder(written.folder).tokenizer.encode(text).ids)


def test_the_end_of_text_is_one_token_for_all(written: Written) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(written.folder, local_files_only=True)
    end = written.run.tokenizer.token_to_id(END_OF_TEXT)
    config = transformers.GenerationConfig.from_pretrained(written.folder)
    assert theirs.eos_token_id == theirs.bos_token_id == end
    assert written.model.config.eos_token_id == config.eos_token_id == config.pad_token_id == end
    assert theirs.model_max_length == CONFIG.max_seq_len


def test_the_cards_losses_are_the_references(written: Written) -> None:
    """Every row of the table, worked out by transformers from the files of the box."""
    table = re.findall(r"^\| (checkpoints/\d+pct|this box) \| (.+?) \| (.+?) \| (.+) \|$", written.card, re.MULTILINE)
    assert [row[0] for row in table] == ["checkpoints/020pct", "checkpoints/060pct", "this box"]
    for name, step, tokens, cells in table:
        folder = written.folder if name == "this box" else written.folder / name
        model = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
        assert int(tokens.replace(",", "")) == int(step) * 4 * 64
        for source, cell in zip(SOURCES, cells.split(" | "), strict=True):
            text = "".join(f"{document}{END_OF_TEXT}" for document in source.held_out)
            row = torch.tensor(written.tokenizer.encode(text).ids)
            nats = their_loss(model, row, CONFIG.max_seq_len)
            bits = nats / math.log(2) * len(row) / sum(len(document.encode()) for document in source.held_out)
            assert [float(figure) for figure in cell.split(" / ")] == pytest.approx([nats, bits], abs=6e-4)


def test_the_card_names_its_text_and_its_figures_are_the_runs(written: Written) -> None:
    log = read_log(written.run.folder / "log.jsonl")
    assert ABOUT["poems"] in written.card
    for source in SOURCES:
        cells = next(re.finditer(rf"^\| {source.name} \|(.+)\|$", written.card, re.MULTILINE))[1].split("|")
        shown = [cell.strip().replace(",", "") for cell in cells]
        characters = sum(map(len, source.train))
        assert shown[1:3] == [str(len(source.train)), str(characters)]
        assert shown[5:] == [str(source.repeats), str(len(source.held_out))]
    parameters = sum(p.numel() for p in written.model.parameters())
    assert f"A GPT-2 of {parameters:,} parameters" in written.card
    assert f"| steps | {log[-1]['step']} |" in written.card
    assert f"| tokens seen | {45 * 4 * 64:,} (" in written.card
    assert "python -m llmkit pretrain --tiny" in written.card
    assert "Not finished" not in written.card
    measured = re.findall(r"^\| (\d+) \| [\d,]+ \| [\d.]+ \| ([\d.]+) \| ([\d.]+) \|$", written.card, re.MULTILINE)
    expected = [(row["step"], *row["held_out"].values()) for row in log if row["held_out"]]
    assert [(int(s), float(a), float(b)) for s, a, b in measured] == [
        (step, round(a, 3), round(b, 3)) for step, a, b in expected
    ]


def test_the_same_figures_give_the_same_box(written: Written, tmp_path: Path) -> None:
    write_box(
        written.run,
        tmp_path / "tiny",
        command="python -m llmkit pretrain --tiny",
        about=ABOUT,
        max_new_tokens=9,
    )
    for path in written.folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "tiny" / path.relative_to(written.folder)).read_bytes() == path.read_bytes(), path.name


def test_a_short_log_keeps_the_mean_of_what_it_leaves_out(written: Written) -> None:
    log, short = read_log(written.run.folder / "log.jsonl"), read_log(written.folder / "log.jsonl")
    assert [row["step"] for row in short] == [1, 15, 20, 30, 40, 45]
    assert short[2]["loss"] == pytest.approx(sum(row["loss"] for row in log[15:20]) / 5)
    assert shorten(log, every=1) == log


def test_an_unfinished_run_says_so_and_a_run_not_begun_is_no_box(tmp_path: Path) -> None:
    run = Run(replace(CONFIG, keep_at=()), SOURCES, tmp_path / "run")
    with pytest.raises(ValueError, match="train first"):
        write_box(run, tmp_path / "box", command="x")
    run.train(cancelled=lambda: run.step == 9)
    write_box(run, tmp_path / "box", command="x", prompts=())
    assert "**Not finished: 20% of the run.**" in (tmp_path / "box" / "README.md").read_text(encoding="utf-8")


def test_a_failed_write_leaves_the_older_box(written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "box"
    write_box(written.run, folder, command="first", prompts=())
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        patch.setattr("llmkit.tune.box.draw_curve", lambda log: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_box(written.run, folder, command="second", prompts=())
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    write_box(written.run, folder, command="third", prompts=())
    assert "third" in (folder / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["box"]


def test_only_a_box_is_replaced(written: Written, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    letter = tmp_path / "letters" / "dear.txt"
    letter.write_text("dear", encoding="utf-8")
    for place in (letter.parent, letter, Path()):
        with pytest.raises(ValueError, match=r"box"):
            write_box(written.run, place, command="x")
    assert letter.read_text(encoding="utf-8") == "dear"


def test_samples_are_drawn_again_from_the_box(written: Written) -> None:
    box = open_folder(written.folder)
    prompts = {sample["prompt"]: sample["continuations"] for sample in written.facts["samples"]}
    assert set(prompts) == {"The movie was", "這本書", "《春夜》"}
    for prompt, shown in prompts.items():
        assert [one["seed"] for one in shown] == list(SEEDS)
        for one in shown:
            again = continue_text(box.model, written.tokenizer, prompt, seed=one["seed"], max_new_tokens=9)
            assert (again.text, again.ended) == (one["text"], one["ended"])


def test_sampling_leaves_the_global_generator_alone(written: Written) -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    drawn = {continue_text(written.run.model, written.tokenizer, "The", seed=seed).text for seed in (1, 2, 3)}
    assert torch.random.get_rng_state().equal(before)
    torch.manual_seed(12)
    assert drawn == {continue_text(written.run.model, written.tokenizer, "The", seed=seed).text for seed in (1, 2, 3)}
    assert len(drawn) > 1


def test_the_likeliest_token_is_the_references_greedy_one(written: Written) -> None:
    prompt = "The cat number"
    greedy = continue_text(
        stored(written.run), written.tokenizer, prompt, seed=0, sampling=Sampling(temperature=0), max_new_tokens=12
    )
    ids = torch.tensor([written.tokenizer.encode(prompt).ids])
    theirs = written.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
    text = written.tokenizer.decode(theirs[0, ids.shape[1] :].tolist())
    assert greedy.text == text.rstrip("\ufffd")


def test_tokens_are_drawn_as_often_as_the_references_warpers_say(written: Written) -> None:
    sampling, draws = Sampling(temperature=0.7, top_k=6), 1_500
    prompt = "The cat number"
    ids = torch.tensor([written.tokenizer.encode(prompt).ids])
    with torch.no_grad():
        scores = written.model(ids).logits[:, -1]
    scores = transformers.TemperatureLogitsWarper(0.7)(ids, scores)
    chances = transformers.TopKLogitsWarper(6)(ids, scores).softmax(-1)[0]
    box, counts = open_folder(written.folder), dict[str, int]()
    for seed in range(draws):
        text = continue_text(box.model, written.tokenizer, prompt, seed=seed, sampling=sampling, max_new_tokens=1).text
        counts[text] = counts.get(text, 0) + 1
    for token_id in chances.nonzero().flatten().tolist():
        p, word = chances[token_id].item(), written.tokenizer.decode([token_id])
        if "\ufffd" not in word and word:
            assert abs(counts.get(word, 0) - draws * p) <= 5 * math.sqrt(draws * p * (1 - p)) + 1, word
    assert len(counts) <= 6


def test_a_text_is_cut_where_positions_end(written: Written) -> None:
    model = copy.deepcopy(written.run.model)
    with torch.no_grad():  # whatever it reads, it says “a”
        model.norm_final.weight.zero_()
        model.norm_final.bias.fill_(1.0)
        model.embedding.weight.zero_()
        model.embedding.weight[written.tokenizer.token_to_id("a")] = 1.0
    used = len(written.tokenizer.encode("The cat").ids)
    drawn = continue_text(
        model, written.tokenizer, "The cat", seed=0, sampling=Sampling(temperature=0), max_new_tokens=999
    )
    assert drawn.text == "a" * (CONFIG.max_seq_len - used + 1)  # the last one is not read again
    assert not drawn.ended
    for prompt in ("", POEM * 20):
        with pytest.raises(ValueError, match="a prompt has 1 to 64 tokens"):
            continue_text(written.run.model, written.tokenizer, prompt, seed=0)


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A real process, that also tells of every file opened in the system's own encoding."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONUTF8": "0",
        "PYTHONWARNDEFAULTENCODING": "1",
        "PYTHONWARNINGS": "default::EncodingWarning",
    }
    return subprocess.run(
        [sys.executable, "-m", "llmkit", "pretrain", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )


def test_the_command_line_makes_a_box_of_a_tiny_text(tmp_path: Path) -> None:
    text = tmp_path / "poems.txt"
    text.write_text("\n\n".join(f"第 {n} 首：{POEM}" for n in range(60)), encoding="utf-8")
    where = ("--out", str(tmp_path / "run"), "--box", str(tmp_path / "box"))
    ran = shell(*where, "--text", f"poems={text}*2", "--about", "poems=one poem=counted", *SMALL, "--json")
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line.get("step") for line in lines] == [1, 2, 3, None]
    assert lines[-1] == {"out": str(tmp_path / "run"), "box": str(tmp_path / "box")}
    shown = (tmp_path / "box" / "README.md").read_text(encoding="utf-8")
    assert "one poem=counted" in shown
    assert str(tmp_path) not in shown + (tmp_path / "box" / "training.json").read_text(encoding="utf-8")
    ours = [line for line in ran.stderr.splitlines() if "EncodingWarning" in line and str(ROOT / "llmkit") in line]
    assert not ours
    assert verify_folder(tmp_path / "box", text="第 1 首").passed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("--max-steps", "0"), "max_steps must be more than 0"),
        (("--n-heads", "3"), "3 heads cannot share"),
        (("--vocab-size", "100"), "vocab_size must be 257 to 65536"),
        (("--batch-size", "0"), "batch_size must be more than 0"),
        (("--learning-rate", "-1"), "learning rate"),
        (("--text", "nameless.txt"), "NAME=PATH"),
        (("--text", "a=poems.txt*many"), "whole number"),
        (("--text", "a=poems.txt*0"), "repeats must be at least 1"),
        (("--text", "a=empty.txt"), "no text"),
        (("--text", "a=bytes.txt"), "bytes.txt cannot be read as text"),
        (("--text", "a=bytes.xz"), "bytes.xz cannot be read as text"),
        (("--box", "letters"), "something else than a box"),
        (("--max-seq-len", "9000"), "do not fill one batch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_said_before_anything_is_written(
    changes: tuple[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    Path("poems.txt").write_text("\n\n".join(f"第 {n} 首" for n in range(60)), encoding="utf-8")
    Path("empty.txt").write_text("\n\n", encoding="utf-8")
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00")
    Path("bytes.xz").write_bytes(b"plain")
    Path("letters").mkdir()
    Path("letters/dear.txt").write_text("dear", encoding="utf-8")
    ran = CliRunner().invoke(app, ["pretrain", "--out", "run", "--text", "poems=poems.txt", *SMALL, *changes, "--json"])
    assert ran.exit_code == 2, ran.exception
    assert said in ran.stderr
    assert "Traceback" not in ran.output
    assert ran.stdout == ""
    assert not Path("run").exists()


def test_nothing_to_read_and_a_missing_file_are_said(tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "run"), *SMALL, "--json")
    nothing = CliRunner().invoke(app, ["pretrain", *out])
    assert (nothing.exit_code, "--text or --data" in nothing.stderr) == (2, True)
    gone = shell(*out, "--text", f"a={tmp_path}/gone.txt")
    assert gone.returncode == 1
    assert json.loads(gone.stdout)["error"]["message"].endswith("gone.txt: No such file or directory. Check the path.")
    assert "Traceback" not in gone.stderr
    assert not (tmp_path / "run").exists()
