"""The process of one deployment, ``python -m llmkit.serve.server ID``: it listens, then loads, then answers."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmkit.serve.deployment import ASKED, deployments_home, folder_of, read_facts
from llmkit.serve.errors import ServeError
from llmkit.serve.own_process import OnState, Said, watch
from llmkit.serve.process import GRACEFUL_S, KEY_VARIABLE, bind

if TYPE_CHECKING:
    import socket

    import uvicorn

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


def serve(deployment_id: str, key: str | None, *, on_state: OnState | None = None) -> int:
    """Be the server of a deployment that was registered, until it is told to end.

    Args:
        deployment_id: its folder says what to serve. key: what requests must bring.
        on_state: told each state with what the server says of itself.

    Returns:
        exit status: 0 when it was told to end, 3 when it could not do its work.
    """
    place = folder_of(deployment_id)
    asked = read_facts(place / ASKED)
    say = Said(place, on_state)
    try:
        listening = bind(asked["host"], int(asked["port"]))
    except ServeError as error:
        say("failed", error)
        return 3
    say("loading", port=listening.getsockname()[1])
    server = _server(asked, key, say)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn's own come first, and hand on to these
    threading.Thread(
        target=watch,
        args=(place,),
        kwargs={
            "stays": bool(asked["stays"]),
            "over": lambda: server.should_exit,
            "end": lambda: setattr(server, "should_exit", True),
        },
        daemon=True,
    ).start()
    _run(server, listening)
    if say.facts["state"] == "failed":
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
