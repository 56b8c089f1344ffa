"""Step 1-5 in a real browser: what answers without the server, what markup does, what fits a phone."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Locator, Page, expect

from components import embeddings_engine, engine
from components import feed_forward_engine as found
from lessons import words
from tests.browser.conftest import wait_until_drawn

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and this book is long."
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"
PLACE = {"layer": "2", "token": "3", "neuron": "7"}


def machine(page: Page) -> Locator:
    return page.locator(".view[data-neuron]")


def looked_at(page: Page) -> tuple[int, int, int]:
    view = machine(page)
    return tuple(int(view.get_attribute(f"data-{name}") or -1) for name in ("layer", "token", "neuron"))  # type: ignore[return-value]


def heading(page: Page, layer: int, neuron: int) -> None:
    title = words("en")("feed_forward.firing.title", layer=layer, neuron=neuron)
    expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible(timeout=30_000)


def test_layer_token_and_neuron_change_without_the_server(visit) -> None:
    page = visit(locale="en").open("feed_forward", lang="en", box=BOX, sentence=SENTENCE, **PLACE)
    assert looked_at(page) == (2, 3, 7)  # the asked neuron got a column of its own
    trace = found.trace(BOX, SENTENCE).value
    page.context.set_offline(True)
    machine(page).focus()
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    layer, token, neuron = looked_at(page)
    assert (layer, token) == (3, 4)
    told = float(machine(page).get_attribute("data-act") or "nan")
    assert told == pytest.approx(float(trace["mlp_act"][layer][token, neuron]), abs=1e-4)
    assert f"#{neuron}" in page.locator(".readout").first.inner_text()
    page.context.set_offline(False)


def test_a_settled_place_is_kept_in_the_page_and_the_address(visit) -> None:
    page = visit(locale="en").open("feed_forward", lang="en", box=BOX, sentence=SENTENCE, **PLACE)
    page.locator("input.layer").press("ArrowRight")
    page.locator("input.neuron").press("ArrowRight")
    layer, token, neuron = looked_at(page)
    assert layer == 3
    heading(page, layer, neuron)
    wait_until_drawn(page)
    query = parse_qs(urlsplit(page.url).query)
    assert (query["layer"], query["neuron"], query["sentence"]) == ([str(layer)], [str(neuron)], [SENTENCE])
    assert looked_at(page) == (layer, token, neuron)
    expect(page.locator("ol.do li.done", has_text=words("en")("feed_forward.do.neuron"))).to_have_count(1)
    page.reload()
    wait_until_drawn(page)
    heading(page, layer, neuron)


def test_pointing_at_a_cell_tells_its_tokens(visit) -> None:
    page = visit(locale="en").open("feed_forward", lang="en", box=BOX, sentence=SENTENCE, layer="5", token="3")
    strongest = found.strongest(BOX, SENTENCE, 5, 3).value
    assert looked_at(page)[2] == strongest.neurons[0]
    chips = page.locator(".tokens").first.locator(".chip bdi").all_inner_texts()
    assert chips == list(strongest.pushes[0])
    strip = page.locator("canvas.strip")
    before = page.locator(".readout").first.inner_text()
    size = strip.bounding_box()
    strip.hover(position={"x": 200, "y": size["height"] - 12})
    expect(page.locator(".readout").first).not_to_have_text(before)
    wait_until_drawn(page)
    expect(page.locator("ol.do li.done", has_text=words("en")("feed_forward.do.point"))).to_have_count(1)
    assert looked_at(page)[2] == strongest.neurons[0]


def test_any_neuron_can_be_asked_for_by_its_number(visit) -> None:
    page = visit(locale="en").open("feed_forward", lang="en", box=BOX, sentence=SENTENCE, layer="2", token="3")
    columns = set(found.machine(BOX, SENTENCE).value.neurons[2].tolist())
    absent = max(set(range(768)) - columns)
    page.locator("input.jump").fill(str(absent))
    page.locator("input.jump").press("Enter")
    heading(page, 2, absent)
    wait_until_drawn(page)
    assert looked_at(page) == (2, 3, absent)


@pytest.mark.registry
def test_a_gate_has_a_picture_of_its_own(visit, standard_kit: tuple[str, ...]) -> None:
    box_id = "smollm2-135m-instruct"
    page = visit(locale="en").open("feed_forward", lang="en", box=box_id, sentence="good", layer="7")
    expect(page.locator("canvas.gate")).to_be_visible()
    trace = engine.trace(box_id, "good", ("mlp_pre",)).value
    layer, token, neuron = looked_at(page)
    told = float(machine(page).get_attribute("data-pre") or "nan")
    assert told == pytest.approx(float(trace["mlp_pre"][layer][token, neuron]), abs=1e-3)


def test_markup_in_tokens_stays_text(visit) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("feed_forward", lang="en", box=BOX, sentence=HOSTILE)
    assert len(embeddings_engine.encode(BOX, HOSTILE).ids) > 5
    page.locator("canvas.strip").hover(position={"x": 200, "y": 90})
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_pictures_fit_a_phone(visit, locale: str) -> None:
    page = visit(width=375, locale=locale).open(
        "feed_forward", lang=locale, box=BOX, sentence="the movie was 鬱 😀 good"
    )
    expect(machine(page)).to_be_visible()
    edges = page.evaluate(
        """() => {
          const found = [...document.querySelectorAll('.note, .small-print')];
          for (const host of document.querySelectorAll('*'))
            if (host.shadowRoot) found.push(...host.shadowRoot.querySelectorAll('.view, canvas.curve'));
          return found.map((one) => one.getBoundingClientRect().right);
        }"""
    )
    assert max(edges) <= 376
