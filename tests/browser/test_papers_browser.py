"""Papers in a browser: balloons answer key and pointer, the year hides what is to come, a citation is copied."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from lessons import words
from lessons.milestones import milestones
from tests.browser.conftest import Visit, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SAY = words("en")


def sideways(page: Page) -> int:
    return int(page.evaluate("(e => e.scrollWidth - e.clientWidth)(document.querySelector('[data-testid=stMain]'))"))


@pytest.mark.parametrize("width", [375, 1280])
def test_the_map_answers_key_and_pointer(visit: Callable[..., Visit], width: int) -> None:
    page = visit(width=width).open("papers", lang="en")
    card, balloons = page.locator(".card"), page.locator(".balloon")
    expect(balloons).to_have_count(len(milestones()))
    expect(card).to_contain_text("Attention Is All You Need")
    balloons.nth(0).click()
    expect(card).to_contain_text(milestones()[0].title)
    page.wait_for_url("**papers_paper=0**")
    balloons.nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(card).to_contain_text(milestones()[1].title)
    expect(balloons.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    wanted = next(paper for paper in milestones() if paper.part == "feed_forward")
    expect(card).to_contain_text(wanted.title)
    assert "/papers" in page.url  # the arrows did not turn the page
    page.locator('input[name="papers_year"]').fill("2017")
    expect(page.locator(".balloon.to-come")).to_have_count(sum(paper.year > 2017 for paper in milestones()))
    expect(page.locator(".readout")).to_contain_text("2017")
    page.wait_for_url("**papers_year=2017**")
    wait_until_drawn(page)
    expect(page.locator(".do li.done")).to_have_count(2)
    expect(page.get_by_role("link", name=SAY("feed_forward.title")).last).to_be_visible()
    assert sideways(page) == 0
    found = Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


def test_a_citation_is_copied_and_a_link_opens_elsewhere(visit: Callable[..., Visit]) -> None:
    page = visit().open("papers", lang="en", papers_paper="6")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=SAY("papers.map.copy_bibtex")).click()
    expect(page.get_by_role("button", name=SAY("source.copied"))).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()").strip() == milestones()[6].bibtex
    link = page.locator(".card a")
    assert link.get_attribute("href") == milestones()[6].address
    assert (link.get_attribute("target"), link.get_attribute("rel")) == ("_blank", "noopener noreferrer")
    page.get_by_text(SAY("papers.table", n=len(milestones()))).click()
    inside = page.locator(".pp-table a").first
    expect(inside).to_be_visible()
    assert inside.get_attribute("target") == "_blank"
    assert "noreferrer" in (inside.get_attribute("rel") or "")


@pytest.mark.parametrize("width", [375, 1280])
def test_a_question_is_copied_from_the_sheet_that_was_left(visit: Callable[..., Visit], width: int) -> None:
    page = visit(width=width).open("tokens", lang="en", sentence="A chair & a table")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("link", name=SAY("common.ask_more")).click()
    page.wait_for_url("**/community?**step=tokens**")
    expect(page.locator("h1")).to_have_text(SAY("community.title"))
    wait_until_drawn(page)
    expect(page.locator(".do li.done")).to_have_count(1)
    place = page.locator(".cm-places a").first
    assert place.get_attribute("target") == "_blank"
    assert "noreferrer" in (place.get_attribute("rel") or "")
    page.get_by_role("button", name=SAY("community.copy")).click()
    expect(page.get_by_role("button", name=SAY("source.copied"))).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert "tokens?" in text
    assert "sentence=A+chair+%26+a+table" in text
    wait_until_drawn(page)
    expect(page.locator(".do li.done")).to_have_count(2)
    assert sideways(page) == 0
    found = Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
