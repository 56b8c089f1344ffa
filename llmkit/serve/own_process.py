"""What the process of every deployment does beside serving: say how it is, end in time, keep its log short."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmkit.jobs.store import identity, is_held
from llmkit.serve.deployment import ASKED, SAID, deployments_home, write_facts

OnState = Callable[[str, dict[str, Any]], None]
"""Told each state with what the process says of itself."""

GRACE_S = float(os.environ.get("LLMKIT_SERVE_GRACE_S", "15"))
"""A deployment that does not stay goes on so long after the last app has ended, so that one that is started again
finds it."""

LOG_LIMIT_BYTES = 8_000_000
WATCH_S = 0.5


class Said:
    """What a deployment's process says of itself, in a file of its folder.

    Args:
        place: the folder. on_state: told each state, too.
    """

    def __init__(self, place: Path, on_state: OnState | None) -> None:
        pid, started = identity()
        self.facts: dict[str, Any] = {"pid": pid, "process_started": started, "state": "loading"}
        self._place, self._on_state = place, on_state

    def __call__(self, state: str, error: Exception | None = None, **facts: Any) -> None:
        """Say a state; what went wrong, and further facts."""
        self.facts |= {"state": state, **facts}
        if error is not None:
            self.facts["error"] = {"code": str(getattr(error, "code", "deployment_failed")), "values": _values(error)}
        with contextlib.suppress(FileNotFoundError):  # its folder was deleted: it is about to end
            write_facts(self._place / SAID, self.facts)
        if self._on_state is not None:
            self._on_state(state, self.facts)


def watch(place: Path, *, stays: bool, over: Callable[[], bool], end: Callable[[], None]) -> None:
    """End a server when nobody attends for whom it works, or its folder is gone; keep its log short.

    Args:
        over: whether it ends already. end: makes it.
    """
    seen = time.monotonic()
    while not over():
        now = time.monotonic()
        if stays or any(is_held(path) for path in deployments_home().glob("app-*.lock")):
            seen = now
        if now - seen > GRACE_S or not (place / ASKED).is_file():
            end()
        with contextlib.suppress(OSError):
            if os.name == "posix" and os.fstat(2).st_size > LOG_LIMIT_BYTES:
                os.ftruncate(2, 0)
        time.sleep(WATCH_S)


def _values(error: Exception) -> dict[str, str]:
    values = {name: str(value)[:500] for name, value in getattr(error, "values", {}).items()}
    return values if hasattr(error, "code") else {"detail": f"{type(error).__name__}: {error}"[:500]}
