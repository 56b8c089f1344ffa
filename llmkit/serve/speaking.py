"""An answer of a server that speaks OpenAI's way, while it is being written: read from anywhere, stopped at once, ended
when it is left alone.

A server that refuses log-probabilities is asked again without; one that says that the conversation is too long is asked
again without its oldest turns.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmkit.chat.conversation import Answer, End, Token
from llmkit.chat.hearing import LEFT_S, Heard
from llmkit.chat.window import Format
from llmkit.serve.client import AsyncClient
from llmkit.serve.reply import Collector, Reply, Said
from llmkit.serve.request import Ask, talking

STALL_S = 60.0
"""So long a server may say nothing."""

WHOLE_S = 900.0
WATCH_S = 0.05
MOST_CHARACTERS = 60_000
"""Of one answer; a server that goes on is hung up on."""

Message = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What an answer is an answer to.

    Args:
        address: of the server. ip: the machine to connect to, looked up before; None to look it up.
        model: the name that it is asked for by. ask: ``chat``, or ``completion`` for a server that has no chat.
        key: what it wants; it is in no repr. messages: a system prompt first, where there is one.
        fallen: how many of the turns before are not sent. limit: tokens of its window; None where it does not say.
        max_tokens, temperature, top_p, seed: the settings that every such server knows.
    """

    address: str
    model: str
    messages: tuple[Message, ...]
    ip: str | None = None
    ask: Ask = "chat"
    key: str | None = field(default=None, repr=False)
    fallen: int = 0
    limit: int | None = None
    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None


