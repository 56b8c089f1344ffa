"""What came back for one request, put together from the bytes as they come: nothing here opens a connection."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.serve import kserve

MOST_BYTES = 8_000_000
"""An answer that is longer is not read to its end."""

MOST_MESSAGE = 500


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What one request has met.

    Args:
        status: of HTTP; None where nothing came back.
        latency_ms: from the sending to the last byte. first_token_ms: to the first piece of a text, where it came in
            pieces. arrivals_ms: when each piece came.
        text: what the model wrote; empty where it wrote nothing. data: the answer's JSON, the last chunk's of a stream.
        prompt_tokens, completion_tokens: as the server counts them; None where it does not say.
        finish: why the text is over, in the server's word; None where it does not say.
        error: what went wrong, by name: the server's own code, or one of the client's: ``connection_refused``,
            ``connection_lost``, ``host_unknown``, ``timeout``, ``tls``, ``redirected``, ``answer_too_large``,
            ``not_json``, ``no_answer_in_it``, ``stream_cut``, ``http_<status>``. None where nothing did.
        message: what went wrong, in the server's words or the system's. size_bytes: of the answer.
    """

    status: int | None
    latency_ms: float
    first_token_ms: float | None = None
    arrivals_ms: tuple[float, ...] = ()
    text: str = ""
    data: Any = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish: str | None = None
    error: str | None = None
    message: str = ""
    size_bytes: int = 0

    @property
    def ok(self) -> bool:
        """Whether it was answered."""
        return self.error is None


class Collector:
    """An answer as it comes.

    Args:
        streamed: whether pieces are awaited. path: what was asked; says where an answer keeps its text.
        began: when the request was sent (``time.perf_counter``).
    """

    def __init__(self, *, streamed: bool, path: str = "", began: float | None = None) -> None:
        self._streamed, self._path = streamed, path
        self._began = time.perf_counter() if began is None else began
        self._status: int | None = None
        self._location = ""
        self._buffer = bytearray()
        self._size = 0
        self._pieces: list[str] = []
        self._arrivals: list[float] = []
        self._data: Any = None
        self._usage: Mapping[str, Any] = {}
        self._finish: str | None = None
        self.said: list[tuple[str, tuple[Said, ...]]] = []
        """Each piece of a text that comes in pieces, with the tokens in it where the server tells them."""
        self._finished = False
        self._failed: tuple[str, str] | None = None

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The status line and the headers are there."""
        self._status = status
        self._location = headers.get("location", "")
        is_stream = headers.get("content-type", "").startswith("text/event-stream")
        self._streamed = self._streamed and is_stream and status < 300

    @property
    def full(self) -> bool:
        """Whether nothing more is to be read: it is too much, a stream has said that it is over, or it has failed."""
        return self.too_much or self._finished

    @property
    def too_much(self) -> bool:
        """Whether nothing more is to be read, though the server has not said that it is over."""
        return self._size > MOST_BYTES or self._failed is not None

    def feed(self, chunk: bytes) -> list[str]:
        """Take some bytes; return the pieces of text that are whole with them."""
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            self.fail("answer_too_large", f"> {MOST_BYTES:,} bytes")
            return []
        self._buffer += chunk
        if not self._streamed:
            return []
        new = []
        for event in self._events():
            piece = self._take(event)
            if piece:
                new.append(piece)
                self._arrivals.append(self._elapsed_ms())
        self._pieces += new
        return new

    def fail(self, error: str, message: str) -> None:
        """It has gone wrong; the first reason stands."""
        self._failed = self._failed or (error, message[:MOST_MESSAGE])

    def end(self) -> Reply:
        """Nothing comes any more: what it was."""
        latency = self._elapsed_ms()
        if self._streamed:
            if not self._finished:
                self.fail("stream_cut", "")
            text = "".join(self._pieces)
        else:
            text = self._whole()
        error, message = self._failed or (None, "")
        return Reply(
            status=self._status,
            latency_ms=latency,
            first_token_ms=self._arrivals[0] if self._arrivals else None,
            arrivals_ms=tuple(self._arrivals),
            text=text,
            data=self._data,
            prompt_tokens=_count(self._usage, "prompt_tokens"),
            completion_tokens=_count(self._usage, "completion_tokens"),
            finish=self._finish,
            error=error,
            message=message,
            size_bytes=self._size,
        )

    def _elapsed_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000

    def _events(self) -> Iterator[str]:
        """The data of the server-sent events that are whole; one that is not stays in the buffer."""
        while (at := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:at]).rstrip(b"\r")
            del self._buffer[: at + 1]
            if line.startswith(b"data:"):
                yield line[5:].strip().decode("utf-8", errors="replace")

    def _take(self, event: str) -> str:
        if event == "[DONE]":
            self._finished = True
            return ""
        if self._finished or self._failed:
            return ""
        found = _parsed(event)
        if not isinstance(found, dict):
            self.fail("not_json", event)
            return ""
        self._data = found
        if "error" in found:
            self.fail(*_refusal(found, "stream_error"))
            return ""
        if isinstance(found.get("usage"), dict):
            self._usage = found["usage"]
        self._finish = finish_of(found) or self._finish
        text, tokens = text_of(found), tokens_of(found)
        if text or tokens:
            self.said.append((text, tokens))
        return text

    def _whole(self) -> str:
        """The text of an answer in one piece; notes what is wrong with it."""
        if self._status is None or self._failed:
            return ""
        content = bytes(self._buffer).decode("utf-8", errors="replace")
        if 300 <= self._status < 400:
            self.fail("redirected", self._location)
            return ""
        self._data = _parsed(content)
        if self._status >= 400:
            named = f"http_{self._status}"
            self.fail(*(_refusal(self._data, named) if isinstance(self._data, dict) else (named, content)))
            return ""
        if self._path == "/metrics" or (self._path.startswith("/v2/health/") and not content):
            return content
        if not isinstance(self._data, dict):
            self.fail("not_json", content)
            return ""
        if isinstance(self._data.get("usage"), dict):
            self._usage = self._data["usage"]
        elif self._path.endswith("/infer"):
            self._usage = {name: values[0] for name, values in kserve.outputs(self._data).items() if values}
        if not _holds(self._data, self._path):
            self.fail("no_answer_in_it", content)
        self._finish, text = finish_of(self._data), text_of(self._data)
        self.said.append((text, tokens_of(self._data)))
        return text


def text_of(data: Any) -> str:
    """The text in an answer or a chunk of OpenAI's, or in an answer of Triton's; empty where there is none.

    >>> text_of({"choices": [{"delta": {"content": "Hi"}}]}), text_of({"choices": []}), text_of([])
    ('Hi', '', '')
    """
    written = kserve.outputs(data).get("text")
    if written:
        return written[0] if isinstance(written[0], str) else ""
    first = _choice(data)
    for name in ("message", "delta"):
        if isinstance(first.get(name), dict):
            content = first[name].get("content")
            return content if isinstance(content, str) else ""
    text = first.get("text")
    return text if isinstance(text, str) else ""


def vector_of(data: Any) -> list[Any] | None:
    """The first vector in an answer of OpenAI's or Triton's shape, whatever it holds; None where there is none.

    >>> vector_of({"data": [{"embedding": [0.5]}]}), vector_of({"data": [3]})
    ([0.5], None)
    """
    if found := kserve.outputs(data).get("embedding"):
        return found
    listed = data.get("data") if isinstance(data, dict) else None
    first = listed[0] if isinstance(listed, list) and listed else None
    vector = first.get("embedding") if isinstance(first, dict) else None
    return vector if isinstance(vector, list) else None


Said = tuple[bytes, float]
"""A token's bytes, and the natural logarithm of its probability."""


