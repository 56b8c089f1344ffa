"""Step 3-6 in a real browser: a server started from the page, one request that streams, all wrong ones, a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from components.socket_engine import WRONG
from lessons import words
from llmkit.serve import process
from tests.browser.conftest import Visit
from tests.browser.deployments import SOON_MS, app_with_home, end_all, expect_accessible, press, script_errors, the_one

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(600)]

NewVisit = Callable[..., Visit]
BOX = "gpt2-starter"
HOSTILE = "<img src=x onerror=alert(1)> <b>The movie</b> was good and so was the book."


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with app_with_home(tmp_path_factory.mktemp("socket")) as address:
        yield address


@pytest.fixture(autouse=True)
def none_left(address: str) -> Iterator[None]:
    yield
    end_all()


@pytest.mark.parametrize(("lang", "width", "dark"), [("en", 1280, False), ("zh-TW", 375, True)])
def test_a_server_is_started_asked_and_tested(visit: NewVisit, address: str, lang: str, width: int, dark: bool) -> None:
    say = words(lang)
    window = visit(locale=lang, address=address, width=width, dark=dark)
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("socket", lang=lang, box=BOX, sentence=HOSTILE)
    errors = script_errors(page)
    press(page, "socket_start")
    button = page.locator(".st-key-socket_send button")
    expect(button).to_be_visible(timeout=SOON_MS)
    one = the_one()
    button.click()
    status = page.locator("dl.socket-facts div", has_text=say("socket.fact.status")).locator("dd")
    expect(status).to_have_text("200", timeout=SOON_MS)
    press(page, "socket_wrong_all")
    table = page.locator(".socket-table").first
    expect(table.locator("tbody tr")).to_have_count(len(WRONG), timeout=SOON_MS)
    found = table.locator("tbody .status").all_inner_texts()
    assert found == ["200", "400", "413", "400", "404"]  # without a key any key is taken
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []
    expect_accessible(page)
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
    process.stop(one.id)  # from outside, while the page is open
    button.click()
    expect(page.locator("p.socket-answer.bad, [data-testid=stAlert]").first).to_be_visible(timeout=SOON_MS)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert errors == []
