"""A workshop of simulated guests through a whole chapter, on one server: how long each page took, and nothing mixed.

    python -m benchmarks.room [--guests 30] [--chapter parts] [--box gpt2-starter] [--think 20] [--quick] [--json]

The server is the app as its README starts it, with a room open. Each guest is a session over a connection of its own
that sends what a browser sends: it opens the room's link, says which device it is, and goes through the chapter's pages
one after the other, each with a sentence of its own, with some seconds of thought between two pages. One guest goes
alone first: that is the baseline. A guest's own word must come back on every page, and nobody else's.
"""

import argparse
import asyncio
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from lessons import registry

ROOT = Path(__file__).parents[1]
ANSWER_S = 300
WORD = re.compile(rb"gast[a-z]{3}x")
"""What a guest's own word looks like: no other text of the app holds one."""

SAMPLE_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One page that a guest opened.

    Args:
        guest: its number. page: the step's slug. seconds: until the server had ended its answer.
        mixed: words of other guests that came with it. own: whether the guest's own word came back.
        error: what went wrong; empty where nothing did.
    """

    guest: int
    page: str
    seconds: float
    mixed: int
    own: bool
    error: str


def word_of(guest: int) -> str:
    """Return a guest's own word.

    >>> word_of(0), word_of(27)
    ('gastaaax', 'gastabbx')
    """
    letters = "abcdefghijklmnopqrstuvwxyz"
    return f"gast{letters[guest // 676 % 26]}{letters[guest // 26 % 26]}{letters[guest % 26]}x"


@contextmanager
def served(home: Path) -> Iterator[tuple[str, int]]:
    """Run the app and yield its address and the number of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    quiet = ["--server.headless", "true", "--server.fileWatcherType", "none"]
    own = {"LLMKIT_HOME": str(home), "LLMKIT_JOBS_GRACE_S": "1"}
    log = (home / "server.log").open("wb")
    server = subprocess.Popen([*command, *quiet], cwd=ROOT, stdout=log, stderr=log, env={**os.environ, **own})
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2).close()
                break
            except OSError:
                if time.monotonic() > until or server.poll() is not None:
                    raise RuntimeError("the app does not answer") from None
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


class Guest:
    """One session of the app, without a window."""

    def __init__(self, number: int, connection: ClientConnection, *, room: str, box: str) -> None:
        self.number, self._connection = number, connection
        self._room, self._box = room, box
        self._member = ""

    async def open(self, page: str) -> Turn:
        """Open a page and wait for the end of its answer."""
        message = BackMsg()
        asked = message.rerun_script
        sentence = f"The {word_of(self.number)} was good, and I liked it."
        asked.query_string = urlencode({"lang": "en", "box": self._box, "sentence": sentence, "room": self._room})
        asked.page_name = page
        asked.context_info.locale, asked.context_info.timezone = "en", "Asia/Taipei"
        if self._member:
            state = asked.widget_states.widgets.add()
            state.id = self._member
            state.json_value = json.dumps({"told": json.dumps([f"device-{self.number}", ""])})
        began, mixed, own, error = time.perf_counter(), 0, False, ""
        await self._connection.send(message.SerializeToString())
        try:
            async with asyncio.timeout(ANSWER_S):
                async for got in self._connection:
                    assert isinstance(got, bytes)
                    words = set(WORD.findall(got))
                    mixed += len(words - {word_of(self.number).encode()})
                    own = own or word_of(self.number).encode() in words
                    told = ForwardMsg.FromString(got)
                    error = error or self._look_at(told)
                    if told.WhichOneof("type") == "script_finished" and told.script_finished in (0, 3):
                        break
        except (TimeoutError, OSError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        seconds = time.perf_counter() - began
        return Turn(guest=self.number, page=page, seconds=seconds, mixed=mixed, own=own, error=error)

    def _look_at(self, told: ForwardMsg) -> str:
        """Note the id of the part that says who the device is; return what is wrong on the page, if anything."""
        if told.WhichOneof("type") != "delta":
            return ""
        element = told.delta.new_element
        kind = element.WhichOneof("type")
        if kind == "bidi_component" and element.bidi_component.component_name == "llm_guide_member":
            self._member = element.bidi_component.id
        return f"exception: {element.exception.message}" if kind == "exception" else ""


async def go(address: str, number: int, pages: Sequence[str], *, room: str, box: str, think_s: float) -> list[Turn]:
    """Send one guest through the pages."""
    try:
        url = address.replace("http", "ws", 1) + "/_stcore/stream"
        async with connect(url, subprotocols=["streamlit"], max_size=None) as connection:  # type: ignore[list-item]
            guest = Guest(number, connection, room=room, box=box)
            await guest.open(pages[0])  # the browser's first answer says who it is: the page is drawn again
            turns = []
            for page in pages:
                turns.append(await guest.open(page))
                await asyncio.sleep(random.uniform(0.5, 1.5) * think_s)
            return turns
    except Exception as problem:  # noqa: BLE001 - whatever it was, the count of errors is what is wanted
        error = f"{type(problem).__name__}: {problem}"
        return [Turn(guest=number, page=pages[0], seconds=0.0, mixed=0, own=True, error=error)]


async def whole_room(
    address: str, pid: int, pages: Sequence[str], *, count: int, first: int, room: str, box: str, think_s: float
) -> tuple[list[Turn], int]:
    """Send so many guests through at once; returns their turns and the most memory that the server held."""
    peak = 0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, psutil.Process(pid).memory_info().rss)
            await asyncio.sleep(SAMPLE_S)

    watching = asyncio.create_task(watch())

    async def one(number: int) -> list[Turn]:
        await asyncio.sleep(random.uniform(0, think_s))  # a room does not move in step
        return await go(address, number, pages, room=room, box=box, think_s=think_s)

    turns = await asyncio.gather(*(one(first + n) for n in range(count)))
    watching.cancel()
    return [turn for some in turns for turn in some], peak


