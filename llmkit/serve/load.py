"""A load test: more and more users at the same time, what they get done, and how long each waits.

Run it from another process than the server's, as the job ``load_test``: what asks must not take the server's turns.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.home import home
from llmkit.serve.client import AsyncClient
from llmkit.serve.reply import Reply
from llmkit.serve.request import Request
from llmkit.serve.socket_errors import SocketError

if TYPE_CHECKING:
    from llmkit.jobs import Report

USERS = (1, 2, 4, 8, 16)
MOST_USERS = 64
SECONDS = 4.0
PAUSE_S = 0.25
"""So long a user who was refused waits before the next try."""

SHARES = {"p50": 50, "p95": 95, "p99": 99}


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One request of a user: when it began and ended (``time.perf_counter``), and what came."""

    began: float
    ended: float
    reply: Reply


@dataclass(frozen=True, kw_only=True)
class Level:
    """What so many users at the same time have got.

    Args:
        users: how many. seconds: of the window that was measured.
        answered: requests that began in the window and were answered. errors: of the others, how many by name.
        requests_per_s: answered; one that lies partly outside the window counts by the share of its time inside.
        tokens_per_s: that came inside; None where the server counts none.
        latency_ms, first_token_ms: p50, p95, p99 of the answered; empty where there is none.
    """

    users: int
    seconds: float
    answered: int
    errors: Mapping[str, int]
    requests_per_s: float
    tokens_per_s: float | None
    latency_ms: Mapping[str, float]
    first_token_ms: Mapping[str, float]


def measured(visits: Sequence[Visit], *, users: int, began: float, ended: float) -> Level:
    """What a level's visits come to in the window from ``began`` to ``ended``."""
    inside = [one for one in visits if began <= one.began < ended]
    good = [one for one in inside if one.reply.ok]
    reached = [one for one in visits if one.reply.ok]
    requests = sum(_overlap(one.began, one.ended, began, ended) for one in reached)
    counted = [one for one in reached if one.reply.completion_tokens is not None]
    tokens = sum(_tokens_inside(one, began, ended) for one in counted)
    waits = [one.reply.first_token_ms for one in good if one.reply.first_token_ms is not None]
    return Level(
        users=users,
        seconds=ended - began,
        answered=len(good),
        errors=dict(Counter(one.reply.error for one in inside if one.reply.error is not None)),
        requests_per_s=requests / (ended - began),
        tokens_per_s=tokens / (ended - began) if counted else None,
        latency_ms=_percentiles([one.reply.latency_ms for one in good]),
        first_token_ms=_percentiles(waits),
    )


def _overlap(start: float, end: float, began: float, ended: float) -> float:
    """The share of a request's time that lies in the window."""
    return max(0.0, min(end, ended) - max(start, began)) / max(end - start, 1e-9)


def _tokens_inside(visit: Visit, began: float, ended: float) -> float:
    """Tokens that came in the window: a piece of text is worth as many as the others of its answer."""
    reply = visit.reply
    tokens = reply.completion_tokens or 0
    if not reply.arrivals_ms:
        return tokens * _overlap(visit.began, visit.ended, began, ended)
    came = [visit.began + at / 1000 for at in reply.arrivals_ms]
    return tokens * sum(began <= at < ended for at in came) / len(came)


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    import numpy as np

    if not values:
        return {}
    return {name: float(np.percentile(np.asarray(values), share)) for name, share in SHARES.items()}


async def rising(
    client: AsyncClient,
    request: Request,
    *,
    users: Sequence[int] = USERS,
    seconds: float = SECONDS,
    on_level: Callable[[Level], None] = lambda _level: None,
    on_tick: Callable[[int, float], None] = lambda _users, _share: None,
) -> list[Level]:
    """Let more and more users ask the same, again and again.

    One request goes first and counts nowhere: it warms the server up. A level ends when all that was asked in it has
    been answered. After a level in which nobody was answered there is no other.

    Args:
        client: opened. request: what everyone asks. users: rising. seconds: of each level.
        on_level: told each level. on_tick: told which level, and how far it is (0 to 1), many times a second.

    Raises:
        SocketError: ``load_no_answer``: the first request was not answered.
    """
    warm = await client.send(request)
    if not warm.ok:
        raise SocketError("load_no_answer", error=warm.error, detail=warm.message[:200])
    levels: list[Level] = []
    for count in users:
        levels.append(await _level(client, request, count, seconds, on_tick))
        on_level(levels[-1])
        if not levels[-1].answered:
            break
    return levels


