"""The bench on tiny random boxes: real processes, real forms, one broken, one killed, one that cannot be."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import transformers
from typer.testing import CliRunner

from llmkit import jobs, shelf
from llmkit.cli import app
from llmkit.compress import FormError, bench_child, bench_job, made
from llmkit.compress import bench as room
from llmkit.compress.held_out import windows
from llmkit.compress.row import Row
from llmkit.tokens import Tokenizer
from llmkit.tune.corpus import is_held_out
from tests.llmkit.random_box import random_box

PLAN = room.Plan(rounds=2, prefill_tokens=8, steps=3, windows=5, window_tokens=16, text_tokens=5)
FORMS = ("torchao-int8", "torch-float32", "quanto-int8", "genai-int8", "torch-bfloat16", "quanto-float8")
PROMPT = "The room"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a bench gave, what it asked of whom, and the rows that it showed meanwhile."""

    box: str
    rows: dict[str, Row]
    asked: list[tuple[str, str]]
    shown: list[tuple[float, float, str, Sequence[Row]]]


def quiet(*_: Any, **__: Any) -> None:
    """Report nothing."""


def lay_reviews(home: Path) -> None:
    """Put a data box on the shelf; every second text is one that is held out."""
    folder, at, rows = home / "boxes" / "reviews-en", 0, list[str]()
    while len(rows) < 12:
        text = f"Review {at}: the staff were kind, and the breakfast was cold."
        if is_held_out(text) == bool(len(rows) % 2):
            rows.append(json.dumps({"text": text, "rating": 1.0, "group": "tests"}))
        at += 1
    folder.mkdir(parents=True)
    written = "\n".join(rows).encode()
    (folder / "rows.jsonl").write_bytes(written)
    files = {"rows.jsonl": {"size": len(written), "sha256": hashlib.sha256(written).hexdigest()}}
    (folder / "manifest.json").write_text(json.dumps({"box": "reviews-en", "files": files}), encoding="utf-8")


def children() -> list[psutil.Process]:
    """The forms' processes that this one has started and that are alive."""
    found = list[psutil.Process]()
    for one in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # another test's, ended and not yet waited for
            if "llmkit.compress.bench_child" in one.cmdline():
                found.append(one)
    return found


def measured(box: str, forms: Sequence[str], patch: pytest.MonkeyPatch) -> Ran:
    """Run the bench; others are busy while torchao is timed, and quanto-float8 is killed when it writes."""
    asked, shown, ask = list[tuple[str, str]](), list[tuple[float, float, str, Sequence[Row]]](), room._Entry.ask

    def spy(entry: Any, do: str, **how: Any) -> Any:
        asked.append((entry.form_id, do))
        if (entry.form_id, do) == ("quanto-float8", "decode"):
            entry.process.kill()
        said = ask(entry, do, **how)
        if isinstance(said, dict) and "wall_s" in said:
            busy = 0.5 if entry.form_id == "torchao-int8" else 0.1
            said["others_s"] = busy * said["wall_s"] * (psutil.cpu_count() or 1)
        return said

    patch.setattr(room._Entry, "ask", spy)
    rows = room.bench(box, forms, prompt=PROMPT, plan=PLAN, on_rows=lambda *said: shown.append(said))
    assert [row.form for row in rows] == list(forms)
    return Ran(box=box, rows={row.form: row for row in rows}, asked=asked, shown=shown)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bench") / "home"
    lay_reviews(place)
    return place


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(room, "QUICK", PLAN)


@pytest.fixture(scope="module")
def decoder(home: Path) -> str:
    return f"folder:{random_box(home.parent / 'gpt2', 'gpt2', seed=6)}"


@pytest.fixture(scope="module")
def ran(home: Path, decoder: str) -> Iterator[Ran]:
    speeds = [SimpleNamespace(dtype=name, gflops=100 / by) for name, by in (("float32", 1), ("bfloat16", 20))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(home))
        patch.setattr("llmkit.doctor.measure", lambda: SimpleNamespace(speeds=speeds))
        weights = made.make(decoder, "quanto-int8", quiet) / "model.safetensors"
        weights.write_bytes(b"\xff" * weights.stat().st_size)
        yield measured(decoder, FORMS, patch)


@pytest.fixture(scope="module")
def encoder(home: Path) -> Iterator[Ran]:
    box = f"folder:{random_box(home.parent / 'bert', 'bert', seed=7)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(home))
        yield measured(box, ("torch-float32", "torchao-int8"), patch)


def test_a_row_of_a_decoder_is_complete(ran: Ran) -> None:
    for form_id in ("torch-float32", "torchao-int8"):
        row = ran.rows[form_id]
        assert row.missing is None
        assert (row.size_bytes, row.prompt) == (made.size_bytes(ran.box, form_id), PROMPT)
        assert (row.peak_memory_bytes or 0) > (row.size_bytes or 0) > 0
        assert row.prompt_tokens == len(PROMPT)
        for speeds in (row.prefill_tokens_s, row.decode_tokens_s):
            assert speeds is not None
            assert list(speeds) == ["1", "8"]
            assert all(0 < one.low <= one.median <= one.high and one.n == PLAN.rounds for one in speeds.values())
        assert row.first_token_ms is not None
        assert row.first_token_ms.n == PLAN.rounds
        for judged in (row.perplexity, row.kl_nats, row.top1_agreement):
            assert judged is not None
            assert judged.n == PLAN.windows
            assert judged.low <= judged.median <= judged.high
        assert row.cosine is None
        assert {"device", "cores", "date", "threads", "versions", "dtype", "made_s", "open_s"} <= set(row.about)