def told(turns: Sequence[Turn], *, guests: int, peak: int) -> dict[str, object]:
    """Return a room's figures."""
    good = sorted(turn.seconds for turn in turns if not turn.error)
    return {
        "guests": guests,
        "pages": len(turns),
        "p50_s": statistics.median(good) if good else None,
        "p95_s": good[int(0.95 * (len(good) - 1))] if good else None,
        "errors": [f"{turn.guest} {turn.page}: {turn.error}" for turn in turns if turn.error],
        "mixed": sum(turn.mixed for turn in turns),
        "lost": sum(not turn.own for turn in turns if not turn.error),
        "peak_bytes": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A room of guests through a whole chapter.")
    parser.add_argument("--guests", type=int, default=30)
    parser.add_argument("--chapter", default="parts")
    parser.add_argument("--box", default="gpt2-starter")
    parser.add_argument("--think", type=float, default=20.0, help="seconds between two pages, on average")
    parser.add_argument("--quick", action="store_true", help="5 guests, 2 seconds of thought")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    guests, think_s = (5, 2.0) if given.quick else (given.guests, given.think)
    pages = [step.slug for step in registry.available() if step.chapter == given.chapter]
    with tempfile.TemporaryDirectory() as home:
        os.environ["LLMKIT_HOME"] = home
        from llmkit import workshop

        opened, _ = workshop.open_room()
        with served(Path(home)) as (address, pid):
            shared = dict(room=opened.code, box=given.box)
            asyncio.run(go(address, 0, pages, **shared, think_s=0.1))  # the first one pays for what is loaded once
            alone, peak = asyncio.run(
                whole_room(address, pid, pages, count=1, first=1, **shared, think_s=min(think_s, 1.0))
            )
            rows = [told(alone, guests=1, peak=peak)]
            together, peak = asyncio.run(
                whole_room(address, pid, pages, count=guests, first=2, **shared, think_s=think_s)
            )
            rows.append({**told(together, guests=guests, peak=peak), "joined": len(workshop.guests())})
    if given.json:
        print(json.dumps({"rows": rows, "turns": [asdict(turn) for turn in (*alone, *together)]}))
        return
    print(f"chapter {given.chapter}: {len(pages)} pages, {given.box}, thinking about {think_s:g} s a page")
    for row in rows:
        errors = row["errors"]
        assert isinstance(errors, list)
        print(
            f"{row['guests']:>3} guests  p50 {row['p50_s']:.2f} s  p95 {row['p95_s']:.2f} s  errors {len(errors)}  "
            f"mixed {row['mixed']}  own word lost {row['lost']}  peak {float(str(row['peak_bytes'])) / 1e6:,.0f} MB"
            + (f"  joined the room {row['joined']}" if "joined" in row else "")
        )
        for error in errors[:10]:
            print("   ", error)


if __name__ == "__main__":
    main()
