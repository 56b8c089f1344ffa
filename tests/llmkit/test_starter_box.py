"""The bundled box: whole, small, safe, open offline, and as good as its card says."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from tokenizers import Tokenizer

from llmkit import shelf
from llmkit.generate.sampling import Sampling
from llmkit.reference import open_box, verify_box, verify_folder
from llmkit.tune.box import read_log
from llmkit.tune.card import card
from llmkit.tune.corpus import END_OF_TEXT, is_held_out
from llmkit.tune.curve import draw_curve
from llmkit.tune.sample import continue_text

ROOT = Path(__file__).parents[2]
BOX = ROOT / "llmkit" / "shelf" / "boxes" / "gpt2-starter"
MODEL = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
STAGES = ("checkpoints/001pct", "checkpoints/010pct", ".")
TEXTS = (
    "The movie was not as good as the book, but I liked the actors and the music.",
    "這本書寫得很好，我一口氣就看完了，很值得推薦給大家。",
    "《秋夜》\n月落烏啼霜滿天，江楓漁火對愁眠。",
    " two  blanks\tand\na line's end , 2026 年 11 月 👩‍👩‍👧‍👦 𠮷 <b>&amp;</b>",
    "",
)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return json.loads((BOX / "training.json").read_text(encoding="utf-8"))


@pytest.fixture
def unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no socket connect."""

    def refuse(*_: object) -> None:
        raise AssertionError("something asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def load(stage: str, dtype: torch.dtype = torch.float32) -> Any:
    return transformers.GPT2LMHeadModel.from_pretrained(BOX / stage, dtype=dtype, local_files_only=True).eval()


def nats(model: Any, rows: torch.Tensor) -> float:
    """Mean loss per token over [N, T + 1] ids, by the reference."""
    losses = []
    with torch.no_grad():
        for batch in rows.split(8):
            logits = model(batch[:, :-1]).logits
            losses.append(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="sum")
            )
    return float(sum(losses)) / rows[:, 1:].numel()


def test_the_files_are_complete_and_no_others() -> None:
    files = {path.relative_to(BOX).as_posix() for path in BOX.rglob("*") if path.is_file()}
    expected = {(Path(stage) / name).as_posix() for stage in STAGES for name in MODEL}
    assert files == expected | {"README.md", "curve.svg", "log.jsonl", "training.json"}
    assert not [path for path in BOX.rglob("*") if path.is_symlink()]


