"""Downloads that belong to the process: they go on when a page is left, and every page sees the same state."""

import threading
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from llmkit.shelf.download import Progress
from llmkit.shelf.errors import ShelfError
from llmkit.shelf.get import get

Phase = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class Download:
    """Where one download stands.

    Args:
        box_id: what is fetched. phase: how far. progress: the last that was heard of it.
        error: why it failed, in phase ``failed``.
    """

    box_id: str
    phase: Phase
    progress: Progress | None = None
    error: Exception | None = None

    @property
    def active(self) -> bool:
        """Whether it is still going on."""
        return self.phase in ("queued", "running")


class Downloads:
    """Fetches boxes in the background, one at a time, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._states: dict[str, Download] = {}
        self._stop: dict[str, threading.Event] = {}

    def start(self, box_id: str) -> None:
        """Begin to fetch a box; nothing happens when it is being fetched already."""
        with self._lock:
            state = self._states.get(box_id)
            if state and state.active:
                return
            self._states[box_id] = Download(box_id=box_id, phase="queued")
            self._stop[box_id] = threading.Event()
        threading.Thread(target=self._run, args=(box_id,), name=f"get {box_id}", daemon=True).start()

    def cancel(self, box_id: str) -> None:
        """Ask a download to stop; what has come stays for the next try."""
        with self._lock:
            if box_id in self._stop:
                self._stop[box_id].set()
                if self._states[box_id].phase == "queued":
                    self._states[box_id] = replace(self._states[box_id], phase="cancelled")

    def state(self, box_id: str) -> Download | None:
        """Where a box's download stands; None when none was started."""
        with self._lock:
            return self._states.get(box_id)

    def all(self) -> tuple[Download, ...]:
        """Every download of this process, in the order in which they were first asked for."""
        with self._lock:
            return tuple(self._states.values())

    def _run(self, box_id: str) -> None:
        stop = self._stop[box_id]
        with self._turn:
            if stop.is_set():
                return
            try:
                self._set(box_id, phase="running")
                get(box_id, on_progress=lambda p: self._set(box_id, progress=p), cancelled=stop.is_set)
                self._set(box_id, phase="done")
            except ShelfError as error:
                phase: Phase = "cancelled" if error.code == "cancelled" else "failed"
                self._set(box_id, phase=phase, error=error)
            except Exception as error:  # noqa: BLE001 - a thread's failure must reach the page, whatever it is
                self._set(box_id, phase="failed", error=error)

    def _set(self, box_id: str, **changes: object) -> None:
        with self._lock:
            self._states[box_id] = replace(self._states[box_id], **changes)  # type: ignore[arg-type]


@cache
def downloads() -> Downloads:
    """The process's downloads."""
    return Downloads()
