"""One text among those that are written together, and what its reader holds of it."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmkit.generate.decode import Choose, Step
from llmkit.generate.errors import GenerateError

if TYPE_CHECKING:
    from llmkit.generate.together import Together


@dataclass(eq=False, kw_only=True)
class Row:
    """One text on its way.

    Args:
        ids: the prompt, then what was chosen. left: tokens still to choose. columns: that it takes in the cache in all.
        choose, stop_ids: its own.
        steps: what its reader has not taken yet; an error or None is the last.
        gone: nobody reads it any more.
    """

    ids: list[int]
    left: int
    columns: int
    choose: Choose
    stop_ids: frozenset[int]
    steps: queue.SimpleQueue[Step | Exception | None] = field(default_factory=queue.SimpleQueue)
    gone: bool = False


class Stream(Iterator[Step]):
    """The steps of one text, as they are chosen; made by ``Together.stream``.

    Closing it, or letting it go, takes the text out of the batch.
    """

    def __init__(self, group: Together, row: Row, wait_s: float | None) -> None:
        self._group, self._row = group, row
        self._until = None if wait_s is None else time.monotonic() + wait_s
        self._ended = False

    @property
    def position(self) -> int:
        """Its place in the queue, from 1; 0 once its prompt is being read."""
        return self._group.position(self._row)

    def __next__(self) -> Step:
        """Wait for the next token.

        Raises:
            GenerateError: ``generation_busy``, ``generation_no_room`` or ``box_unloaded``.
        """
        if self._ended:
            raise StopIteration
        step = self._take()
        if isinstance(step, Step):
            return step
        self._ended = True
        if step is None:
            raise StopIteration
        raise step

    def close(self) -> None:
        """Want no more of it. Who is waiting for its next token in another thread is told that it has ended."""
        self._ended = self._row.gone = True
        self._group.take_out(self._row)
        self._row.steps.put(None)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._row.gone = True  # takes no lock: whoever is collecting garbage may hold it

    def _take(self) -> Step | Exception | None:
        if self._until is not None:
            try:
                return self._row.steps.get(timeout=max(0.0, self._until - time.monotonic()))
            except queue.Empty:
                place = self._group.take_out(self._row)
                if place:
                    return GenerateError("generation_busy", box=self._group.box.box_id, ahead=place - 1)
            finally:
                self._until = None  # only the first token is waited for in the queue
        return self._row.steps.get()
