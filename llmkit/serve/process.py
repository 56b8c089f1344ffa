"""Deployments: servers in processes of their own, started, listed, stopped; each with a folder that tells how it is.

A deployment goes on when a tab is closed. One that ``stays`` goes on when the app ends, too; any other looks for the
apps that attend (each has locked a file) and ends seconds after the last of them has, whatever way it ended.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from llmkit import shelf
from llmkit.compress.made import disk_is_full
from llmkit.jobs.queue import ROOT, own_environment
from llmkit.jobs.store import is_alive, kill_tree
from llmkit.serve.deployment import (
    ASKED,
    LOG,
    SAID,
    Deployment,
    Engine,
    State,
    address_of,
    deployments_home,
    folder_of,
    read_facts,
    write_facts,
)
from llmkit.serve.errors import ServeError

KEY_VARIABLE = "LLMKIT_SERVE_KEY"
"""Where a server finds the key that it wants; on a command line everyone could read it."""

BOUND_S = 30.0
"""A server has its port so soon, or it is given up."""

MODULES: Mapping[Engine, str] = {"fastapi": "llmkit.serve.server", "triton": "llmkit.serve.nvidia.server"}
"""What is run as a deployment's process."""

GRACEFUL_S = 8.0
"""So long what is being answered may go on after stop."""

LOG_TAIL_BYTES = 64_000
KEPT = 20
"""Deployments that have ended and are still listed."""

_children: dict[str, subprocess.Popen[bytes]] = {}
_attended: dict[Path, FileLock] = {}


def start(
    box_id: str,
    form_id: str = "torch-float32",
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    key: str | None = None,
    stays: bool = False,
    limits: Mapping[str, float] | None = None,
    engine: Engine = "fastapi",
) -> Deployment:
    """Put a box in its place: a server of its own, which loads the box while it can already be asked how it is.

    Args:
        box_id: a box on this machine. form_id: its form, made before.
        host: where to listen; only this machine can ask at ``127.0.0.1``. port: None for any that is free.
        key: what requests must bring; kept by the server's process alone, as a hash. stays: goes on without the app.
        limits: fields of ``llmkit.serve.limits.Limits`` that are to be others; Triton has its own.
        engine: ``triton`` wants the server's environment, a form of ONNX Runtime's, and no key.

    Returns:
        the deployment, its port bound; ``loading``, or ``ready`` already.

    Raises:
        ShelfError: the box is not here. ServeError: ``port_in_use``, ``port_forbidden``, ``host_unknown``,
            ``disk_full``, ``deployment_failed``, ``deployment_silent``; for Triton ``key_unsupported``,
            ``tritonserver_missing``, ``tritonserver_impossible``, ``form_not_made``, ``repository_unsupported``.
    """
    if shelf.locate(box_id) is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    if engine == "triton":
        require_triton(box_id, form_id, key)
    bind(host, port or 0).close()  # told at once, and not by a process that ends
    deployment_id = register(box_id, form_id, host=host, port=port, key=key, stays=stays, limits=limits, engine=engine)
    if not stays:
        attend()
    place = folder_of(deployment_id)
    environment = own_environment()
    environment.pop(KEY_VARIABLE, None)
    if key:
        environment[KEY_VARIABLE] = key
    with (place / LOG).open("ab") as log_file:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULES[engine], deployment_id],
            cwd=ROOT,
            env={**environment, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,  # what ends the terminal or the app does not end it in mid-answer
        )
    _children[deployment_id] = process
    until = time.monotonic() + BOUND_S
    while not (said := read_facts(place / SAID)).get("port"):
        if process.poll() is not None or time.monotonic() > until:
            kill_tree(process.pid, _started(process.pid))
            process.wait()
            error = said.get("error") or read_facts(place / SAID).get("error")
            shutil.rmtree(place, ignore_errors=True)
            if error is not None:
                raise ServeError(error["code"], **error["values"])
            raise ServeError("deployment_silent", deployment=deployment_id, detail=f"{BOUND_S:g} s")
        time.sleep(0.02)
    return get(deployment_id)


def deployments() -> tuple[Deployment, ...]:
    """All of them with their state now, those that live first, then the newest; the oldest that ended are forgotten."""
    listed = []
    for path in deployments_home().glob(f"*/{ASKED}"):
        with contextlib.suppress(ServeError):
            listed.append(get(path.parent.name))
    listed.sort(key=lambda one: (not one.alive, -one.started))
    ended = [one for one in listed if not one.alive]
    for one in ended[KEPT:]:
        shutil.rmtree(deployments_home() / one.id, ignore_errors=True)
    return tuple(one for one in listed if one not in ended[KEPT:])


def get(deployment_id: str) -> Deployment:
    """One deployment with its state now.

    Raises:
        ServeError: ``deployment_unknown``.
    """
    place = folder_of(deployment_id)
    asked, said = read_facts(place / ASKED), read_facts(place / SAID)
    try:
        host, port = str(asked["host"]), int(said.get("port") or asked["port"])
        return Deployment(
            id=deployment_id,
            box=str(asked["box"]),
            form=str(asked["form"]),
            host=host,
            port=port,
            pid=said.get("pid"),
            state=_state(deployment_id, asked, said),
            started=float(asked["started"]),
            address=address_of(host, port),
            stays=bool(asked["stays"]),
            has_key=bool(asked["has_key"]),
            error=said.get("error"),
            engine=asked.get("engine", "fastapi"),
            metrics_port=said.get("metrics_port"),
        )
    except (LookupError, TypeError, ValueError):
        raise ServeError("deployment_unknown", deployment=deployment_id) from None


