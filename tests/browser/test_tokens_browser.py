"""Step 1-1 in a real browser: markup stays text, nothing spills over, the slider answers."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Dialog, Page, expect

from lessons import words
from tests.browser.conftest import wait_until_drawn

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
MARKUP = "</script><img src=x onerror=alert(1)>"


def watch(page: Page) -> list[str]:
    """Collect every alert that the page raises; none may come."""
    alerts: list[str] = []

    def note(dialog: Dialog) -> None:
        alerts.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    return alerts


def test_markup_is_shown_as_text_and_never_runs(visit) -> None:
    window = visit(locale="en")
    alerts = watch(window.page)
    page = window.open("tokens", lang="en", box=BOX, sentence=MARKUP)
    expect(page.locator(".tok-row").first).to_be_visible()
    drawn = page.locator(".tok-row").first.locator(".tok bdi").all_inner_texts()
    assert "".join(drawn).replace("·", " ") == MARKUP
    page.locator("[data-testid=stExpander] summary").first.click()
    page.wait_for_timeout(500)
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_nothing_spills_over_a_phone(visit, locale: str, dark: bool) -> None:
    page = visit(width=375, locale=locale, dark=dark).open(
        "tokens", lang=locale, box=BOX, sentence=f"鬱 {'unbreakable' * 20} 😀"
    )
    expect(page.locator(".tok-row").first).to_be_visible()
    edges = page.evaluate(
        "() => [document, ...[...document.querySelectorAll('*')].map(node => node.shadowRoot).filter(Boolean)]"
        ".flatMap(root => [...root.querySelectorAll('.tok, .tok-group, .tok-card, .tok-bar, .readout')])"
        ".map(node => node.getBoundingClientRect()).filter(box => box.width).map(box => box.right)"
    )
    assert edges
    assert max(edges) <= 375


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_tokens_can_be_read_on_their_ground(visit, dark: bool) -> None:
    """Contrast of at least 4.5 between a token's letters and what lies behind them, blended on the page."""
    page = visit(locale="en", dark=dark).open(
        "tokens", lang="en", box=BOX, sentence="The movie was good, and I liked it. 鬱"
    )
    expect(page.locator(".tok").first).to_be_visible()
    worst = page.evaluate(
        """() => {
          const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const light = pixel => {
            const [r, g, b] = [...pixel].slice(0, 3).map(c => c / 255)
              .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const paint = colours => {
            for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
            return light(canvas.getImageData(0, 0, 1, 1).data);
          };
          const ground = getComputedStyle(document.querySelector("[data-testid=stApp]")).backgroundColor;
          return Math.min(...[...document.querySelectorAll(".tok")].map(node => {
            const style = getComputedStyle(node);
            const behind = paint([ground, style.backgroundColor]);
            const letters = paint([ground, style.backgroundColor, style.color]);
            return (Math.max(behind, letters) + 0.05) / (Math.min(behind, letters) + 0.05);
          }));
        }"""
    )
    assert worst >= 4.5


def test_the_slider_makes_merges_and_ticks_its_step(visit) -> None:
    say = words("en")
    page = visit(locale="en").open("tokens", lang="en", box=BOX, sentence="the movie the movie")
    told, slider = page.locator(".st-key-picture_tokens_steps .readout"), page.locator("input[name=tokens_step]")
    none = told.inner_text()
    page.context.set_offline(True)
    slider.press("ArrowRight")
    assert told.inner_text() != none
    assert "1" in told.inner_text()
    assert slider.get_attribute("aria-valuetext") == "1"
    expect(page.locator(".tok-new")).to_have_count(1)
    page.context.set_offline(False)
    slider.press("ArrowRight")
    expect(page.locator("ol.do li.done", has_text=say("tokens.do.merge"))).to_have_count(1)
    wait_until_drawn(page)
    said = told.inner_text()
    assert parse_qs(urlsplit(page.url).query)["tokens_step"] == ["2"]
    page.reload()
    wait_until_drawn(page)
    assert told.inner_text() == said


def test_the_last_step_is_the_cut_itself(visit) -> None:
    page = visit(locale="en").open("tokens", lang="en", box=BOX, sentence="the movie 鬱 😀")
    page.locator("input[name=tokens_step]").press("End")
    cut = page.locator(".tok-row").first.locator(".tok bdi").all_inner_texts()
    steps = page.locator(".tok-steps .tok bdi").all_inner_texts()
    assert [piece.strip() for piece in steps] == [piece.strip() for piece in cut]
