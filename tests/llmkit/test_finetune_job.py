"""The jobs of fine-tuning: what they leave, stop and go on, kill and go on, and data that cannot be learned from."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from sklearn.metrics import accuracy_score, log_loss

from llmkit import jobs, shelf
from llmkit.jobs import Cancelled, DirectReport
from llmkit.jobs.store import database
from llmkit.parts import assemble, bert, gpt2, llama
from llmkit.reference import open_box
from llmkit.tune import finetune, finetune_job, run_folder
from llmkit.tune.classifier import Classifier, build_classifier, encode_examples, predict
from llmkit.tune.classifier_box import open_classifier
from llmkit.tune.data import prepared
from llmkit.tune.data.prepared import PreparedRow
from llmkit.tune.errors import TuneError
from llmkit.tune.finetune import FinetuneConfig, prepare, trainable
from llmkit.tune.labelled import fingerprint, open_labelled
from llmkit.tune.memory import PeakMemory
from llmkit.tune.tuned import tuned_boxes
from llmkit.tune.what_learns import count_learning, count_parts_learning, what_learns
from tests.llmkit.told import BAD, GOOD, PARTS, kept, rows

pytestmark = pytest.mark.usefixtures("own_home")

BOX = "gpt2-starter"
Report = Callable[[], DirectReport]


def asked(data: str, *, box: str = BOX, **config: Any) -> dict[str, Any]:
    usual = {"method": "frozen", "learning_rate": 1e-2, "epochs": 2, "batch_size": 8, "evaluate_every": 3}
    return {
        "box_id": box,
        "fingerprint": shelf.fingerprint(box),
        "data": data,
        "data_fingerprint": fingerprint(data),
        "rows": 1000,
        "held_out": 100,
        "device": "cpu",
        "config": {**usual, "max_tokens": 32, **config},
    }


@pytest.fixture
def report(tmp_path: Path) -> Report:
    def new() -> DirectReport:
        made = DirectReport(tmp_path / f"report-{time.monotonic_ns()}")
        made.folder.mkdir()
        return made

    return new


@pytest.mark.parametrize("method", ["full", "frozen", "lora"])
def test_what_it_says_is_what_lies_on_the_shelf(report: Report, method: str) -> None:
    data, told = kept(rows()), report()
    settings = asked(data, method=method, learning_rate=1e-3)
    result = finetune_job.run(settings, told)
    assert (result["ending"], result["step"], result["steps"]) == ("finished", 18, 18)
    opened = open_classifier(result["box"])
    test = open_labelled(data).take(train=1000, held_out=100).test
    truth = [opened.labels.index(row.label) for row in test]
    probs = predict(
        opened.classifier, encode_examples(opened.box, [row.text for row in test], truth, max_tokens=32)
    ).numpy()
    with np.load(told.folder / finetune_job.EXAMPLES) as file:
        assert np.allclose(file["after"], probs, atol=1e-5)
        assert file["before"].shape == probs.shape
    assert result["test"]["after"]["accuracy"] == pytest.approx(accuracy_score(truth, probs.argmax(1)))
    assert result["test"]["after"]["loss"] == pytest.approx(
        log_loss(truth, np.float64(probs) / np.float64(probs).sum(1, keepdims=True)), abs=1e-4
    )
    assert [box.box_id for box in tuned_boxes()] == [result["box"]]
    assert not run_folder.run_folder(settings).exists()  # it is over: nothing is left to go on from
    measured = [one[0] for one in result["validation"]]
    assert measured == [0, 3, 6, 9, 12, 15, 18]
    assert result["best"] in result["validation"]


def test_counts_are_those_of_the_model(report: Report) -> None:
    data = kept(rows())
    for method in ("full", "frozen", "lora"):
        settings = asked(data, method=method, epochs=1, targets=("q", "down"), rank=4)
        result = finetune_job.run(settings, report())
        counted = what_learns(BOX, finetune_job.config_of(settings), n_labels=2)
        assert (counted.total, counted.learning) == (result["total"], result["learning"])
        memory = result["memory"]
        assert counted.gradient_bytes == memory["gradients"]
        steps = len(
            trainable(prepare(build_classifier(open_box(BOX), n_labels=2, seed=0), finetune_job.config_of(settings)))
        )
        assert memory["optimizer"] == counted.optimizer_bytes + 4 * steps  # and each tensor's own step, one number
        assert memory["weights"] == counted.total * 4
        assert memory["peak"] >= memory["before"] > 0


@pytest.mark.parametrize("family", [gpt2, bert, llama])
@pytest.mark.parametrize("method", ["full", "frozen", "lora"])
def test_counting_without_weights_is_counting_with_them(family: Any, method: str) -> None:
    own = {"n_kv_heads": 1, "d_mlp": 12} if family is llama else {}
    parts = family(vocab_size=50, d_model=8, n_layers=3, n_heads=2, max_seq_len=16, **own)
    config = FinetuneConfig(method=method, rank=3, targets=("q", "up"))
    counted = count_learning(parts, config, n_labels=5)
    real = prepare(Classifier(assemble(parts).with_parts(unembedding=None), n_labels=5, pooling="mean"), config)
    assert (counted.total, counted.learning) == count_parts_learning(real)
    assert {part.layer for part in counted.parts} == {None, 0, 1, 2}
    assert "q" in counted.linears


def test_a_stopped_run_goes_on_to_the_same_end(report: Report) -> None:
    data = kept(rows())
    settings = asked(data, method="lora", learning_rate=3e-3)
    whole = finetune_job.run(settings, report())
    probs = _after(whole)
    shelf.remove(whole["box"])

    class Stopping(DirectReport):
        def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
            super().__call__(done, total, note, partial)
            if done == 7:
                run_folder.ask_to_stop(settings)

    first = Stopping(report().folder)
    stopped = finetune_job.run(settings, first)
    assert (stopped["ending"], stopped["step"]) == ("stopped", 7)
    assert stopped["box"] == whole["box"]  # the best so far can be used meanwhile
    assert run_folder.is_kept(settings)
    assert not run_folder.asked_to_stop(run_folder.run_folder(settings))
    second = finetune_job.run(settings, report())
    assert second["ending"] == "finished"
    assert [step for step, _ in second["curve"]] == list(range(1, 19))
    assert second["curve"] == whole["curve"]
    assert second["validation"] == whole["validation"]
    assert np.allclose(_after(second), probs, atol=1e-6)
    assert not run_folder.is_kept(settings)


def _after(result: dict[str, Any]) -> Any:
    opened = open_classifier(result["box"])
    return predict(opened.classifier, encode_examples(opened.box, [*GOOD, *BAD], [0] * 8, max_tokens=32)).numpy()


def test_a_cancelled_job_keeps_its_state(report: Report) -> None:
    settings = asked(kept(rows()))
    told = report()
    told.cancelled = False

    class Cancelling(DirectReport):
        def __call__(self, done: float, total: float, note: str = "", partial: Any = None) -> None:
            if done == 4:
                self.cancelled = True
            super().__call__(done, total, note, partial)

    with pytest.raises(Cancelled):
        finetune_job.run(settings, Cancelling(told.folder))
    assert run_folder.is_kept(settings)
    assert tuned_boxes() == ()
    result = finetune_job.run(settings, report())
    assert (result["ending"], result["step"]) == ("finished", 18)
    assert len(result["curve"]) == 18


def test_a_killed_job_is_retried_from_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tab does not matter; even the worker's death costs only what was not saved yet."""
    monkeypatch.setenv("LLMKIT_TEST_KINDS", "test_slow=tests.llmkit.finetune_tasks:slow")
    data = kept(rows())
    settings = asked(data, method="frozen", epochs=6)
    job = jobs.submit("test_slow", settings)
    _wait(lambda: jobs.get(job.id).done >= 8 and run_folder.is_kept(settings))
    with database() as connection:
        [pid] = connection.execute("SELECT pid FROM worker").fetchone()
    psutil.Process(pid).kill()
    _wait(lambda: jobs.get(job.id).state == "interrupted")
    jobs.retry(job.id)
    _wait(lambda: jobs.get(job.id).state == "done")
    result = jobs.get(job.id).result
    assert result["first_step_of_this_sitting"] > 1
    assert [step for step, _ in result["curve"]] == list(range(1, result["steps"] + 1))