def stop(deployment_id: str) -> Deployment:
    """End a deployment: what is being answered may end, for a few seconds; then it is killed. One that ended stays so.

    Raises:
        ServeError: ``deployment_unknown``.
    """
    place = folder_of(deployment_id)
    said = read_facts(place / SAID)
    child = _children.pop(deployment_id, None)
    pid, started = said.get("pid"), said.get("process_started")
    if is_alive(pid, started):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            process.terminate()
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(GRACEFUL_S)
        kill_tree(pid, started)
    if child is not None:
        if child.poll() is None and not said:  # it has not even said that it is there
            child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACEFUL_S)
    now = read_facts(place / SAID)
    if now.get("state") not in ("stopped", "failed"):
        write_facts(place / SAID, {**now, "state": "stopped"})
    return get(deployment_id)


def forget(deployment_id: str) -> None:
    """Delete what is left of a deployment that has ended.

    Raises:
        ServeError: ``deployment_active``, ``deployment_unknown``.
    """
    if get(deployment_id).alive:
        raise ServeError("deployment_active", deployment=deployment_id)
    shutil.rmtree(folder_of(deployment_id), ignore_errors=True)


def log(deployment_id: str) -> str:
    """The end of what its process has written; a key is never in it.

    Raises:
        ServeError: ``deployment_unknown``.
    """
    path = folder_of(deployment_id) / LOG
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_TAIL_BYTES, 0))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def attend() -> None:
    """Say that this process (the app) is there: deployments that do not stay go on as long as it is."""
    place = deployments_home() / f"app-{os.getpid()}.lock"
    if place in _attended and place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place, thread_local=False)
    with contextlib.suppress(OSError):  # a server is just looking whether it is held: the next time will do
        lock.acquire(timeout=1)
        _attended[place] = lock


def leave() -> None:
    """Attend no longer, as if this process had ended."""
    if lock := _attended.pop(deployments_home() / f"app-{os.getpid()}.lock", None):
        lock.release()


def register(
    box_id: str,
    form_id: str,
    *,
    host: str,
    port: int | None,
    key: str | None,
    stays: bool,
    limits: Mapping[str, float] | None,
    engine: Engine = "fastapi",
) -> str:
    """Write down what is asked for in a folder of its own, and return its name.

    Raises:
        ServeError: ``disk_full``.
    """
    name = re.sub(r"[^a-z0-9]+", "-", f"{box_id.rsplit('/', 1)[-1]}-{form_id}".lower()).strip("-")[:80]
    deployment_id = f"{name}-{secrets.token_hex(3)}"
    place = deployments_home() / deployment_id
    asked = {
        "box": box_id,
        "form": form_id,
        "host": host,
        "port": port or 0,
        "stays": stays,
        "has_key": bool(key),
        "started": time.time(),
        "limits": dict(limits or {}),
        "engine": engine,
    }
    try:
        place.mkdir(parents=True, mode=0o700)
        write_facts(place / ASKED, asked)
    except OSError as error:
        shutil.rmtree(place, ignore_errors=True)
        if disk_is_full(error):
            raise ServeError("disk_full", detail=str(place.parent)) from error
        raise
    return deployment_id


def bind(host: str, port: int) -> socket.socket:
    """A socket at that address; port 0 for any that is free.

    Raises:
        ServeError: ``port_in_use``, ``port_forbidden``, ``host_unknown``.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ServeError("host_unknown", host=host, detail=str(error)) from error
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, PermissionError):
            raise ServeError("port_forbidden", host=host, port=port) from error
        if isinstance(error, OSError) and error.errno in _NO_SUCH_ADDRESS:
            raise ServeError("host_unknown", host=host, detail=error.strerror) from error
        raise ServeError("port_in_use", host=host, port=port) from error
    return listening


_NO_SUCH_ADDRESS = frozenset({99, 49, 10049})
"""EADDRNOTAVAIL of Linux, macOS and Windows."""


def require_triton(box_id: str, form_id: str, key: str | None) -> None:
    """Make sure that Triton can be started on a form of a box.

    Raises:
        ServeError: ``key_unsupported``, ``tritonserver_missing``, ``tritonserver_impossible``, ``form_not_made``,
            ``repository_unsupported``.
    """
    from llmkit.serve.nvidia import environment, repository

    if key:
        raise ServeError("key_unsupported")
    environment.require_ready()
    repository.require_form(box_id, form_id)


def _state(deployment_id: str, asked: Mapping[str, Any], said: Mapping[str, Any]) -> State:
    child = _children.get(deployment_id)
    if child is not None and child.poll() is not None:
        del _children[deployment_id]
    if said.get("state") in ("stopped", "failed"):
        state: State = said["state"]
        return state
    if not said:
        young = time.time() - float(asked["started"]) < BOUND_S
        return "starting" if deployment_id in _children or (child is None and young) else "dead"
    return said["state"] if is_alive(said.get("pid"), said.get("process_started")) else "dead"


def _started(pid: int) -> float | None:
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
