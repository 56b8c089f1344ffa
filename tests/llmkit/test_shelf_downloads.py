"""Downloads that belong to the process: order, states, cancel, failure."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from llmkit import shelf
from llmkit.shelf import Downloads
from tests.llmkit.fakes.hub import FakeHub
from tests.llmkit.fakes.serving import Behaviour

BOX = "hub:a/b"
pytestmark = pytest.mark.usefixtures("roomy")


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def phase(jobs: Downloads, box_id: str) -> str:
    state = jobs.state(box_id)
    return state.phase if state else ""


def test_a_box_comes_in_the_background(hub: FakeHub) -> None:
    jobs = Downloads()
    assert jobs.state(BOX) is None
    hub.behaviour = Behaviour(pause_s=0.003)
    jobs.start(BOX)
    jobs.start(BOX)
    wait_until(lambda: phase(jobs, BOX) == "done")
    state = jobs.state(BOX)
    assert state is not None
    assert not state.active
    assert state.progress is not None
    assert len(hub.asked_for("model.safetensors")) == 1
    assert shelf.check(BOX) == ()
    assert jobs.all() == (state,)


def test_a_running_one_is_cancelled_and_goes_on_later(hub: FakeHub) -> None:
    jobs = Downloads()
    hub.behaviour = Behaviour(pause_s=0.02)
    jobs.start(BOX)
    wait_until(lambda: bool((state := jobs.state(BOX)) and state.progress and state.progress.bytes_done > 100_000))
    jobs.cancel(BOX)
    wait_until(lambda: phase(jobs, BOX) == "cancelled")
    assert shelf.locate(BOX) is None
    hub.behaviour = Behaviour()
    jobs.start(BOX)
    wait_until(lambda: phase(jobs, BOX) == "done")
    assert hub.asked_for("model.safetensors")[-1].start


def test_one_at_a_time_and_a_queued_one_can_be_cancelled(hub: FakeHub) -> None:
    jobs = Downloads()
    hub.behaviour = Behaviour(pause_s=0.02)
    jobs.start(BOX)
    wait_until(lambda: phase(jobs, BOX) == "running")
    jobs.start("hub:c/d")
    assert phase(jobs, "hub:c/d") == "queued"
    jobs.cancel("hub:c/d")
    assert phase(jobs, "hub:c/d") == "cancelled"
    jobs.cancel("hub:never/asked")
    hub.behaviour = Behaviour()
    wait_until(lambda: phase(jobs, BOX) == "done")
    assert not [one for one in hub.asked if "c/d" in one.path]
    assert [state.box_id for state in jobs.all()] == [BOX, "hub:c/d"]


def test_a_failure_reaches_the_page_and_the_next_try_can_succeed(hub: FakeHub) -> None:
    jobs = Downloads()
    hub.behaviour = Behaviour(status=404)
    jobs.start(BOX)
    wait_until(lambda: phase(jobs, BOX) == "failed")
    state = jobs.state(BOX)
    assert state is not None
    assert isinstance(state.error, shelf.ShelfError)
    assert state.error.code == "no_source"
    hub.behaviour = Behaviour()
    jobs.start(BOX)
    wait_until(lambda: phase(jobs, BOX) == "done")
    again = jobs.state(BOX)
    assert again is not None
    assert again.error is None
