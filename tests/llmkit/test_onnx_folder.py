"""The complete ONNX folder: what it holds runs without us; whatever ends its writing leaves nothing."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from typer.testing import CliRunner

from llmkit import jobs, shelf
from llmkit.cli import app
from llmkit.compress import FormError, made
from llmkit.compress import onnx_folder as room
from llmkit.compress.onnx_export import DATA, MODEL
from tests.llmkit.random_box import random_box

FORM = "onnx-float32"
FILES = {MODEL, DATA, "export.json", "config.json", "tokenizer.json", "generation_config.json", "run.py", "README.md"}


def quiet(*_: Any, **__: Any) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("onnx") / "home"


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(home))


@pytest.fixture(scope="module")
def decoder(home: Path) -> str:
    return f"folder:{random_box(home.parent / 'my gpt2', 'gpt2', seed=3)}"


@pytest.fixture(scope="module")
def encoder(home: Path) -> str:
    return f"folder:{random_box(home.parent / 'bert', 'bert', seed=3)}"


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the folder's own program, without this library on the path."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "run.py"), *arguments], capture_output=True, text=True, cwd="/", check=False
    )


def test_a_decoders_folder_writes_on_as_the_reference_does(decoder: str, tmp_path: Path) -> None:
    out = room.write_folder(decoder, FORM, tmp_path / "out", quiet)
    assert {path.name for path in out.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    ran = alone(out, "The room", "--tokens", "9")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.splitlines()[0] == "CPUExecutionProvider"
    model = transformers.AutoModelForCausalLM.from_pretrained(decoder.removeprefix("folder:")).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(out / "tokenizer.json"))
    ids = tokenizer("The room", return_tensors="pt").input_ids
    with torch.no_grad():
        written = model.generate(ids, do_sample=False, max_new_tokens=9, pad_token_id=0)
    expected = tokenizer.decode(
        [token for token in written[0, ids.shape[1] :].tolist() if token != model.config.eos_token_id]
    )
    assert ran.stdout == f"The room{expected}\n"


def test_an_encoders_folder_gives_the_references_vector(encoder: str, tmp_path: Path) -> None:
    out = room.write_folder(encoder, FORM, tmp_path / "out", quiet)
    ran = alone(out, "The room")
    assert ran.returncode == 0, ran.stderr
    model = transformers.AutoModel.from_pretrained(encoder.removeprefix("folder:")).eval()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(out / "tokenizer.json"))
    with torch.no_grad():
        states = model(tokenizer("The room", return_tensors="pt").input_ids).last_hidden_state[0].mean(0).numpy()
    np.testing.assert_allclose(json.loads(ran.stdout), states / np.linalg.norm(states), atol=1e-4)


def test_the_card_says_what_it_is_and_names_no_path_of_this_machine(decoder: str, home: Path, tmp_path: Path) -> None:
    out = room.write_folder(decoder, FORM, tmp_path / "out", quiet)
    card = (out / "README.md").read_text(encoding="utf-8")
    deltas = json.loads((out / "export.json").read_text())["max_delta"]
    for told in (
        f"{deltas['whole']:.1e}",
        f"{deltas['cached']:.1e}",
        "ai.onnx 20",
        "my gpt2 (a folder of its own)",
        "unknown: see where the box comes from",
        "`input_ids` | int64 | [batch, seq_len]",
        "`past_key_values.0.key` … `past_key_values.1.value` (4) | float | [batch, 4, past_len, 6]",
        f"| {DATA} | {(out / DATA).stat().st_size:,} |",
        'python run.py "The movie was"',
    ):
        assert told in card, told
    for path in out.iterdir():
        if path.name != DATA:
            assert str(home.parent).encode() not in path.read_bytes(), path.name
            assert str(Path(__file__).parents[2]).encode() not in path.read_bytes(), path.name
    bundled = room.card(
        box=shelf.entry("gpt2-starter"),
        name="a|b",
        form=room.form(FORM),
        family="gpt2",
        graph=room.read_graph(out / MODEL),
        facts={"causal": True, "max_delta": deltas},
        made={},
        files={},
    )
    assert "| licence | MIT |" in bundled
    assert "# a\\|b" in bundled


def test_a_zip_holds_the_same_in_one_folder_with_a_safe_name(decoder: str, tmp_path: Path) -> None:
    out = room.write_folder(decoder, FORM, tmp_path / "out", quiet)
    report = jobs.DirectReport(tmp_path)
    settings = {"box": decoder, "fingerprint": shelf.fingerprint(decoder), "form": FORM}
    told = room.run(settings, report)
    assert told["file"] == "my-gpt2-onnx.zip"
    with zipfile.ZipFile(tmp_path / told["file"]) as archive:
        assert archive.testzip() is None
        assert {name.partition("/")[0] for name in archive.namelist()} == {"my-gpt2-onnx"}
        for path in out.iterdir():
            assert archive.read(f"my-gpt2-onnx/{path.name}") == path.read_bytes()
    sizes = {path.name: path.stat().st_size for path in out.iterdir()}
    assert told["files"] == sizes
    done, total, note = report.said[-1]
    assert (done, total, note) == (sum(sizes.values()), sum(sizes.values()), "writing")
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        room.run({**settings, "fingerprint": "other"}, report)


@pytest.mark.parametrize(
    "box_id", ["folder:/x/../../etc", "folder:/", "hub:a/b.c", "folder:/x/<img src=x>", "folder:/x/字"]
)
def test_any_box_gives_a_safe_name(box_id: str) -> None:
    name = room.safe_name(box_id)
    assert name == Path(name).name
    assert name.isascii()
    assert not name.startswith(".")
    assert name.replace("-", "").replace(".", "").replace("_", "").isalnum()


def test_an_earlier_export_is_replaced_and_anything_else_is_left_alone(decoder: str, tmp_path: Path) -> None:
    out = room.write_folder(decoder, FORM, tmp_path / "out", quiet)
    (out / "left over").write_text("x")
    room.write_folder(decoder, FORM, out, quiet)
    assert {path.name for path in out.iterdir()} == FILES
    (tmp_path / "empty").mkdir()
    room.write_folder(decoder, FORM, tmp_path / "empty", quiet)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for taken in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(FormError, match="folder_taken"):
            room.write_folder(decoder, FORM, taken, quiet)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_form_without_a_graph_that_runs_alone_is_refused(decoder: str, tmp_path: Path) -> None:
    for form_id in ("torch-float32", "quanto-int8"):
        with pytest.raises(FormError, match="form_unsupported"):
            room.write_folder(decoder, form_id, tmp_path / "out", quiet)
    assert list(tmp_path.iterdir()) == []


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def stop(done: float, total: float, note: str = "") -> None:
    if note == "writing" and done > total / 2:
        raise jobs.Cancelled


@pytest.mark.parametrize("write", [room.write_folder, room.write_zip])
@pytest.mark.parametrize("ends", ["full", "cancelled"])
def test_what_is_interrupted_leaves_nothing(
    write: Callable[..., Path], ends: str, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.make(decoder, FORM, quiet)
    pour, poured = room._pour, list[Any]()

    def until_full(piece: Any, into: Any, told: Any) -> None:
        poured.append(piece)
        pour(piece, into, told) if len(poured) < 3 else full()

    if ends == "full":
        monkeypatch.setattr(room, "_pour", until_full)
        with pytest.raises(FormError) as caught:
            write(decoder, FORM, tmp_path / "out", quiet)
        assert (caught.value.code, caught.value.values["form"]) == ("form_no_space", FORM)
    else:
        with pytest.raises(jobs.Cancelled):
            write(decoder, FORM, tmp_path / "out", stop)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.make(decoder, FORM, quiet)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    monkeypatch.setattr(room, "_pour", lambda *_: pytest.fail("written"))
    with pytest.raises(FormError, match="MB needed, 0 MB free"):
        room.write_folder(decoder, FORM, tmp_path / "out", quiet)


@pytest.mark.parametrize("where", ["graph", "weights"])
def test_a_disk_that_fills_up_in_mid_export_leaves_no_form(
    where: str, decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter writes its graph and its weights with the libraries' own means: those are what fails."""
    from onnxscript import ir

    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "empty"))
    real = ir.save

    def half(model: Any, path: Any, **how: Any) -> None:
        if where == "weights":
            real(model, path, **how)
            data = Path(path).with_name(DATA)
            data.write_bytes(data.read_bytes()[:100])
            raise OSError("problem writing element 18432 to file")  # as NumPy says it on a full disk
        Path(path).write_bytes(b"half")
        full()

    monkeypatch.setattr(ir, "save", half)
    with pytest.raises(FormError, match="form_no_space"):
        made.make(decoder, FORM, quiet)
    left = [
        path.name for path in (tmp_path / "empty" / "forms").rglob("*") if path.is_file() and path.suffix != ".lock"
    ]
    assert left == []
    assert made.folder(decoder, FORM) is None


