"""Step 3-5 in a real browser: deployed, asked, tested on 3-6 and stopped, with FastAPI and with Triton."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest
from playwright.sync_api import Page, expect

from components import deploy_engine
from lessons import words
from llmkit.compress import made
from llmkit.home import home
from llmkit.serve import process
from tests.browser.conftest import Visit, wait_until_drawn
from tests.browser.deployments import (
    SOON_MS,
    app_with_home,
    end_all,
    expect_accessible,
    expect_ready,
    press,
    script_errors,
    the_one,
)
from tests.llmkit.real_server import lend_tritonserver

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NewVisit = Callable[..., Visit]
BOX = "gpt2-starter"
SENTENCE = "The movie was good, and I liked it."


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with app_with_home(tmp_path_factory.mktemp("deploy")) as address:
        yield address


@pytest.fixture(autouse=True)
def none_left(address: str) -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def triton(address: str) -> None:
    """Triton's environment and the box's graph, in the app's home."""
    lend_tritonserver(home())
    made.make(BOX, "onnx-float32", lambda _done, _total, note="": None)


def deploy(page: Page) -> None:
    press(page, "deploy_start")
    expect_ready(page)


def to_socket(page: Page) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=re.compile("3-6")).click()
    expect(page.locator("h1")).to_have_text(words("en")("socket.title"))
    wait_until_drawn(page)


def stop_on_deploy(page: Page) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=re.compile("3-5")).click()
    expect_ready(page)
    press(page, "deploy_stop_")
    expect(page.locator(".place.is-ended")).to_be_visible(timeout=SOON_MS)


def test_deployed_asked_tested_and_stopped(visit: NewVisit, address: str) -> None:
    page = visit(locale="en", address=address).open("deploy", lang="en", box=BOX, sentence=SENTENCE)
    errors = script_errors(page)
    deploy(page)
    one = the_one()
    press(page, "deploy_ask")
    asked = {"prompt": deploy_engine.beginning(SENTENCE), "max_tokens": deploy_engine.FIRST_TOKENS, "temperature": 0}
    said = httpx.post(f"{one.address}/v1/completions", json=asked).json()["choices"][0]["text"]
    expect(page.locator("p.place-answer mark")).to_have_text(said.strip(), timeout=SOON_MS)
    expect_accessible(page)

    to_socket(page)
    press(page, "socket_send")
    expect(page.locator("p.socket-answer")).to_contain_text(said.strip()[:12], timeout=SOON_MS)
    press(page, "socket_wrong_malformed")
    row = page.locator(".socket-table tr", has_text="invalid_json")
    expect(row.locator(".status")).to_have_text("400", timeout=SOON_MS)

    stop_on_deploy(page)
    assert process.get(one.id).state == "stopped"
    assert not psutil.pid_exists(one.pid or 0) or psutil.Process(one.pid).status() == psutil.STATUS_ZOMBIE
    assert errors == []


def test_a_server_that_is_killed_shows_by_itself(visit: NewVisit, address: str) -> None:
    page = visit(locale="zh-TW", address=address, width=375, height=812).open("deploy", lang="zh-TW", box=BOX)
    errors = script_errors(page)
    deploy(page)
    psutil.Process(the_one().pid).kill()
    expect(page.locator(".place.is-ended")).to_contain_text(words("zh-TW")("deploy.state.dead"), timeout=SOON_MS)
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
    assert errors == []


@pytest.mark.registry
def test_the_same_on_triton(visit: NewVisit, address: str, triton: None) -> None:
    say = words("en")
    page = visit(locale="en", address=address).open("deploy", lang="en", box=BOX, sentence=SENTENCE)
    errors = script_errors(page)
    page.get_by_role("radio", name=say("deploy.engine.triton")).click()
    expect(page.get_by_text(say("deploy.engine.triton.what"))).to_be_visible(timeout=SOON_MS)
    wait_until_drawn(page)
    deploy(page)
    one = the_one()
    assert one.engine == "triton"
    press(page, "deploy_ask")
    expect(page.locator("p.place-answer mark")).not_to_be_empty(timeout=SOON_MS)
    shown = page.locator("p.place-answer mark").inner_text()
    page.get_by_text(say("deploy.triton.repository"), exact=True).click()
    expect(page.get_by_text('backend: "onnxruntime"')).to_be_visible(timeout=SOON_MS)
    expect(page.get_by_text("graph/1/model.onnx.data")).to_be_visible()
    expect_accessible(page)

    to_socket(page)
    press(page, "socket_send")
    expect(page.locator("p.socket-answer")).to_contain_text(shown.strip()[:12], timeout=SOON_MS)
    press(page, "socket_wrong_too_long")
    row = page.locator(".socket-table tr", has_text="context_length_exceeded")
    expect(row.locator(".status")).to_have_text("400", timeout=SOON_MS)

    family = psutil.Process(one.pid).children(recursive=True)
    stop_on_deploy(page)
    assert process.get(one.id).state == "stopped"
    assert not [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert errors == []
