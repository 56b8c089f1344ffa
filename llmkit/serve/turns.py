"""Turns: texts written by any form of a box, one token each in turn; what is asked for together is read together.

Where the parts themselves write, ``llmkit.generate.together`` does better: its batch changes at every step.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from llmkit.compress.runner import Reading, Runner, Scores
from llmkit.generate.decode import Choose, Step, greedy, sampled
from llmkit.generate.errors import GenerateError

if TYPE_CHECKING:
    from llmkit.generate.sampling import Sampling


@dataclass(eq=False, kw_only=True)
class _Row:
    """A text on its way; ``steps`` ends with None or an error. over: it wants no more tokens."""

    ids: list[int]
    left: int
    choose: Choose
    stop_ids: frozenset[int]
    steps: queue.SimpleQueue[Step | Exception | None] = field(default_factory=queue.SimpleQueue)
    over: bool = False


class TurnsStream(Iterator[Step]):
    """The steps of one text; closing it gives its turn away at once."""

    def __init__(self, row: _Row) -> None:
        self._row, self._ended = row, False

    def __next__(self) -> Step:
        """Wait for the next token."""
        step = None if self._ended else self._row.steps.get()
        if isinstance(step, Step):
            return step
        self._ended = True
        if step is None:
            raise StopIteration
        raise step

    def close(self) -> None:
        """Want no more; whoever waits for the next token in another thread is told that it has ended."""
        self._row.over = self._ended = True
        self._row.steps.put(None)


class Turns:
    """The texts that one form of a box is writing.

    Args:
        runner: the form, open. box_id: for errors. limit: tokens of context. max_rows: texts that are written at once.
    """

    def __init__(self, runner: Runner, *, box_id: str, limit: int, max_rows: int) -> None:
        self.lock = threading.Lock()
        """Held while the runner computes: it is not safe for two threads."""
        self._runner, self._box_id, self._limit, self._max_rows = runner, box_id, limit, max_rows
        self._waiting: deque[_Row] = deque()
        self._readings: list[tuple[Reading, list[_Row]]] = []
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"turns-{box_id}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many texts stand in the queue."""
        return sum(not row.over for row in list(self._waiting))

    @property
    def running(self) -> int:
        """How many are being written."""
        return sum(not row.over for _, rows in list(self._readings) for row in rows)

    def stream(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        sampling: Sampling | None = None,
    ) -> TurnsStream:
        """Go on with a prompt, as ``Together.stream`` does.

        Raises:
            GenerateError: ``prompt_empty``, ``prompt_too_long``, ``box_unloaded``.
        """
        ids, limit = list(prompt_ids), self._limit
        if not ids:
            raise GenerateError("prompt_empty", box=self._box_id, limit=limit)
        if len(ids) > limit:
            raise GenerateError("prompt_too_long", box=self._box_id, tokens=len(ids), limit=limit)
        choose = greedy if sampling is None else sampled(sampling)
        left = min(max_new_tokens, limit - len(ids) + 1)
        row = _Row(ids=ids, left=left, choose=choose, stop_ids=frozenset(stop_ids))
        if left < 1:
            row.steps.put(None)
            return TurnsStream(row)
        with self._change:
            if self._closed:
                raise GenerateError("box_unloaded", box=self._box_id)
            self._waiting.append(row)
            self._change.notify_all()
        return TurnsStream(row)

    def close(self) -> None:
        """Write no more: everyone is told, and the runner's memory goes back."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join()

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or self._waiting or self._readings)
                if self._closed:
                    break
            self._begin()
            for entry in list(self._readings):
                self._go_on(*entry)
        for row in [*self._waiting, *(row for _, rows in self._readings for row in rows)]:
            row.steps.put(GenerateError("box_unloaded", box=self._box_id))
        for reading, _ in self._readings:
            reading.close()
        with self.lock:
            self._runner.close()

    def _begin(self) -> None:
        """Read the first prompt that waits, and with it those that are as long, as far as there is room."""
        with self._change:
            self._waiting = deque(row for row in self._waiting if not row.over)
            room = self._max_rows - self.running
            if not self._waiting or room < 1:
                return
            length = len(self._waiting[0].ids)
            rows = [row for row in self._waiting if len(row.ids) == length][:room]
            self._waiting = deque(row for row in self._waiting if row not in rows)
        try:
            with self.lock:
                reading = self._runner.read(np.array([row.ids for row in rows], dtype=np.int64))
        except Exception as error:  # noqa: BLE001  (told to those whose prompts were read)
            _tell(rows, error)
            return
        self._readings.append((reading, rows))
        self._hand_out(reading, rows)

    def _go_on(self, reading: Reading, rows: list[_Row]) -> None:
        """One more token for each of these texts; a text that is over is carried on until all are."""
        if all(row.over for row in rows):
            self._leave(reading)
            return
        try:
            with self.lock:
                reading.step(np.array([row.ids[-1] for row in rows], dtype=np.int64))
        except Exception as error:  # noqa: BLE001  (told to those who are in this reading)
            _tell(rows, error)
            self._leave(reading)
            return
        self._hand_out(reading, rows)

    def _hand_out(self, reading: Reading, rows: list[_Row]) -> None:
        logits: Scores = reading.logits  # [B, V]
        for row, scores in zip(rows, logits, strict=True):
            if row.over:
                continue
            known = torch.from_numpy(np.array(scores, dtype=np.float32))
            try:
                token_id = row.choose(known, row.ids)
            except Exception as error:  # noqa: BLE001  (told to the one text that cannot go on)
                _tell([row], error)
                continue
            row.steps.put(Step(token_id=token_id, logprob=float(known.log_softmax(-1)[token_id])))
            row.ids.append(token_id)
            row.left -= 1
            if not row.left or token_id in row.stop_ids:
                row.over = True
                row.steps.put(None)
        if all(row.over for row in rows):
            self._leave(reading)

    def _leave(self, reading: Reading) -> None:
        self._readings = [entry for entry in self._readings if entry[0] is not reading]
        reading.close()


def _tell(rows: Sequence[_Row], error: Exception) -> None:
    for row in rows:
        row.over = True
        row.steps.put(error)