def test_they_are_kept_with_the_code() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = subprocess.run(["git", "ls-files", str(BOX)], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == len([path for path in BOX.rglob("*") if path.is_file()])


def test_its_size_is_what_the_catalogue_says_and_small() -> None:
    size = sum(path.stat().st_size for path in BOX.rglob("*") if path.is_file())
    assert size == pytest.approx(shelf.entry("gpt2-starter").size_bytes, rel=0.01)
    assert size < 30_000_000
    assert max(path.stat().st_size for path in BOX.rglob("*")) < 10_000_000


@pytest.mark.parametrize("stage", STAGES)
def test_weights_are_whole_finite_float16(stage: str, facts: dict[str, Any]) -> None:
    with safe_open(BOX / stage / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert all(tensor.dtype is torch.float16 and tensor.isfinite().all() for tensor in tensors.values())
    assert sum(tensor.numel() for tensor in tensors.values()) == facts["parameters"]
    wanted = {name for name, _ in load(stage).named_parameters()}
    assert set(tensors) == wanted


@pytest.mark.usefixtures("unplugged")
def test_it_opens_without_a_network(own_home: Path) -> None:
    assert shelf.locate("gpt2-starter") == BOX
    tokenizer = transformers.AutoTokenizer.from_pretrained(BOX)
    model = transformers.AutoModelForCausalLM.from_pretrained(BOX).eval()
    box = open_box("gpt2-starter")
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        assert (box.model(ids) - model.float()(ids).logits).abs().max() < 1e-3
    assert not own_home.exists()


def test_every_part_fits() -> None:
    assert verify_box("gpt2-starter").passed
    assert verify_folder(BOX / STAGES[0]).passed


@pytest.mark.parametrize("text", TEXTS)
def test_the_tokenizer_is_the_librarys(text: str) -> None:
    theirs = Tokenizer.from_file(str(BOX / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(BOX, local_files_only=True)
    ours = open_box("gpt2-starter").tokenizer
    ids = theirs.encode(text).ids
    assert list(ours.encode(text).ids) == ids == auto(text)["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids) == auto.decode(ids) == text


def test_the_vocabulary_is_full_and_the_same_for_all_stages() -> None:
    tokenizer = Tokenizer.from_file(str(BOX / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == load(".").config.vocab_size == 8_192
    assert tokenizer.token_to_id(END_OF_TEXT) == load(".").config.eos_token_id
    assert len({(BOX / stage / "tokenizer.json").read_bytes() for stage in STAGES}) == 1


@pytest.mark.parametrize("text", TEXTS[:3])
def test_more_training_guesses_better(text: str) -> None:
    tokenizer = Tokenizer.from_file(str(BOX / "tokenizer.json"))
    rows = torch.tensor([[0, *tokenizer.encode(text).ids, 0]])  # 0 ends a text, and so begins the next
    first, tenth, last = (nats(load(stage), rows) for stage in STAGES)
    assert torch.tensor(8_192.0).log() > first > tenth > last


@pytest.mark.parametrize("source", ["reviews-en", "reviews-zh-tw"])
def test_the_cards_held_out_loss_comes_out_again(source: str, facts: dict[str, Any]) -> None:
    if shelf.locate(source) is None:
        pytest.skip(f"{source} is not on this machine")
    figures = next(one for one in facts["sources"] if one["name"] == source)
    texts = [row.text for row in shelf.open_data(source).rows if is_held_out(row.text)]
    if len(texts) != figures["held_out_documents"]:
        pytest.skip(f"{source} here is another version than the one trained on")
    tokenizer = Tokenizer.from_file(str(BOX / "tokenizer.json"))
    row = torch.tensor([i for text in texts for i in (*tokenizer.encode(text).ids, 0)])
    assert len(row) == figures["held_out_tokens"]
    assert sum(len(text.encode()) for text in texts) == figures["held_out_bytes"]
    windows = torch.stack([row[at : at + 257] for at in range(0, len(row) - 256, 256)])
    assert nats(load("."), windows) == pytest.approx(facts["end"]["held_out"][source]["nats_per_token"], abs=2e-3)


def test_the_card_and_the_curve_are_drawn_from_the_figures(facts: dict[str, Any]) -> None:
    log = read_log(BOX / "log.jsonl")
    assert (BOX / "README.md").read_text(encoding="utf-8") == card(facts, log, name="gpt2-starter")
    assert (BOX / "curve.svg").read_text(encoding="utf-8") == draw_curve(log)
    steps = [row["step"] for row in log]
    assert steps == sorted(set(steps))
    assert steps[-1] == facts["end"]["step"]
    for name, figures in facts["end"]["held_out"].items():
        source = next(one for one in facts["sources"] if one["name"] == name)
        bits = figures["nats_per_token"] * source["held_out_tokens"] / source["held_out_bytes"]
        assert figures["bits_per_byte"] * torch.tensor(2.0).log().item() == pytest.approx(bits)


def test_the_card_names_each_text_with_its_terms_and_no_ones_machine(facts: dict[str, Any]) -> None:
    shown = (BOX / "README.md").read_text(encoding="utf-8")
    for source in facts["sources"]:
        assert source["about"] in shown
        assert re.search(r"licence|public domain", source["about"])
    for path in BOX.rglob("*"):
        if path.suffix in {".md", ".json", ".jsonl", ".svg"} and path.name != "tokenizer.json":
            assert not re.search(r"/(?:home|root|tmp|opt|work|Users)/", path.read_text(encoding="utf-8")), path.name


def test_a_shown_sample_is_drawn_again(facts: dict[str, Any]) -> None:
    """In float32 on another processor a draw on the edge may fall otherwise: nearly all must agree."""
    box, tokenizer = open_box("gpt2-starter"), Tokenizer.from_file(str(BOX / "tokenizer.json"))
    settings = dict(facts["sampling"])
    drawn = partial(continue_text, max_new_tokens=settings.pop("max_new_tokens"), sampling=Sampling(**settings))
    shown = [(one["prompt"], c) for one in facts["samples"] for c in one["continuations"][:3]]
    same = [drawn(box.model, tokenizer, prompt, seed=c["seed"]).text == c["text"] for prompt, c in shown]
    assert sum(same) >= 0.8 * len(same)
