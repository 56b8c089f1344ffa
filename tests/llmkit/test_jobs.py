"""Jobs with real worker processes and small tasks: order, cancel, crashes, kill -9, two at once, a broken database."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from typer.testing import CliRunner

from llmkit import jobs
from llmkit.cli import app
from llmkit.jobs import kinds, queue, run, worker
from llmkit.jobs.store import VERSION, database, is_alive
from tests.llmkit import job_tasks
from tests.llmkit.job_tasks import KINDS

ROOT = Path(__file__).parents[2]
ENDS_S = 30.0


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", KINDS)


@pytest.fixture(autouse=True)
def no_process_is_left(own_jobs: Path) -> object:
    """Whatever a test has started is gone a moment after it."""
    before = set(psutil.Process().children(recursive=True))
    yield
    if own_jobs.exists():
        try:
            jobs.stop()
        except jobs.JobError:
            return
    started = [child for child in psutil.Process().children(recursive=True) if child not in before]
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not [" ".join(process.cmdline()) for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def wait_for(what: Callable[[], object], timeout_s: float = ENDS_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, jobs.all_jobs()
        time.sleep(0.05)


def ended(job: jobs.Job) -> jobs.Job:
    wait_for(lambda: not jobs.get(job.id).active)
    return jobs.get(job.id)


def running(job: jobs.Job) -> jobs.Job:
    """Wait until the job's task has said something."""
    wait_for(lambda: jobs.get(job.id).total > 0)
    return jobs.get(job.id)


def processes(job: jobs.Job) -> tuple[psutil.Process, psutil.Process]:
    """The worker, and the process of a job that runs."""
    with database() as connection:
        row = connection.execute("SELECT worker_pid, child_pid FROM jobs WHERE id = ?", (job.id,)).fetchone()
    return psutil.Process(row["worker_pid"]), psutil.Process(row["child_pid"])


def left_behind(job: jobs.Job, place: Path) -> list[str]:
    return sorted(path.name for path in (place / job.id).iterdir())


def test_a_job_is_done_by_another_process_and_found_again(own_jobs: Path) -> None:
    assert jobs.find("test_add", {"numbers": [1, 2, 3]}) is None
    assert jobs.all_jobs() == ()
    assert not own_jobs.exists()  # looking writes nothing
    asked = jobs.submit("test_add", {"numbers": [1, 2, 3]})
    assert (asked.state, asked.position, asked.result) == ("queued", 1, None)
    job = ended(asked)
    assert job.state == "done"
    assert job.result["sum"] == 6
    assert job.result["pid"] != os.getpid()
    assert job.result["niceness"] > os.nice(0)
    assert (job.done, job.total, job.share, job.position, job.seconds_left) == (3, 3, 1.0, None, None)
    assert job.seconds is not None
    assert job.created_at <= (job.started_at or 0) <= (job.ended_at or 0)
    assert job.made_with["device"]
    assert job.made_with["date"] == time.strftime("%Y-%m-%d")
    assert "the sum is 6" in jobs.log(job.id)
    again = jobs.submit("test_add", {"numbers": (1, 2, 3)})  # a tuple is a list to JSON
    assert again == jobs.find("test_add", {"numbers": [1, 2, 3]}) == job
    assert jobs.submit("test_add", {"numbers": [1, 2, 3.0]}).id != job.id


def test_order_and_places() -> None:
    first = jobs.submit("test_wait", {"n": 0})
    waiting = [jobs.submit("test_add", {"numbers": [n]}) for n in range(3)]
    running(first)
    assert [jobs.get(job.id).position for job in waiting] == [1, 2, 3]
    assert [job.id for job in jobs.all_jobs()] == [first.id, *(job.id for job in waiting)]
    jobs.cancel(waiting[0].id)
    assert [jobs.get(job.id).position for job in waiting] == [None, 1, 2]
    assert jobs.retry(waiting[0].id).position == 3
    jobs.cancel(first.id)
    ends = [ended(job).ended_at for job in (waiting[1], waiting[2], waiting[0])]
    assert ends == sorted(ends)  # type: ignore[type-var]
    assert [job.state for job in jobs.all_jobs()] == ["done", "done", "done", "cancelled"]


