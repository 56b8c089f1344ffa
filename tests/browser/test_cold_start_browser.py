"""The first address that a server is asked for, when it is not the front door."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from lessons import registry, words
from tests.browser.conftest import serve

pytestmark = pytest.mark.browser


def test_the_first_deep_link_raises_no_false_alarm(visit, tmp_path: Path) -> None:
    with serve(tmp_path / "server.log") as address:
        page = visit(locale="en", address=address).open("positions", lang="en")
        page.wait_for_timeout(1500)
        expect(page.locator("[role=dialog]:visible")).to_have_count(0)
        expect(page.locator("h1")).to_have_text(words("en")("positions.title"))
        page.context.close()


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_an_address_that_leads_nowhere_is_said_until_a_page_is_chosen(visit, lang: str) -> None:
    say = words(lang)
    page = visit().open("nonsense", lang=lang)
    expect(page.get_by_text(say("common.lost"))).to_be_visible()
    expect(page.locator("[role=dialog]:visible")).to_have_count(0)
    expect(page.locator("h1")).to_have_text(say(registry.STEPS[0].key("title")))
    page.get_by_role("link", name=say(registry.STEPS[1].key("title"))).first.click()
    expect(page.locator("h1")).to_have_text(say(registry.STEPS[1].key("title")))
    expect(page.get_by_text(say("common.lost"))).to_have_count(0)