class ServedAnswer:
    """Asks in a thread of its own, over a connection of its own. Who no longer reads it has left: then it hangs up.

    Args:
        asked: what is asked. left_s: so long nobody may read it. stall_s: so long the server may say nothing.

    Raises:
        SocketError: ``address_…``, ``key_bad``, at once.
    """

    def __init__(self, asked: Asked, *, left_s: float = LEFT_S, stall_s: float = STALL_S) -> None:
        self._asked, self._left_s, self._stall_s = asked, left_s, stall_s
        self._client()
        self._lock = threading.Lock()
        self._began = self._seen = time.monotonic()
        self._collector: Collector | None = None
        self._times: list[float] = []
        self._characters = 0
        self._reply: Reply | None = None
        self._end: End | None = None
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="llm-guide-served-answer")
        self._thread.start()

    def read(self) -> Heard:
        """Return how far it is."""
        self._seen = time.monotonic()
        with self._lock:
            said = _within(self._collector.said) if self._collector is not None else []
            reply, end, times, asked = self._reply, self._end, list(self._times), self._asked
        text = "".join(piece for piece, _ in said)
        if any(told for _, told in said):  # a server that tells tokens tells all, maybe a piece later than their text
            tokens = tuple(Token(data=data, logprob=logprob) for _, told in said for data, logprob in told)
        else:
            tokens = tuple(Token(data=piece.encode("utf-8", "replace")) for piece, _ in said if piece)
        tokens = tokens[:MOST_CHARACTERS]
        counted = reply.completion_tokens if reply is not None else None
        told = bool(tokens) and tokens[0].logprob is not None
        answer = Answer(
            by=asked.model,
            tokens=tokens,
            prompt_tokens=reply.prompt_tokens if reply is not None else None,
            new_tokens=counted if counted is not None else (len(tokens) if told else None),
            limit=asked.limit,
            first_s=times[0] if times else None,
            seconds=times[-1] if times else None,
            end=end or "ended",
            error=(reply.error or "") if reply is not None and end == "failed" else "",
            fallen=asked.fallen,
            sampling={"temperature": asked.temperature, "top_p": asked.top_p},
        )
        message = reply.message if reply is not None else ""
        return Heard(answer=answer, text=text.strip(), writing=end is None, error=self._error, message=message)

    @property
    def reply(self) -> Reply | None:
        """What the server has said in the end; None while it is asked, or where it was stopped."""
        return self._reply

    def stop(self) -> None:
        """Add nothing from now on, and hang up."""
        with self._lock:
            self._end = self._end or "stopped"
        self._stop.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the connection is closed."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        reply = None
        try:
            reply = asyncio.run(self._ask_while_wanted())
        except Exception as error:  # noqa: BLE001  whoever reads is told; a thread has no other way to say it
            self._error = error
        with self._lock:
            if self._end is None and reply is not None:
                self._reply = reply
                self._end = "failed" if reply.error else "full" if reply.finish == "length" else "ended"
            self._end = self._end or ("stopped" if self._error is None else "failed")
            self._asked = replace(self._asked, key=None)

    def _client(self) -> AsyncClient:
        asked = self._asked
        return AsyncClient(asked.address, key=asked.key, timeout_s=self._stall_s, whole_s=WHOLE_S, ip=asked.ip)

    async def _ask_while_wanted(self) -> Reply | None:
        """What came of it; None where nobody wanted to wait for it."""
        asking = asyncio.create_task(self._ask())
        while not asking.done():
            if time.monotonic() - self._seen > self._left_s:
                self.stop()
            if self._stop.is_set():
                asking.cancel()
                await asyncio.wait([asking])
                return None
            await asyncio.wait([asking], timeout=WATCH_S)
        return asking.result()

    async def _ask(self) -> Reply:
        logprobs = True
        while True:
            reply = await self._once(logprobs=logprobs)
            if reply.status is None or reply.status < 400 or reply.text:
                return reply
            if logprobs and reply.status in (400, 404, 422) and "logprob" in f"{reply.error} {reply.message}".lower():
                logprobs = False
            elif _is_too_long(reply) and (shorter := _without_oldest(self._asked.messages)):
                fallen = self._asked.fallen + len(self._asked.messages) - len(shorter)
                self._asked = replace(self._asked, messages=shorter, fallen=fallen)
            else:
                return reply

    async def _once(self, *, logprobs: bool) -> Reply:
        asked = self._asked
        plain = Format(template=None)
        completes = asked.ask == "completion"
        request = talking(
            plain.write(asked.messages) if completes else asked.messages,
            model=asked.model,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed,
            stop=plain.stops if completes else (),
            logprobs=logprobs,
        )
        client = self._client()
        collector = Collector(streamed=True, path=request.path)
        with self._lock:
            self._collector, self._times, self._characters = collector, [], 0
        async with client.opened(1):
            reply = await client.send(request, collector=collector, on_bytes=lambda: self._note(collector))
        self._note(collector)  # an answer that came in one piece
        return reply

    def _note(self, collector: Collector) -> None:
        """Note when what is new has come."""
        now = time.monotonic() - self._began
        with self._lock:
            new = collector.said[len(self._times) :]
            self._times += [now] * len(new)
            self._characters += sum(len(text) for text, _ in new)
        if self._characters > MOST_CHARACTERS:
            collector.fail("answer_too_large", f"> {MOST_CHARACTERS:,} characters")


def _within(said: Sequence[tuple[str, tuple[Said, ...]]]) -> list[tuple[str, tuple[Said, ...]]]:
    """As much of what was said as is shown, even of a single piece without end."""
    kept, left = [], MOST_CHARACTERS
    for text, told in said:
        kept.append((text[:left], told))
        left -= len(text)
        if left <= 0:
            break
    return kept


def _is_too_long(reply: Reply) -> bool:
    return reply.error == "context_length_exceeded" or "context length" in reply.message.lower()


def _without_oldest(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without the oldest turn and its answer; none where only the last turn is left."""
    first = 1 if messages and messages[0]["role"] == "system" else 0
    users = [at for at, one in enumerate(messages) if one["role"] == "user"]
    return (*messages[:first], *messages[users[1] :]) if len(users) > 1 else ()