def test_progress_and_time_left() -> None:
    job = jobs.submit("test_wait", {"seconds": 3})
    seen = []
    while (now := jobs.get(job.id)).active:
        seen.append(now)
        time.sleep(0.1)
    assert now.result == "waited"
    told = [job for job in seen if job.seconds_left is not None]
    assert len({job.done for job in told}) > 3
    assert all(job.note == "naming <b>" and job.total == 60 for job in told)
    assert told[-1].partial[0] == told[-1].done
    for job in told:
        assert job.seconds_left == pytest.approx((60 - job.done) / 20, abs=2.0)


def test_a_queued_job_is_cancelled_at_once_and_never_runs(own_jobs: Path) -> None:
    first = jobs.submit("test_wait", {})
    second = jobs.submit("test_add", {"numbers": [1]})
    running(first)
    assert jobs.cancel(second.id).state == "cancelled"
    jobs.cancel(first.id)
    assert ended(first).state == "cancelled"
    time.sleep(0.5)
    assert jobs.get(second.id).started_at is None
    assert not (own_jobs / second.id).exists()
    assert jobs.cancel(second.id).state == "cancelled"  # and again changes nothing


def test_a_running_job_is_cancelled_and_leaves_nothing_half_written(own_jobs: Path) -> None:
    job = running(jobs.submit("test_wait", {}))
    assert list((own_jobs / job.id).glob("work-*/half.txt"))
    assert jobs.cancel(job.id).cancelling
    job = ended(job)
    assert (job.state, job.error, job.result) == ("cancelled", None, None)
    wait_for(lambda: left_behind(job, own_jobs) == ["log.txt"])
    assert jobs.submit("test_wait", {}).state == "queued"  # asked for again, it begins again
    assert running(job).done < 100


def test_a_task_that_does_not_listen_is_killed(own_jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = running(jobs.submit("test_stubborn", {}))
    _, child = processes(job)
    jobs.cancel(job.id)
    assert ended(job).state == "cancelled"
    wait_for(lambda: not child.is_running())
    wait_for(lambda: left_behind(job, own_jobs) == ["log.txt"])


def test_a_task_that_swallows_the_cancel_has_no_result() -> None:
    job = running(jobs.submit("test_eats", {}))
    jobs.cancel(job.id)
    assert (ended(job).state, jobs.get(job.id).result) == ("cancelled", None)


def test_what_a_task_has_started_ends_with_it() -> None:
    job = jobs.submit("test_child", {})
    wait_for(lambda: jobs.get(job.id).partial)
    grandchild = psutil.Process(jobs.get(job.id).partial)
    jobs.cancel(job.id)
    assert ended(job).state == "cancelled"
    wait_for(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    ("kind", "code", "values"),
    [
        ("test_fails", "text_too_long", {"tokens": 300, "limit": 256}),
        ("test_bug", "job_failed", {"detail": "ZeroDivisionError: <b>one</b>"}),
        ("test_memory", "job_memory", {"detail": "MemoryError: "}),
        ("test_quits", "job_crashed", {"detail": "exit 0"}),
        ("test_crash", "job_crashed", {"detail": "SIGSEGV"}),
        ("test_killed", "job_killed", {}),
        (
            "test_hungry",
            "job_failed",
            {"detail": "ValueError: a result of 9000002 bytes: what is big belongs into files"},
        ),
    ],
)
def test_every_end_is_told(kind: str, code: str, values: dict[str, object], own_jobs: Path) -> None:
    job = ended(jobs.submit(kind, {}))
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.values) == (code, values)
    wait_for(lambda: left_behind(job, own_jobs) == ["log.txt"])
    assert ended(jobs.submit("test_add", {"numbers": [1]})).state == "done"  # the queue goes on
    if kind == "test_bug":
        assert "Traceback" in jobs.log(job.id)
        assert "second line" in jobs.log(job.id)
    if kind == "test_crash":
        assert "Segmentation fault" in jobs.log(job.id)


def test_kill_9_of_the_job(own_jobs: Path) -> None:
    job = running(jobs.submit("test_wait", {}))
    behind = jobs.submit("test_add", {"numbers": [1]})
    processes(job)[1].kill()
    job = ended(job)
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.code == "job_killed"
    assert ended(behind).state == "done"
    assert left_behind(job, own_jobs) == ["log.txt"]


def test_kill_9_of_the_worker(own_jobs: Path) -> None:
    job = running(jobs.submit("test_wait", {}))
    behind = jobs.submit("test_add", {"numbers": [1]})
    boss, child = processes(job)
    boss.kill()
    boss.wait()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)  # it ends with its worker
    found = jobs.get(job.id)
    assert found.state == "interrupted"
    assert found.error is not None
    assert found.error.code == "job_interrupted"
    assert left_behind(job, own_jobs) == ["log.txt"]
    assert ended(behind).state == "done"  # looking has started another worker
    assert jobs.retry(job.id).state == "queued"
    assert running(job).state == "running"


