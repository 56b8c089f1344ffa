"""A request to a server that speaks OpenAI's way, or Triton's, as plain data: client, tests and lines to copy all start
from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.serve import kserve

Method = Literal["GET", "POST"]
Key = Literal["right", "wrong", "none"]
Ask = Literal["completion", "chat", "embeddings", "classify"]

Protocol = Literal["openai", "kserve"]
"""How a server wants to be asked: OpenAI's shapes, or the open inference protocol that Triton speaks."""

PATHS: dict[Ask, str] = {
    "completion": "/v1/completions",
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "classify": "/classify",
}
"""Where each is asked; ``classify`` is this guide's own, OpenAI has none."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request.

    Args:
        method: of HTTP. path: begins with a stroke.
        body: what is sent as JSON; None for nothing. raw: a body that is sent as it stands, JSON or not.
        key: which key goes with it: the one that the client was given, a wrong one, or none.
    """

    method: Method = "POST"
    path: str
    body: Mapping[str, Any] | None = None
    raw: str | None = None
    key: Key = "right"

    @property
    def streamed(self) -> bool:
        """Whether the answer is to come piece by piece."""
        return bool(self.body and self.body.get("stream"))


def writing(
    ask: Ask, text: str, *, model: str, max_tokens: int = 32, temperature: float = 0.0, stream: bool = False
) -> Request:
    """A request for a text: how it goes on, or what is answered to it.

    Args:
        ask: ``completion`` or ``chat``. text: the prompt. max_tokens: as many at most. stream: piece by piece.

    >>> writing("chat", "Hi", model="m").body["messages"]
    [{'role': 'user', 'content': 'Hi'}]
    """
    asked: dict[str, Any] = {"model": model}
    asked |= {"messages": [{"role": "user", "content": text}]} if ask == "chat" else {"prompt": text}
    asked |= {"max_tokens": max_tokens, "temperature": temperature}
    if stream:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return Request(path=PATHS[ask], body=asked)


def talking(
    said: Sequence[Mapping[str, str]] | str,
    *,
    model: str,
    max_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int | None = None,
    stop: Sequence[str] = (),
    logprobs: bool = False,
) -> Request:
    """A request for the next answer of a conversation, piece by piece.

    Args:
        said: the messages; or, for a server that only goes on with texts, the conversation as one text.
        stop: texts that end the answer. logprobs: ask for each token's log-probability, too.

    >>> asked = talking([{"role": "user", "content": "Hi"}], model="m", max_tokens=8, logprobs=True)
    >>> asked.path, asked.body["logprobs"], asked.streamed
    ('/v1/chat/completions', True, True)
    """
    ask: Ask = "completion" if isinstance(said, str) else "chat"
    asked: dict[str, Any] = {"model": model, "prompt" if ask == "completion" else "messages": said}
    asked |= {"max_tokens": max_tokens, "temperature": temperature, "top_p": top_p}
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    if seed is not None:
        asked["seed"] = seed
    if stop:
        asked["stop"] = list(stop)
    if logprobs:
        asked["logprobs"] = 0 if ask == "completion" else True
    return Request(path=PATHS[ask], body=asked)


def reading(ask: Ask, text: str, *, model: str) -> Request:
    """A request for a text's vector (``embeddings``) or label (``classify``)."""
    return Request(path=PATHS[ask], body={"model": model, "input": text})


def request_for(
    ask: Ask, text: str, *, model: str, max_tokens: int = 32, stream: bool = False, protocol: Protocol = "openai"
) -> Request:
    """Any of the four, greedy where a text is written.

    Args:
        protocol: with ``kserve`` a text comes whole, ``completion`` and ``embeddings`` are all there is.
    """
    if protocol == "kserve":
        body = kserve.body(text, max_tokens=max_tokens if ask == "completion" else None)
        return Request(path=kserve.infer_path(model), body=body)
    if ask in ("completion", "chat"):
        return writing(ask, text, model=model, max_tokens=max_tokens, stream=stream)
    return reading(ask, text, model=model)
