"""Recordings: packed on one machine, played on another, found by the same settings; hostile files are refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from components.badge import Badge
from llmkit import jobs
from llmkit.cli import app
from llmkit.jobs import JobError, recording
from llmkit.jobs.queue import identify
from llmkit.jobs.store import database, job_folder
from tests.llmkit.job_tasks import KINDS

SETTINGS = {"box_id": "gpt2-starter", "text": "量化 <b>😀", "n": 3}
Machine = Callable[[str], None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Go to another machine: its jobs are its own."""

    def go(name: str) -> None:
        monkeypatch.setenv("LLMKIT_JOBS", str(tmp_path / name))

    go("first")
    return go


def done(kind: str = "bench", settings: dict[str, object] = SETTINGS, *, files: bool = True) -> str:
    job_id, text = identify(kind, settings)
    place = job_folder(job_id) / "files"
    if files:
        (place / "deep").mkdir(parents=True)
        np.savez(place / "deep" / "a.npz", a=np.arange(5))
        (place / "run.py").write_text("print('never packed')")
        (place / "log.json").symlink_to("/etc/hostname")
    with database(make=True) as connection:
        connection.execute(
            "INSERT INTO jobs (id, kind, settings, state, place, created_at, started_at, ended_at, result, made_with,"
            " has_files) VALUES (?, ?, ?, 'done', 1, 1, 2, 3, ?, ?, ?)",
            (job_id, kind, text, json.dumps({"rows": [1.5, "é"]}), '{"device": "H200", "date": "2026-01-01"}', files),
        )
    return job_id


def test_what_was_done_there_is_found_here_and_says_where(machine: Machine, tmp_path: Path) -> None:
    job_id, pack = done(), tmp_path / "pack.zip"
    assert recording.pack([job_id, job_id], pack) == (job_id,)
    machine("second")
    assert jobs.find("bench", SETTINGS) is None
    assert recording.play(pack) == (job_id,)
    found = jobs.find("bench", SETTINGS)
    assert found is not None
    assert (found.state, found.result, found.ended_at) == ("done", {"rows": [1.5, "é"]}, 3)
    with np.load(jobs.folder(job_id) / "deep" / "a.npz") as arrays:
        assert arrays["a"].tolist() == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in jobs.folder(job_id).rglob("*") if path.is_file()) == ["a.npz"]
    badge = Badge.of_process(found.made_with)
    assert (badge.kind, badge.device, badge.date) == ("recorded", "H200", "2026-01-01")
    assert jobs.find("bench", {**SETTINGS, "n": 4}) is None  # anything else falls through to live
    assert recording.play(pack) == ()


def test_a_live_job_is_not_replaced(machine: Machine, tmp_path: Path) -> None:
    job_id, pack = done(files=False), tmp_path / "pack.zip"
    recording.pack([job_id], pack)
    machine("second")
    done(files=False)
    assert recording.play(pack) == ()
    found = jobs.find("bench", SETTINGS)
    assert found is not None
    assert Badge.of_process(found.made_with).kind == "cached"


def test_nothing_done_is_no_recording(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="record_nothing"):
        recording.pack([], tmp_path / "pack.zip")
    assert not (tmp_path / "pack.zip").exists()


def packed(tmp_path: Path, change: Callable[[dict[str, bytes]], object]) -> Path:
    """A good recording, changed."""
    good = tmp_path / "good.zip"
    recording.pack([done(files=False)], good)
    with zipfile.ZipFile(good) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return bad


def book_with(**change: object) -> Callable[[dict[str, bytes]], object]:
    def act(files: dict[str, bytes]) -> None:
        book = json.loads(files[recording.BOOK])
        for name, value in change.items():
            if name in book:
                book[name] = value
            else:
                book["jobs"][0][name] = value
        files[recording.BOOK] = json.dumps(book).encode()

    return act