def test_the_command_writes_a_folder_or_a_zip(decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = CliRunner().invoke(app, ["export", decoder, "--out", str(tmp_path / "new" / "out"), "--json"])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    files = {path.name: path.stat().st_size for path in (tmp_path / "new" / "out").iterdir()}
    assert (told["files"], told["size_bytes"], told["form"]) == (files, sum(files.values()), FORM)
    assert 0 < told["max_delta"]["whole"] < 1e-3
    said = CliRunner().invoke(app, ["export", decoder, "--out", str(tmp_path / "out.zip")])
    assert said.exit_code == 0, said.output
    assert zipfile.is_zipfile(tmp_path / "out.zip")
    assert "max |Δ| against PyTorch: whole" in said.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["folder:/nowhere"], "box_missing", "/nowhere"),
        (["no-such-box"], "box_unknown", "no-such-box"),
        (["gpt2-starter", "--form", "gguf"], "form_unknown", "gguf"),
        (["gpt2-starter", "--form", "torch-compiled"], "form_unsupported", "torch-compiled"),
    ],
)
def test_the_command_names_what_is_wrong(arguments: list[str], code: str, named: str, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["export", *arguments, "--out", str(tmp_path / "out")])
    assert said.exit_code == 1
    assert named in said.stderr
    assert "Traceback" not in said.output
    as_json = CliRunner().invoke(app, ["export", *arguments, "--out", str(tmp_path / "out"), "--json"])
    assert json.loads(as_json.stdout)["error"]["code"] == code
    assert list(tmp_path.iterdir()) == []


def test_the_command_leaves_another_folder_alone(decoder: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    said = CliRunner().invoke(app, ["export", decoder, "--out", str(tmp_path)])
    assert (said.exit_code, [path.name for path in tmp_path.iterdir()]) == (1, ["mine"])


def test_what_it_runs_with_is_what_the_guide_pins() -> None:
    root = Path(__file__).parents[2]
    pinned = {line.partition("==")[0] for line in (root / "requirements.txt").read_text().splitlines()}
    assert {"onnxruntime", "tokenizers", "numpy"} <= pinned
    assert tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"
