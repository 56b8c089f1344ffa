"""One text that one request has written: its tokens awaited, in time, and given up at once when nobody listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from llmkit.serve.engine import Engine
from llmkit.serve.errors import RefusedError
from llmkit.serve.shapes import Told
from llmkit.serve.writing import Text

if TYPE_CHECKING:
    from fastapi import Request

    from llmkit.generate.sampling import Sampling
    from llmkit.serve.app import Server


LEAST_LOGPROB = -9999.0
"""Told of a token without any probability: JSON has no infinity."""


class Task:
    """A text on its way to a client.

    Args:
        engine: what writes. ids: the prompt. most: tokens at most. sampling: how they are chosen. stops: texts that
            end it. server: whose limits and metrics count. began: when the request came (``time.perf_counter``).
    """

    def __init__(
        self,
        engine: Engine,
        ids: Sequence[int],
        *,
        most: int,
        sampling: Sampling,
        stops: Sequence[str],
        server: Server,
        began: float,
    ) -> None:
        assert engine.writer is not None
        self.text = Text(engine.tokenizer, stops=stops, stop_ids=engine.stop_ids)
        self.prompt = len(ids)
        self._server, self._began = server, began
        self._engine, self._untold = engine, list[Told]()
        self._until = began + server.limits.timeout_s
        self._steps = engine.writer.stream(
            ids, max_new_tokens=most, stop_ids=engine.stop_ids, sampling=None if sampling.greedy else sampling
        )
        server.metrics.tokens.labels("prompt").inc(self.prompt)

    async def first(self, request: Request) -> str:
        """Wait for the first token; return what can be sent of it.

        Raises:
            RefusedError: 504. GenerateError: what the writer says.
        """
        return await self._listening(request, self._one())

    async def whole(self, request: Request) -> str:
        """Wait for all of it.

        Raises:
            RefusedError: 504. GenerateError: what the writer says.
        """

        async def all_of_it() -> str:
            return await self._one() + "".join([piece async for piece in self.rest()])

        try:
            return await self._listening(request, all_of_it())
        finally:
            self.close()

    async def rest(self) -> AsyncIterator[str]:
        """What comes after the first token, piece by piece; may be empty pieces."""
        try:
            while self.text.finish is None and (piece := await self._next()) is not None:
                yield piece
            yield self.text.end()
        finally:
            self.close()

    def close(self) -> None:
        """Want no more of it: its row is free at the next step."""
        self._steps.close()

    async def _one(self) -> str:
        piece = await self._next()
        self._server.metrics.first_token.observe(time.perf_counter() - self._began)
        return piece or ""

    async def _next(self) -> str | None:
        """The next token's characters; None when there is none."""
        try:
            with anyio.fail_after(max(self._until - time.perf_counter(), 0.0)):
                # given up, the thread is told by close() that it has ended
                step = await anyio.to_thread.run_sync(
                    lambda: next(self._steps, None), limiter=self._server.threads, abandon_on_cancel=True
                )
        except TimeoutError:
            self.close()
            raise self._server.too_slow() from None
        if step is None:
            return None
        self._server.metrics.tokens.labels("completion").inc()
        if step.token_id not in self._engine.stop_ids:
            self._untold.append((self._bytes(step.token_id), max(step.logprob, LEAST_LOGPROB)))
        return self.text.add(step.token_id)

    def told(self) -> list[Told]:
        """The tokens that came since this was last asked; not those that may be, or are, a stop."""
        if self.text.holds or self.text.stopped_by_text:
            return []
        ready, self._untold = self._untold, []
        return ready

    def _bytes(self, token_id: int) -> bytes:
        try:
            return self._engine.tokenizer.token_bytes(token_id)
        except KeyError:  # the vocabulary is rounded up: a token that stands for nothing
            return b""

    async def _listening(self, request: Request, work: Coroutine[Any, Any, str]) -> str:
        """Do some of the work as long as the client is there."""
        doing = asyncio.create_task(work)
        gone = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                self.close()
                raise RefusedError(499, "client_closed", "The client has hung up.")
            return doing.result()
        finally:
            if not doing.done():
                self.close()
                doing.cancel()
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone


async def _hung_up(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
