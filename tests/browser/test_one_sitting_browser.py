"""From Unbox to Done in one sitting, page by page, and the next day all of it is still there."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from lessons import registry, words
from tests.browser.conftest import Visit, wait_until_drawn
from tests.browser.deployments import app_with_home, expect_ready, press

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

SOON_MS = 120_000
BOX = "gpt2-starter"
STEPS = registry.available()
NOTE = "筆記 note <b>"
QUERY = {"chatbot_length": "12", "chatbot_temperature": "0.0"}


def keep_a_note_and_predict(page: Page, lang: str) -> None:
    say = words(lang)
    page.locator("[class*=st-key-guess_tokens] [role=radiogroup] label").first.click()
    page.locator("[class*=st-key-run_tokens] button").first.click()
    expect(page.locator("[class*=st-key-check_tokens] [data-testid=stAlert]").first).to_be_visible(timeout=SOON_MS)
    notes = page.get_by_label(say("common.notes"))
    notes.fill(NOTE)
    notes.press("Control+Enter")
    expect(page.get_by_text(say("common.notes.kept"))).to_be_visible(timeout=SOON_MS)


def fit_the_weights(page: Page, lang: str) -> None:
    press(page, "build_lay")
    press(page, "build_fit_start")
    expect(page.locator("ol.do li.done", has_text=words(lang)("build.do.load"))).to_have_count(1, timeout=SOON_MS)


def export(page: Page, lang: str) -> None:
    press(page, "fast_export_start")
    expect(page.locator(".fast-way.is-made")).to_be_visible(timeout=SOON_MS)


def deploy(page: Page, lang: str) -> None:
    press(page, "deploy_start")
    expect_ready(page)


def chat(page: Page, lang: str) -> None:
    field = page.locator('[data-testid="stChatInputTextArea"]')
    expect(field).to_be_enabled(timeout=SOON_MS)
    field.fill("The movie was")
    field.press("Enter")
    expect(page.locator(".chat-facts")).to_have_count(1, timeout=SOON_MS)


def take_it_away(page: Page, lang: str, place: Path) -> None:
    press(page, "done_parcel_start")
    button = page.locator(".st-key-done_zip button")
    expect(button).to_be_visible(timeout=SOON_MS)
    wait_until_drawn(page)
    for key, name in (("done_pdf", "sheet.pdf"), ("done_zip", "machine.zip")):
        with page.expect_download(timeout=SOON_MS) as handed:
            page.locator(f".st-key-{key} button").click()
        handed.value.save_as(place / name)
        wait_until_drawn(page)
    assert (place / "sheet.pdf").read_bytes().startswith(b"%PDF")
    with zipfile.ZipFile(place / "machine.zip") as opened:
        assert opened.testzip() is None
        names = {name.partition("/")[2] for name in opened.namelist()}
    assert {"README.md", "assembly-sheet.pdf", "box/model.safetensors", "server/Dockerfile"} <= names
    assert "onnx-float32/model.onnx" in names


WORK: dict[str, Callable[[Page, str], None]] = {
    "tokens": keep_a_note_and_predict,
    "build": fit_the_weights,
    "fast": export,
    "deploy": deploy,
    "chatbot": chat,
}
"""What is done on the way, by the step's slug; on the others the page is opened and left."""


def plates(page: Page) -> list[str]:
    """The stages that were done, as they stand on the sheet."""
    return page.locator("ol.machine li:not(.ghost) h2").all_inner_texts()


@pytest.mark.parametrize(("lang", "width"), [("en", 1280), ("zh-TW", 375)])
def test_from_unbox_to_done_and_back_the_next_day(
    visit: Callable[..., Visit], tmp_path: Path, lang: str, width: int
) -> None:
    say, home = words(lang), tmp_path / "app"
    home.mkdir()
    with app_with_home(home, to_be_continued=True) as address:
        page = visit(address=address, locale=lang, width=width).open("", lang=lang, box=BOX, **QUERY)
        for step in STEPS:
            expect(page.locator("h1")).to_have_text(say(step.key("title")), timeout=SOON_MS)
            wait_until_drawn(page)
            expect(page.locator("[data-testid=stException]")).to_have_count(0)
            if step.slug in WORK:
                WORK[step.slug](page, lang)
                wait_until_drawn(page)
            if step is not STEPS[-1]:
                page.locator(".st-key-go_next a").click()
        built = plates(page)
        assert len(built) == 4  # box, fitted, in another form, deployed
        take_it_away(page, lang, tmp_path)
    with app_with_home(home) as address:
        page = visit(address=address, locale=lang, width=width).open("done", lang=lang, box=BOX)
        assert plates(page) == built
        expect(page.locator("ol.do li:is(.done, .before)")).to_have_count(len(registry.step("done").do))
        page = visit(address=address, locale=lang, width=width).open("notebook", lang=lang, box=BOX)
        expect(page.get_by_text(NOTE, exact=True)).to_be_visible(timeout=SOON_MS)
        page = visit(address=address, locale=lang, width=width).open("fast", lang=lang, box=BOX)
        expect(page.locator("ol.do li:is(.done, .before)", has_text=say("fast.do.export"))).to_have_count(1)
        expect(page.locator(".fast-way.is-made")).to_be_visible(timeout=SOON_MS)
