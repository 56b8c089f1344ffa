"""Step 1-6 in a real browser: what flows without the server, what keys and clicks do, what fits a phone."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from components import exploded_engine as found
from lessons import words
from tests.browser.conftest import wait_until_drawn

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and this book is long."
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"
MACHINE = ".view.machine"


def machine_at(page: Page) -> tuple[int, int, int]:
    """Layer, token and stage that the drawing shows."""
    view = page.locator(MACHINE)
    layer, token, stage = (int(view.get_attribute(f"data-{name}") or -1) for name in ("layer", "token", "stage"))
    return layer, token, stage


def test_it_plays_steps_and_pauses_without_the_server(visit: Callable) -> None:
    page = visit(locale="en").open("engine", lang="en", box=BOX, sentence=SENTENCE, layer="2", token="1")
    view = page.locator(MACHINE)
    view.focus()
    assert machine_at(page) == (2, 1, 6)
    page.keyboard.press("ArrowRight")
    assert machine_at(page) == (3, 1, 7)
    wait_until_drawn(page)
    page.context.set_offline(True)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    assert machine_at(page) == (1, 1, 4)
    page.keyboard.press("PageDown")
    page.keyboard.press("Home")
    assert machine_at(page) == (0, 2, 0)
    page.keyboard.press("End")
    assert machine_at(page)[2] == 13
    page.locator("input.speed").fill("30")
    before = view.evaluate("view => view.frames")
    page.keyboard.press("Space")
    expect(view).to_have_attribute("data-token", "3")  # it goes on from token to token
    page.keyboard.press("Space")
    expect(view).to_have_attribute("data-playing", "false")
    assert view.evaluate("view => view.frames") > before
    assert "/engine" in page.url
    page.context.set_offline(False)


def test_the_address_keeps_the_place_and_the_rest_follows(visit: Callable) -> None:
    page = visit(locale="en").open("engine", lang="en", box=BOX, sentence=SENTENCE)
    page.locator(f"{MACHINE} input.token").fill("2")
    page.locator(f"{MACHINE} input.layer").fill("4")
    expect(page.locator("li.done", has_text=words("en")("engine.do.play"))).to_have_count(0)
    page.wait_for_function("location.search.includes('layer=4') && location.search.includes('token=2')")
    wait_until_drawn(page)
    query = parse_qs(urlsplit(page.url).query)
    assert (query["box"], query["sentence"]) == ([BOX], [SENTENCE])
    expect(page.locator(".view:has(canvas.adds)")).to_have_attribute("data-token", "2")
    expect(page.locator(".view:has(canvas.grid)")).to_have_attribute("data-row", "5")
    page.reload()
    wait_until_drawn(page)
    assert machine_at(page)[:2] == (4, 2)


def test_a_plate_opens_attention_on_the_same_layer_and_token(visit: Callable) -> None:
    page = visit(locale="en").open("engine", lang="en", box=BOX, sentence=SENTENCE, layer="3", token="2")
    page.locator("tr[data-part=attention] button").click()
    patient = 90_000  # that page opens a box of each family below the picture
    explorer = page.locator(".view[data-layer][data-head]")
    expect(explorer).to_have_attribute("data-query", "2", timeout=patient)
    expect(explorer).to_have_attribute("data-layer", "3")
    query = parse_qs(urlsplit(page.url).query)
    assert (query["layer"], query["token"], query["box"], query["sentence"]) == (["3"], ["2"], [BOX], [SENTENCE])
    explorer.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "location.search.includes('layer=4') && location.search.includes('token=3')", timeout=patient
    )
    wait_until_drawn(page)
    page.get_by_role("link", name=words("en")("engine.title")).first.click()
    expect(page.locator(MACHINE)).to_have_attribute("data-token", "3", timeout=patient)
    assert machine_at(page)[:2] == (4, 3)
    expect(page.locator("ol.do li.done", has_text=words("en")("engine.do.open"))).to_have_count(1)


def test_the_drawing_itself_can_be_clicked(visit: Callable) -> None:
    page = visit(locale="en").open("engine", lang="en", box=BOX, sentence=SENTENCE)
    drawing = page.locator("canvas.drawing")
    drawing.hover(position={"x": 188, "y": 90})
    expect(page.locator("tr.hot")).to_have_attribute("data-part", "embedding")
    drawing.click(position={"x": 188, "y": 90})
    expect(page.get_by_role("heading", name=words("en")("embeddings.title"))).to_be_visible()


def test_lens_and_sum_answer_without_the_server(visit: Callable) -> None:
    page = visit(locale="en").open("engine", lang="en", box=BOX, sentence=SENTENCE, layer="2", token="1")
    grid = page.locator("canvas.grid")
    grid.hover(position={"x": 60, "y": 45})
    wait_until_drawn(page)
    expect(page.locator("ol.do li.done", has_text=words("en")("engine.do.lens"))).to_have_count(1)
    page.context.set_offline(True)
    lens = found.lens(BOX, SENTENCE).value
    view = page.locator(".view:has(canvas.grid)")
    view.focus()
    page.keyboard.press("ArrowDown")
    row, token = (int(view.get_attribute(f"data-{name}") or -1) for name in ("row", "token"))
    shown = [float(text) for text in page.locator("ol.top em").all_inner_texts()]
    assert shown == pytest.approx(lens.probs[row, token].tolist(), abs=6e-4)
    adds = page.locator(".view:has(canvas.adds)")
    targets = page.locator("select.target option")
    assert targets.count() >= found.TOP
    for choice in (0, 1):
        page.locator("select.rival").select_option(index=choice)
        total, whole = (float(adds.get_attribute(f"data-{name}") or "nan") for name in ("sum", "whole"))
        assert total == pytest.approx(whole, abs=1e-3)
    page.context.set_offline(False)


def test_markup_in_tokens_stays_text(visit: Callable) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("engine", lang="en", box=BOX, sentence=HOSTILE)
    page.locator("canvas.grid").hover(position={"x": 60, "y": 45})
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_pictures_fit_a_phone(visit: Callable, locale: str) -> None:
    page = visit(width=375, locale=locale).open("engine", lang=locale, box=BOX, sentence="the movie was 鬱 😀 good")
    expect(page.locator(MACHINE)).to_be_visible()
    edges = page.evaluate(
        """() => {
          const found = [...document.querySelectorAll('.note, .small-print')];
          for (const host of document.querySelectorAll('*'))
            if (host.shadowRoot)
              found.push(...host.shadowRoot.querySelectorAll('.view, .scroll, .list, canvas.drawing'));
          return found.map((node) => node.getBoundingClientRect().right);
        }"""
    )
    assert max(edges) <= 375
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
