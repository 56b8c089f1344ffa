"""Step 1-4 in a real browser: what answers without the server, what markup does, what fits a phone."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from components import bertviz_views
from lessons import words
from tests.browser.conftest import wait_until_drawn

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and this book is long."
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"
READOUT = ".st-key-picture_attention_explorer .readout"


def explorer_at(page: Page) -> tuple[int, int]:
    view = page.locator(".view[data-layer]")
    return int(view.get_attribute("data-layer") or -1), int(view.get_attribute("data-head") or -1)


def heading(page: Page, layer: int, head: int) -> None:
    expect(
        page.get_by_role("heading", name=words("en")("attention.steps.title", layer=layer, head=head))
    ).to_be_visible()


def test_hover_answers_without_the_server(visit) -> None:
    page = visit(locale="en").open("attention", lang="en", box=BOX, sentence=SENTENCE, head="2.3")
    assert explorer_at(page) == (2, 3)
    table = page.locator("canvas.table")
    table.hover(position={"x": 90, "y": 90})
    wait_until_drawn(page)
    first = page.locator(".readout").first.inner_text()
    page.context.set_offline(True)
    size = table.bounding_box()
    table.hover(position={"x": 90, "y": size["height"] - 10})
    expect(page.locator(".readout").first).not_to_have_text(first, use_inner_text=True)
    page.context.set_offline(False)


def test_keys_choose_a_head_everywhere_and_in_the_address(visit) -> None:
    page = visit(locale="en").open("attention", lang="en", box=BOX, sentence=SENTENCE, head="2.3")
    page.locator(".view[data-layer]").focus()
    before = explorer_at(page)
    page.locator("input.layer").press("ArrowRight")
    page.locator("input.head").press("ArrowLeft")
    assert explorer_at(page) == (before[0] + 1, before[1] - 1)
    heading(page, 3, 2)
    wait_until_drawn(page)
    query = parse_qs(urlsplit(page.url).query)
    assert (query["head"], query["sentence"], query["box"]) == (["3.2"], [SENTENCE], [BOX])
    expect(page.locator("ol.do li.done", has_text=words("en")("attention.do.head"))).to_have_count(1)
    page.reload()
    wait_until_drawn(page)
    heading(page, 3, 2)


def test_a_thumbnail_opens_its_head(visit) -> None:
    page = visit(locale="en").open("attention", lang="en", box=BOX, sentence=SENTENCE, head="2.3")
    page.locator("canvas[data-chosen]").first.click(position={"x": 45, "y": 40})
    heading(page, 0, 0)
    assert explorer_at(page) == (0, 0)


def test_a_cell_says_what_made_it(visit) -> None:
    page = visit(locale="en").open("attention", lang="en", box=BOX, sentence=SENTENCE, head="2.3")
    weights = page.locator("canvas[data-name=weights]")
    weights.scroll_into_view_if_needed()
    weights.focus()
    page.keyboard.press("ArrowDown")
    told = page.locator(".written").first.inner_text()
    share, total, value = (float(number) for number in re.findall(r"= ([\d.]+) ÷ ([\d.]+) = ([\d.]+)", told)[0])
    assert share / total == pytest.approx(value, abs=2e-3)


@pytest.mark.parametrize("view", ["head", "model", "neuron"])
def test_bertviz_draws_offline_and_runs_no_token(visit, view: str) -> None:
    window = visit(locale="en", dark=view == "neuron")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("attention", lang="en", box=BOX, sentence=HOSTILE)
    page.locator(".st-key-attention_view").get_by_role("radio", name=words("en")(f"attention.bertviz.{view}")).click()
    frame = page.frame_locator("iframe")
    expect(frame.locator("svg").first).to_be_visible()
    page.wait_for_timeout(500)
    assert frame.locator("svg *").count() > 50
    assert frame.locator("img").count() == 0
    if view != "model":
        assert "onerror" in re.sub(r"[\n·]", "", frame.locator("body").inner_text())
    assert page.locator("iframe").get_attribute("sandbox") == "allow-scripts"
    assert page.locator("iframe").bounding_box()["height"] > 120
    assert alerts == []


@pytest.mark.parametrize("view", ["head", "neuron"])
def test_bertviz_shows_a_token_of_markup_as_text(visit, view: str) -> None:
    T, token = 3, HOSTILE + "<!--<script>"
    even = np.full((2, T, T), 1 / T, dtype=np.float32)
    labels = (token, "b", "c")
    if view == "head":
        html = bertviz_views.head_page(labels, even, layer=0, head=0)
    else:
        html = bertviz_views.neuron_page(labels, even, even, even, head=0, causal=False)
    page = visit().page
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.set_content("<!doctype html>" + html)
    expect(page.locator("svg text:visible", has_text="onerror=alert(1)").first).to_be_visible()
    assert page.locator("img").count() == 0
    assert alerts == []


def test_markup_in_tokens_stays_text(visit) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("attention", lang="en", box=BOX, sentence=HOSTILE)
    page.locator("canvas.table").hover(position={"x": 90, "y": 90})
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_pictures_fit_a_phone(visit, locale: str) -> None:
    page = visit(width=375, locale=locale).open("attention", lang=locale, box=BOX, sentence="the movie was 鬱 😀 good")
    expect(page.locator(".view[data-layer]")).to_be_visible()
    edges = page.evaluate(
        """() => {
          const found = [...document.querySelectorAll('.note, .small-print')];
          for (const host of document.querySelectorAll('*'))
            if (host.shadowRoot) found.push(...host.shadowRoot.querySelectorAll('.view, .scroll'));
          return found.map((node) => node.getBoundingClientRect().right);
        }"""
    )
    assert max(edges) <= 375
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