def finish_of(data: Any) -> str | None:
    """Why the text is over, in the server's word."""
    finish = _choice(data).get("finish_reason")
    return finish[:40] if isinstance(finish, str) else None


def tokens_of(data: Any) -> tuple[Said, ...]:
    """The tokens in an answer or a chunk of OpenAI's, of a chat or a completion; none where it does not tell them.

    >>> tokens_of({"choices": [{"logprobs": {"content": [{"token": "Hi", "logprob": -0.5}]}}]})
    ((b'Hi', -0.5),)
    """
    told = _choice(data).get("logprobs")
    if not isinstance(told, dict):
        return ()
    listed = told.get("content")
    if isinstance(listed, list):
        rows = [(one.get("token"), one.get("logprob"), one.get("bytes")) for one in listed if isinstance(one, dict)]
    else:
        tokens, logprobs = told.get("tokens"), told.get("token_logprobs")
        if not isinstance(tokens, list) or not isinstance(logprobs, list):
            return ()
        rows = [(token, logprob, None) for token, logprob in zip(tokens, logprobs, strict=False)]
    return tuple(
        (_bytes(token, data), float(logprob))
        for token, logprob, data in rows
        if isinstance(token, str) and isinstance(logprob, int | float) and math.isfinite(logprob) and logprob <= 0
    )


def _bytes(token: str, told: Any) -> bytes:
    """A token's own bytes where the server tells them, for one may be half a character."""
    if isinstance(told, list) and all(type(one) is int and 0 <= one < 256 for one in told):
        return bytes(told)
    return token.encode("utf-8", "replace")


def _choice(data: Any) -> Mapping[str, Any]:
    choices = data.get("choices") if isinstance(data, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _holds(data: Mapping[str, Any], path: str) -> bool:
    """Whether an answer has the field that its path promises, with something in it."""
    if path.endswith("/infer"):
        return bool(kserve.outputs(data))
    if not path.startswith("/v1/") or path == "/v1/models":
        return True
    held = data.get("data" if path == "/v1/embeddings" else "choices")
    return isinstance(held, list) and bool(held) and isinstance(held[0], dict)


def _refusal(data: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Name and words of an error in OpenAI's shape, in one like FastAPI's own, or in Triton's."""
    error = data.get("error", data.get("detail"))
    if isinstance(error, dict):
        named = error.get("code") or error.get("type") or otherwise
        return (str(named)[:60], str(error.get("message", ""))[:MOST_MESSAGE])
    if isinstance(error, str):
        return kserve.refusal(error, otherwise)
    return (otherwise, str(error if error is not None else data)[:MOST_MESSAGE])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None
