"""The command line: real processes for what a shell sees, typer's CliRunner for the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, get_args

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from llmkit import reference, shelf
from llmkit.cli import app
from llmkit.cli.errors import SENTENCES, as_data, plain, sentence
from llmkit.cli.output import print_json
from llmkit.compress import errors as compress_errors
from llmkit.jobs import job as job_errors
from llmkit.reference import errors as reference_errors
from llmkit.serve import errors as serve_errors
from llmkit.shelf import errors as shelf_errors
from llmkit.tokens import errors as token_errors
from llmkit.trace import errors as trace_errors
from llmkit.workshop import errors as workshop_errors

ROOT = Path(__file__).parents[2]
BOX = "gpt2-starter"
HOSTILE = {
    "markup": "</script><img src=x onerror=alert(1)>",
    "climbs": "../..",
    "hub climbs": "hub:../..",
    "escape codes": "\x1b[31mred\x07",
    "newline": "a\nb; rm -rf ~",
    "long": "x" * 10_000,
    "empty": "",
    "blank": " ",
    "format": "{box}{0}%s",
    "colon": "folder:",
}


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LLMKIT_OFFLINE", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmkit", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_help_names_every_command_and_is_quick_to_load() -> None:
    ran = shell("--help")
    assert ran.returncode == 0
    for name in ("get", "list", "verify", "trace", "pretrain", "doctor", "jobs"):
        assert name in ran.stdout
        assert "--json" in invoke(name, "--help").stdout


@pytest.mark.parametrize(
    "command",
    [
        "['--help']",
        "['list']",
        "['list', '--json']",
        "['jobs', '--json']",
        "['doctor', '--quick']",
        "['trace', '../..', 'x']",
        "['get', '']",
    ],
)
def test_torch_stays_out(command: str) -> None:
    code = (
        "import sys\nfrom llmkit.cli import app\n"
        f"try:\n    app({command})\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'numpy', 'streamlit'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_list_is_the_catalogue() -> None:
    ran = shell("list", "--json")
    boxes = {box["id"]: box for box in json.loads(ran.stdout)}
    assert list(boxes) == list(shelf.catalogue())
    assert [name for name, box in boxes.items() if box["here"]] == [BOX]
    assert boxes[BOX]["folder"] == str(shelf.locate(BOX))
    assert boxes["minilm-l6"]["size_bytes"] == shelf.entry("minilm-l6").size_bytes
    table = shell("list")
    assert all(name in table.stdout for name in boxes)
    assert "python -m llmkit get" in table.stderr


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("command", [["get"], ["verify"], ["trace"]], ids=lambda command: command[0])
def test_a_hostile_name_is_refused_in_one_sentence(command: list[str], name: str, empty_home: Path) -> None:
    ran = invoke(*command, "--json", "--", name, *(["text"] if command == ["trace"] else []))
    assert ran.exit_code == 1
    said = json.loads(ran.stdout)
    error = said["error"] if "error" in said else said["boxes"][0]["error"]
    assert error["code"] in ("bad_name", "box_unknown")
    assert ran.stderr.strip() == error["message"]
    assert "\n" not in ran.stderr.strip()
    assert "\x1b" not in ran.stdout + ran.stderr
    assert len(ran.stderr) < 500
    assert not (empty_home / "boxes").exists()


def test_no_traceback_reaches_a_shell() -> None:
    ran = shell("trace", HOSTILE["markup"], "x")
    assert ran.returncode == 1
    assert ran.stdout == ""
    assert ran.stderr == (
        "“</script><img src=x onerror=alert(1)>” is not in the catalogue. "
        "See the boxes there are: python -m llmkit list\n"
    )


def test_a_missing_box_comes_with_its_command() -> None:
    for command in (["trace", "minilm-l6", "x"], ["verify", "minilm-l6"]):
        ran = invoke(*command)
        assert ran.exit_code == 1
        assert ran.stderr.strip().endswith("python -m llmkit get minilm-l6")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    for command in (["get"], ["verify"], ["trace"]):
        ran = invoke(*command, f"folder:{tmp_path}/no such", *(["x"] if command == ["trace"] else []))
        assert ran.exit_code == 1
        assert f"{tmp_path}/no such" in ran.stderr
        assert "config.json" in ran.stderr


def test_offline_is_said_once_and_nothing_is_written(empty_home: Path) -> None:
    ran = shell("get", "--json", LLMKIT_OFFLINE="1")
    assert ran.returncode == 1
    said = json.loads(ran.stdout)
    assert [box["error"]["code"] for box in said["boxes"]] == ["offline"]  # the next box would fare no better
    assert ran.stderr.count("\n") == 1
    assert not (empty_home / "boxes").exists()


def test_a_hub_that_does_not_answer_is_said_in_a_sentence() -> None:
    ran = shell("get", "gpt2", HF_ENDPOINT="http://127.0.0.1:9", HF_TOKEN="")
    assert ran.returncode == 1
    assert "No source of “gpt2” answered" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_get_goes_on_after_a_box_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fetch(box_id: str, **_: object) -> Path:
        if box_id == "gpt2":
            raise shelf.ShelfError("no_source", box=box_id, detail="hub")
        return tmp_path

    monkeypatch.setattr(shelf, "get", fetch)
    ran = invoke("get", "gpt2", "minilm-l6", "minilm-l6", "--json")
    said = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert [(box["id"], box["folder"]) for box in said["boxes"]] == [("gpt2", None), ("minilm-l6", str(tmp_path))]


def test_get_without_names_is_the_standard_kit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(shelf, "get", lambda box_id, **_: asked.append(box_id) or tmp_path)
    assert invoke("get").exit_code == 0
    assert tuple(asked) == shelf.standard_kit()


class SlowHub(BaseHTTPRequestHandler):
    """A hub with one repository whose weights never come to an end."""

    def do_GET(self) -> None:
        if self.path.startswith("/api/"):
            files = [{"rfilename": "model.safetensors", "size": 10_000_000}]
            body = json.dumps({"id": "a/b", "sha": "0" * 40, "siblings": files}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Length", "10000000")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"x" * 300_000)
                time.sleep(0.2)
        except OSError:
            pass  # the other side has gone

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_stops_cleanly_and_keeps_what_has_come(empty_home: Path) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), SlowHub)
    Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "NO_PROXY": "127.0.0.1",
        "HF_TOKEN": "",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "llmkit", "get", "hub:a/b", "--json"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()  # the first progress; nothing where the process has died
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        server.shutdown()
    assert process.returncode == 1
    assert json.loads(out)["boxes"][0]["error"]["code"] == "cancelled"
    assert "Run the same command to go on" in err
    assert "downloading · " in said
    assert "/ 10 MB" in said
    assert "Traceback" not in err
    part = empty_home / "staging" / "hub--a--b" / "downloads" / "model.safetensors.part"
    assert part.stat().st_size
    assert not (empty_home / "boxes").exists()


def test_verify_passes_for_the_bundled_box() -> None:
    ran = shell("verify", "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert [box["box_id"] for box in said["boxes"]] == [BOX]
    parts = {row["part"]: row for row in said["boxes"][0]["rows"]}
    assert {"embedding", "attention", "feed_forward", "block", "logits"} <= set(parts)
    assert all(row["float32"] < row["float32_limit"] for row in parts.values())
    assert all(row["float64"] < 1e-9 for row in parts.values() if row["float64"] is not None)


def test_verify_fails_where_a_part_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    report = reference.verify_box(BOX)
    worse = replace(report.rows[0], float64=float("nan"))
    monkeypatch.setattr(
        reference, "verify_box", lambda box_id: replace(report, rows=(worse, *report.rows[1:])), raising=False
    )
    ran = invoke("verify", BOX)
    assert ran.exit_code == 1
    assert "DIFFERS" in ran.stdout
    assert "Not every part fits" in ran.stdout
    ran = invoke("verify", BOX, "--json")
    assert json.loads(ran.stdout)["passed"] is False


def test_verify_refuses_a_file_that_was_changed(empty_home: Path) -> None:
    folder = empty_home / "boxes" / "minilm-l6"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    facts = {"size": 2, "sha256": "0" * 64}
    (folder / "manifest.json").write_text(json.dumps({"files": {"config.json": facts}}))
    ran = invoke("verify", "minilm-l6", BOX, "--json")
    said = json.loads(ran.stdout)
    assert ran.exit_code == 1
    assert said["boxes"][0]["error"]["code"] == "tampered"
    assert "config.json" in said["boxes"][0]["error"]["message"]
    assert said["boxes"][1]["passed"]  # the others are still compared


def test_trace_shows_shapes() -> None:
    ran = shell("trace", BOX, "這本書 is good 🙂", "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    config = reference.open_box(BOX).config
    shapes = {value["name"]: (value["layers"], value["shape"]) for value in said["values"]}
    seq_len = len(said["tokens"])
    assert b"".join(bytes.fromhex(token["bytes"]) for token in said["tokens"]).decode() == "這本書 is good 🙂"
    assert shapes["embeddings"] == (None, [seq_len, config.d_model])
    assert shapes["logits"] == (None, [seq_len, config.vocab_size])
    assert shapes["attention_weights"] == (config.n_layers, [config.n_heads, seq_len, seq_len])
    ranges = {value["name"]: value for value in said["values"]}
    assert ranges["attention_weights"]["min"] >= 0
    assert ranges["attention_weights"]["mean"] == pytest.approx(1 / seq_len)  # each row sums to 1
    assert abs(ranges["attention_scores"]["min"]) < 1e30  # what the mask hides is not counted


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_trace_writes_what_the_trace_holds(suffix: str, tmp_path: Path) -> None:
    from llmkit.trace import trace_model

    out = tmp_path / f"values{suffix}"
    ran = invoke("trace", BOX, "The movie was", "--part", "q", "--part", "logits", "--out", str(out))
    assert ran.exit_code == 0, ran.stderr
    written = dict(np.load(out)) if suffix == ".npz" else load_file(out)
    box = reference.open_box(BOX)
    trace = trace_model(box, "The movie was", parts=("q", "logits"))
    assert set(written) == {"logits", *(f"q.{layer}" for layer in range(box.config.n_layers))}
    np.testing.assert_array_equal(written["logits"], trace["logits"])
    np.testing.assert_array_equal(written["q.1"], trace["q"][1])
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_trace_says_what_is_wrong_with_its_arguments(tmp_path: Path) -> None:
    assert "there are: token_embeddings" in invoke("trace", BOX, "x", "--part", "queries").stderr
    assert ".npz" in invoke("trace", BOX, "x", "--out", "values.csv").stderr
    gone = invoke("trace", BOX, "x", "--out", str(tmp_path / "no" / "x.npz"))
    assert gone.exit_code == 1
    assert "No such file" in gone.stderr
    assert "gives no token" in invoke("trace", BOX, "").stderr
    long = invoke("trace", BOX, "good " * 5_000, "--json")
    assert json.loads(long.stdout)["error"]["code"] == "text_too_long"


def test_doctor_says_what_it_measured_and_what_is_missing() -> None:
    ran = shell("doctor", "--json")
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    speeds = {speed["dtype"]: speed["gflops"] for speed in said["measured"]["speeds"]}
    assert said["measured"]["fastest"] == max(speeds, key=lambda name: speeds[name] or 0)
    assert {"what": "standard kit (" + ", ".join(shelf.standard_kit()) + ")", "command": "python -m llmkit get"} in (
        said["missing"]
    )
    assert all(package["fits"] for package in said["packages"])
    text = invoke("doctor", "--quick").stdout
    assert "not measured" in text
    assert BOX in text


def test_doctor_speaks_where_torch_is_broken() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom llmkit.cli import app; app(['doctor'])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "torch does not load" in ran.stdout


def test_pretrain_prints_one_object_a_line(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one text of some words\n\nanother one\n")
    small = "--vocab-size 280 --d-model 16 --n-layers 1 --n-heads 2 --max-seq-len 8 --batch-size 2 --max-steps 2"
    ran = shell("pretrain", "--out", str(tmp_path / "run"), "--text", f"words={text}*50", *small.split(), "--json")
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [line.get("step") for line in lines] == [1, 2, None]
    assert lines[-1] == {"out": str(tmp_path / "run"), "box": None}


def test_pretrain_says_what_is_wrong_with_its_arguments(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("word")
    assert "max_steps or minutes" in invoke("pretrain", "--out", str(tmp_path / "a"), "--text", f"a={text}").stderr
    gone = ["pretrain", "--out", str(tmp_path / "b"), "--max-steps", "1", "--text", f"a={tmp_path}/gone.txt"]
    assert "No such file" in invoke(*gone).stderr
    no_box = [*gone[:-2], "--data", "../..", "--json"]
    assert json.loads(invoke(*no_box).stdout)["error"]["code"] == "box_unknown"


def test_every_code_has_a_sentence() -> None:
    rooms = (shelf_errors, reference_errors, token_errors, trace_errors, job_errors, serve_errors, compress_errors)
    codes = {code for room in rooms for code in get_args(room.Code)}
    assert codes == set(SENTENCES) - {"room_database"}
    assert set(SENTENCES) - codes < set(get_args(workshop_errors.Code))  # the others are the app's own
    values = dict(box="b", detail="d", tokens=3, limit=2, argument="b", job="j", path="p", version=2, known=1)
    values |= dict(host="h", port=1, deployment="x", form="f", name="n", most=3, file="m")
    assert all("{" not in text.format(**values) for text in SENTENCES.values())


def test_a_sentence_survives_any_name() -> None:
    error = shelf.ShelfError("box_missing", box="{x}\ud800\x00'; rm -rf ~")
    assert "\x00" not in sentence(error)
    assert sentence(error).encode("utf-8")
    assert json.dumps(as_data(error))
    assert plain("a" * 1_000) == "a" * 200 + "…"


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": float("nan"), "b": [float("-inf"), 1.5], "c": "\u2028</script>這"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"a": None, "b": [None, 1.5], "c": "\u2028</script>這"}
    assert out.isascii()


def test_a_terminal_without_chinese_is_survived() -> None:
    command = [sys.executable, "-m", "llmkit", "trace", BOX, "這本書"]
    western = {**os.environ, "PYTHONIOENCODING": "cp1252:strict"}
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="cp1252", check=False, env=western)
    assert ran.returncode == 0, ran.stderr
    assert "\\u" in ran.stdout
