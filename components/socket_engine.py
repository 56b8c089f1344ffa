"""What the socket page does and knows: which server is tested, and what this session has sent to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, cast

import streamlit as st

from components import deploy_engine
from components.frame import Page
from llmkit.serve import kserve, process
from llmkit.serve.client import Client
from llmkit.serve.deployment import TRITON_MODEL, Deployment
from llmkit.serve.request import Ask, Protocol, Request, request_for
from llmkit.serve.smoke import MOST_WORDS, PROMPT, too_long

if TYPE_CHECKING:
    from llmkit.serve.reply import Reply

LOOK_S = 3.0
"""A page that looks how a server is does not wait for it longer."""

TIMEOUT_S = 60.0
ASKS: dict[str, Ask] = {
    "completions": "completion",
    "chat": "chat",
    "embeddings": "embeddings",
    "classify": "classify",
}
"""What a server says that it can, and what is asked then."""

TEN_MEGABYTES = 10_000_000
UNKNOWN_MODEL = "no-such-model"
WRONG = ("wrong_key", "malformed", "ten_mb", "too_long", "unknown_model")
SHOWN_CHARACTERS = 4_000

_SENT, _OTHER_KEYS = "_socket_sent", "_socket_other_keys"


class SocketPageError(Exception):
    """The page cannot do what was asked.

    Args:
        code: ``load_first`` (no load test has been run yet).
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code, self.values = code, dict[str, object]()


@dataclass(frozen=True, kw_only=True)
class Target:
    """The server that is tested.

    Args:
        address: of it. model: the name that it is asked for by. can: ``completions``, ``chat``, ….
        limit: tokens of its context; None where it does not say. key: this session's; None for none.
        wants_key: whether it answers without. identity: changes when another server stands there.
        protocol: how it wants to be asked.
        models: all names that it lists. ip: the machine to connect to, where that was looked up before.
    """

    address: str
    model: str
    can: tuple[str, ...]
    limit: int | None
    key: str | None = field(repr=False)
    wants_key: bool
    identity: str
    protocol: Protocol = "openai"
    models: tuple[str, ...] = ()
    ip: str | None = None

    def request(
        self, ask: Ask, text: str, *, max_tokens: int, stream: bool = False, model: str | None = None
    ) -> Request:
        """A request in its own words; ``model`` where it is to be another's name."""
        return request_for(
            ask, text, model=model or self.model, max_tokens=max_tokens, stream=stream, protocol=self.protocol
        )

    @property
    def asks(self) -> tuple[Ask, ...]:
        """What can be asked of it, in order."""
        return tuple(ask for name, ask in ASKS.items() if name in self.can)

    def client(self, timeout_s: float = TIMEOUT_S) -> Client:
        """A client of it."""
        return Client(self.address, key=self.key, timeout_s=timeout_s, ip=self.ip)


def running() -> tuple[Deployment, ...]:
    """Return this machine's deployments that live, those that are ready first."""
    process.attend()
    alive = [one for one in process.deployments() if one.alive]
    return tuple(sorted(alive, key=lambda one: one.state != "ready"))


def deployed(one: Deployment) -> tuple[Target | None, Reply]:
    """Return a deployment as a target, with what it said; None while it does not answer."""
    if one.engine == "triton":
        return _found_triton(Client(one.address, timeout_s=LOOK_S), identity=one.id)
    return _found(one.address, key=deploy_engine.key_of(one), wants_key=one.has_key, model=one.box, identity=one.id)


def other(address: str, key: str | None, *, ip: str | None = None) -> tuple[Target | None, Reply]:
    """Return any server as a target, with what it said.

    Args:
        ip: the machine to connect to, where that was looked up before.

    Raises:
        SocketError: ``address_…``, ``key_bad``.
    """
    return _found(address, key=key, wants_key=bool(key), model=None, identity=address, ip=ip)


