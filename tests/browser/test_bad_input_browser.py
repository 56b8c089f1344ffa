"""What only a browser shows of bad input: markup in a box's name, and two tabs that must not mix."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from lessons import registry, words
from tests.llmkit.random_box import random_box

pytestmark = pytest.mark.browser

STEPS = registry.available()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.slug)
def test_markup_in_the_name_of_a_box_stays_text(visit, step: registry.Step, tmp_path: Path) -> None:
    folder = random_box(tmp_path / "<img src=x onerror=alert(1)>", "gpt2", seed=3)
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    slug = "" if step is STEPS[0] else step.slug
    page = window.open(slug, lang="en", box=f"folder:{folder}", sentence="Good <b>books</b> & films.")
    expect(page.locator("h1")).to_have_text(words("en")(step.key("title")))
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


def test_two_tabs_keep_their_own_box_and_sentence(visit) -> None:
    first = visit(locale="en")
    left = first.open("tokens", lang="en", box="gpt2-starter", sentence="one two")
    right = left.context.new_page()
    right.goto(f"{first.address}/tokens?lang=zh-TW&box=gpt2-starter&sentence=三個字")
    expect(right.locator("h1")).to_have_text(words("zh-TW")("tokens.title"))
    left.reload()
    expect(left.locator("h1")).to_have_text(words("en")("tokens.title"))
    expect(left.locator(".st-key-sentence textarea")).to_have_value("one two")
    expect(right.locator(".st-key-sentence textarea")).to_have_value("三個字")
