"""Together: one model in memory, many sessions; their texts are written in one batch, step by step.

A new text joins at the next step: its prompt is read, long ones piece by piece so that nobody waits long, then it is a
row of the batch. A row that has ended, or that nobody reads any more, leaves at once. Each row has its own settings,
its own draws and its own stop tokens, and comes out as if it were alone.

Source: Yu et al. 2022, "Orca: A Distributed Serving System for Transformer-Based Generative Models" (a batch that
changes at every step); Agrawal et al. 2023, "SARATHI" (prompts read in chunks between steps); Kwon et al. 2023,
"Efficient Memory Management for Large Language Model Serving with PagedAttention" (a row that has to give way is read
again).
"""

from __future__ import annotations

import atexit
import threading
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from weakref import WeakSet, WeakValueDictionary

import psutil
import torch

from llmkit.doctor import is_out_of_memory
from llmkit.generate.decode import Step, greedy, require_next_token, require_prompt, sampled, unembed
from llmkit.generate.errors import GenerateError
from llmkit.generate.reading import choose_each, headless, read_next, read_packed, read_piece
from llmkit.generate.row import Row, Stream
from llmkit.generate.rows_cache import RowsCache
from llmkit.generate.sampling import Sampling
from llmkit.generate.score import common, kv_bytes
from llmkit.parts import KVCache
from llmkit.reference import Assembled

MAX_ROWS = 32
"""Texts that are written at once; more of them wait."""

KV_SHARE = 0.25
"""Share of the memory that is free when a box is first used that keys and values may take."""

PIECE = 128
"""Tokens of prompts that are read between two steps of those who are being written."""

SHARED = 16
"""From so many tokens on, what a prompt has in common with a text in the batch is copied, not read again."""

IDLE_S = 5.0
"""How long the worker waits for more before it ends, and its cache with it."""


@dataclass(eq=False)
class _Reading:
    """Prompts that are being read: several whole ones, or one piece by piece. done: its tokens that are read."""

    rows: list[Row]
    cache: KVCache
    done: int = 0


