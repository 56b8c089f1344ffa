"""Jobs in a real browser: they outlive reloads and tabs, end in a clear state, and can be read by everyone."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from lessons import words
from llmkit import jobs
from llmkit.jobs.store import database
from tests.browser.conftest import Visit, serve
from tests.llmkit.job_tasks import KINDS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NewVisit = Callable[..., Visit]
say = words("en")
SOON_MS = 30_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Start the tiny app of tests/pages/job_app.py; yield its address and its folder of jobs."""
    place = tmp_path_factory.mktemp("jobs")
    environment = {"LLMKIT_JOBS": str(place / "jobs"), "LLMKIT_TEST_KINDS": KINDS, "LLMKIT_JOBS_GRACE_S": "1"}
    with serve(place / "server.log", "tests/pages/job_app.py", **environment) as address:
        yield address, place / "jobs"


@pytest.fixture
def address(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the test itself see the server's jobs, too; end what goes on when it is over."""
    address, place = server
    monkeypatch.setenv("LLMKIT_JOBS", str(place))
    monkeypatch.setenv("LLMKIT_TEST_KINDS", KINDS)
    yield address
    for job in jobs.all_jobs():
        jobs.cancel(job.id)
    wait_for(lambda: not any(job.active for job in jobs.all_jobs()))
    for job in jobs.all_jobs():
        jobs.forget(job.id)


def wait_for(what: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def open_job(visit: NewVisit, address: str, kind: str, settings: dict[str, object], **look: object) -> Page:
    return visit(address=address, **look).open(lang="en", kind=kind, settings=json.dumps(settings))


def main(page: Page) -> Locator:
    return page.get_by_test_id("stMain")


def start(page: Page) -> None:
    page.get_by_role("button", name="Start it").click()
    expect(main(page).get_by_text("naming <b>")).to_be_visible(timeout=SOON_MS)


def test_a_job_outlives_a_reload_and_a_tab(visit: NewVisit, address: str) -> None:
    page = open_job(visit, address, "test_wait", {"seconds": 600})
    start(page)
    [job] = jobs.all_jobs()
    expect(main(page).get_by_text("so far:")).to_be_visible()
    expect(main(page).get_by_text(" left")).to_be_visible(timeout=SOON_MS)
    page.reload()
    expect(main(page).get_by_text("naming <b>")).to_be_visible(timeout=SOON_MS)
    page.close()
    done = jobs.get(job.id).done
    assert done > 0
    wait_for(lambda: jobs.get(job.id).done > done)  # nobody looks, and it goes on
    assert [(other.id, other.started_at) for other in jobs.all_jobs()] == [(job.id, jobs.get(job.id).started_at)]


def test_what_ended_without_a_tab_is_found_again(visit: NewVisit, address: str) -> None:
    page = open_job(visit, address, "test_wait", {"seconds": 2})
    page.get_by_role("button", name="Start it").click()
    wait_for(jobs.all_jobs)
    page.close()
    wait_for(lambda: jobs.all_jobs()[0].state == "done")
    other = open_job(visit, address, "test_wait", {"seconds": 2})
    expect(other.get_by_text("result: waited cached")).to_be_visible(timeout=SOON_MS)


def test_the_result_comes_by_itself(visit: NewVisit, address: str) -> None:
    page = open_job(visit, address, "test_wait", {"seconds": 4})
    start(page)
    expect(page.get_by_text("result: waited live")).to_be_visible(timeout=SOON_MS)
    expect(page.get_by_role("progressbar")).to_have_count(0)
    expect(page.get_by_text(say("jobs.state.done")).first).to_be_attached()


def test_a_killed_worker_is_said_and_retried(visit: NewVisit, address: str) -> None:
    page = open_job(visit, address, "test_wait", {"seconds": 600})
    start(page)
    with database() as connection:
        [pid] = connection.execute("SELECT pid FROM worker").fetchone()
    psutil.Process(pid).kill()
    expect(page.get_by_text("Interrupted:")).to_be_visible(timeout=SOON_MS)
    expect(page.get_by_role("progressbar")).to_have_count(0)
    main(page).get_by_role("button", name=say("jobs.retry")).click()
    expect(main(page).get_by_text("naming <b>")).to_be_visible(timeout=SOON_MS)


def test_the_list_shows_what_another_process_asked_for(visit: NewVisit, address: str) -> None:
    first = jobs.submit("test_wait", {"box_id": "<b>a</b>"})
    second = jobs.submit("test_add", {"numbers": [1]})
    page = open_job(visit, address, "test_add", {"numbers": [1]})
    expect(page.get_by_text(say("jobs.place", n=1)).first).to_be_attached(timeout=SOON_MS)
    title = page.get_by_text(
        f"{say('jobs.title')} · {say('jobs.count.running', n=1)} · {say('jobs.count.queued', n=1)}"
    )
    title.click(timeout=SOON_MS)
    expect(page.get_by_text("<b>a</b>", exact=False).first).to_be_visible()
    page.locator(f".st-key-job_cancel_{first.id} button").click()
    expect(page.get_by_text("result: {sum: 1")).to_be_visible(timeout=SOON_MS)
    assert (jobs.get(first.id).state, jobs.get(second.id).state) == ("cancelled", "done")
    expect(page.get_by_text(say("jobs.state.cancelled")).first).to_be_visible()
    page.locator(f".st-key-job_forget_{first.id} button").click()
    expect(page.locator(f".st-key-job_forget_{first.id}")).to_have_count(0, timeout=SOON_MS)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everyone_can_read_it(visit: NewVisit, address: str, dark: bool) -> None:
    page = open_job(visit, address, "test_wait", {"seconds": 600}, dark=dark)
    start(page)
    page.get_by_text(say("jobs.count.running", n=1)).click()
    deadline = time.monotonic() + 30
    while found := Axe().run(page).response["violations"]:  # what is drawn anew just now is pale on a slow machine
        told = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
        assert time.monotonic() < deadline, told
        time.sleep(0.3)
    if pictures := os.environ.get("LLMKIT_PICTURES"):
        page.screenshot(path=f"{pictures}/jobs-{'dark' if dark else 'light'}.png", full_page=True)


def test_a_phone_does_not_scroll_sideways(visit: NewVisit, address: str) -> None:
    page = open_job(visit, address, "test_wait", {"seconds": 600}, width=375, height=812)
    start(page)
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
    if pictures := os.environ.get("LLMKIT_PICTURES"):
        page.screenshot(path=f"{pictures}/jobs-phone.png", full_page=True)
