"""Step 2-4 in a real browser: the filters in the page are those of the library, text streams, stop stops."""

from __future__ import annotations

import base64
import itertools
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from components import generate_engine as found
from lessons import words
from llmkit.generate.next_token import filtered
from llmkit.generate.sampling import STAGES, Sampling
from tests.browser.conftest import ROOT, wait_until_drawn

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
SENTENCE = "The movie was good, and"
HOSTILE = "</script><img src=x onerror=alert(1)><b>bold</b>"
SHOWN = 60

FILTER = """([source, packed, seen, settings, remember]) => {
  const filters = new Function(`${source.split("export default")[0]}; return filters;`)();
  const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0)), raw = new Float32Array(bytes.buffer);
  let last = null;
  return settings.map((one) => {
    last = filters(raw, seen, one, remember ? last : null);
    return last.stages.map(({ kept, probs, logits }) => [kept, Array.from(probs.subarray(0, 60)),
      Array.from(logits.subarray(0, 60), (logit) => (logit === -Infinity ? null : logit))]);
  });
}"""


def label(key: str) -> str:
    return words("en")(f"generate.{key}")


def open_step(visit: Any, **query: str) -> Page:
    return visit(locale="en").open("generate", lang="en", box=BOX, **{"sentence": SENTENCE, **query})


def press(page: Page, key: str) -> None:
    page.locator(f".st-key-{key} button").click()


@pytest.mark.parametrize("remember", [False, True], ids=["each anew", "one after another"])
@pytest.mark.parametrize("scale", [None, 3.0, 0.2])
def test_the_pages_filters_are_the_librarys(visit: Any, scale: float | None, remember: bool) -> None:
    """On the box's own logits and on invented ones, with history among the likeliest and the least likely."""
    task = found.task(BOX, SENTENCE)
    if scale is None:
        values = found.logits(task).value.values
    else:
        values = (np.random.default_rng(1).standard_normal(20_000) * scale).astype(np.float32)
    order = np.argsort(-values, kind="stable")
    history = [int(order[at]) for at in (0, 2, 40, 3_000, len(order) - 1, 0)]
    place = np.empty(len(order), dtype=int)
    place[order] = np.arange(len(order))
    grid = list(itertools.product((0, 5, 80, 100, 200), (0, 1, 40), (1, 60, 95, 100), (0, 5, 50), (100, 130)))
    asked = [
        {"temperature": t / 100, "topK": k, "topP": p / 100, "minP": m / 100, "penalty": r / 100}
        for t, k, p, m, r in grid
    ]
    source = Path(ROOT / "components/js/moving_generate.js").read_text(encoding="utf-8")
    packed = base64.b64encode(values[order].tobytes()).decode()
    page = visit().page
    made = page.evaluate(FILTER, [source, packed, sorted({int(place[one]) for one in history}), asked, remember])
    for (t, k, p, m, r), stages in zip(grid, made, strict=True):
        sampling = Sampling(temperature=t / 100, top_k=k, top_p=p / 100, min_p=m / 100, repetition_penalty=r / 100)
        ours = filtered(values, sampling, history)
        assert [kept for kept, _, _ in stages] == [one.kept for one in ours], sampling
        for one, (_, probs, logits) in zip(ours, stages, strict=True):
            np.testing.assert_allclose(probs, one.probs[order[:SHOWN]], atol=1e-5)
            shown = [-np.inf if logit is None else logit for logit in logits]
            np.testing.assert_allclose(shown, one.logits[order[:SHOWN]], rtol=1e-6)


def bars(page: Page) -> list[str]:
    return page.locator(".st-key-picture_generate_pipeline ol.pipe b").all_inner_texts()


def test_a_slider_asks_nothing_of_the_server_and_is_kept(visit: Any) -> None:
    page = open_step(visit)
    before = bars(page)
    assert len(before) == len(STAGES) * 10
    slider = page.locator("input[name=generate_temperature]")
    slider.focus()
    page.context.set_offline(True)
    for _ in range(4):
        slider.press("ArrowLeft")
    assert bars(page) != before
    expect(slider).to_have_attribute("aria-valuetext", "0.60")
    page.context.set_offline(False)
    page.reload()
    wait_until_drawn(page)
    slider = page.locator("input[name=generate_temperature]")
    slider.focus()
    slider.press("ArrowLeft")
    expect(page.locator("ol.do li.done", has_text=label("do.slide"))).to_have_count(1)
    wait_until_drawn(page)
    told = page.locator(".st-key-picture_generate_pipeline .readout").inner_text()
    sampling = Sampling(temperature=int(slider.input_value()) / 100, top_k=40, top_p=0.95, repetition_penalty=1.1)
    kept = found.odds(found.task(BOX, SENTENCE), sampling).value[-1].kept
    assert re.search(rf"\b{kept} of 8,192\b", told)
    assert parse_qs(urlsplit(page.url).query)["generate_temperature"] == [slider.input_value()]