def _found(
    address: str, *, key: str | None, wants_key: bool, model: str | None, identity: str, ip: str | None = None
) -> tuple[Target | None, Reply]:
    """Ask a server what it is; another's may have no ``/ready``, and then is taken to do what most do."""
    client = Client(address, key=key, timeout_s=LOOK_S, ip=ip)
    ready, listed = client.get("/ready"), client.get("/v1/models")
    reply = listed if model is None else ready
    if model is None and listed.status is not None and not listed.ok and client.get("/v2").ok:
        return _found_triton(client, identity=identity)
    if reply.status is None or (model is not None and not ready.ok):
        return (None, reply)
    about = _first(listed.data)
    told = ready.data if ready.ok and isinstance(ready.data, dict) else about
    can = tuple(name for name in ASKS if name in _names(told.get("can"))) or ("completions", "chat", "embeddings")
    limit = about.get("context_length")
    name = model or about.get("id")
    target = Target(
        address=client.address,
        model=name[:200] if isinstance(name, str) else "default",
        can=can,
        limit=limit if isinstance(limit, int) and 0 < limit < 10**7 else None,
        key=key,
        wants_key=wants_key,
        identity=identity,
        models=_ids(listed.data),
        ip=ip,
    )
    return (target, reply)


def _found_triton(client: Client, *, identity: str) -> tuple[Target | None, Reply]:
    """A server that speaks the open inference protocol, as a target: it has to serve the model of a repository of
    ours."""
    model = client.get(f"/v2/models/{TRITON_MODEL}")
    can = kserve.can(model.data) if model.ok else ()
    if not can:
        return (None, model)
    limit = kserve.parameter(client.get(f"/v2/models/{TRITON_MODEL}/config").data, "context_length") or ""
    target = Target(
        address=client.address,
        model=TRITON_MODEL,
        can=can,
        limit=int(limit) if limit.isdecimal() and 0 < len(limit) < 8 else None,
        key=None,
        wants_key=False,
        identity=identity,
        protocol="kserve",
    )
    return (target, model)


def _first(data: Any) -> dict[str, Any]:
    listed = data.get("data") if isinstance(data, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    return first if isinstance(first, dict) else {}


def _ids(data: Any) -> tuple[str, ...]:
    """The names of the models that a server lists."""
    listed = data.get("data") if isinstance(data, dict) else None
    ids = [one.get("id") for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return tuple(dict.fromkeys(one[:200] for one in ids if isinstance(one, str) and one))[:500]


def _names(given: Any) -> tuple[str, ...]:
    return tuple(name for name in given if isinstance(name, str)) if isinstance(given, list) else ()


def keep_other_key(address: str, key: str) -> None:
    """Remember a key for another server, for this session."""
    st.session_state.setdefault(_OTHER_KEYS, {})[address] = key


def other_key(address: str) -> str | None:
    """Return the key that this session has given for another server."""
    return cast("str | None", st.session_state.get(_OTHER_KEYS, {}).get(address))


def wrong_request(name: str, target: Target) -> Request:
    """Return one of the wrong requests, as it is sent to this server."""
    ask = target.asks[0]
    right = target.request(ask, PROMPT, max_tokens=8)
    if name == "wrong_key":
        return Request(path=right.path, body=right.body, key="wrong")
    if name == "malformed":
        return Request(path=right.path, raw='{"prompt": ')
    if name == "ten_mb":
        return target.request(ask, "x" * TEN_MEGABYTES, max_tokens=8)
    if name == "too_long":
        length = target.limit or MOST_WORDS
        return too_long(ask, model=target.model, context_length=length, protocol=target.protocol)
    return target.request(ask, PROMPT, max_tokens=8, model=UNKNOWN_MODEL)


def sent(name: str, target: Target) -> Any:
    """Return what this session keeps under a name about a server; None where it is nothing."""
    return st.session_state.get(_SENT, {}).get((name, target.identity))


def keep(name: str, target: Target, value: Any) -> None:
    """Keep something about a server in this session."""
    st.session_state.setdefault(_SENT, {})[(name, target.identity)] = value


def error_words(page: Page, error: str) -> str:
    """Return the name of an error in the page's language where it is the client's, else the server's own code."""
    key = f"socket.error.{error}"
    return page.say(key) if key in page.bench.say else error


def status_words(page: Page, reply: Reply) -> str:
    """Return an answer's status as people read it."""
    return page.say("socket.wrong.none") if reply.status is None else str(reply.status)


def cell(content: str, kind: str = "") -> str:
    """Return a cell of a table; the content is HTML."""
    return f'<td class="{kind}">{content}</td>'


def status_cell(page: Page, reply: Reply) -> str:
    """Return an answer's status as a cell."""
    return cell(f"<b>{escape(status_words(page, reply))}</b>", "number status")


def table(columns: tuple[str, ...], rows: list[str]) -> str:
    """Return rows of HTML as a table; columns are plain text."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="socket-table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
