"""Step 1-2 in a real browser: markup stays text, nothing spills over, layouts and sliders answer."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from lessons import words

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
MARKUP = "</script><img src=x onerror=alert(1)><b>bold</b>"


def test_markup_in_labels_stays_text(visit) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("embeddings", lang="en", box=BOX, sentence=MARKUP)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    drawn = page.locator(".js-plotly-plot .ytick").all_text_contents()
    assert any("<" in text for text in drawn)
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_figures_fit_a_phone(visit, locale: str) -> None:
    page = visit(width=375, locale=locale).open("embeddings", lang=locale, box=BOX, sentence="the movie 鬱 😀 " * 3)
    expect(page.locator(".js-plotly-plot")).to_have_count(6)
    edges = page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot, .note')].map(n => n.getBoundingClientRect().right)"
    )
    assert max(edges) <= 375


def test_every_layout_answers_and_nothing_is_fetched(visit) -> None:
    say = words("en")
    window = visit(locale="en")
    page = window.open("embeddings", lang="en", box=BOX, sentence="The movie was good.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in ("tsne", "umap"):
        page.get_by_text(say(f"embeddings.cloud.{name}"), exact=True).click()
        expect(page.get_by_text(say("embeddings.cloud.careful"))).to_be_visible(timeout=60_000)
    page.get_by_text(say("embeddings.cloud.in", n=3), exact=True).click()
    expect(page.locator(".js-plotly-plot .gl-container").first).to_be_attached(timeout=60_000)
    assert not [url for url in asked if "127.0.0.1" not in url and not url.startswith(("data:", "blob:"))]


def test_the_slider_shows_more_neighbours_and_ticks(visit) -> None:
    say = words("en")
    page = visit(locale="en").open("embeddings", lang="en", box=BOX, sentence="The movie was good.")
    expect(page.locator(".js-plotly-plot").nth(1).locator(".bars .point")).to_have_count(10)
    page.locator("[data-testid=stSlider] input[type=range]").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".js-plotly-plot").nth(1).locator(".bars .point")).to_have_count(11)
    expect(page.locator("ol.do li.done", has_text=say("embeddings.do.neighbours"))).to_have_count(1)
