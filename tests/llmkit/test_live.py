"""A text while it is being written: read from anywhere, stopped at once, whoever waits."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmkit.generate.decode import Step, sampled, stream
from llmkit.generate.live import Live, Written
from llmkit.generate.sampling import Sampling
from llmkit.generate.together import together
from llmkit.reference.box import open_folder
from tests.llmkit.random_box import random_box

PROMPT = list(b"The movie was")


class Held:
    """Steps that come one by one, each when it is let through."""

    def __init__(self, count: int, *, fails: bool = False) -> None:
        self.let = threading.Semaphore(0)
        self.closed = threading.Event()
        self._count, self._fails = count, fails

    def __iter__(self) -> Iterator[Step]:
        for at in range(self._count):
            self.let.acquire()
            if self.closed.is_set():
                return
            yield Step(token_id=at, logprob=-1.0)
        if self._fails:
            raise RuntimeError("no more")

    def close(self) -> None:
        self.closed.set()
        self.let.release()


def until(live: Live, tokens: int) -> Written:
    for _ in range(1000):
        written = live.read()
        if len(written.steps) >= tokens:
            return written
        threading.Event().wait(0.005)
    raise TimeoutError


def test_it_is_read_while_it_is_written() -> None:
    steps = Held(3)
    live = Live(lambda: steps)
    assert live.read().state == "writing"
    assert live.read().first_s is None
    steps.let.release()
    written = until(live, 1)
    assert (written.state, written.per_second) == ("writing", None)
    steps.let.release(2)
    live.join(10)
    written = live.read()
    assert [step.token_id for step in written.steps] == [0, 1, 2]
    assert written.state == "done"
    assert list(written.seconds) == sorted(written.seconds)
    assert written.per_second == pytest.approx(2 / (written.seconds[2] - written.seconds[0]))


def test_what_has_ended_holds_on_to_no_box() -> None:
    steps = Held(1)
    steps.let.release()
    live, seen = Live(lambda steps=steps: steps), weakref.ref(steps)  # type: ignore[misc]
    live.join(10)
    del steps
    gc.collect()
    assert live.read().state == "done"
    assert seen() is None


def test_stop_stops_at_once_and_lets_go_of_the_batch() -> None:
    told: list[Written] = []
    steps = Held(5)
    live = Live(lambda: steps, done=told.append)
    steps.let.release()
    until(live, 1)
    live.stop()
    assert live.read().state == "stopped"
    assert steps.closed.is_set()
    steps.let.release(4)
    live.join(10)
    assert len(live.read().steps) == 1
    assert not told


def test_a_stop_before_the_first_token_writes_nothing() -> None:
    ready = threading.Event()
    steps = Held(2)

    def begin() -> Held:
        ready.wait(10)
        return steps

    live = Live(begin)
    live.stop()
    ready.set()
    steps.let.release(2)
    live.join(10)
    assert (live.read().state, live.read().steps) == ("stopped", ())
    assert steps.closed.is_set()


def test_what_has_ended_stays_ended_and_is_told_first() -> None:
    told: list[Written] = []
    steps = Held(1)
    live = Live(lambda: steps, done=told.append)
    steps.let.release()
    live.join(10)
    live.stop()
    assert live.read().state == "done"
    assert [len(written.steps) for written in told] == [1]


def test_an_error_is_kept_for_whoever_looks() -> None:
    steps = Held(1, fails=True)
    live = Live(lambda: steps)
    steps.let.release()
    live.join(10)
    written = live.read()
    assert written.state == "failed"
    assert isinstance(written.error, RuntimeError)
    assert len(written.steps) == 1


def test_many_at_once_write_what_each_writes_alone(tmp_path: Path) -> None:
    box = open_folder(random_box(tmp_path / "llama", "llama", seed=5))
    settings = [Sampling(temperature=1.2, top_k=20, seed=seed) for seed in range(6)]
    lives = [
        Live(lambda one=one: together(box).stream(PROMPT, max_new_tokens=20, sampling=one))  # type: ignore[misc]
        for one in settings
    ]
    for live, one in zip(lives, settings, strict=True):
        live.join(30)
        assert live.read().error is None
        alone = [step.token_id for step in stream(box, PROMPT, max_new_tokens=20, choose=sampled(one))]
        assert [step.token_id for step in live.read().steps] == alone
    together(box).close()