class Together:
    """The texts that one box is writing. Sessions share it through `together`; safe to use from any thread.

    Args:
        box: an opened box that predicts the next token.
        max_rows: texts that are written at once.
        max_kv_tokens: columns of all rows together (each row counts as long as the longest will be); None for what
            ``KV_SHARE`` of the free memory holds.

    Raises:
        GenerateError: ``no_next_token``.
    """

    def __init__(self, box: Assembled, *, max_rows: int = MAX_ROWS, max_kv_tokens: int | None = None) -> None:
        require_next_token(box)
        self.box = box
        scaling = box.config.rope_scaling
        self.whole = scaling is not None and scaling.kind == "dynamic"  # angles hang on the longest text of a batch
        self.max_rows = 1 if self.whole else max_rows
        self.max_kv_tokens = max_kv_tokens or max(box.config.max_seq_len, _kv_tokens(box))
        self._body = headless(box.model)
        self._lock = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        # what follows is the worker's own
        self._rows: list[Row] = []
        self._cache: RowsCache | None = None
        self._reading: _Reading | None = None
        self._most = self.max_rows
        self._one_by_one = False
        _all.add(self)

    @property
    def waiting(self) -> int:
        """How many texts stand in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many are being read or written."""
        reading = self._reading
        return len(self._rows) + (len(reading.rows) if reading else 0)

    def stream(
        self,
        prompt_ids: Sequence[int],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int] = (),
        sampling: Sampling | None = None,
        wait_s: float | None = None,
    ) -> Stream:
        """Go on with a prompt, in the batch that is being written; it begins at once, not when it is first asked.

        Args:
            prompt_ids, max_new_tokens, stop_ids: as for ``llmkit.generate.stream``.
            sampling: how tokens are chosen, with a generator of its own that begins at its seed; None for greedy.
            wait_s: how long it may stand in the queue; None for as long as it takes.

        Returns:
            the steps that ``llmkit.generate.stream(..., choose=sampled(sampling))`` gives, but for rounding.

        Raises:
            GenerateError: ``prompt_empty``, ``prompt_too_long``, ``prompt_unknown_token``, ``generation_no_room``
                or ``box_unloaded``, at once.
        """
        ids = list(prompt_ids)
        self._require(ids)
        room = min(max_new_tokens, self.box.config.max_seq_len - len(ids) + 1)
        row = Row(
            ids=ids,
            left=room,
            columns=len(ids) + max(room, 1) - 1,  # the last token is not read
            choose=greedy if sampling is None else sampled(sampling),
            stop_ids=frozenset(stop_ids),
        )
        if row.columns > self.max_kv_tokens:
            raise self._error("generation_no_room", tokens=row.columns, limit=self.max_kv_tokens)
        if room < 1:
            row.steps.put(None)
            return Stream(self, row, wait_s)
        with self._lock:
            if self._closed:
                raise self._error("box_unloaded")
            self._waiting.append(row)
            self._lock.notify_all()
            if self._thread is None:
                name = f"together-{self.box.box_id}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()
        return Stream(self, row, wait_s)

    def close(self) -> None:
        """Put the box away: who is in the batch or in the queue is told ``box_unloaded``, and so is who comes later."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _require(self, ids: Sequence[int]) -> None:
        require_prompt(self.box, ids)
        if not 0 <= min(ids) <= max(ids) < self.box.config.vocab_size:
            raise self._error("prompt_unknown_token", limit=self.box.config.vocab_size)

    def _error(self, code: str, **values: int) -> GenerateError:
        return GenerateError(code, box=self.box.box_id, **values)  # type: ignore[arg-type]

    def position(self, row: Row) -> int:
        """The row's place in the queue, from 1; 0 when it is there no more."""
        with self._lock:
            return self._waiting.index(row) + 1 if row in self._waiting else 0

    def take_out(self, row: Row) -> int:
        """Take a row out of the queue; gives the place that it had, or 0 when it was there no more."""
        with self._lock:
            place = self.position(row)
            if place:
                self._waiting.remove(row)
            return place

    def _work(self) -> None:
        """The worker's thread: turn after turn, until there was nothing to do for a while."""
        try:
            with torch.inference_mode():
                while self._something_to_do():
                    self._turn()
        except Exception as error:  # a mistake in here; nobody shall wait for ever
            self._end(error)
            raise

    def _something_to_do(self) -> bool:
        with self._lock:
            self._lock.wait_for(lambda: self._closed or self._busy(), IDLE_S)
            if self._closed:
                self._end(self._error("box_unloaded"))
            elif not self._busy():
                self._thread = self._cache = None
                self._one_by_one = False
            return self._thread is not None

    def _busy(self) -> bool:
        return bool(self._waiting or self._rows or self._reading)

    def _end(self, error: Exception) -> None:
        """Tell everyone who is still here."""
        with self._lock:
            left = [*self._rows, *(self._reading.rows if self._reading else ()), *self._waiting]
            self._rows, self._reading, self._cache, self._thread = [], None, None, None
            self._waiting.clear()
        for row in left:
            row.steps.put(error)

    def _turn(self) -> None:
        """Who is gone leaves, who waits is read a piece further, who is in the batch gets a token."""
        self._drop_gone()
        if self._reading is None:
            self._reading = self._begin()
        if self._reading is not None:
            self._read(self._reading)
        if self._rows:
            self._step()
        if not self._rows:
            self._most = self.max_rows

    def _drop_gone(self) -> None:
        for at in reversed(range(len(self._rows))):
            if self._rows[at].gone:
                self._leave(at)
        with self._lock:
            for row in [row for row in self._waiting if row.gone]:
                self._waiting.remove(row)

    def _begin(self) -> _Reading | None:
        """Take from the queue what is read next: prompts that fit into one piece, or a longer one alone."""
        with self._lock:
            if not self._waiting or not self._fits([self._waiting[0]]):
                return None
            first = self._waiting.popleft()
            row, tokens = self._likest(first)
            taken = [first]
            while self._waiting and not tokens and self._packs([*taken, self._waiting[0]]):
                taken.append(self._waiting.popleft())
        cache = self._cache.beginning(row, tokens) if self._cache is not None and tokens else KVCache()
        return _Reading(rows=taken, cache=cache, done=tokens)

    def _fits(self, joining: Sequence[Row]) -> bool:
        """Whether the batch has room for these rows."""
        rows = [*self._rows, *joining]
        return len(rows) <= self._most and len(rows) * max(row.columns for row in rows) <= self.max_kv_tokens

    def _packs(self, rows: Sequence[Row]) -> bool:
        """Whether these prompts are read in one piece; the last one begins like none of the others."""
        *others, last = rows
        return (
            not self._one_by_one
            and sum(len(row.ids) for row in rows) <= min(PIECE, self.box.config.max_seq_len)
            and self._fits(rows)
            and all(common(row.ids, last.ids) < SHARED for row in others)
            and self._likest(last)[1] == 0
        )

    def _likest(self, row: Row) -> tuple[int, int]:
        """The row of the batch that begins most like this one, and how many tokens to copy from it; 0 for none."""
        if self.whole:
            return 0, 0
        found = [common(other.ids[:-1], row.ids[:-1]) for other in self._rows]
        best = max(range(len(found)), key=found.__getitem__, default=0)
        return (best, found[best]) if found and found[best] >= SHARED else (0, 0)

    def _read(self, reading: _Reading) -> None:
        """Read a piece; who is read to the end gets a first token and joins the batch."""
        rows = reading.rows
        if all(row.gone for row in rows):
            self._reading = None
            return
        try:
            if len(rows) > 1:
                hidden = read_packed(self._body, [row.ids for row in rows], reading.cache)
            else:
                ids = rows[0].ids
                stop = len(ids) if self.whole else min(len(ids), reading.done + PIECE)
                hidden = read_piece(self._body, ids[reading.done : stop], reading.cache)
                reading.done = stop
                if stop < len(ids):
                    return
            steps = choose_each(
                unembed(self.box.model, hidden), [row.choose for row in rows], [row.ids for row in rows]
            )
        except Exception as error:  # noqa: BLE001  (told to those whose prompts were read)
            self._reading = None
            self._failed(rows, error)
            return
        self._reading = None
        first = 0
        for row, step in zip(rows, steps, strict=True):
            last = first + len(row.ids)
            if self._hand_out(row, step):
                self._join(row, reading.cache, first, last)
            first = last

    def _join(self, row: Row, cache: KVCache, first: int, last: int) -> None:
        box = self.box
        try:
            if self._cache is None:
                self._cache = RowsCache(box.config, dtype=box.dtype, device=box.device)
            self._cache.join(cache, first, last)
        except Exception as error:  # noqa: BLE001  (told to the row that could not join)
            self._failed([row], error)
        else:
            self._rows.append(row)

    def _step(self) -> None:
        """One token for every row of the batch."""
        rows, cache = self._rows, self._cache
        assert cache is not None
        try:
            logits = read_next(self.box.model, [row.ids[-1] for row in rows], cache)
            steps = choose_each(logits, [row.choose for row in rows], [row.ids for row in rows])
        except Exception as error:  # noqa: BLE001  (told to the rows of the batch)
            if is_out_of_memory(error) and len(rows) > 1:
                if cache.lengths[0] == len(rows[0].ids):  # it was read, but the next token could not be told from it
                    cache.take_back()
                at = min(range(len(rows)), key=lambda at: len(rows[at].ids))  # the least to be read again
                giving_way = rows[at]
                self._leave(at)
                self._failed([giving_way], error)
            else:
                self._rows, self._cache = [], None
                self._failed(rows, error)
            return
        staying = [self._hand_out(row, step) for row, step in zip(rows, steps, strict=True)]
        for at in reversed(range(len(rows))):
            if not staying[at]:
                self._leave(at)

    def _leave(self, at: int) -> None:
        assert self._cache is not None
        self._cache.leave(at)
        self._rows[at] = self._rows[-1]
        self._rows.pop()

    def _hand_out(self, row: Row, step: Step | Exception) -> bool:
        """Give a row its token; whether it goes on."""
        row.steps.put(step)
        if isinstance(step, Exception):
            return False
        row.ids.append(step.token_id)
        row.left -= 1
        if row.left and step.token_id not in row.stop_ids:
            return not row.gone
        row.steps.put(None)
        return False

    def _failed(self, rows: Sequence[Row], error: Exception) -> None:
        """Where memory has run out and others will leave, wait for that; else tell the rows."""
        memory = is_out_of_memory(error)
        if memory and self.box.device.type == "cuda":
            torch.cuda.empty_cache()
        if memory and (self._rows or len(rows) > 1):
            self._most = max(1, len(self._rows))  # until all have left
            self._one_by_one = True  # until the worker rests
            with self._lock:
                for row in reversed(rows):
                    self._waiting.appendleft(row)
            return
        if memory:
            error = self._error("generation_no_room", tokens=max(row.columns for row in rows))
        for row in rows:
            row.steps.put(error)


_all: WeakSet[Together] = WeakSet()
_known: WeakValueDictionary[int, Together] = WeakValueDictionary()  # by the id of the box's model
_knowing = threading.Lock()


def together(box: Assembled) -> Together:
    """The batch of this box, the same for all sessions; a new one where there was none, or it was put away.

    >>> from llmkit.reference import open_box
    >>> box = open_box("gpt2-starter")
    >>> prompt = box.tokenizer.encode("The movie was").ids
    >>> len(list(together(box).stream(prompt, max_new_tokens=3)))
    3
    """
    with _knowing:
        found = _known.get(id(box.model))
        if found is None or found._closed:
            found = _known[id(box.model)] = Together(box)
        return found


@atexit.register
def _close_all() -> None:
    """A thread that is still computing when Python ends would bring it down."""
    for group in list(_all):
        group.close()


def _kv_tokens(box: Assembled) -> int:
    """Tokens whose keys and values fit into the share of the free memory."""
    free = torch.cuda.mem_get_info(box.device)[0] if box.device.type == "cuda" else psutil.virtual_memory().available
    return int(free * KV_SHARE) // kv_bytes(box, 1)
