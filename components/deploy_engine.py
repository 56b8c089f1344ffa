"""What the deploy page does and knows: deployments of this machine, how each is, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from components import engine
from components.workbench import Workbench
from llmkit import shelf
from llmkit.serve import ask, process
from llmkit.serve.client import Client
from llmkit.serve.deployment import ALIVE, Deployment, Engine
from llmkit.serve.reply import Reply
from llmkit.serve.request import Ask, Request, request_for

FLOAT32 = "torch-float32"
MOST_ALIVE = 4
"""Servers that a page starts beside one another: each holds its box in memory."""

PORTS = (1, 65_535)
LOG_LINES = 12
FIRST_TOKENS = 24

_KEYS = "_deploy_keys"


class DeployError(Exception):
    """The page cannot do what was asked.

    Args:
        code: ``deploy_too_many`` (so many servers run already), ``deploy_not_ready`` (no server answers yet).
        values: what the sentence names.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code, self.values = code, values


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A deployment as the page sees it at a moment.

    Args:
        deployment: with its state. figures: what it counts; empty where it is silent. can: what it can be asked for.
    """

    deployment: Deployment
    figures: dict[str, float]
    can: tuple[str, ...]


def forms_here(bench: Workbench) -> tuple[str, ...]:
    """Return the forms in which the workbench's box can be deployed at once; the plain one always.

    One that is compiled anew at every start is none of them.
    """
    from llmkit.compress import form, made

    here = (one for one in made.forms_here(bench.box_id) if form(one).engine != "compiled")
    return tuple(dict.fromkeys((FLOAT32, *here)))


def require_whole(bench: Workbench) -> None:
    """Make sure that the workbench's box can be deployed, without opening it.

    Raises:
        ServeError, ShelfError, TokenizerError: it cannot.
    """
    _require_whole(bench.box_id, engine.fingerprint(bench.box_id))


@engine.remembered(max_entries=16)
def _require_whole(box_id: str, fingerprint: str) -> bool:
    from llmkit.serve.whole import require_whole

    require_whole(box_id)
    return True


def box_folder(bench: Workbench) -> Path:
    """Return where the workbench's box lies."""
    return shelf.locate(bench.box_id) or shelf.folder_of(bench.box_id)


def start(
    bench: Workbench,
    form: str,
    *,
    port: int | None,
    key: str,
    stays: bool,
    everyone: bool,
    kind: Engine = "fastapi",
) -> Deployment:
    """Put the workbench's box in its place.

    Raises:
        DeployError: ``deploy_too_many``. ServeError, ShelfError: it cannot be started.
    """
    running = [one for one in process.deployments() if one.alive]
    if len(running) >= MOST_ALIVE:
        raise DeployError("deploy_too_many", n=len(running))
    host = "0.0.0.0" if everyone else "127.0.0.1"
    made = process.start(bench.box_id, form, host=host, port=port, key=key or None, stays=stays, engine=kind)
    if key:
        _keys()[made.id] = key
    return made


def look() -> tuple[Seen, ...]:
    """Return every deployment of this machine as it is now."""
    process.attend()
    return tuple(look_at(one) for one in process.deployments())


def look_at(deployment: Deployment) -> Seen:
    """Return how one deployment is."""
    if deployment.state not in ALIVE:
        return Seen(deployment=deployment, figures={}, can=())
    can = ask.can(deployment) if deployment.state == "ready" else ()
    return Seen(deployment=deployment, figures=ask.figures(deployment) if can else {}, can=can)


def beginning(sentence: str) -> str:
    """Return the first half of a sentence: a whole one may be all that a model has to say.

    >>> beginning("The movie was good.")
    'The movie'
    """
    return sentence[: (len(sentence) + 1) // 2].rstrip()


def first_answer(deployment: Deployment, text: str, can: tuple[str, ...]) -> tuple[Request, Reply]:
    """Send the first request that this box can answer: a text to go on with, or one to turn into a vector."""
    return _send(deployment, text, can)


def probe_too_long(deployment: Deployment, can: tuple[str, ...]) -> Reply:
    """Send a text that no box here can hold: the server itself says how long that is."""
    return _send(deployment, "word " * LONG_WORDS, can)[1]


def _send(deployment: Deployment, text: str, can: tuple[str, ...]) -> tuple[Request, Reply]:
    ask_for: Ask = "completion" if "completions" in can else "embeddings"
    request = request_for(ask_for, text, model=deployment.model, max_tokens=FIRST_TOKENS, protocol=deployment.protocol)
    return request, Client(deployment.address, key=key_of(deployment)).send(request)


LONG_WORDS = 150_000
"""More tokens than any box's context here, and fewer bytes than the server takes."""


def key_of(deployment: Deployment) -> str | None:
    """Return the key that this session has given for a deployment; nobody else's is known."""
    return _keys().get(deployment.id)


def keep_key(deployment: Deployment, key: str) -> None:
    """Remember a key for this session."""
    _keys()[deployment.id] = key


def log_tail(deployment: Deployment) -> str:
    """Return the last lines that the server has written."""
    lines = process.log(deployment.id).splitlines()
    return "\n".join(line[:300] for line in lines[-LOG_LINES:])


def _keys() -> dict[str, str]:
    keys: dict[str, str] = st.session_state.setdefault(_KEYS, {})
    return keys
