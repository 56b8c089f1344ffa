"""Guests: other people's sessions without their windows, which a server cannot tell from a browser's.

A browser's messages are noted once (what it sent when it opened a page, and at each step of a control); every guest
sends the same ones over a connection of its own, and waits for the end of each answer. So the server does all the
work that so many people make for it, and this machine does not have to paint their screens as well.
"""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.queues import Queue

from playwright.sync_api import Page
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

SHORT = 300
"""Bytes; the message that a script has ended is never longer, so longer ones need no reading."""

ANSWER_S = 120
"""How long a guest waits for an answer."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the guests saw.

    Args:
        waits_ms: from a message to the end of the server's answer, of all guests.
        errors: what went wrong, one line each.
    """

    waits_ms: tuple[float, ...]
    errors: tuple[str, ...]


@dataclass
class Noted:
    """What a window has sent so far; ``cut`` takes what came since the last cut."""

    messages: list[bytes] = field(default_factory=list)
    seen: int = 0

    def cut(self) -> list[bytes]:
        """Return the messages since the last cut."""
        new, self.seen = self.messages[self.seen :], len(self.messages)
        return new


def note(page: Page) -> Noted:
    """Note all that a window sends from now on; to be called before it opens an address."""
    noted = Noted()

    def keep(payload: str | bytes) -> None:
        if isinstance(payload, bytes):
            noted.messages.append(payload)

    page.on("websocket", lambda socket: socket.on("framesent", keep))
    return noted


async def answered(connection: ClientConnection, message: bytes) -> float:
    """Send one message and wait until the server has ended its answer; returns the milliseconds."""
    with suppress(TimeoutError):  # the end of an answer that nobody waited for is no answer to this one
        while True:
            await asyncio.wait_for(connection.recv(), 0.01)
    began = time.perf_counter()
    await connection.send(message)
    async with asyncio.timeout(ANSWER_S):
        async for got in connection:
            if len(got) < SHORT and _ends(got):
                return (time.perf_counter() - began) * 1_000
    raise ConnectionError("the server has closed the connection")


def _ends(message: str | bytes) -> bool:
    return isinstance(message, bytes) and ForwardMsg.FromString(message).WhichOneof("type") == "script_finished"


async def _guest(address: str, opening: bytes, steps: Sequence[bytes], every_s: float, told: "Queue[object]") -> None:
    try:
        url = address.replace("http", "ws", 1) + "/_stcore/stream"
        async with connect(url, subprotocols=["streamlit"], max_size=None) as connection:  # type: ignore[list-item]
            await answered(connection, opening)
            told.put("open")
            await asyncio.sleep(random.uniform(0, every_s))  # a room does not move in step
            at = 0
            while True:
                began = time.perf_counter()
                told.put(await answered(connection, steps[at % len(steps)]))
                at += 1
                await asyncio.sleep(max(0.0, every_s - (time.perf_counter() - began)))
    except Exception as error:  # noqa: BLE001 - whatever it was, the count of errors is what is wanted
        told.put(f"{type(error).__name__}: {error}")


def _room(
    address: str, opening: bytes, steps: Sequence[bytes], count: int, every_s: float, told: "Queue[object]"
) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(_guest(address, opening, steps, every_s, told) for _ in range(count)))

    asyncio.run(all_of_them())


@contextmanager
def keep_moving(
    address: str, opening: bytes, steps: Sequence[bytes], *, count: int, every_s: float = 1.0
) -> Iterator[list[Answers]]:
    """While inside, so many guests send the steps in turns, each once in ``every_s``.

    Yields:
        a list; when it is left, one ``Answers`` is in it.

    Raises:
        RuntimeError: not one of them could open the page.
    """
    context = multiprocessing.get_context("spawn")
    told: Queue[object] = context.Queue()
    process = context.Process(target=_room, args=(address, opening, steps, count, every_s, told), daemon=True)
    process.start()
    heard: list[object] = []
    while len(heard) < count:  # all have opened it, or have said why not
        one = told.get(timeout=ANSWER_S * count)
        if one == "open" or isinstance(one, str):
            heard.append(one)
    if "open" not in heard:
        raise RuntimeError(str(heard[0]))
    seen: list[Answers] = []
    try:
        yield seen
    finally:
        process.terminate()
        process.join()
        rest: list[object] = []
        while not told.empty():
            rest.append(told.get())
        errors = [one for one in [*heard, *rest] if isinstance(one, str) and one != "open"]
        waits = [one for one in rest if isinstance(one, float)]
        seen.append(Answers(waits_ms=tuple(waits), errors=tuple(errors)))
