"""A client of any server that speaks OpenAI's way, ours or another's: it measures, and names what goes wrong.

It follows no redirect, reads no answer without end, and asks over http and https alone.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx

from llmkit.serve.reply import Collector, Reply
from llmkit.serve.request import Ask, Request, reading, writing
from llmkit.serve.socket_errors import SocketError

CONNECT_S = 5.0
TIMEOUT_S = 60.0
MOST_ADDRESS = 300
WRONG_KEY = "not-the-key"


def base_address(text: str) -> str:
    """An address as requests begin with it: without a stroke at its end, and without OpenAI's ``/v1``.

    Raises:
        SocketError: ``address_empty``, ``address_scheme``, ``address_bad``.

    >>> base_address(" http://127.0.0.1:8000/v1/ ")
    'http://127.0.0.1:8000'
    """
    text = text.strip()
    if not text:
        raise SocketError("address_empty")
    shown = text[:80]
    if len(text) > MOST_ADDRESS or not text.isprintable() or any(char.isspace() for char in text):
        raise SocketError("address_bad", address=shown)
    try:
        found = urlsplit(text)
        port = found.port
    except ValueError:
        raise SocketError("address_bad", address=shown) from None
    if found.scheme not in ("http", "https"):
        raise SocketError("address_scheme", address=shown)
    if not found.hostname or port == 0 or "@" in found.netloc or found.query or found.fragment or "\\" in text:
        raise SocketError("address_bad", address=shown)
    try:
        httpx.URL(text)
    except httpx.InvalidURL:
        raise SocketError("address_bad", address=shown) from None
    return f"{found.scheme}://{found.netloc}{found.path}".rstrip("/").removesuffix("/v1").rstrip("/")


def is_this_machine(address: str) -> bool:
    """Whether an address leads to this very machine: then no proxy stands between.

    >>> is_this_machine("http://127.0.0.1:8000"), is_this_machine("http://example.org")
    (True, False)
    """
    host = urlsplit(address).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Way:
    """What both clients share: the address, the headers, the bytes of a request."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        whole_s: float | None = None,
        ip: str | None = None,
    ) -> None:
        self.address = base_address(address)
        if key and (not key.isprintable() or len(key) > 500):
            raise SocketError("key_bad")
        self._key = key or None
        self.timeout_s, self.whole_s = timeout_s, whole_s or timeout_s
        parts = urlsplit(self.address)
        self._ip, self._host, self._authority = ip, parts.hostname or "", parts.netloc
        self._base = self.address
        if ip is not None:
            port = "" if parts.port is None else f":{parts.port}"
            self._base = f"{parts.scheme}://{f'[{ip}]' if ':' in ip else ip}{port}{parts.path}"

    def _settings(self) -> dict[str, Any]:
        timeout = httpx.Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s))
        return {"timeout": timeout, "follow_redirects": False, "trust_env": not is_this_machine(self._base)}

    def _sent(self, request: Request) -> dict[str, Any]:
        headers: dict[str, str | bytes] = {"Accept-Encoding": "identity"}
        key = {"right": self._key, "wrong": WRONG_KEY, "none": None}[request.key]
        if key:
            headers["Authorization"] = f"Bearer {key}".encode()
        content = None
        if request.raw is not None:
            content = request.raw.encode("utf-8", "surrogatepass")
        elif request.body is not None:
            content = as_json(request.body)
        if content is not None:
            headers["Content-Type"] = "application/json"
        sent = {"method": request.method, "url": self._base + request.path, "headers": headers, "content": content}
        if self._ip is not None:  # the machine that was looked at answers for the name that was asked for
            headers["Host"] = self._authority
            sent["extensions"] = {"sni_hostname": self._host}
        return sent


