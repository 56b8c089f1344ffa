"""A smoke test: a few requests, what is expected of each, and what came; kept as JSON, opened and run again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, get_args

from llmkit.serve.client import Client
from llmkit.serve.reply import Reply
from llmkit.serve.request import Ask, Key, Method, Protocol, Request, reading, request_for, writing
from llmkit.serve.socket_errors import SocketError

VERSION = 1
MOST_BYTES = 2_000_000
"""A test's file is no longer than this."""

MOST_CHECKS = 50
MOST_NAME = 60
PROMPT = "The movie was"
"""What the usual test sends."""

MOST_WORDS = 150_000
"""Words of the text that is too long: it has to fit into what a server reads at all."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One request and what is expected of it.

    Args:
        name: what it is about. request: what is sent.
        status: of HTTP. field: where something must stand in the answer's JSON, as ``choices.0.text``; "" for nowhere.
        value: what must stand there; None: anything. contains: what the text, or else the answer's JSON, must hold.
        max_latency_ms: how long it may take; None: as long as it wants.
    """

    name: str
    request: Request
    status: int = 200
    field: str = ""
    value: str | int | float | bool | None = None
    contains: str = ""
    max_latency_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What came of a check: wrong names what was not as expected (``status``, ``field``, ``contains``, ``slow``)."""

    check: Check
    reply: Reply
    wrong: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Whether everything was as expected."""
        return not self.wrong


def usual(
    model: str, *, can: Collection[str], context_length: int, has_key: bool, protocol: Protocol = "openai"
) -> tuple[Check, ...]:
    """The test that every deployment of ours should pass.

    Args:
        model: its name. can: what ``/ready`` says that it can do. context_length: tokens of its context.
        has_key: whether it wants a key; one that wants none refuses none. protocol: how it wants to be asked.
    """
    if protocol == "kserve":
        return _usual_kserve(model, can=can, context_length=context_length)
    prompt = PROMPT
    main: Ask = "completion" if "completions" in can else "embeddings"
    asked = writing(main, prompt, model=model, max_tokens=8) if main == "completion" else _vector(prompt, model)
    checks = [
        Check(name="health", request=Request(method="GET", path="/health", key="none"), field="status", value="ok"),
        Check(name="ready", request=Request(method="GET", path="/ready", key="none"), field="status", value="ready"),
    ]
    if "completions" in can:
        streamed = writing("completion", prompt, model=model, max_tokens=8, stream=True)
        checks.append(Check(name="completion", request=asked, field="choices.0.text"))
        checks.append(Check(name="stream", request=streamed, field="usage.completion_tokens"))
    if "chat" in can:
        request = writing("chat", "Say hello.", model=model, max_tokens=8)
        checks.append(Check(name="chat", request=request, field="choices.0.message.content"))
    if "embeddings" in can:
        checks.append(Check(name="embeddings", request=_vector(prompt, model), field="data.0.embedding.0"))
    if "classify" in can:
        request = reading("classify", prompt, model=model)
        checks.append(Check(name="classify", request=request, field="data.0.label"))
    if has_key:
        wrong = Request(path=asked.path, body=asked.body, key="wrong")
        checks.append(Check(name="wrong_key", request=wrong, status=401, field="error.code", value="invalid_api_key"))
    broken = Request(path=asked.path, raw='{"prompt": ')
    checks.append(Check(name="malformed", request=broken, status=400, field="error.code", value="invalid_json"))
    checks.append(
        Check(
            name="too_long",
            request=too_long(main, model=model, context_length=context_length),
            status=400,
            field="error.code",
            value="context_length_exceeded",
        )
    )
    nowhere = Request(method="GET", path="/nowhere")
    checks.append(Check(name="unknown_path", request=nowhere, status=404, field="error.code", value="unknown_url"))
    return tuple(checks)


def _vector(prompt: str, model: str) -> Request:
    return reading("embeddings", prompt, model=model)


def _usual_kserve(model: str, *, can: Collection[str], context_length: int) -> tuple[Check, ...]:
    """The same for Triton, in its own protocol; its answers to what it cannot read differ from version to version."""
    main: Ask = "completion" if "completions" in can else "embeddings"
    asked = request_for(main, PROMPT, model=model, max_tokens=8, protocol="kserve")
    long = too_long(main, model=model, context_length=context_length, protocol="kserve")
    return (
        Check(name="health", request=Request(method="GET", path="/v2/health/live")),
        Check(name="ready", request=Request(method="GET", path="/v2/health/ready")),
        Check(
            name="model", request=Request(method="GET", path=f"/v2/models/{model}"), field="platform", value="python"
        ),
        Check(name=main, request=asked, field="outputs.0.data.0"),
        Check(name="too_long", request=long, status=400, contains="context_length_exceeded"),
        Check(name="unknown_path", request=Request(method="GET", path="/nowhere"), status=404),
    )