def test_a_stopped_worker_that_is_killed_takes_its_job_along() -> None:
    job = running(jobs.submit("test_stubborn", {}))
    boss, child = processes(job)
    child.suspend()  # it cannot see its pipe close
    boss.kill()
    boss.wait()
    assert jobs.get(job.id).state == "interrupted"
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_the_worker_stops_when_it_is_told_to(own_jobs: Path) -> None:
    job = running(jobs.submit("test_wait", {}))
    behind = jobs.submit("test_add", {"numbers": [1]})
    jobs.stop()
    assert not workers(own_jobs)
    assert jobs.get(job.id).state == "interrupted"
    assert jobs.get(behind.id).state == "queued"  # nobody attends: it waits
    time.sleep(0.5)
    assert jobs.get(behind.id).state == "queued"
    jobs.attend()  # the app is there again
    assert ended(behind).state == "done"


def test_work_ends_with_the_app(own_jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_JOBS_GRACE_S", "0.5")
    code = "from llmkit import jobs; print(jobs.submit('test_wait', {}).id)"
    asked = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    job = jobs.get(asked.stdout.strip())  # looking is not attending
    assert ended(job).state == "interrupted"
    wait_for(lambda: not workers(own_jobs))


def test_an_idle_worker_ends_and_the_next_job_starts_another(own_jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_JOBS_IDLE_S", "0.3")
    assert ended(jobs.submit("test_add", {"numbers": [1]})).state == "done"
    wait_for(lambda: not workers(own_jobs))
    assert ended(jobs.submit("test_add", {"numbers": [2]})).state == "done"


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for Python")
def test_nothing_waits_for_a_worker_that_cannot_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_python = tmp_path / "python"
    no_python.write_text("#!/bin/sh\necho no such library >&2\nexit 1\n")
    no_python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(no_python))
    monkeypatch.setattr(queue, "STARTING_S", 0.3)
    job = ended(jobs.submit("test_add", {"numbers": [1]}))
    assert job.state == "failed"
    assert job.error is not None
    assert (job.error.code, job.error.values) == ("job_crashed", {"detail": "no such library"})


def workers(place: Path) -> list[psutil.Process]:
    """Workers of this folder that are there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cmdline()[1:] == ["-m", "llmkit.jobs.worker"] and process.environ()["LLMKIT_JOBS"] == str(place):
                found.append(process)
        except (psutil.Error, KeyError):
            continue
    return found


def test_two_processes_ask_for_the_same_at_once(own_jobs: Path) -> None:
    code = (
        "import sys, time; from llmkit import jobs\n"
        "time.sleep(max(float(sys.argv[1]) - time.time(), 0))\n"
        "print(*[jobs.submit('test_add', {'numbers': [n]}).id for n in range(5)])\n"
        "[time.sleep(0.05) for _ in range(600) if any(job.active for job in jobs.all_jobs())]"
    )
    start = str(time.time() + 1)
    both = [subprocess.Popen([sys.executable, "-c", code, start], cwd=ROOT, stdout=subprocess.PIPE) for _ in range(3)]
    ids = [set(process.communicate(timeout=60)[0].split()) for process in both]
    assert [process.returncode for process in both] == [0, 0, 0]
    assert len(ids[0]) == 5
    assert ids[0] == ids[1] == ids[2]
    assert {job.state for job in jobs.all_jobs()} == {"done"}
    assert len(jobs.all_jobs()) == 5
    with database() as connection:
        by = connection.execute("SELECT count(DISTINCT worker_pid) FROM jobs").fetchone()[0]
    assert by == 1  # one worker, whoever started it
    assert len({job.started_at for job in jobs.all_jobs()}) == 5
    for job in jobs.all_jobs():
        assert jobs.log(job.id).count("the sum is") == 1  # done once


def test_files_are_kept_whole_and_forgotten_with_the_job(own_jobs: Path) -> None:
    job = ended(jobs.submit("test_files", {"size": 5000}))
    assert (jobs.folder(job.id) / job.result["file"]).read_bytes() == bytes(5000)
    assert job.size_bytes == 5000
    jobs.forget(job.id)
    assert not (own_jobs / job.id).exists()
    with pytest.raises(jobs.JobError) as gone:
        jobs.get(job.id)
    assert gone.value.code == "job_unknown"
    job = ended(jobs.submit("test_files", {"size": 5000}))
    (jobs.folder(job.id) / "numbers.bin").unlink()
    jobs.folder(job.id).rmdir()  # somebody makes room on the disk
    assert jobs.find("test_files", {"size": 5000}) is None
    assert jobs.all_jobs() == ()
    assert ended(jobs.submit("test_files", {"size": 5000})).state == "done"


def test_what_is_going_on_cannot_be_forgotten() -> None:
    job = running(jobs.submit("test_wait", {}))
    with pytest.raises(jobs.JobError) as refused:
        jobs.forget(job.id)
    assert refused.value.code == "job_active"


def test_the_oldest_are_swept(own_jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [ended(jobs.submit("test_files", {"size": size})) for size in (700, 600, 500)]
    monkeypatch.setattr(worker, "KEPT_BYTES", 1200)
    with database() as connection:
        worker.Worker(connection).sweep()
    assert [job.id for job in jobs.all_jobs()] == [asked[2].id, asked[1].id]
    assert not (own_jobs / asked[0].id).exists()
    monkeypatch.setattr(worker, "KEPT_JOBS", 1)
    with database() as connection:
        worker.Worker(connection).sweep()
    assert [job.id for job in jobs.all_jobs()] == [asked[2].id]


def test_a_log_does_not_fill_the_disk(own_jobs: Path) -> None:
    job = ended(jobs.submit("test_noisy", {"lines": 30_000}))
    assert job.state == "done"
    assert (own_jobs / job.id / "log.txt").stat().st_size < 25_000_000
    assert len(jobs.log(job.id)) <= 64_000


def test_numbers_of_numpy_and_torch_are_plain_in_the_result() -> None:
    job = ended(jobs.submit("test_heavy", {}))
    assert job.result["torch"] == [0, 1, 2]
    assert job.result["numpy"] == 0.5
    assert "torch " in job.made_with["versions"]
    assert job.made_with["dtype"] == "float32"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "test_add", "x-0123456789abcdef", "\0"])
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    jobs.submit("test_add", {"numbers": [1]})
    for act in (jobs.get, jobs.cancel, jobs.retry, jobs.forget):
        with pytest.raises(jobs.JobError) as refused:
            act(name)
        assert refused.value.code == "job_unknown"


def test_a_page_cannot_name_a_function() -> None:
    for kind in ("os:system", "tests.llmkit.job_tasks:add", "no_such_kind", ""):
        with pytest.raises(ValueError, match="no kind of job"):
            jobs.submit(kind, {})
    with pytest.raises(ValueError, match="Out of range"):
        jobs.submit("test_add", {"numbers": [float("nan")]})
    with pytest.raises(TypeError):
        jobs.submit("test_add", {"numbers": object()})


def test_every_kind_has_its_task() -> None:
    assert all(callable(kinds.task(kind)) for kind in kinds.KINDS)


def test_a_database_that_is_none_is_not_overwritten(own_jobs: Path) -> None:
    own_jobs.mkdir()
    broken = b"nothing that SQLite ever wrote" * 200
    (own_jobs / "jobs.db").write_bytes(broken)
    for act in (jobs.all_jobs, jobs.attend, lambda: jobs.submit("test_add", {"numbers": []})):
        with pytest.raises(jobs.JobError) as refused:
            act()
        assert refused.value.code == "job_database"
        assert refused.value.values["path"] == str(own_jobs / "jobs.db")
    assert (own_jobs / "jobs.db").read_bytes() == broken
    aside = jobs.set_aside()
    assert (aside / "jobs.db").read_bytes() == broken
    assert ended(jobs.submit("test_add", {"numbers": []})).state == "done"


def test_a_page_of_the_database_is_damaged(own_jobs: Path) -> None:
    job = ended(jobs.submit("test_add", {"numbers": [1]}))
    jobs.stop()
    path = own_jobs / "jobs.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(jobs.JobError) as refused:
        jobs.get(job.id)
    assert refused.value.code == "job_database"
    assert path.read_bytes() == bytes(data)


def test_a_newer_or_a_foreign_database_is_refused(own_jobs: Path) -> None:
    jobs.submit("test_add", {"numbers": [1]})
    jobs.stop()
    with sqlite3.connect(own_jobs / "jobs.db") as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(jobs.JobError) as refused:
        jobs.all_jobs()
    assert (refused.value.code, refused.value.values["version"]) == ("job_database_newer", VERSION + 1)
    jobs.set_aside()
    own_jobs.mkdir()
    with sqlite3.connect(own_jobs / "jobs.db") as connection:
        connection.execute("CREATE TABLE somebody_elses (x)")
    with pytest.raises(jobs.JobError) as refused:
        jobs.all_jobs()
    assert refused.value.code == "job_database"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to(own_jobs: Path) -> None:
    own_jobs.mkdir(mode=0o500)
    with pytest.raises(jobs.JobError) as refused:
        jobs.submit("test_add", {"numbers": [1]})
    assert refused.value.code == "job_database"


def test_a_worker_whose_folder_is_deleted_ends(own_jobs: Path) -> None:
    running(jobs.submit("test_wait", {}))
    aside = jobs.set_aside()
    wait_for(lambda: not workers(own_jobs))
    assert aside.is_dir()


def test_a_number_given_again_is_not_taken_for_the_process() -> None:
    me = psutil.Process()
    assert is_alive(me.pid, me.create_time())
    assert not is_alive(me.pid, me.create_time() - 60)
    assert not is_alive(None, None)


def test_a_process_left_over_from_an_earlier_start_writes_nothing(own_jobs: Path) -> None:
    job = ended(jobs.submit("test_add", {"numbers": [1, 2]}))
    with database() as connection:
        connection.execute(
            "UPDATE jobs SET state = 'running', claim = 'new', worker_pid = worker.pid, "
            "worker_started = worker.started FROM worker"
        )
    report = run.DatabaseReport(job.id, "old", own_jobs)
    with pytest.raises(jobs.Cancelled):
        report(1, 2)
    (own_jobs / job.id / "work-old").mkdir()
    with pytest.raises(jobs.Cancelled):
        run.finish(job.id, "old", "{}", {})
    assert jobs.get(job.id).state == "running"
    jobs.cancel(job.id)
    (own_jobs / job.id / "work-new").mkdir()
    with pytest.raises(jobs.Cancelled):  # taken back at the last moment
        run.finish(job.id, "new", "{}", {})


def test_a_task_is_called_directly(tmp_path: Path) -> None:
    report = jobs.DirectReport(tmp_path)
    assert job_tasks.add({"numbers": [1, 2]}, report)["sum"] == 3
    assert report.said == [(1, 2, "number 1"), (2, 2, "number 2")]
    assert report.partials == [{"so_far": 1}, {"so_far": 3}]
    assert report.lines == ["the sum is 3"]
    report.cancelled = True
    with pytest.raises(jobs.Cancelled):
        job_tasks.add({"numbers": [1, 2]}, report)


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["jobs", *arguments])


def test_the_command_line(own_jobs: Path) -> None:
    assert json.loads(command("--json").stdout) == []
    assert not own_jobs.exists()
    job = ended(jobs.submit("test_fails", {"box_id": "a box"}))
    [row] = json.loads(command("--json").stdout)
    assert (row["id"], row["state"], row["error"]["code"]) == (job.id, "failed", "text_too_long")
    assert job.id in command().stdout
    assert "a box" in command().stdout
    assert "LessonError" in command("log", job.id).stdout
    ran = command("retry", job.id)
    assert ran.exit_code == 1
    assert "This text has 300 tokens; 256 fit." in ran.stderr
    slow = running(jobs.submit("test_wait", {}))
    ran = command("forget", slow.id)
    assert ran.exit_code == 1
    assert "Cancel it first" in ran.stderr
    assert json.loads(command("cancel", slow.id, "--json").stdout)["state"] == "cancelled"
    assert command("forget", slow.id).exit_code == 0
    assert [row["id"] for row in json.loads(command("--json").stdout)] == [job.id]
    ran = command("log", "../../etc/passwd")
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "python -m llmkit jobs" in ran.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no interrupt to one process")
def test_ctrl_c_cancels_what_the_command_line_waits_for() -> None:
    job = jobs.submit("test_wait", {})
    jobs.cancel(job.id)
    ended(job)
    waits = subprocess.Popen(
        [sys.executable, "-m", "llmkit", "jobs", "retry", job.id], cwd=ROOT, stderr=subprocess.PIPE
    )
    running(job)
    waits.send_signal(signal.SIGINT)
    assert waits.wait(timeout=30) == 1
    assert ended(job).state == "cancelled"
    assert waits.stderr is not None
    waits.stderr.close()
