"""A workshop as a room sees it: guests come by the link, the stage is driven by keys, a reload forgets nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from lessons import words
from tests.browser.conftest import Visit, serve, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

say = words("en")
PATIENT = 60_000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("workshop")
    with serve(place / "server.log", LLMKIT_HOME=str(place)) as found:
        yield found


@pytest.fixture
def room(visit: Callable[..., Visit], address: str) -> Iterator[tuple[Page, str]]:
    """The instructor's window with a room open in it, and the room's code."""
    page = visit(address=address, locale="en").open("tokens", lang="en")
    page.locator(".st-key-room_door summary").click()
    page.locator(".st-key-room_open button").press("Enter")  # the mouse may miss it: the door is still opening
    expect(page.locator(".st-key-room_desk")).to_be_visible(timeout=PATIENT)
    wait_until_drawn(page)
    found = re.search(r"room=(\w{4})", page.url)
    assert found
    yield page, found[1]
    page.keyboard.press("Escape")
    leave_stage(page)
    page.locator(".st-key-room_close_sure button").first.click(timeout=PATIENT)
    page.locator(".st-key-room_close button").click(timeout=PATIENT)
    expect(page.locator(".st-key-room_door")).to_be_visible(timeout=PATIENT)


def leave_stage(page: Page) -> None:
    """Press P until the sidebar is back: what has just been drawn may not listen yet."""
    sidebar = page.locator("[data-testid=stSidebar]")
    for _ in range(4):
        if sidebar.is_visible():
            return
        page.keyboard.press("p")
        page.wait_for_timeout(5_000)
    expect(sidebar).to_be_visible()


def guess(page: Page, option: int) -> None:
    page.locator("[class*=st-key-guess_] [role=radiogroup] label").nth(option).click()


def test_the_room_predicts_and_the_stage_reveals(
    visit: Callable[..., Visit], room: tuple[Page, str], address: str
) -> None:
    stage, code = room
    guests = [visit(address=address, width=375, locale="en").open("tokens", lang="en", room=code) for _ in range(2)]
    for page, option in zip(guests, (0, 1), strict=True):
        expect(page.locator(".st-key-room_bar")).to_contain_text(code, timeout=PATIENT)
        wait_until_drawn(page)
        sideways = page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('[data-testid=stMain]'))")
        assert sideways == 0
        guess(page, option)
    guests[1].locator(".st-key-room_hand button").click()
    expect(guests[1].get_by_text(say("workshop.bar.hand.up"))).to_be_visible(timeout=PATIENT)
    expect(stage.get_by_text(say("workshop.bars.told", n=2), exact=True)).to_be_visible(timeout=PATIENT)
    expect(stage.locator(".st-key-room_desk")).to_contain_text(say("workshop.stuck"), timeout=PATIENT)
    assert stage.evaluate("document.querySelector('img.qr').naturalWidth") > 0

    stage.keyboard.press("p")
    bar = stage.locator("section.stage")
    expect(bar).to_be_visible(timeout=PATIENT)
    wait_until_drawn(stage)
    assert "present=1" in stage.url
    expect(bar).to_contain_text(f"room={code}")
    expect(stage.locator("[data-testid=stSidebar]")).to_be_hidden()
    found = Axe().run(stage).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]

    stage.keyboard.press("r")
    expect(stage.locator("ul.audience li.right")).to_have_count(1, timeout=PATIENT)
    expect(stage.locator("ul.audience li.right")).to_be_in_viewport()
    stage.keyboard.press("b")
    expect(stage.locator(".curtain")).to_be_visible()
    stage.keyboard.press("b")
    expect(stage.locator(".curtain")).to_be_hidden()
    stage.keyboard.press("q")
    expect(stage.locator(".door svg")).to_be_visible()
    stage.keyboard.press("q")
    stage.keyboard.press("+")
    stage.keyboard.press("t")
    expect(bar.locator(".time")).to_have_text(re.compile(r"^5:5\d$"), timeout=5_000)

    stage.keyboard.press("PageDown")
    expect(stage.locator("h1")).to_have_text(say("embeddings.title"), timeout=PATIENT)
    wait_until_drawn(stage)
    assert "present=1" in stage.url
    assert f"room={code}" in stage.url
    expect(guests[0].locator(".st-key-room_bar")).to_contain_text(say("embeddings.title"), timeout=PATIENT)


def test_a_reload_forgets_neither_guest_nor_instructor(
    visit: Callable[..., Visit], room: tuple[Page, str], address: str
) -> None:
    desk, code = room
    guest = visit(address=address, locale="en").open("tokens", lang="en", room=code)
    expect(guest.locator(".st-key-room_bar")).to_contain_text(say("workshop.guest", number=1), timeout=PATIENT)
    guest.reload()
    expect(guest.locator(".st-key-room_bar")).to_contain_text(say("workshop.guest", number=1), timeout=PATIENT)
    desk.reload()
    expect(desk.locator(".st-key-room_desk")).to_contain_text(say("workshop.here", n=1), timeout=PATIENT)


def test_a_step_opens_by_itself(visit: Callable[..., Visit], room: tuple[Page, str], address: str) -> None:
    desk, code = room
    desk.locator(".st-key-room_only button").click()
    guest = visit(address=address, locale="en")
    guest.page.goto(f"{address}/embeddings?lang=en&room={code}")
    expect(guest.page.get_by_text(say("workshop.step.closed"))).to_be_visible(timeout=PATIENT)
    desk.locator(".st-key-room_all button").click()
    expect(guest.page.locator("h1")).to_have_text(say("embeddings.title"), timeout=PATIENT)


def test_p_does_nothing_while_something_is_typed(visit: Callable[..., Visit], address: str) -> None:
    page = visit(address=address, locale="en").open("tokens", lang="en")
    field = page.get_by_role("textbox", name=say("common.sentence"), exact=True)
    field.press("p")
    page.wait_for_timeout(1_000)
    expect(page.locator("section.stage")).to_be_hidden()
    page.locator("h1").click()
    page.keyboard.press("p")
    expect(page.locator("section.stage")).to_be_visible(timeout=PATIENT)
    page.reload()
    expect(page.locator("section.stage")).to_be_visible(timeout=PATIENT)
