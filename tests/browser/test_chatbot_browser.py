"""Step 4-1 in a real browser: a chat by keyboard alone, a token looked into, markup that stays text, a phone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from lessons import words
from tests.browser.conftest import wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BOX = "gpt2-starter"
HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](http://x.example/y.png) <b>c</b>"
QUERY = {"chatbot_length": "16", "chatbot_temperature": "0.0", "chatbot_window": "128"}


def say(page: Page, text: str) -> None:
    field = page.locator('[data-testid="stChatInputTextArea"]')
    expect(field).to_be_enabled(timeout=60_000)
    answers = page.locator(".chat-facts").count()
    field.fill(text)
    field.press("Enter")
    expect(page.locator(".chat-facts")).to_have_count(answers + 1, timeout=90_000)
    expect(page.locator(".st-key-chatbot_stop")).to_have_count(0, timeout=90_000)
    wait_until_drawn(page, timeout_s=90)
    expect(field).to_be_enabled()


def test_a_chat_by_keyboard_and_a_token_looked_into(visit: Any) -> None:
    window = visit(locale="en")
    page = window.open("chatbot", lang="en", box=BOX, **QUERY)
    say(page, "The movie was")
    view = page.locator('.view[role="application"]')
    cells = view.locator(".cell")
    expect(cells.first).to_be_visible()
    view.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(view).to_have_attribute("data-token", "1")
    expect(view.locator(".readout")).to_contain_text(re.compile(r"\d\.\d bits"))
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-picture_chatbot_why")).to_be_visible(timeout=60_000)
    expect(page.locator(".st-key-picture_chatbot_lens")).to_be_visible(timeout=60_000)
    wait_until_drawn(page, timeout_s=90)
    assert page.url.split("?")[0].endswith("/chatbot")  # arrows move in the picture, not through the guide
    page.locator(".st-key-chatbot_why_close button").click()
    expect(page.locator(".st-key-picture_chatbot_why")).to_have_count(0)
    cells.nth(1).click()  # the same one again
    expect(page.locator(".st-key-picture_chatbot_why")).to_be_visible(timeout=60_000)
    assert "movie" not in page.url.replace("sentence=The+movie", "")
    assert window.outside == []


def test_markup_stays_text_and_turns_fall_out_on_a_phone(visit: Any) -> None:
    window = visit(width=375, locale="zh-TW")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("chatbot", lang="zh-TW", box=BOX, **QUERY)
    say(page, HOSTILE)
    assert page.locator("img[src=x], img[alt=b], .chat-said b, a[href^=javascript]").count() == 0
    assert "onerror" in page.locator(".chat-said").first.inner_text()
    assert "](javascript" in page.locator(".chat-said").first.inner_text()
    say(page, "word " * 25)
    expect(page.locator(".chat-out span")).not_to_have_count(0)
    expect(page.locator("p.chat-mark").first).to_have_text(words("zh-TW")("chatbot.talk.fallen"))
    page.locator(".st-key-chatbot_again_3 button").click()
    expect(page.locator(".chat-place")).to_have_text("2/2", timeout=90_000)
    wait_until_drawn(page, timeout_s=90)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
    assert alerts == []
    assert window.outside == []
