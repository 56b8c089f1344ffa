"""A text while it is being written: in a thread of its own, read from anywhere, stopped at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from llmkit.generate.decode import Step

State = Literal["writing", "done", "stopped", "failed"]


class Steps(Protocol):
    """Tokens as they are chosen, such as ``Together.stream`` gives: any thread may close it, and then it ends."""

    def __iter__(self) -> Iterator[Step]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Written:
    """How far a text is.

    Args:
        steps: the tokens chosen so far. seconds: when each came, since the start.
        state: ``writing``; ``done`` when the tokens have ended by themselves; ``stopped``; ``failed``.
        error: what went wrong, where it failed.
    """

    steps: tuple[Step, ...]
    seconds: tuple[float, ...]
    state: State
    error: Exception | None = None

    @property
    def first_s(self) -> float | None:
        """Seconds until the first token: the prompt was read meanwhile."""
        return self.seconds[0] if self.seconds else None

    @property
    def per_second(self) -> float | None:
        """Tokens a second after the first one; None before the second."""
        if len(self.seconds) < 2:
            return None
        return (len(self.seconds) - 1) / max(self.seconds[-1] - self.seconds[0], 1e-9)


class Live:
    """Writes in a thread of its own, whoever looks. Once it has ended it holds on to no box.

    Args:
        write: begins to write; called in the thread.
        done: told in the thread, once, when the text has ended by itself.
    """

    def __init__(self, write: Callable[[], Steps], *, done: Callable[[Written], None] = lambda written: None) -> None:
        self._steps_from: Steps | None = None
        self._lock = threading.Lock()
        self._steps: list[Step] = []
        self._seconds: list[float] = []
        self._state: State = "writing"
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(write, done), daemon=True, name="llm-guide-live")
        self._thread.start()

    def read(self) -> Written:
        """Return how far it is."""
        with self._lock:
            return Written(steps=tuple(self._steps), seconds=tuple(self._seconds), state=self._state, error=self._error)

    def stop(self) -> None:
        """Add nothing from now on, not even the token that is being computed; a text that has ended stays ended."""
        with self._lock:
            if self._state != "writing":
                return
            self._state = "stopped"
            steps = self._steps_from
        if steps is not None:
            steps.close()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until the thread has ended."""
        self._thread.join(timeout_s)

    def _run(self, write: Callable[[], Steps], done: Callable[[Written], None]) -> None:
        began = time.perf_counter()
        try:
            steps = write()
            with self._lock:
                self._steps_from = steps
                stopped = self._state == "stopped"
            for step in () if stopped else steps:
                if not self._add(step, time.perf_counter() - began):
                    break
            steps.close()
            self._end("done", tell=done)
        except Exception as error:  # noqa: BLE001  whoever looks is told; a thread has no other way to say it
            self._end("failed", error)
        finally:
            with self._lock:
                self._steps_from = None

    def _add(self, step: Step, seconds: float) -> bool:
        with self._lock:
            if self._state != "writing":
                return False
            self._steps.append(step)
            self._seconds.append(seconds)
            return True

    def _end(
        self, state: State, error: Exception | None = None, *, tell: Callable[[Written], None] = lambda written: None
    ) -> None:
        with self._lock:
            if self._state != "writing":
                return
            written = Written(steps=tuple(self._steps), seconds=tuple(self._seconds), state=state, error=error)
        tell(written)  # before anyone can see that it is done
        with self._lock:
            if self._state == "writing":
                self._state, self._error = state, error