class Client(_Way):
    """Asks one request after the other, each over a connection of its own. One thread uses it.

    Args:
        address: such as ``http://127.0.0.1:8000``. key: what the server wants; None for none.
        timeout_s: so long a request may take, about. whole_s: so long it may take in all, where pieces keep coming;
            None for no longer. ip: the machine to connect to, where that was looked up before.

    Raises:
        SocketError: ``address_…``, ``key_bad``.
    """

    def send(self, request: Request, *, on_piece: Callable[[str], None] = lambda _piece: None) -> Reply:
        """Ask; whatever comes of it is a reply.

        Args:
            on_piece: told each piece of a text that comes in pieces, when it comes.
        """
        with self._asking(request) as (pieces, collector):
            for piece in pieces:
                on_piece(piece)
        return collector.end()

    def get(self, path: str) -> Reply:
        """Ask for what is there: ``/health``, ``/ready``, ``/v1/models``, ``/metrics``."""
        return self.send(Request(method="GET", path=path))

    def complete(self, prompt: str, *, model: str, max_tokens: int = 32, temperature: float = 0.0) -> Reply:
        """How a text goes on."""
        asked = writing("completion", prompt, model=model, max_tokens=max_tokens, temperature=temperature)
        return self.send(asked)

    def chat(self, text: str, *, model: str, max_tokens: int = 32, temperature: float = 0.0) -> Reply:
        """What is answered to one message."""
        return self.send(writing("chat", text, model=model, max_tokens=max_tokens, temperature=temperature))

    def stream(
        self,
        text: str,
        *,
        model: str,
        ask: Ask = "completion",
        max_tokens: int = 32,
        on_piece: Callable[[str], None] = lambda _piece: None,
    ) -> Reply:
        """A text piece by piece."""
        return self.send(writing(ask, text, model=model, max_tokens=max_tokens, stream=True), on_piece=on_piece)

    def embeddings(self, text: str, *, model: str) -> Reply:
        """A text as a vector."""
        return self.send(reading("embeddings", text, model=model))

    def classify(self, text: str, *, model: str) -> Reply:
        """A text's label."""
        return self.send(reading("classify", text, model=model))

    @contextmanager
    def _asking(self, request: Request) -> Iterator[tuple[Iterator[str], Collector]]:
        collector = Collector(streamed=request.streamed, path=request.path)

        def pieces() -> Iterator[str]:
            until = time.perf_counter() + self.whole_s
            try:
                with httpx.Client(**self._settings()) as http, http.stream(**self._sent(request)) as answer:
                    collector.head(answer.status_code, answer.headers)
                    for chunk in answer.iter_raw():
                        yield from collector.feed(chunk)
                        if collector.full:
                            break
                        if time.perf_counter() > until:
                            collector.fail("timeout", f"{self.whole_s:g} s")
                            break
            except _TROUBLE as error:
                collector.fail(*named(error, self.timeout_s))

        yield pieces(), collector


class AsyncClient(_Way):
    """Asks many requests at the same time, over connections that are kept: what a load test does."""

    @asynccontextmanager
    async def opened(self, most: int) -> AsyncIterator[AsyncClient]:
        """Hold its connections open meanwhile; as many at once as ``most``."""
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most)
        async with httpx.AsyncClient(**self._settings(), limits=limits) as self._http:
            yield self

    async def send(
        self, request: Request, *, collector: Collector | None = None, on_bytes: Callable[[], None] = lambda: None
    ) -> Reply:
        """Ask; whatever comes of it is a reply.

        Args:
            collector: what the answer is put together in, for who wants to look meanwhile. on_bytes: told when there
                is more in it.
        """
        collector = collector or Collector(streamed=request.streamed, path=request.path)
        until = time.perf_counter() + self.whole_s
        try:
            async with self._http.stream(**self._sent(request)) as answer:
                collector.head(answer.status_code, answer.headers)
                async for chunk in answer.aiter_raw():
                    collector.feed(chunk)
                    on_bytes()
                    if time.perf_counter() > until:
                        collector.fail("timeout", f"{self.whole_s:g} s")
                    # a stream that is over is read to its end, so that its connection can be used again
                    if collector.too_much:
                        break
        except _TROUBLE as error:
            collector.fail(*named(error, self.timeout_s))
        return collector.end()


_TROUBLE = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, UnicodeError)


def as_json(body: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON body; half a character stays what it is, for the server to refuse."""
    return json.dumps(body, separators=(",", ":")).encode("ascii")


def named(error: Exception, timeout_s: float) -> tuple[str, str]:
    """The name of what happened on the way, and the system's words for it."""
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, httpx.TimeoutException):
        return ("timeout", f"{timeout_s:g} s")
    if isinstance(error, httpx.ConnectError):
        low = str(error).lower()
        if "ssl" in low or "certificate" in low or "tls" in low:
            return ("tls", told)
        if any(words in low for words in ("name or service", "getaddrinfo", "nodename", "name resolution")):
            return ("host_unknown", told)
        return ("connection_refused", told)
    return ("connection_lost", told)
