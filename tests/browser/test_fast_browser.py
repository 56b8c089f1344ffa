"""Step 3-3 in a real browser: the ZIP that is handed over, and a phone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from lessons import words
from tests.browser.conftest import Visit, serve, wait_until_drawn

pytestmark = pytest.mark.browser

NewVisit = Callable[..., Visit]
BOX = "gpt2-starter"


@pytest.fixture(scope="module")
def quick_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app whose export is packed at once: what is tested is how it is handed over."""
    place = tmp_path_factory.mktemp("fast")
    kinds = {"onnx": "run_onnx_with_form", "onnx_zip": "run_zip"}
    own = {
        "LLMKIT_HOME": str(place / "home"),
        "LLMKIT_JOBS": str(place / "jobs"),
        "LLMKIT_JOURNAL": str(place / "journal"),
        "LLMKIT_TEST_KINDS": ",".join(f"{kind}=tests.pages.fast_tasks:{name}" for kind, name in kinds.items()),
        "LLMKIT_JOBS_GRACE_S": "1",
    }
    with serve(place / "server.log", **own) as address:
        yield address


def test_export_pack_and_download(visit: NewVisit, quick_address: str, tmp_path: Path) -> None:
    say = words("en")
    page = visit(locale="en", address=quick_address).open("fast", lang="en", box=BOX)
    page.get_by_role("button", name=say("fast.export.run"), exact=True).click()
    expect(page.locator(".fast-way.is-made")).to_be_visible(timeout=60_000)
    wait_until_drawn(page)
    expect(page.locator("ol.do li.done", has_text=say("fast.do.export"))).to_have_count(1)
    page.get_by_text(say("fast.view.after"), exact=True).first.click()
    expect(page.locator("ol.do li.done", has_text=say("fast.do.look"))).to_have_count(1)
    page.get_by_role("button", name=say("fast.take.run"), exact=True).click()
    button = page.get_by_role("button", name="box-onnx.zip")
    expect(button).to_be_visible(timeout=60_000)
    wait_until_drawn(page)
    with page.expect_download() as handed:
        button.click()
    handed.value.save_as(tmp_path / "box.zip")
    assert handed.value.suggested_filename == "box-onnx.zip"
    with zipfile.ZipFile(tmp_path / "box.zip") as archive:
        assert archive.read("box-onnx/README.md") == b"card"
    assert Axe().run(page).response["violations"] == []


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_phone_does_not_scroll_sideways(visit: NewVisit, quick_address: str, lang: str) -> None:
    window = visit(width=375, height=812, locale=lang, dark=lang == "en", address=quick_address)
    page = window.open("fast", lang=lang, box=BOX)
    expect(page.locator(".fast-way")).to_be_visible()
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]
    assert Axe().run(page).response["violations"] == []
