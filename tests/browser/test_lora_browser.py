"""Step 3-4 in a real browser: what a rank keeps of ΔW is computed there as the library does."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from components.lora_engine import FULL, Picture
from components.lora_engine import picture as take_apart
from lessons import words
from llmkit import jobs
from llmkit.jobs import DirectReport
from llmkit.tune.adapter_job import run_train
from llmkit.tune.adapter_shelf import adapters_here
from tests.browser.conftest import Visit, serve, turn_and_return, wait_until_drawn
from tests.pages.test_lora_page import settings_of

pytestmark = pytest.mark.browser

NewVisit = Callable[..., Visit]
VIEW = ".st-key-picture_lora_inside .view"
RANK = 6
say = words("en")

Served = tuple[str, str, Picture]
"""The app's address, the box, and its adapter taken apart."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The app with a box and an adapter that has just been trained."""
    place = tmp_path_factory.mktemp("lora")
    own = {name: str(place / name.lower()) for name in ("LLMKIT_HOME", "LLMKIT_JOBS", "LLMKIT_JOURNAL")}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setenv(name, value)
        settings = settings_of(place, rank=RANK, targets=["q", "v", "down"])
        run_train(settings, DirectReport(place))
        shown = take_apart(adapters_here(settings["box_id"])[0]).value
        with serve(place / "server.log", **own, LLMKIT_JOBS_GRACE_S="1") as address:
            yield address, settings["box_id"], shown
        jobs.stop()


def told(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.locator(f"{VIEW}[data-k]").evaluate("view => ({...view.dataset})")
    return found


def rebuilt(shown: Picture, at: int, k: int) -> float:
    """The sum of squares of ΔW's corner from k directions, of the whole numbers that the browser got."""
    data, from_ = shown.sent(), 0
    blob = np.frombuffer(base64.b64decode(data["bytes"]), dtype=np.int8)
    scales = np.frombuffer(base64.b64decode(data["scales"]), dtype="<f4")
    tables = []
    for piece, table in enumerate(table for corner in shown.corners for table in corner):
        values = blob[from_ : from_ + table.size].reshape(table.shape).astype(np.float32) * scales[piece]
        assert np.abs(values - table).max() <= np.abs(table).max() / FULL
        tables.append(values.astype(np.float64))
        from_ += table.size
    left, right = tables[5 * at + 3], tables[5 * at + 4]
    return float(((left[:, :k] @ right[:k]) ** 2).sum())


def check(page: Page, shown: Picture, name: str, k: int) -> None:
    """What the browser says of a matrix at a rank is what the library makes of the whole ΔW."""
    found, at = told(page), [one.name for one in shown.changed].index(name)
    changed = shown.changed[at]
    assert (found["name"], int(found["k"])) == (name, k)
    assert float(found["error"]) == pytest.approx(changed.error(k), rel=1e-5, abs=1e-6 * changed.norm)
    assert float(found["whole"]) == pytest.approx(changed.norm, rel=1e-5)
    assert float(found["sum"]) == pytest.approx(rebuilt(shown, at, k), rel=1e-4)


def test_rank_and_matrix_are_chosen_in_the_browser(visit: NewVisit, served: Served) -> None:
    address, box_id, shown = served
    page = visit(locale="en", address=address).open("lora", lang="en", box=box_id)
    first = shown.changed[shown.most_changed]
    check(page, shown, first.name, RANK // 2)
    rank, layer, matrix = (page.locator(f"{VIEW} input.{name}") for name in ("rank", "layer", "matrix"))
    for at, kind in enumerate(shown.matrices):
        matrix.press("Home")
        for _ in range(at):
            matrix.press("ArrowRight")
        for n in (0, 1):
            layer.press("Home" if n == 0 else "End")
            name = next(one.name for one in shown.changed if (one.layer, one.matrix) == (n, kind))
            rank.press("Home")
            check(page, shown, name, 1)
            rank.press("ArrowRight")
            check(page, shown, name, 2)
            rank.press("End")
            check(page, shown, name, RANK)
    cells = page.locator(f"{VIEW} .map canvas")
    cells.focus()
    cells.press("ArrowUp")
    cells.press("ArrowLeft")
    check(page, shown, next(one.name for one in shown.changed if (one.layer, one.matrix) == (0, "v")), RANK)
    page.wait_for_timeout(800)
    wait_until_drawn(page)
    expect(page.locator("ol.do li.done", has_text=say("lora.do.rank"))).to_have_count(1)
    assert Axe().run(page).response["violations"] == []


def test_who_comes_back_finds_the_matrix_as_it_was(visit: NewVisit, served: Served) -> None:
    address, box_id, _ = served
    page = visit(locale="en", address=address).open("lora", lang="en", box=box_id)
    page.locator(f"{VIEW} input.layer").press("Home")
    page.locator(f"{VIEW} input.rank").press("Home")
    left = told(page)
    expect(page.locator("ol.do li.done", has_text=say("lora.do.rank"))).to_have_count(1)
    turn_and_return(page)
    expect(page.locator(f"{VIEW} input.rank")).to_be_visible()
    assert told(page) == left


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_phone_does_not_scroll_sideways(visit: NewVisit, served: Served, lang: str) -> None:
    address, box_id, _ = served
    page = visit(width=375, height=812, locale=lang, dark=lang == "en", address=address).open(
        "lora", lang=lang, box=box_id
    )
    expect(page.locator(f"{VIEW}[data-k]")).to_be_visible()
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
    assert page.locator(VIEW).evaluate("view => view.getBoundingClientRect().right") <= 375
    assert Axe().run(page).response["violations"] == []