def test_who_lets_a_slider_go_writes_with_it(visit: Any) -> None:
    page = open_step(visit, generate_length="20")
    slider = page.locator("input[name=generate_temperature]")
    box = slider.bounding_box()
    slider.hover()
    page.mouse.down()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    expect(slider).to_have_attribute("aria-valuetext", "0.00")
    press(page, "generate_start")
    expect(page.locator(".st-key-csv_generate_write")).to_be_visible()
    wait_until_drawn(page)
    expect(page.locator(".note", has_text=label("write.older"))).to_have_count(0)
    page.locator(".st-key-generate_reseed button").click()
    wait_until_drawn(page)
    expect(page.locator(".st-key-picture_generate_write .badge")).to_have_class(re.compile("badge-cached"))


def test_too_long_wears_the_sign(visit: Any) -> None:
    page = open_step(visit)
    sign = page.locator(".st-key-generate_length .no, .length .no").first
    expect(sign).to_be_hidden()
    slider = page.locator("input[name=generate_length]")
    slider.focus()
    slider.press("End")
    expect(sign).to_be_visible()
    expect(page.locator(".length .costs")).to_contain_text("251")


def test_stop_works_in_mid_stream(visit: Any, standard_kit: tuple[str, ...]) -> None:
    page = visit(locale="en").open(
        "generate", lang="en", box="smollm2-135m-instruct", sentence=SENTENCE, generate_length="400"
    )
    press(page, "generate_start")
    text = page.locator("p.gen-text").first
    expect(text.locator(".gen-cursor")).to_be_visible()
    page.wait_for_function("document.querySelector('p.gen-text').querySelectorAll('[title]').length >= 3")
    press(page, "generate_write_stop")
    expect(text).to_contain_text(label("write.stopped"))
    expect(text.locator(".gen-cursor")).to_have_count(0)
    written = text.inner_text()
    page.wait_for_timeout(1000)
    assert text.inner_text() == written


def test_a_token_is_picked_gone_back_to_and_another_way_taken(visit: Any) -> None:
    page = open_step(visit)
    nodes = page.locator(".st-key-picture_generate_steps .node")
    for rank, count in ((0, 1), (2, 2)):
        page.locator("ol.picks button").nth(rank).click()
        expect(nodes).to_have_count(count)
    wait_until_drawn(page)
    nodes.nth(0).click()
    expect(nodes.nth(0)).to_have_class(re.compile("here"))
    page.locator("ol.picks button").nth(1).click()
    expect(nodes).to_have_count(3)
    expect(page.locator("ol.do li.done", has_text=label("do.branch"))).to_have_count(1)
    wait_until_drawn(page)
    assert len(parse_qs(urlsplit(page.url).query)["generate_path"][0].split(".")) == 2
    nodes.nth(2).focus()
    page.keyboard.press("ArrowUp")
    expect(nodes.nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(nodes.nth(0)).to_be_focused()
    assert urlsplit(page.url).path == "/generate"


def test_markup_that_is_written_stays_text(visit: Any) -> None:
    window = visit(locale="en")
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("generate", lang="en", box=BOX, sentence=SENTENCE, generate_prompt=HOSTILE)
    press(page, "generate_start")
    expect(page.locator(".st-key-csv_generate_write")).to_be_visible()
    wait_until_drawn(page)
    page.locator("ol.picks button").first.click()
    expect(page.locator(".st-key-picture_generate_steps .node")).to_have_count(1)
    assert page.locator("img[src=x]").count() == 0
    assert "onerror" in page.locator("p.gen-text").first.inner_text()
    assert alerts == []


@pytest.mark.parametrize("locale", ["zh-TW", "en"])
def test_it_fits_a_phone(visit: Any, locale: str) -> None:
    page = visit(width=375, locale=locale).open("generate", lang=locale, box=BOX, sentence="the movie was 鬱 😀 good")
    press(page, "generate_beams_start")
    expect(page.locator(".st-key-picture_generate_beams .node").first).to_be_visible()
    press(page, "generate_columns_start")
    expect(page.locator(".st-key-csv_generate_column_2")).to_be_visible()
    wait_until_drawn(page)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
    edges = page.evaluate(
        """() => {
          const found = [...document.querySelectorAll('.gen-text, .gen-facts, .note')];
          for (const host of document.querySelectorAll('*'))
            if (host.shadowRoot) found.push(...host.shadowRoot.querySelectorAll('.view, .scroll, .picks'));
          return found.map((node) => node.getBoundingClientRect().right);
        }"""
    )
    assert max(edges) <= 375
