"""Step 1-3 in a real browser: markup stays text, nothing spills over, sliders answer."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from lessons import words

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
FIGURES = 9


def test_markup_in_labels_stays_text(visit) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("positions", lang="en", box=BOX, sentence="</script><img src=x onerror=alert(1)><b>bold</b>")
    expect(page.locator(".js-plotly-plot")).to_have_count(FIGURES)
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_figures_fit_a_phone(visit, locale: str) -> None:
    page = visit(width=375, locale=locale).open("positions", lang=locale, box=BOX, sentence="the movie was 鬱 😀 good")
    expect(page.locator(".js-plotly-plot")).to_have_count(FIGURES)
    edges = page.evaluate(
        "() => [...document.querySelectorAll('.js-plotly-plot, .note')].map(n => n.getBoundingClientRect().right)"
    )
    assert max(edges) <= 375


def test_another_order_is_read_and_ticks(visit) -> None:
    say = words("en")
    page = visit(locale="en").open("positions", lang="en", box=BOX, sentence="The movie was really very good.")
    page.get_by_role("radiogroup", name=say("positions.shuffle.way")).get_by_text(say("positions.way.away")).click()
    expect(page.locator("ol.do li.done", has_text=say("positions.do.shuffle"))).to_have_count(1)
