"""Step 1-7 in a real browser: the game by keyboard, pointing without the server, markup stays text, a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from lessons import words

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and I liked it."
MARKUP = "</script><img src=x onerror=alert(1)><b>bold</b>"


COUNT_MESSAGES = """
window.messagesSent = 0;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) { window.messagesSent += 1; return send.call(this, data); };
"""


def test_the_game_is_played_by_keyboard_and_ticks(visit) -> None:
    say = words("en")
    window = visit(locale="en")
    window.page.add_init_script(COUNT_MESSAGES)
    page = window.open("how", lang="en", box=BOX, sentence=SENTENCE)
    game = page.locator(".view", has=page.locator(".options"))
    game.locator(".options button").first.focus()
    before = page.evaluate("messagesSent")
    for at in range(1, 5):
        page.keyboard.press("1")
        expect(game).to_have_attribute("data-at", str(at))
    assert page.evaluate("messagesSent") == before
    page.keyboard.press("2")
    expect(page.locator("ol.do li.done", has_text=say("how.do.guess"))).to_have_count(1, timeout=30_000)
    expect(game).to_have_attribute("data-at", "5")  # the page was drawn again, the game stayed
    assert game.locator(".cell").count() == 7
    game.get_by_role("button", name=say("how.game.rest")).click()
    expect(game.locator(".options button:visible")).to_have_count(0)
    expect(game.locator(".readout")).to_contain_text(" bits in all")
    game.get_by_role("button", name=say("how.game.again")).click()
    expect(game).to_have_attribute("data-at", "0")


def test_pointing_at_a_token_asks_nothing_and_arrows_do_not_turn_the_page(visit) -> None:
    say = words("en")
    window = visit(locale="en")
    page = window.open("how", lang="en", box=BOX, sentence=SENTENCE)
    strips = page.locator(".view[role=application]")
    expect(strips).to_have_count(2)
    growth = strips.nth(1)
    growth.locator(".row").nth(3).locator(".cell").nth(3).hover()
    expect(growth.locator(".readout")).to_contain_text(say("how.stage.trained"))
    expect(growth.locator(".cell.pointed")).to_have_count(4)  # the same token in all four rows
    expect(page.locator("ol.do li.done", has_text=say("how.do.train"))).to_have_count(1, timeout=30_000)
    growth.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    expect(growth).to_have_attribute("data-token", "4")
    expect(growth.locator(".readout")).to_contain_text(say("how.stage.010pct"))
    assert "/how" in page.url


def test_markup_in_tokens_stays_text(visit) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("how", lang="en", box=BOX, sentence=MARKUP)
    expect(page.locator(".view[role=application] .cell").first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []
    assert window.outside == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_everything_fits_a_phone(visit, locale: str) -> None:
    page = visit(width=375, locale=locale).open("how", lang=locale, box=BOX, sentence="the movie 鬱 😀 " * 3)
    expect(page.locator(".view[role=application] .cell").first).to_be_visible()
    edges = page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot, .note, .spoken')]"
        ".map(n => n.getBoundingClientRect().right)"
    )
    inside = [box["x"] + box["width"] for box in (one.bounding_box() for one in page.locator(".cell").all()) if box]
    assert max(*edges, *inside) <= 375
