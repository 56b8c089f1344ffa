"""What one server takes on: how large a request, how many at once, for how long, and from whom."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from llmkit.serve.errors import RefusedError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one server.

    Args:
        body_bytes: of a request; longer ones are refused before they are read.
        max_running: texts that are written at once. max_queue: requests that may wait besides.
        timeout_s: so long a request may take in all.
    """

    body_bytes: int = 1_000_000
    max_running: int = 16
    max_queue: int = 32
    timeout_s: float = 120.0


class Gate:
    """Lets in as many requests as may run and wait; the rest are told when to come back.

    Args:
        limits: how many.
    """

    def __init__(self, limits: Limits) -> None:
        self._room = limits.max_running + limits.max_queue
        self._inside = 0
        self._usual_s = 1.0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold one place. Used in the event loop alone, so it needs no lock.

        Raises:
            RefusedError: 429, with ``Retry-After`` in seconds: what requests have usually taken lately.
        """
        if self._inside >= self._room:
            wait_s = str(max(1, math.ceil(self._usual_s)))
            raise RefusedError(
                429,
                "queue_full",
                f"All {self._room} places are taken. Try again in {wait_s} s.",
                kind="rate_limit_error",
                headers={"Retry-After": wait_s},
            )
        began = asyncio.get_running_loop().time()
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            self._usual_s += 0.2 * (asyncio.get_running_loop().time() - began - self._usual_s)


def digest(key: str) -> str:
    """What a server keeps of a key: it can be compared with, not read."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def require_key(kept: str | None, authorization: str | None) -> None:
    """Let pass who has the key, in a time that tells nothing about it.

    Args:
        kept: the key's ``digest``; None: everyone may ask. authorization: the request's header.

    Raises:
        RefusedError: 401.
    """
    if kept is None:
        return
    scheme, _, given = (authorization or "").partition(" ")
    if not hmac.compare_digest(digest(given.strip()), kept) or scheme.lower() != "bearer":
        raise RefusedError(
            401,
            "invalid_api_key",
            "This server wants its key: Authorization: Bearer KEY.",
            kind="authentication_error",
            headers={"WWW-Authenticate": "Bearer"},
        )


LINGER_S = 1.0
"""So long what a refused sender still sends is thrown away, so that it sees the answer before the connection closes."""

BODY_S = 30.0
"""A request has to be here so soon after it began."""


class BodyLimit:
    """Refuses a body that is too long, at its ``Content-Length``, else at the byte that is one too many; or too slow.

    Args:
        app: what stands behind. body_bytes: how long it may be.
    """

    def __init__(self, app: ASGIApp, *, body_bytes: int) -> None:
        self._app, self._limit = app, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 or 408, or hand on."""
        from starlette.exceptions import HTTPException
        from starlette.responses import JSONResponse

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        too_long = f"The request is longer than {self._limit:,} bytes. Send less."
        read, whole, refused = 0, False, False

        async def counted() -> Message:
            nonlocal read, whole, refused
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(BODY_S):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "The request did not arrive in time.") from None
            read += len(message.get("body", b""))
            whole = not message.get("more_body")
            if read > self._limit:
                refused = True
                raise HTTPException(413, too_long)
            return message

        async def patient(message: Message) -> None:
            if refused and message["type"] == "http.response.body" and not message.get("more_body"):
                await send({**message, "more_body": True})
                await self._linger(receive)
                message = {"type": "http.response.body", "body": b""}
            elif refused and message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        length = dict(scope["headers"]).get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limit:
            refused = True
            body = RefusedError(413, "body_too_large", too_long).body()
            await JSONResponse(body, status_code=413)(scope, receive, patient)
        else:
            await self._app(scope, counted, patient)

    async def _linger(self, receive: Receive) -> None:
        """Throw away what still comes: for a moment, and not without end."""
        thrown = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while thrown < 16 * self._limit:
                    message = await receive()
                    thrown += len(message.get("body", b""))
                    if message["type"] != "http.request" or not message.get("more_body"):
                        return
