"""Step 1-2 in a real browser: markup stays text, nothing spills over, layouts and sliders answer."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from components import embeddings_engine as found
from lessons import words

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
MARKUP = "</script><img src=x onerror=alert(1)><b>bold</b>"


def readout(page: Page, name: str) -> str:
    return page.locator(f".st-key-picture_embeddings_{name} .readout").inner_text()


def canvas(page: Page, name: str) -> Locator:
    return page.locator(f".st-key-picture_embeddings_{name} canvas")


def test_markup_in_labels_stays_text(visit) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("embeddings", lang="en", box=BOX, sentence=MARKUP)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    assert "<" in readout(page, "row")
    expect(page.locator(".js-plotly-plot text").filter(has_text="<").first).to_be_attached()
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_figures_fit_a_phone(visit, locale: str) -> None:
    page = visit(width=375, locale=locale).open("embeddings", lang=locale, box=BOX, sentence="the movie 鬱 😀 " * 3)
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    for name in ("row", "near", "like"):
        expect(canvas(page, name)).to_be_visible()
    edges = page.evaluate(
        "() => [document, ...[...document.querySelectorAll('*')].map(node => node.shadowRoot).filter(Boolean)]"
        ".flatMap(root => [...root.querySelectorAll('.js-plotly-plot, .note, .moved, canvas, .controls label')])"
        ".map(n => n.getBoundingClientRect().right)"
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


def test_a_token_brings_its_row_and_its_neighbours_without_the_server(visit) -> None:
    say, sentence = words("en"), "The movie was good."
    page = visit(locale="en").open("embeddings", lang="en", box=BOX, sentence=sentence)
    ids = found.encode(BOX, sentence).ids
    page.context.set_offline(True)
    page.locator("input[name=embeddings_token]").press("ArrowRight")
    page.locator("input[name=embeddings_near]").press("ArrowRight")
    assert f"take row {ids[1]} of the table" in readout(page, "row")
    near = found.neighbours(BOX, tuple(ids)).value[1]
    assert f"“{found.label(BOX, near.ids[0])}” {near.cosines[0]:.3f}" in readout(page, "near")
    assert f"“{found.label(BOX, near.ids[10])}” {near.cosines[10]:.3f}" in readout(page, "near")
    canvas(page, "row").press("ArrowDown")
    canvas(page, "row").press("ArrowDown")
    canvas(page, "row").press("ArrowDown")
    assert f"dimension 0: {found.table(BOX).value[ids[1], 0]:.4f}" in readout(page, "row")
    page.context.set_offline(False)
    page.locator("input[name=embeddings_near]").press("ArrowRight")
    expect(page.locator("ol.do li.done", has_text=say("embeddings.do.neighbours"))).to_have_count(1)


def test_every_stage_is_in_the_browser(visit) -> None:
    sentence = "The movie was good."
    page = visit(locale="en").open("embeddings", lang="en", box=BOX, sentence=sentence)
    made = found.likeness(BOX, sentence).value
    page.context.set_offline(True)
    for stage in range(1, len(made)):
        page.locator("input[name=embeddings_stage]").press("ArrowRight")
        apart = made[stage][~np.eye(len(made[stage]), dtype=bool)]
        assert f"{apart.mean():.3f} on average" in readout(page, "like")
    canvas(page, "like").press("ArrowDown")
    canvas(page, "like").press("ArrowDown")
    assert f"cosine {made[-1][1, 0]:.3f}" in readout(page, "like")
    page.context.set_offline(False)
