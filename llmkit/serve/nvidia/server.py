"""The process of a deployment on Triton, ``python -m llmkit.serve.nvidia.server ID``.

It writes the model repository, starts the real server on it, says when that one is ready, and ends with it. Whatever
way either of the two ends, the other does not live on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from llmkit.serve.client import Client
from llmkit.serve.deployment import ASKED, LOG, address_of, deployments_home, folder_of, read_facts
from llmkit.serve.errors import ServeError
from llmkit.serve.nvidia import environment, repository
from llmkit.serve.own_process import OnState, Said, watch
from llmkit.serve.process import GRACEFUL_S, bind

MODELS = "models"
POLL_S = 0.2
EXIT_S = 4
"""So long Triton waits for what is being answered; less than ``GRACEFUL_S``."""

CLOSED = "shared-memory,model-repository,trace,logging"
"""What Triton would let every client do besides asking; these want a header that nobody knows."""

SHARED_MEMORY = Path("/dev/shm")


def serve(deployment_id: str, *, on_state: OnState | None = None) -> int:
    """Be the process of a deployment that was registered, until it is told to end.

    Returns:
        exit status: 0 when it was told to end, 3 when it could not do its work.
    """
    place = folder_of(deployment_id)
    asked = read_facts(place / ASKED)
    say = Said(place, on_state)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    child = None
    try:
        child = _start(deployment_id, place, asked, say)
    except Exception as error:  # noqa: BLE001  (told to whoever started it)
        print(f"cannot serve: {error}", file=sys.stderr, flush=True)  # noqa: T201
        say("failed", error)
        return 3
    threading.Thread(
        target=watch,
        args=(place,),
        kwargs={"stays": bool(asked["stays"]), "over": ended.is_set, "end": ended.set},
        daemon=True,
    ).start()
    client = Client(address_of(asked["host"], say.facts["port"]), timeout_s=2.0)
    try:
        while child.poll() is None and not ended.wait(POLL_S):
            if say.facts["state"] == "loading" and client.get("/v2/health/ready").ok:
                say("ready")
    finally:
        _end(child, deployment_id)
    if ended.is_set():
        say("stopped")
        return 0
    killed = f"tritonserver: signal {-child.returncode}" if child.returncode < 0 else ""
    detail = killed or _last_error(place / LOG) or f"tritonserver: {child.returncode}"
    say("failed", ServeError("deployment_failed", deployment=deployment_id, detail=detail))
    return 3


def command(models: Path, *, host: str, port: int, metrics_port: int, prefix: str) -> list[str]:
    """What starts the server: explicit ports, one repository, no door that nobody asked for.

    Args:
        models: the repository. prefix: of the names of the memory that it shares with its models.
    """
    return [
        str(environment.program()),
        f"--model-repository={models}",
        f"--model-config-name={repository.PYTHON_CONFIG}",
        f"--backend-directory={environment.backends()}",
        f"--backend-config=python,shm-region-prefix-name={prefix}",
        f"--http-address={host}",
        f"--http-port={port}",
        f"--metrics-address={host}",
        f"--metrics-port={metrics_port}",
        "--allow-grpc=false",
        f"--exit-timeout-secs={EXIT_S}",
        f"--http-restricted-api={CLOSED}:llmkit={secrets.token_urlsafe(24)}",
    ]


def _start(deployment_id: str, place: Path, asked: dict[str, Any], say: Said) -> subprocess.Popen[bytes]:
    """Write the repository and start the server.

    Raises:
        ServeError: ``port_in_use`` and the like, ``tritonserver_missing``, and what ``repository.write`` raises.
    """
    host = asked["host"]
    with bind(host, int(asked["port"])) as http, bind(host, 0) as metrics:
        address, port = http.getsockname()[:2]
        metrics_port = metrics.getsockname()[1]
    say("loading", port=port, metrics_port=metrics_port)
    environment.require_ready()
    models = repository.write(asked["box"], asked["form"], place / MODELS)
    told = command(models, host=address, port=port, metrics_port=metrics_port, prefix=_prefix(deployment_id))
    return subprocess.Popen(
        told,
        stdin=subprocess.DEVNULL,
        stdout=2,  # the deployment's log
        stderr=2,
        env=environment.variables(os.environ),
        start_new_session=True,  # so that it can be ended with all that it has started
        preexec_fn=_die_with_parent,
    )


def _die_with_parent() -> None:
    """Have the system kill this process when the one that started it has ended, whatever way."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes], deployment_id: str) -> None:
    """End the server, its models' processes, and the memory that they share."""
    if child.poll() is None:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACEFUL_S - 2)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    sweep(deployment_id)


def sweep(deployment_id: str) -> None:
    """Delete the shared memory that a server which was killed has left."""
    for left in SHARED_MEMORY.glob(f"{_prefix(deployment_id)}*"):
        left.unlink(missing_ok=True)


def _prefix(deployment_id: str) -> str:
    return f"llmkit-{deployment_id[-40:]}-"


def _last_error(path: Path) -> str:
    """The last error that the server has written, without time and place."""
    with contextlib.suppress(OSError):
        for line in reversed(path.read_text(encoding="utf-8", errors="replace").splitlines()):
            if found := re.match(r'E\d{4} \S+ \d+ \S+\] "?(.+?)"?$', line):
                return found[1][:300]
            if line.startswith("error: "):
                return line[:300]
    return ""


def main() -> None:
    """Serve the deployment that is named."""
    status = serve(sys.argv[1])
    if not (deployments_home() / sys.argv[1] / ASKED).is_file():
        shutil.rmtree(deployments_home() / sys.argv[1], ignore_errors=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
