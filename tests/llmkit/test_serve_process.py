"""Deployments as processes: started, killed, stopped, and ended with the app; none is left behind."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from llmkit import shelf
from llmkit.serve import process
from llmkit.serve.deployment import Deployment
from llmkit.serve.errors import ServeError
from tests.llmkit.serve_boxes import is_ready, wait_for

ROOT = Path(__file__).parents[2]
STARTER = "gpt2-starter"

APP = """
import sys
from llmkit.serve import process
print(process.start("gpt2-starter", stays=sys.argv[1] == "stays").id, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def deploy(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home of its own; whatever was started there is ended."""
    monkeypatch.setenv("LLMKIT_SERVE_GRACE_S", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    pids = [one.pid for one in process.deployments() if one.pid]
    for one in process.deployments():
        process.stop(one.id)
    process.leave()
    wait_for(lambda: not any(runs(pid) for pid in pids))


def runs(pid: int | None) -> bool:
    """Whether a process still does anything; one whose parent does not look is listed on, as a zombie."""
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def an_app(how: str) -> tuple[subprocess.Popen[str], Deployment]:
    """Another process that starts a deployment, and waits."""
    app = subprocess.Popen(
        [sys.executable, "-c", APP, how], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert app.stdout is not None
    return app, process.get(app.stdout.readline().strip())


def test_two_at_once_one_killed_one_stopped(deploy: None) -> None:
    one, two = process.start(STARTER), process.start(STARTER, stays=True)
    assert one.port != two.port
    assert {found.id for found in process.deployments()} == {one.id, two.id}
    assert process.get(one.id).alive
    assert one.pid is not None
    psutil.Process(one.pid).kill()
    wait_for(lambda: process.get(one.id).state == "dead")
    wait_for(lambda: is_ready(two))
    assert process.get(two.id).state == "ready"
    assert process.stop(two.id).state == "stopped"
    assert process.stop(two.id).state == "stopped"
    assert process.stop(one.id).state == "stopped"
    for found in process.deployments():
        process.forget(found.id)
    assert process.deployments() == ()


def test_without_the_app_only_what_stays_goes_on(deploy: None) -> None:
    app, ends = an_app("ends")
    other, stays = an_app("stays")
    assert process.get(ends.id).alive
    app.kill()  # no time to say good-bye
    other.kill()
    app.wait()
    other.wait()
    wait_for(lambda: not process.get(ends.id).alive)
    wait_for(lambda: not runs(ends.pid))
    assert process.get(stays.id).alive


def test_an_app_that_attends_keeps_it_alive(deploy: None) -> None:
    app, one = an_app("ends")
    process.attend()
    app.kill()
    app.wait()
    wait_for(lambda: is_ready(one))
    process.leave()
    wait_for(lambda: process.get(one.id).state == "stopped")


def test_an_address_that_cannot_be_had_is_said_at_once(deploy: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(ServeError) as refused:
            process.start(STARTER, port=taken.getsockname()[1])
        assert refused.value.code == "port_in_use"
    with pytest.raises(ServeError) as refused:
        process.start(STARTER, host="203.0.113.7")
    assert refused.value.code == "host_unknown"
    with pytest.raises(ServeError) as refused:
        process.start(STARTER, host="no such host \u0000")
    assert refused.value.code == "host_unknown"
    with pytest.raises(shelf.ShelfError) as missing:
        process.start("minilm-l6")
    assert missing.value.code == "box_missing"
    assert process.deployments() == ()


def test_two_at_once_for_one_port(deploy: None) -> None:
    """Both ask at the same moment: one has it, the other is told, and leaves nothing."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]

    def ask(_n: int) -> Deployment | str:
        try:
            return process.start(STARTER, port=port)
        except ServeError as refused:
            return refused.code

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(ask, range(2)))
    assert found.count("port_in_use") == 1
    (one,) = (each for each in found if isinstance(each, Deployment))
    assert [each.id for each in process.deployments()] == [one.id]
    wait_for(lambda: is_ready(one), 60)


def test_a_full_disk_starts_nothing(deploy: None) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(ServeError) as refused:
            process.start(STARTER)
    assert refused.value.code == "disk_full"
    assert process.deployments() == ()
    assert [path.name for path in process.deployments_home().iterdir() if path.is_dir()] == []


def test_a_box_that_cannot_be_opened_is_said(deploy: None, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    one = process.start(f"folder:{tmp_path}")
    wait_for(lambda: process.get(one.id).state == "failed")
    error = process.get(one.id).error
    assert error is not None
    assert error["code"] == "box_broken"
    wait_for(lambda: not runs(one.pid))


@pytest.mark.parametrize("name", ["..", "../jobs", "a/b", "", "no-such-one", "A", "x" * 500])
def test_a_name_leads_nowhere_else(deploy: None, name: str) -> None:
    for ask in (process.get, process.stop, process.log, process.forget):
        with pytest.raises(ServeError) as refused:
            ask(name)
        assert refused.value.code == "deployment_unknown"


def test_a_state_file_that_is_broken_breaks_nothing(deploy: None) -> None:
    one = process.register(STARTER, "torch-float32", host="h", port=1, key=None, stays=False, limits=None)
    (process.folder_of(one) / "deployment.json").write_text("{")
    assert process.deployments() == ()


def test_who_lets_everyone_in_can_be_warned() -> None:
    about = dict(id="a", box="b", form="c", port=1, pid=None, state="ready", started=0.0, address="")
    assert Deployment(host="0.0.0.0", **about).exposed
    assert not Deployment(host="0.0.0.0", has_key=True, **about).exposed
    assert not Deployment(host="127.0.0.1", **about).exposed


def test_the_command_serves_until_it_is_interrupted(deploy: None) -> None:
    environment = {**os.environ, "LLMKIT_SERVE_KEY": "secret-of-the-shell"}
    command = [sys.executable, "-m", "llmkit", "serve", STARTER, "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, env=environment) as shell:
        assert shell.stdout is not None
        states = [json.loads(shell.stdout.readline()) for _ in range(2)]
        assert [one["state"] for one in states] == ["loading", "ready"]
        listed = process.get(states[0]["id"])
        assert (listed.pid, listed.has_key, listed.address) == (shell.pid, True, states[0]["address"])
        shell.send_signal(2)
        assert json.loads(shell.stdout.read())["state"] == "stopped"
        assert shell.wait(10) == 0
    assert process.deployments() == ()
