"""The process of one deployment, ``python -m llmkit.serve.server ID``: it listens, then loads, then answers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.jobs.store import identity, is_held
from llmkit.serve.deployment import ASKED, SAID, deployments_home, folder_of, read_facts, write_facts
from llmkit.serve.errors import ServeError
from llmkit.serve.process import GRACEFUL_S, KEY_VARIABLE, bind

if TYPE_CHECKING:
    import socket

    import uvicorn

GRACE_S = float(os.environ.get("LLMKIT_SERVE_GRACE_S", "15"))
"""A deployment that does not stay goes on so long after the last app has ended, so that one that is started again
finds it."""

LOG_LIMIT_BYTES = 8_000_000
WATCH_S = 0.5

LOG_CONFIG: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(message)s"}},
    "handlers": {"err": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"}},
    "loggers": {
        "uvicorn": {"handlers": ["err"], "level": "INFO", "propagate": False},
        "uvicorn.access": {"handlers": ["err"], "level": "INFO", "propagate": False},
    },
}
"""When, what, and from where; headers, and so the key, are never written."""


def serve(deployment_id: str, key: str | None, *, on_state: Callable[[str, dict[str, Any]], None] | None = None) -> int:
    """Be the server of a deployment that was registered, until it is told to end.

    Args:
        deployment_id: its folder says what to serve. key: what requests must bring.
        on_state: told each state with what the server says of itself.

    Returns:
        exit status: 0 when it was told to end, 3 when it could not do its work.
    """
    place = folder_of(deployment_id)
    asked = read_facts(place / ASKED)
    pid, process_started = identity()
    said: dict[str, Any] = {"pid": pid, "process_started": process_started, "state": "loading"}

    def say(state: str, error: Exception | None = None) -> None:
        said["state"] = state
        if error is not None:
            said["error"] = {"code": str(getattr(error, "code", "deployment_failed")), "values": _values(error)}
        with contextlib.suppress(FileNotFoundError):  # its folder was deleted: it is about to end
            write_facts(place / SAID, said)
        if on_state is not None:
            on_state(state, said)

    try:
        listening = bind(asked["host"], int(asked["port"]))
    except ServeError as error:
        say("failed", error)
        return 3
    said["port"] = listening.getsockname()[1]
    say("loading")
    server = _server(asked, key, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn's own come first, and hand on to these
    threading.Thread(target=_watch, args=(place, bool(asked["stays"]), server), daemon=True).start()
    _run(server, listening)
    if said["state"] == "failed":
        return 3
    say("stopped")
    return 0


def _server(asked: dict[str, Any], key: str | None, say: Callable[[str, Exception | None], None]) -> uvicorn.Server:
    import logging

    import uvicorn

    from llmkit.serve.app import create_app
    from llmkit.serve.engine import Engine, open_engine
    from llmkit.serve.limits import Limits, digest

    limits = Limits(**asked.get("limits", {}))

    def load() -> Engine:
        began = time.monotonic()
        engine = open_engine(asked["box"], asked["form"], max_rows=limits.max_running)
        logging.getLogger("uvicorn").info(
            "%s as %s is ready after %.1f s", asked["box"], asked["form"], time.monotonic() - began
        )
        return engine

    def on_state(state: str, error: Exception | None) -> None:
        say(state, error)
        if error is not None:
            logging.getLogger("uvicorn").error("cannot serve: %s", error, exc_info=error)
            server.should_exit = True

    hashed = digest(key) if key else None
    app = create_app(load, model=asked["box"], form=asked["form"], key=hashed, limits=limits, on_state=on_state)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        log_config=LOG_CONFIG,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(GRACEFUL_S) - 3,
    )
    server = uvicorn.Server(config)
    return server


def _run(server: uvicorn.Server, listening: socket.socket) -> None:
    with listening:
        server.run(sockets=[listening])


def _watch(place: Path, stays: bool, server: uvicorn.Server) -> None:
    """End the server when nobody attends for whom it works, or its folder is gone; keep its log short."""
    seen = time.monotonic()
    while not server.should_exit:
        now = time.monotonic()
        if stays or any(is_held(path) for path in deployments_home().glob("app-*.lock")):
            seen = now
        if now - seen > GRACE_S or not (place / ASKED).is_file():
            server.should_exit = True
        with contextlib.suppress(OSError):
            if os.name == "posix" and os.fstat(2).st_size > LOG_LIMIT_BYTES:
                os.ftruncate(2, 0)
        time.sleep(WATCH_S)


def _values(error: Exception) -> dict[str, str]:
    values = {name: str(value)[:500] for name, value in getattr(error, "values", {}).items()}
    return values if hasattr(error, "code") else {"detail": f"{type(error).__name__}: {error}"[:500]}


def main() -> None:
    """Serve the deployment that is named."""
    key = os.environ.pop(KEY_VARIABLE, None)
    status = serve(sys.argv[1], key)
    if not (deployments_home() / sys.argv[1] / ASKED).is_file():
        shutil.rmtree(deployments_home() / sys.argv[1], ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a thread that still computes does not hold it up


if __name__ == "__main__":
    main()
