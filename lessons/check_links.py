"""Ask every address of places and milestones whether it is still there: python -m lessons.check_links

It needs a network; nothing in the guide runs it by itself. The exit status is 1 where an address is dead.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import httpx

from lessons.milestones import milestones
from lessons.places import places

TIMEOUT_S = 20.0
AT_ONCE = 4
DEAD = frozenset({404, 410})
"""Answers that say that a page is gone; others (401, 403, 429) say only that it is not for programs."""
HEADERS = {"User-Agent": "Mozilla/5.0 (compatible; link check of a learning guide)"}


def addresses() -> tuple[str, ...]:
    """Return every address once."""
    named = (*(one.address for one in places()), *(one.address for one in milestones()))
    return tuple(dict.fromkeys(address for address in named if address))


def ask(address: str) -> tuple[str, bool]:
    """Return what an address answers ("200", "404", "ConnectError") and whether it is alive."""
    try:
        with httpx.stream("GET", address, timeout=TIMEOUT_S, follow_redirects=True, headers=HEADERS) as answer:
            return str(answer.status_code), answer.status_code not in DEAD and answer.status_code < 500
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__, False


def main(asked: Iterable[str] | None = None) -> int:
    """Ask all of them, tell each answer on stdout, and return the exit status."""
    wanted = tuple(addresses() if asked is None else asked)
    dead = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for address, (answer, alive) in zip(wanted, pool.map(ask, wanted), strict=True):
            dead += not alive
            sys.stdout.write(f"{'ok  ' if alive else 'DEAD'} {answer:>14}  {address}\n")
    sys.stdout.write(f"{len(wanted) - dead}/{len(wanted)}\n")
    return 1 if dead else 0


if __name__ == "__main__":
    raise SystemExit(main())
