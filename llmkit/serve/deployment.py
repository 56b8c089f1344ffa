"""A deployment as it is written down: a folder with what was asked for, what its process says, and its log."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from llmkit.home import home
from llmkit.serve.errors import ServeError
from llmkit.serve.request import Protocol

State = Literal["starting", "loading", "ready", "stopping", "stopped", "failed", "dead"]
"""``dead``: its process has vanished without a word, such as one that was killed."""

Engine = Literal["fastapi", "triton"]
"""What answers: our own server in OpenAI's shapes, or NVIDIA's Triton with a model repository."""

ENGINES: tuple[Engine, ...] = ("fastapi", "triton")

ALIVE: frozenset[State] = frozenset({"starting", "loading", "ready", "stopping"})
ASKED, SAID, LOG = "deployment.json", "server.json", "server.log"
TRITON_MODEL = "box"
"""The model of a repository of ours that reads text."""

EVERYWHERE = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One box that was put in its place.

    Args:
        id: its name. box, form: what answers.
        host, port: where; port 0 until it has one. address: the whole address, such as ``http://127.0.0.1:8000``.
        pid: its process; None before there is one.
        state: as it is now.
        started: seconds since the epoch. stays: whether it goes on when the app ends. has_key: whether it wants a key.
        error: code and values of what it failed with. engine: what answers.
        metrics_port: where Triton counts; None where counts stand at the address itself.
    """

    id: str
    box: str
    form: str
    host: str
    port: int
    pid: int | None
    state: State
    started: float
    address: str
    stays: bool = False
    has_key: bool = False
    error: Mapping[str, Any] | None = None
    engine: Engine = "fastapi"
    metrics_port: int | None = None

    @property
    def model(self) -> str:
        """The name that it is asked for by."""
        return self.box if self.engine == "fastapi" else TRITON_MODEL

    @property
    def protocol(self) -> Protocol:
        """How it wants to be asked."""
        return "openai" if self.engine == "fastapi" else "kserve"

    @property
    def alive(self) -> bool:
        """Whether its process runs, or is about to."""
        return self.state in ALIVE

    @property
    def exposed(self) -> bool:
        """Whether everyone on the network can use it: it listens everywhere, and wants no key."""
        return self.host in EVERYWHERE and not self.has_key


def deployments_home() -> Path:
    """The folder of all deployments."""
    return home() / "deployments"


def folder_of(deployment_id: str) -> Path:
    """The folder of one.

    Raises:
        ServeError: ``deployment_unknown``: there is none, or none can be called so.
    """
    place = deployments_home() / deployment_id
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,120}", deployment_id) or not (place / ASKED).is_file():
        raise ServeError("deployment_unknown", deployment=deployment_id)
    return place


def address_of(host: str, port: int) -> str:
    """What a client on this machine writes.

    >>> address_of("0.0.0.0", 8000)
    'http://127.0.0.1:8000'
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write a file whole or not at all, for its owner's eyes alone."""
    handle, half = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # of mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(dict(facts), file)
        os.replace(half, path)
    except BaseException:
        Path(half).unlink(missing_ok=True)
        raise


def read_facts(path: Path) -> dict[str, Any]:
    """What such a file says; nothing where there is none, or it is no such file."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