async def _level(
    client: AsyncClient, request: Request, users: int, seconds: float, on_tick: Callable[[int, float], None]
) -> Level:
    began = time.perf_counter()
    ended = began + seconds
    visits: list[Visit] = []

    async def user() -> None:
        while (start := time.perf_counter()) < ended:
            reply = await client.send(request)
            visits.append(Visit(began=start, ended=time.perf_counter(), reply=reply))
            if not reply.ok:
                await asyncio.sleep(PAUSE_S)

    asking = [asyncio.create_task(user()) for _ in range(users)]
    try:
        while any(not one.done() for one in asking):
            on_tick(users, min((time.perf_counter() - began) / seconds, 1.0))  # raises when nobody wants it any more
            await asyncio.wait(asking, timeout=0.2)
        for one in asking:
            one.result()
    finally:
        for one in asking:
            one.cancel()
    return measured(visits, users=users, began=began, ended=ended)


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``load_test``.

    Args:
        settings: ``address``; ``request`` (fields of `Request`); ``users``; ``seconds``; ``timeout_s``; ``key``: what
            `lend_key` gave, or None.

    Returns:
        ``{"levels": [fields of Level, ...], "broken": bool}``: broken says that the last level was not answered.

    Raises:
        SocketError: ``load_no_answer``, ``load_key_gone``, ``address_…``.
    """
    users = [min(max(int(count), 1), MOST_USERS) for count in settings["users"]]
    handle = settings.get("key")
    key = None if handle is None else _take_key(handle)
    client = AsyncClient(settings["address"], key=key, timeout_s=float(settings.get("timeout_s", 60.0)))
    levels: list[dict[str, Any]] = []

    def tick(count: int, share: float) -> None:
        report(len(levels) + share, len(users), note=f"× {count}", partial={"levels": levels})

    async def whole() -> None:
        async with client.opened(max(users)) as opened:
            await rising(
                opened,
                Request(**settings["request"]),
                users=users,
                seconds=float(settings["seconds"]),
                on_level=lambda level: levels.append(asdict(level)),
                on_tick=tick,
            )

    report(0, len(users), note="starting")
    asyncio.run(whole())
    return {"levels": levels, "broken": not levels[-1]["answered"]}


def lend_key(key: str) -> str:
    """Lay a key where the next load test finds it: a file for its owner's eyes, deleted as soon as it is read.

    Returns:
        its name, for the job's settings, in which the key itself must not stand. The same key has the same name.
    """
    handle = key_name(key)
    place = _keys()
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = place / handle
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key.encode("utf-8", "surrogatepass"))
    return handle


def key_name(key: str) -> str:
    """The name that `lend_key` gives to a key; nothing is written."""
    return sha256(b"llmkit load test " + key.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _keys() -> Path:
    return home() / "deployments" / ".keys"


def _take_key(handle: str) -> str:
    path = _keys() / handle
    try:
        if not re.fullmatch(r"[0-9a-f]{24}", handle):
            raise FileNotFoundError
        key = path.read_bytes().decode("utf-8", "surrogatepass")
    except OSError:
        raise SocketError("load_key_gone") from None
    path.unlink(missing_ok=True)
    return key


def knee(levels: Sequence[Mapping[str, Any]], *, gain: float = 0.1) -> int | None:
    """The number of users after which throughput stops rising: no later level gives ``gain`` more than it.

    Args:
        levels: as `run` returns them. gain: as a share; what is less is noise.

    Returns:
        None where nothing was answered.

    >>> knee([{"users": n, "tokens_per_s": t, "answered": 1} for n, t in ((1, 10), (2, 19), (4, 20), (8, 18))])
    2
    """
    good = [(one["users"], throughput(one)) for one in levels if one["answered"]]
    for at, (users, rate) in enumerate(good):
        if all(later <= rate * (1 + gain) for _, later in good[at + 1 :]):
            return int(users)
    return None


def throughput(level: Mapping[str, Any]) -> float:
    """Tokens a second, or requests a second where no tokens are counted."""
    tokens = level.get("tokens_per_s")
    return float(level["requests_per_s"] if tokens is None else tokens)
