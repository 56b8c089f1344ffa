"""A note written beside a page is in the notebook after a reload, with its figure, and leads back to the page."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from lessons import words
from tests.browser.conftest import Visit, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SAY = words("en")


def test_a_note_is_found_again_and_leads_back(visit: Callable[..., Visit]) -> None:
    there = visit(width=375, height=812)
    page = there.open("tokens", lang="en", sentence="A chair & a table", layer="3")
    box = page.get_by_label(SAY("common.notes"))
    box.fill("# Found\n**chair** is one token <b>\n\n![picture](https://elsewhere.example/picture.png)")
    box.press("Control+Enter")
    expect(page.get_by_text(SAY("common.notes.kept"))).to_be_visible()
    page.get_by_role("combobox", name=SAY("common.notes.figure")).click()
    page.get_by_role("option").nth(1).click()
    wait_until_drawn(page)
    page = there.open("notebook", lang="en")
    page.reload()
    wait_until_drawn(page)
    note = page.locator("[class*=st-key-notebook_note_]", has_text="chair is one token")  # other tests leave some, too
    expect(note.get_by_text("chair is one token <b>", exact=True)).to_be_visible()
    expect(note.locator(".note-text strong", has_text="Found")).to_be_visible()
    expect(note.get_by_role("link", name="picture")).to_have_attribute("target", "_blank")
    assert there.outside == []
    figure = note.locator("[class*=st-key-notebook_figure_]")
    figure.locator("summary").click()
    expect(figure.locator("details p")).to_be_visible()
    with page.expect_download() as taken:
        figure.get_by_role("button", name=SAY("common.figure.csv")).click()
    assert taken.value.suggested_filename == "tokens_cut.csv"
    assert taken.value.path().read_bytes().startswith(b"\xef\xbb\xbftoken,id,")
    sideways = page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('[data-testid=stMain]'))")
    assert sideways == 0
    found = Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
    with page.expect_popup() as opened:
        note.locator("a[href*=sentence]", has_text="↗").click()
    back = opened.value
    wait_until_drawn(back)
    query = parse_qs(urlsplit(back.url).query)
    assert urlsplit(back.url).path == "/tokens"
    assert query["sentence"] == ["A chair & a table"]
    expect(back.locator("h1")).to_have_text(SAY("tokens.title"))
    expect(back.get_by_role("textbox", name=SAY("common.sentence"), exact=True)).to_have_value("A chair & a table")
