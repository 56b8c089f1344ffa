"""Step 3-1 in a real browser: the corner is rounded there as the library rounds it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from components.quantise_engine import COLUMNS, ROWS
from lessons import words
from llmkit.compress.matrix import Kind, Per, Scheme, quantise
from llmkit.reference import open_box
from tests.browser.conftest import Visit, turn_and_return, wait_until_drawn

pytestmark = pytest.mark.browser

NewVisit = Callable[..., Visit]
BOX, LAYER, NAME = "gpt2-starter", 1, "feed_forward.down"
VIEW = ".st-key-picture_quantise_inside .view"
say = words("en")

HOLD_BACK = """
  const send = WebSocket.prototype.send, held = [];
  WebSocket.prototype.send = function (...told) { window.holding ? held.push([this, told]) : send.apply(this, told); };
  window.letGo = () => { window.holding = false; held.splice(0).forEach(([to, told]) => send.apply(to, told)); };
"""
"""While ``window.holding``, nothing that the page tells the server gets there."""


def told(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.locator("[data-bits][data-square]").evaluate("view => ({...view.dataset})")
    return found


def weights() -> np.ndarray:
    """[192, 768]: a row is wider than the corner that is drawn."""
    parts = dict(open_box(BOX).model.layers[LAYER].named_parameters())
    return parts[f"{NAME}.weight"].detach().numpy()


def check_rounding(page: Page, matrix: np.ndarray, bits: int, per: Per, kind: Kind) -> None:
    """What the browser says is what the library makes of the whole matrix, in the same corner."""
    found = told(page)
    assert (found["bits"], found["per"], found["kind"]) == (str(bits), str(per), kind)
    made = quantise(matrix, Scheme(bits=bits, per=per, kind=kind))
    corner = matrix[:ROWS, :COLUMNS]
    codes, back = made.codes[:ROWS, :COLUMNS], made.weights[:ROWS, :COLUMNS]
    row, column = int(found["row"]), int(found["column"])
    at = (0, 0) if per == "tensor" else (row, column // per if isinstance(per, int) else 0)
    assert int(found["sum"]) == int(codes.sum(dtype=np.int64))
    assert int(found["code"]) == codes[row, column]
    assert np.float32(found["scale"]) == made.scale[at]
    assert int(found["zero"]) == made.zero_point[at]
    assert np.float32(found["back"]) == back[row, column]
    gone = back.astype(np.float64) - corner
    assert float(found["square"]) == pytest.approx(float((gone**2).sum()), rel=1e-9)
    assert float(found["most"]) == pytest.approx(float(np.abs(gone).max()), rel=1e-9)


def test_keys_round_in_the_browser_as_the_library_does(visit: NewVisit) -> None:
    window = visit(locale="en")
    window.page.add_init_script(HOLD_BACK)
    page = window.open("quantise", lang="en", box=BOX, layer=str(LAYER))
    page.locator(".st-key-quantise_name input").first.click()
    page.get_by_role("option", name=re.compile(re.escape(NAME))).click()
    wait_until_drawn(page)
    matrix = weights()
    check_rounding(page, matrix, 4, "channel", "symmetric")
    page.evaluate("window.holding = true")  # the server hears nothing from here on
    bits, per = page.locator("input.bits"), page.locator("input.per")
    pers: tuple[Per, ...] = ("tensor", "channel", 256, 128, 64, 32, 16)
    kinds: tuple[Kind, ...] = ("symmetric", "asymmetric")
    for kind in kinds:
        page.locator(f"button[data-kind={kind}]").press("Enter")
        bits.press("Home")
        for at, n in enumerate((8, 4, 3, 2)):
            if at:
                bits.press("ArrowRight")
            per.press("Home")
            for step, size in enumerate(pers):
                if step:
                    per.press("ArrowRight")
                check_rounding(page, matrix, n, size, kind)
    view = page.locator("[data-bits][data-square]")
    view.focus()
    for key, row, column in (("Home", None, 0), ("PageDown", ROWS - 1, 0), ("ArrowUp", ROWS - 2, 0)):
        page.keyboard.press(key)
        found = told(page)
        assert int(found["column"]) == column
        assert row is None or int(found["row"]) == row
        check_rounding(page, matrix, 2, 16, "asymmetric")
    page.evaluate("window.letGo()")
    page.wait_for_timeout(600)
    wait_until_drawn(page)
    for done in ("quantise.do.round", "quantise.do.point"):
        expect(page.locator("ol.do li.done", has_text=say(done))).to_have_count(1)
    check_rounding(page, matrix, 2, 16, "asymmetric")
    assert Axe().run(page).response["violations"] == []


def test_who_comes_back_finds_the_rounding_as_it_was(visit: NewVisit) -> None:
    page = visit(locale="en").open("quantise", lang="en", box=BOX, layer=str(LAYER))
    page.locator(".st-key-quantise_name input").first.click()
    page.get_by_role("option", name=re.compile(re.escape(NAME))).click()
    wait_until_drawn(page)
    page.locator("input.bits").press("End")
    page.locator("input.per").press("End")
    page.locator("button[data-kind=asymmetric]").press("Enter")
    view = page.locator("[data-bits][data-square]")
    view.focus()
    view.press("PageDown")
    left = told(page)
    expect(page.locator("ol.do li.done", has_text=say("quantise.do.round"))).to_have_count(1)
    turn_and_return(page)
    expect(view).to_be_visible()
    assert told(page) == left
    assert (left["bits"], left["per"], left["kind"], left["row"]) == ("2", "16", "asymmetric", str(ROWS - 1))


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_phone_does_not_scroll_sideways(visit: NewVisit, lang: str) -> None:
    page = visit(width=375, height=812, locale=lang, dark=lang == "en").open("quantise", lang=lang, box=BOX)
    expect(page.locator("[data-bits][data-square]")).to_be_visible()
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
    assert page.locator("[data-bits][data-square]").evaluate("view => view.getBoundingClientRect().right") <= 375
    assert Axe().run(page).response["violations"] == []