def test_the_original_is_its_own_measure_and_a_quantised_form_is_not(ran: Ran) -> None:
    original, rounded = ran.rows["torch-float32"], ran.rows["torchao-int8"]
    assert original.kl_nats is not None
    assert original.top1_agreement is not None
    assert (original.kl_nats.median, original.top1_agreement.median) == (0.0, 1.0)
    assert rounded.kl_nats is not None
    assert 0 < rounded.kl_nats.median < 0.1


def test_perplexity_and_text_are_the_reference_librarys(ran: Ran) -> None:
    folder = Path(ran.box.removeprefix("folder:"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.from_numpy(windows(ran.box, folder, tokens=PLAN.window_tokens, count=PLAN.windows))
    tokenizer = Tokenizer.from_folder(folder)
    prompt = torch.tensor([tokenizer.encode(PROMPT, specials=False).ids])
    model.generation_config.eos_token_id = None
    with torch.no_grad():
        loss = model(ids, labels=ids).loss.item()
        written = model.generate(prompt, do_sample=False, max_new_tokens=PLAN.text_tokens, pad_token_id=0)
    row = ran.rows["torch-float32"]
    assert row.perplexity is not None
    assert row.perplexity.median == pytest.approx(math.exp(loss), rel=1e-4)
    assert row.text == tokenizer.decode(written[0, prompt.shape[1] :].tolist())


def test_what_fails_is_a_row_that_says_why_and_the_others_go_on(ran: Ran) -> None:
    why = {form_id: row.missing for form_id, row in ran.rows.items() if row.missing is not None}
    assert {form_id: missing["code"] for form_id, missing in why.items()} == {
        "quanto-int8": "form_broken",  # its file is not what was written
        "genai-int8": "form_unsupported",  # not of this family
        "torch-bfloat16": "form_missing",  # twenty times slower than float32 here
        "quanto-float8": "form_broken",  # its process was killed
    }
    assert "bfloat16 multiplies 5 GFLOP/s here, float32 100" in why["torch-bfloat16"]["values"]["detail"]
    assert "its process ended" in why["quanto-float8"]["values"]["detail"]
    assert all(ran.rows[form_id].decode_tokens_s is None for form_id in why)
    assert children() == []


def test_forms_are_timed_in_turns(ran: Ran) -> None:
    timed = [form_id for form_id, do in ran.asked if do in ("prefill", "decode")]
    turns = [form_id for form_id, _ in groupby(timed)]
    both = ["torch-float32", "torchao-int8"]
    assert turns == [*both, "quanto-float8", *both * PLAN.rounds]  # the first round warms up


def test_a_row_is_noisy_where_others_took_the_processor(ran: Ran) -> None:
    assert {form_id: ran.rows[form_id].noisy for form_id in ("torch-float32", "torchao-int8")} == {
        "torch-float32": False,
        "torchao-int8": True,
    }
    assert ran.rows["torchao-int8"].about["others_share"] == 0.5


def test_what_others_took_is_the_machines_time_less_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = iter([SimpleNamespace(user=10.0, system=5.0, idle=1.0), SimpleNamespace(user=13.0, system=6.0, idle=9.0)])
    own = iter([1.0, 2.5])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(machine))
    monkeypatch.setattr(bench_child.time, "process_time", lambda: next(own))
    took = bench_child._timed(quiet)
    assert (took["own_s"], took["others_s"]) == (1.5, 2.5)


def test_rows_grow_while_the_bench_runs(ran: Ran) -> None:
    assert all(0 <= done <= total for done, total, *_ in ran.shown)
    assert [done for done, *_ in ran.shown] == sorted(done for done, *_ in ran.shown)
    known = [
        sum(value is not None for row in rows for value in (row.peak_memory_bytes, row.kl_nats, row.text))
        for *_, rows in ran.shown
    ]
    assert known == sorted(known)
    assert known[0] == 0
    assert 0 < known[-2] <= 6


def test_an_encoder_is_read_alone_and_judged_by_its_sentence_vectors(encoder: Ran) -> None:
    folder = Path(encoder.box.removeprefix("folder:"))
    model = transformers.AutoModel.from_pretrained(folder).eval()
    ids = windows(encoder.box, folder, tokens=PLAN.window_tokens, count=PLAN.windows)
    with torch.no_grad():
        theirs = model(torch.from_numpy(ids)).last_hidden_state.double().mean(1)
    ours = torch.from_numpy(made.open_form(encoder.box, "torchao-int8").scores(ids)).double().mean(1)
    expected = torch.cosine_similarity(ours, theirs).mean().item()
    found = {form_id: row.cosine for form_id, row in encoder.rows.items()}
    assert found["torch-float32"] is not None
    assert found["torch-float32"].median == pytest.approx(1.0, abs=1e-12)
    assert found["torchao-int8"] is not None
    assert 1 - found["torchao-int8"].median == pytest.approx(1 - expected, rel=1e-2)
    for row in encoder.rows.values():
        assert row.missing is None
        assert row.prefill_tokens_s is not None
        assert (list(row.prefill_tokens_s), row.decode_tokens_s) == (["1", "8"], {})
        assert (row.perplexity, row.kl_nats, row.top1_agreement, row.text, row.first_token_ms) == (None,) * 5
    assert not {"decode", "write"} & {do for _, do in encoder.asked}


class Impatient(jobs.DirectReport):
    """Cancels as soon as a row holds a time."""

    def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
        if partial is not None and any(row["decode_tokens_s"] for row in partial["rows"]):
            assert children()
            self.cancelled = True
        super().__call__(done, total, note, partial)


def test_a_job_that_is_cancelled_leaves_rows_and_no_process(decoder: str, tmp_path: Path) -> None:
    report = Impatient(tmp_path)
    settings = {"box": decoder, "forms": ["torch-float32"], "quick": True, "fingerprint": shelf.fingerprint(decoder)}
    with pytest.raises(jobs.Cancelled):
        bench_job.run(settings, report)
    assert children() == []
    assert report.partials[0]["rows"][0]["decode_tokens_s"] in (None, {})
    assert report.partials[-1]["rows"][0]["decode_tokens_s"]["8"]["median"] > 0
    json.dumps(report.partials, allow_nan=False)
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        bench_job.run({**settings, "fingerprint": "other"}, report)


def test_without_held_out_text_the_data_box_is_named(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMKIT_HOME", str(tmp_path))
    with pytest.raises(shelf.ShelfError, match="box_missing") as caught:
        room.bench(decoder, ["torch-float32"], plan=PLAN)
    assert caught.value.values["box"] == "reviews-en"
    assert children() == []


def test_the_command_gives_rows_as_json(decoder: str) -> None:
    asked = ["bench", decoder, "--forms", "torch-float32", "--quick", "--prompt", PROMPT, "--json"]
    said = CliRunner().invoke(app, asked)
    assert said.exit_code == 0, said.output
    given = json.loads(said.stdout)
    (row,) = given["rows"]
    assert (given["box"], row["form"], row["prompt"], row["missing"]) == (decoder, "torch-float32", PROMPT, None)
    assert row["kl_nats"]["median"] == 0
    assert row["decode_tokens_s"]["8"]["n"] == PLAN.rounds
    assert "measuring" in said.stderr


def test_the_command_draws_a_table(ran: Ran, encoder: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    for seen in (ran, encoder):
        monkeypatch.setattr(room, "bench", lambda *_, seen=seen, **__: tuple(seen.rows.values()))
        said = CliRunner().invoke(app, ["bench", seen.box, "--forms", ",".join(seen.rows)])
        assert said.exit_code == 0, said.output
        for row in seen.rows.values():
            line = next(line for line in said.stdout.splitlines() if line.startswith(row.form))
            if row.missing is not None:
                assert row.missing["values"]["detail"][:100] in said.stdout
                continue
            cells = line.split()
            assert f"{row.prefill_tokens_s['8'].median:.4g}" in cells  # type: ignore[index]
            judged = row.cosine or row.kl_nats
            assert judged is not None
            assert f"{judged.median:.{4 if row.cosine is None else 5}f}" in cells
            assert ("others took 50%" in said.stdout) == any(row.noisy for row in seen.rows.values())


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["gpt2-starter", "--forms", "torch-float32,gguf"], "form_unknown", "gguf"),
        (["folder:/nowhere", "--forms", "torch-float32"], "box_missing", "/nowhere"),
        (["folder:/nowhere"], "box_missing", "/nowhere"),
        (["no-such-box"], "box_unknown", "no-such-box"),
    ],
)
def test_a_bad_form_or_box_is_named(arguments: list[str], code: str, named: str) -> None:
    said = CliRunner().invoke(app, ["bench", *arguments])
    assert said.exit_code == 1
    assert named in said.stderr
    assert "Traceback" not in said.output
    assert code in CliRunner().invoke(app, ["bench", *arguments, "--json"]).output


def test_the_original_that_is_broken_ends_the_bench(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "why_not", lambda *_: FormError("form_missing", form="torch-float32", detail="no torch"))
    with pytest.raises(FormError, match="no torch"):
        room.bench(decoder, ["torchao-int8"], plan=PLAN)


def test_windows_hold_only_what_is_held_out(decoder: str) -> None:
    folder = Path(decoder.removeprefix("folder:"))
    ids = windows(decoder, folder, tokens=16, count=4)
    text = Tokenizer.from_folder(folder).decode(ids.ravel().tolist())
    held = "\n\n".join(row.text for row in shelf.open_data("reviews-en").rows if is_held_out(row.text))
    assert np.array_equal(ids.shape, (4, 16))
    assert held.startswith(text)