def _wait(what: Callable[[], object], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("method", ["full", "lora", "frozen"])
def test_a_rate_of_1000_is_said_and_the_best_is_kept(report: Report, method: str) -> None:
    settings = asked(kept(rows()), method=method, learning_rate=1000.0, epochs=20, evaluate_every=1, warmup_share=1.0)
    result = finetune_job.run(settings, report())
    assert result["ending"] == "diverged"
    assert result["step"] < result["steps"]
    json.dumps(result, allow_nan=False)
    if result["best"] is None:
        assert result["box"] is None
        return
    best = max(one[2] for one in result["validation"][1:])
    assert result["best"][2] == best
    probs = _after(result)
    assert np.isfinite(probs).all()


def test_one_class_is_said(report: Report) -> None:
    data = kept(rows(labels=("same", "same")))
    with pytest.raises(TuneError, match="one_class"):
        finetune_job.run(asked(data), report())


def test_no_label_at_all_is_said(report: Report) -> None:
    bare = [PreparedRow(row.text, None, row.part, row.row) for row in rows()]
    with pytest.raises(TuneError, match="no_labels"):
        open_labelled(kept(bare))


def test_no_row_to_validate_on_is_said(report: Report) -> None:
    learn_only = [PreparedRow(row.text, row.label, "train", row.row) for row in rows()]
    with pytest.raises(TuneError, match="too_few_examples"):
        finetune_job.run(asked(kept(learn_only)), report())


def test_rows_without_text_or_label_are_left_out_and_counted(report: Report) -> None:
    given = rows()
    odd = [
        PreparedRow("", "yes", "train", 900),
        PreparedRow("   ", "no", "train", 901),
        PreparedRow("a text", None, "train", 902),
        PreparedRow("a text", float("nan"), "test", 903),  # type: ignore[arg-type]
        PreparedRow("\x00\u200b 😀", "yes", "train", 904),
    ]
    data = kept_raw([*given, *odd])
    found = open_labelled(data)
    assert (found.empty, found.unlabelled) == (2, 2)
    assert len(found.train) + len(found.validation) + len(found.test) == len(given) + 1
    result = finetune_job.run(asked(data, epochs=1), report())
    assert (result["rows"]["empty"], result["rows"]["unlabelled"]) == (2, 2)


def kept_raw(given: list[PreparedRow]) -> str:
    """A set whose label may be no text at all: what an older writer may have left."""
    whole = kept([row for row in given if row.label is None or isinstance(row.label, str)])
    folder = prepared.folder_of(whole)
    lines = "".join(
        json.dumps({"text": row.text, "label": row.label, "part": row.part, "row": row.row}) + "\n" for row in given
    ).encode()
    (folder / prepared.ROWS).write_bytes(lines)
    about = json.loads((folder / prepared.ABOUT).read_text(encoding="utf-8"))
    about |= {"size_bytes": len(lines), "sha256": hashlib.sha256(lines).hexdigest()}
    (folder / prepared.ABOUT).write_text(json.dumps(about), encoding="utf-8")
    return whole


def test_a_label_of_a_thousand_characters_is_a_label(report: Report) -> None:
    long = "甲" * 999
    result = finetune_job.run(asked(kept(rows(labels=(long + "a", long + "b"))), epochs=1), report())
    assert open_classifier(result["box"]).labels == (long + "a", long + "b")


def test_many_classes_are_taken_in_their_shares() -> None:
    given = [PreparedRow(f"text {at}", f"label {min(at % 40, 9)}", PARTS[at // 40 % 8], at) for at in range(800)]
    found = open_labelled(kept(given))
    few = found.take(train=60, held_out=20)
    assert len(few.train) <= 60
    assert len({row.label for row in few.train}) == 10
    common = sum(row.label == "label 9" for row in few.train) / len(few.train)
    assert common == pytest.approx(sum(row.label == "label 9" for row in found.train) / len(found.train), abs=0.12)
    assert found.take(train=60, held_out=20).train == few.train
    assert few.commonest(few.test) == sum(row.label == "label 9" for row in few.test) / len(few.test)


def test_data_and_box_that_changed_or_went_are_said(report: Report) -> None:
    data = kept(rows())
    settings = asked(data)
    with pytest.raises(TuneError, match="data_changed"):
        finetune_job.run({**settings, "data_fingerprint": "other"}, report())
    with pytest.raises(shelf.ShelfError, match="box_changed"):
        finetune_job.run({**settings, "fingerprint": "other"}, report())
    prepared.remove(data)
    with pytest.raises(Exception, match="data_missing"):
        finetune_job.run(settings, report())
    with pytest.raises(shelf.ShelfError, match="box_missing"):
        finetune_job.run({**settings, "data": "reviews-en"}, report())


def test_memory_that_runs_out_is_said_and_leaves_the_state(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = asked(kept(rows()))
    real, calls = finetune.learn, []

    def full(*args: Any) -> float:
        calls.append(1)
        if len(calls) > 6:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory")
        return real(*args)

    monkeypatch.setattr(finetune, "learn", full)
    monkeypatch.setattr(finetune, "SAVE_SHARE", 0)
    with pytest.raises(TuneError) as caught:
        finetune_job.run(settings, report())
    assert (caught.value.code, caught.value.values["batch"], caught.value.values["tokens"]) == ("out_of_memory", 8, 32)
    monkeypatch.setattr(finetune, "learn", real)
    assert run_folder.is_kept(settings)
    assert finetune_job.run(settings, report())["step"] == 18


def test_it_stops_early_when_nothing_gets_better(report: Report) -> None:
    settings = asked(kept(rows()), epochs=200, evaluate_every=1, patience=3, learning_rate=1e-9)
    result = finetune_job.run(settings, report())
    assert result["ending"] in ("early", "finished")
    assert result["step"] < result["steps"]


def test_the_pace_is_measured(report: Report) -> None:
    settings = {**asked(kept(rows())), "methods": ["full", "frozen", "lora"]}
    pace = finetune_job.run_pace(settings, report())
    assert set(pace["step_s"]) == {"full", "frozen", "lora"}
    assert min(*pace["step_s"].values(), pace["text_s"], pace["opening_s"]) > 0
    assert tuned_boxes() == ()


def test_runs_that_nobody_touches_make_room(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "MAX_RUNS", 3)
    for at in range(5):
        folder = own_home / "runs" / f"{at:016x}"
        folder.mkdir(parents=True)
        (folder / "state.safetensors").write_bytes(b"x" * 10)
        (folder / "gone").symlink_to("nowhere")  # a file that was thrown away meanwhile
        for path in (folder / "state.safetensors", folder):
            os.utime(path, (at + 1000, at + 1000))
    run_folder.tidy(keep=own_home / "runs" / f"{0:016x}")
    assert sorted(path.name[-1] for path in (own_home / "runs").iterdir()) == ["0", "3", "4"]
    monkeypatch.setattr(run_folder, "MAX_BYTES", 5)
    run_folder.tidy(keep=own_home / "runs" / f"{0:016x}")
    assert sorted(path.name[-1] for path in (own_home / "runs").iterdir()) == ["0"]


def test_a_peak_is_seen() -> None:
    size = 320_000_000
    with PeakMemory("cpu") as memory, mmap.mmap(-1, size) as block:  # memory that nobody had before
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        time.sleep(0.1)
    assert memory.peak_bytes - memory.before_bytes > 300_000_000


@pytest.mark.parametrize(
    "box_id", ["hub:Some/Model", "folder:/tmp/更長的 名字/..", "made:a.b.full.012345", "gpt2-starter"]
)
@pytest.mark.parametrize("data", ["reviews-en", "x" * 61])
def test_every_name_can_stand_on_the_shelf(box_id: str, data: str) -> None:
    name = finetune_job.box_name(box_id, data, "frozen", "0123456789abcdef")
    assert shelf.entry(f"made:{name}").id == f"made:{name}"
