"""Step 2-5 in a real browser: a training outlives its tab, stops, goes on, and everyone can read it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from lessons import words
from llmkit import jobs
from llmkit.tune.tuned import tuned_boxes
from tests.browser.conftest import Visit, serve, wait_until_drawn
from tests.llmkit.told import kept, rows

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NewVisit = Callable[..., Visit]
say = words("en")
SOON_MS = 60_000
LONG_MS = 300_000
"""A training to its end, on a machine that does much else."""


@pytest.fixture
def address(own_home: Path, own_jobs: Path, tmp_path: Path) -> Iterator[str]:
    """A server with an empty shelf and one prepared set; a learner's training takes a while."""
    environment = {"LLMKIT_HOME": str(own_home), "LLMKIT_JOBS": str(own_jobs), "LLMKIT_JOBS_GRACE_S": "1"}
    with serve(tmp_path / "server.log", **environment) as address:
        yield address


def running(method: str) -> jobs.Job | None:
    found = [job for job in jobs.all_jobs() if job.kind == "finetune" and job.settings["config"]["method"] == method]
    return found[0] if found else None


def wait_for(what: Callable[[], object], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.timeout(900)
def test_a_training_outlives_its_tab_stops_and_goes_on(visit: NewVisit, address: str) -> None:
    data = kept(rows(1600))
    page = visit(address=address).open("finetune", lang="en", data=data)
    expect(page.locator(".ft-machine")).to_have_count(3, timeout=SOON_MS)
    page.locator(".st-key-finetune_full_start button").click()
    wait_for(lambda: (job := running("full")) is not None and job.done > 3)
    page.close()  # nobody looks, and it goes on
    done = running("full").done  # type: ignore[union-attr]
    wait_for(lambda: running("full").done > done)  # type: ignore[union-attr]
    other = visit(address=address).open("finetune", lang="en", data=data)
    stop = other.locator(".st-key-finetune_full_stop button")
    expect(stop).to_be_visible(timeout=SOON_MS)
    expect(other.get_by_role("img").or_(other.locator(".js-plotly-plot")).first).to_be_visible(timeout=SOON_MS)
    stop.click()
    expect(other.get_by_text("at step", exact=False).filter(has_text="topped").first).to_be_visible(timeout=SOON_MS)
    job = running("full")
    assert job is not None
    stopped = jobs.get(job.id).result
    assert 0 < stopped["step"] < stopped["steps"]
    other.locator(".st-key-finetune_full_go_on button").click()
    wait_for(lambda: (jobs.get(job.id).result or stopped)["ending"] == "finished", LONG_MS / 1000)
    expect(other.get_by_text("On the shelf: ")).to_be_visible(timeout=SOON_MS)
    result = jobs.get(job.id).result
    assert result["step"] == result["steps"]
    assert [step for step, _ in result["curve"]][-1] == result["steps"]
    assert [one.box_id for one in tuned_boxes()] == [result["box"]]
    check_everyone_can_read(other)


def check_everyone_can_read(page: Page) -> None:
    wait_until_drawn(page)
    deadline = time.monotonic() + 20
    while found := Axe().run(page).response["violations"]:
        told = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
        assert time.monotonic() < deadline, told
        time.sleep(0.3)


def test_a_phone_does_not_scroll_sideways(visit: NewVisit, address: str) -> None:
    data = kept(rows(96))
    page = visit(address=address, width=375, height=812).open("finetune", lang="zh-TW", data=data)
    expect(page.locator(".ft-machine")).to_have_count(3, timeout=SOON_MS)
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
