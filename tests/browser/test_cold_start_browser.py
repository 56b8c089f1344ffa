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
        expect(page.locator("[role=dialog]")).to_have_count(0)
        expect(page.locator("h1")).to_have_text(words("en")("positions.title"))
        page.context.close()


def test_an_address_that_leads_nowhere_is_said(visit) -> None:
    page = visit(locale="en").open("nonsense", lang="en")
    expect(page.locator("[role=dialog]")).to_be_visible()
    expect(page.locator("h1")).to_have_text(words("en")(registry.STEPS[0].key("title")))
