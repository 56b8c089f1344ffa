"""Step 1-3 in a real browser: markup stays text, nothing spills over, sliders answer."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from components import engine
from components import positions_engine as found
from lessons import words
from llmkit.parts import SinusoidalPositions

pytestmark = pytest.mark.browser

BOX = "gpt2-starter"
FIGURES = 2
SENTENCE = "The movie was really very good."


def readout(page: Page, name: str) -> str:
    return page.locator(f".st-key-picture_positions_{name} .readout").inner_text().replace("−", "-")


def canvas(page: Page, name: str) -> Locator:
    return page.locator(f".st-key-picture_positions_{name} canvas")


def move(page: Page, slider: str, *keys: str) -> None:
    for key in keys:
        page.locator(f"input[name={slider}]").press(key)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


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
    for name in ("waves", "alike", "learned", "learned_near", "clocks", "turned_scores", "alibi"):
        expect(canvas(page, name)).to_be_visible()
    edges = page.evaluate(
        "() => [document, ...[...document.querySelectorAll('*')].map(node => node.shadowRoot).filter(Boolean)]"
        ".flatMap(root => [...root.querySelectorAll('.js-plotly-plot, .note, .moved, canvas, .controls label')])"
        ".map(n => n.getBoundingClientRect().right)"
    )
    assert max(edges) <= 375


def test_waves_in_the_browser_are_the_parts(visit) -> None:
    page = visit(locale="en").open("positions", lang="en", box=BOX, sentence=SENTENCE)
    page.context.set_offline(True)
    move(page, "positions_length", "ArrowRight")
    move(page, "positions_d_model", "Home", "ArrowRight")
    move(page, "positions_base", "ArrowLeft")
    rows = SinusoidalPositions(d_model=16, base=1_000).added(torch.arange(72)).numpy()
    canvas(page, "waves").press("ArrowDown")
    for key, cell in (("ArrowDown", (1, 0)), ("ArrowRight", (1, 1)), ("ArrowRight", (1, 2)), ("ArrowDown", (2, 2))):
        canvas(page, "waves").press(key)
        assert numbers(readout(page, "waves")) == [*cell, pytest.approx(rows[cell], abs=5.1e-5)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    alike = unit @ unit[0]
    assert numbers(readout(page, "alike")) == pytest.approx([alike[1], 71, alike[-1]], abs=5.1e-4)
    page.context.set_offline(False)


def test_turned_pairs_in_the_browser_are_numpys(visit) -> None:
    page = visit(locale="en").open("positions", lang="en", box=BOX, sentence=SENTENCE)
    trace = engine.trace(BOX, SENTENCE, ("q", "k")).value
    (qa, qb), (ka, kb) = (np.split(trace[name][0][0, at].astype(float), 2) for name, at in (("q", -1), ("k", 0)))
    half = len(qa)
    angles = 10_000.0 ** (-np.arange(half) / half)
    q, k = (qa + 1j * qb, ka + 1j * kb)  # a pair is a number of the plane, turned by e^(i m angle)
    page.context.set_offline(True)
    move(page, "positions_turn", "ArrowRight", "ArrowRight", "ArrowRight")
    move(page, "positions_distance", "ArrowRight")
    m, n = 8, 3
    turned_q, turned_k = q * np.exp(1j * m * angles), k * np.exp(1j * n * angles)
    score = (turned_q * turned_k.conj()).real.sum() / np.sqrt(2 * half)
    told = numbers(readout(page, "turned_scores"))
    assert told[:4] == [m, n, pytest.approx(score, abs=2e-4), m - n]
    assert told[4:] == pytest.approx([score, score], abs=1e-3)
    clocks = canvas(page, "clocks")
    clocks.press("ArrowRight")
    for _ in range(3):
        pair, of_q, of_k, between = numbers(readout(page, "clocks"))
        drawn = np.exp(1j * np.radians([of_q, of_k, between]))
        at = int(pair)
        exact = np.array([turned_q[at], turned_k[at], turned_q[at] / turned_k[at]])
        np.testing.assert_allclose(drawn, exact / abs(exact), atol=2e-3)
        clocks.press("ArrowRight")
    page.context.set_offline(False)


def test_slopes_and_likeness_in_the_browser_are_the_references(visit) -> None:
    page = visit(locale="en").open("positions", lang="en", box=BOX, sentence=SENTENCE)
    page.context.set_offline(True)
    move(page, "positions_heads", "ArrowLeft", "ArrowLeft")
    expected = build_alibi_tensor(torch.ones(1, 9, dtype=torch.long), 6, torch.float32)[:, 0].numpy()
    alibi = canvas(page, "alibi")
    alibi.press("ArrowDown")
    alibi.press("ArrowDown")
    for distance in (1, 2):
        alibi.press("ArrowRight")
        assert numbers(readout(page, "alibi")) == [1, distance, pytest.approx(-expected[1, distance], abs=5.1e-4)]
    move(page, "positions_row", "Home", "ArrowRight")
    likeness = found.learned(BOX).value.likeness[1].copy()
    likeness[1] = -2
    best = int(likeness.argmax())
    assert numbers(readout(page, "learned_near")) == [best, 1, pytest.approx(likeness[best], abs=5.1e-4)]
    page.context.set_offline(False)


def test_another_order_is_read_and_ticks(visit) -> None:
    say = words("en")
    page = visit(locale="en").open("positions", lang="en", box=BOX, sentence="The movie was really very good.")
    page.get_by_role("radiogroup", name=say("positions.shuffle.way")).get_by_text(say("positions.way.away")).click()
    expect(page.locator("ol.do li.done", has_text=say("positions.do.shuffle"))).to_have_count(1)