def too_long(ask: Ask, *, model: str, context_length: int, protocol: Protocol = "openai") -> Request:
    """A request with more words than the context has tokens; each word is one token or more."""
    text = "word " * min(context_length + 1, MOST_WORDS)
    if protocol == "kserve":
        return request_for(ask, text, model=model, max_tokens=1, protocol=protocol)
    return writing(ask, text, model=model) if ask in ("completion", "chat") else reading(ask, text, model=model)


def judge(check: Check, reply: Reply) -> Checked:
    """Hold what came against what was expected.

    A stream's field stands in any JSON of its last chunk; its text is what all chunks say.
    """
    wrong = []
    if reply.status != check.status or (reply.error is not None and check.status < 400):
        wrong.append("status")
    if check.field:
        found, value = _at(reply.data, check.field)
        if not found or (check.value is not None and value != check.value):
            wrong.append("field")
    if check.contains and check.contains not in (reply.text or json.dumps(reply.data, ensure_ascii=False)):
        wrong.append("contains")
    if check.max_latency_ms is not None and reply.latency_ms > check.max_latency_ms:
        wrong.append("slow")
    return Checked(check=check, reply=reply, wrong=tuple(wrong))


def run_all(
    checks: Sequence[Check], client: Client, *, on_checked: Callable[[Checked], None] = lambda _one: None
) -> tuple[Checked, ...]:
    """Run them one after the other. on_checked: told each as it is there."""
    done = []
    for check in checks:
        done.append(judge(check, client.send(check.request)))
        on_checked(done[-1])
    return tuple(done)


def to_json(checks: Sequence[Check]) -> str:
    """The test as a file; a key is never in it, a request only says which key goes with it."""
    return json.dumps({"smoke_test": VERSION, "checks": [asdict(check) for check in checks]}, indent=1)


def from_json(data: bytes) -> tuple[Check, ...]:
    """Open a test's file.

    Raises:
        SocketError: ``smoke_file_too_big``, ``smoke_file_bad``, with what is wrong and where.
    """
    if len(data) > MOST_BYTES:
        raise SocketError("smoke_file_too_big", size=len(data), limit=MOST_BYTES)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise SocketError("smoke_file_bad", detail="JSON") from None
    if not isinstance(found, dict) or found.get("smoke_test") != VERSION:
        raise SocketError("smoke_file_bad", detail="smoke_test")
    listed = found.get("checks")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_CHECKS:
        raise SocketError("smoke_file_bad", detail=f"checks: 1–{MOST_CHECKS}")
    return tuple(_check(one, f"checks.{at}") for at, one in enumerate(listed))


def _check(given: Any, where: str) -> Check:
    made = _fields(given, where, Check)
    asked = _fields(made.get("request"), f"{where}.request", Request)
    request_at = f"{where}.request"
    _require(asked.get("method", "POST") in get_args(Method), f"{request_at}.method")
    _require(asked.get("key", "right") in get_args(Key), f"{request_at}.key")
    path = asked.get("path")
    _require(isinstance(path, str) and path[:1] == "/" and path[:2] != "//" and _plain(path, 200), f"{request_at}.path")
    _require(asked.get("body") is None or isinstance(asked["body"], dict), f"{request_at}.body")
    _require(asked.get("raw") is None or isinstance(asked["raw"], str), f"{request_at}.raw")
    _require(isinstance(made.get("name"), str) and 0 < len(made["name"]) <= MOST_NAME, f"{where}.name")
    status, most = made.get("status", 200), made.get("max_latency_ms")
    _require(type(status) is int and 100 <= status <= 599, f"{where}.status")
    for name in ("field", "contains"):
        _require(isinstance(made.get(name, ""), str), f"{where}.{name}")
    _require(made.get("value") is None or isinstance(made["value"], str | int | float | bool), f"{where}.value")
    _require(most is None or (type(most) in (int, float) and 0 < most < 1e9), f"{where}.max_latency_ms")
    return Check(**{**made, "request": Request(**asked)})


def _fields(given: Any, where: str, kind: type) -> dict[str, Any]:
    _require(isinstance(given, dict), where)
    unknown = [name for name in given if name not in kind.__dataclass_fields__]  # type: ignore[attr-defined]
    _require(not unknown, f"{where}.{unknown[0][:40] if unknown else ''}")
    return dict(given)


def _plain(path: str, most: int) -> bool:
    return len(path) <= most and path.isprintable() and " " not in path and "\\" not in path


def _require(is_so: bool, where: str) -> None:
    if not is_so:
        raise SocketError("smoke_file_bad", detail=where)


def _at(data: Any, path: str) -> tuple[bool, Any]:
    """Whether something stands there, and what.

    >>> _at({"choices": [{"text": "x"}]}, "choices.0.text"), _at([], "0")
    ((True, 'x'), (False, None))
    """
    for part in path.split("."):
        if isinstance(data, Mapping) and part in data:
            data = data[part]
        elif isinstance(data, list) and part.isdecimal() and len(part) < 7 and int(part) < len(data):
            data = data[int(part)]
        else:
            return (False, None)
    return (True, data)