JOB = identify("bench", SETTINGS)[0]
HOSTILE: dict[str, tuple[str, Callable[[dict[str, bytes]], object]]] = {
    "a path up": ("record_unsafe", lambda files: files.update({f"files/{JOB}/../../x.json": b"{}"})),
    "an absolute path": ("record_unsafe", lambda files: files.update({"/tmp/x.json": b"{}"})),
    "a pickle": ("record_unsafe", lambda files: files.update({f"files/{JOB}/x.pkl": b""})),
    "code": ("record_unsafe", lambda files: files.update({f"files/{JOB}/x.py": b""})),
    "a bomb": ("record_large", lambda files: files.update({f"files/{JOB}/x.txt": b"\0" * (64 << 20)})),
    "no book": ("record_broken", lambda files: files.pop(recording.BOOK)),
    "no JSON": ("record_broken", lambda files: files.update({recording.BOOK: b"{"})),
    "a list": ("record_broken", lambda files: files.update({recording.BOOK: b"[]"})),
    "deep JSON": ("record_broken", lambda files: files.update({recording.BOOK: b"[" * 200_000})),
    "a newer one": ("record_newer", book_with(version=99)),
    "an id of another": ("record_broken", book_with(settings={"other": 1})),
    "an unknown kind": ("record_broken", book_with(kind="os.system")),
    "no time": ("record_broken", book_with(ended_at=None)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_recording_is_refused_and_leaves_nothing(machine: Machine, tmp_path: Path, case: str) -> None:
    code, change = HOSTILE[case]
    bad = packed(tmp_path, change)
    machine("second")
    with pytest.raises(JobError) as raised:
        recording.play(bad)
    assert raised.value.code == code
    assert jobs.all_jobs() == ()
    assert not (tmp_path / "x.json").exists()


def test_what_is_no_zip_is_said(machine: Machine, tmp_path: Path) -> None:
    for content in (b"", b"nonsense", io.BytesIO().getvalue()):
        (tmp_path / "x.zip").write_bytes(content)
        with pytest.raises(JobError, match="record_broken"):
            recording.play(tmp_path / "x.zip")
    with pytest.raises(JobError, match="record_broken"):
        recording.play(tmp_path / "nowhere.zip")


def invoke(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_the_command_line_packs_and_plays(machine: Machine, tmp_path: Path) -> None:
    job_id, pack = done(), str(tmp_path / "out" / "pack.zip")
    assert invoke("record", "--out", pack, "--kind", "few_shot").exit_code == 1
    packed_here = invoke("record", "--out", pack, "--kind", "bench", "--json")
    assert json.loads(packed_here.stdout)["jobs"] == [job_id]
    machine("second")
    assert json.loads(invoke("play", pack, "--json").stdout) == {"jobs": [job_id]}
    assert "0 jobs" in invoke("play", pack).stderr
    (tmp_path / "bad.zip").write_bytes(b"nonsense")
    bad = invoke("play", str(tmp_path / "bad.zip"))
    assert (bad.exit_code, "no recording" in bad.stderr) == (1, True)


@pytest.mark.parametrize(
    "text", ["", "job = 3", "[[job]]\nkind = 'bench'", "[[job]]\nkind = 'os'\nsettings = {}", "\0"]
)
def test_a_plan_that_is_none_is_said(machine: Machine, tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.toml").write_text(text)
    ran = invoke("record", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "pack.zip"))
    assert (ran.exit_code, "no plan of jobs" in ran.stderr) == (1, True)
    assert not (tmp_path / "pack.zip").exists()


def test_a_plan_is_run_and_packed(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", KINDS)
    (tmp_path / "plan.toml").write_text("[[job]]\nkind = 'test_add'\nsettings = {numbers = [3, 4]}\n")
    ran = invoke("record", str(tmp_path / "plan.toml"), "--out", str(tmp_path / "pack.zip"), "--json")
    assert ran.exit_code == 0, ran.stderr
    (job_id,) = json.loads(ran.stdout)["jobs"]
    recorded_result = jobs.get(job_id).result
    jobs.stop()
    machine("second")
    recording.play(tmp_path / "pack.zip")
    assert jobs.get(job_id).result == recorded_result
