"""Step 4-2 in a real browser: drafts stream and stop, one is kept and taken away as files, no markup of it is run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from docx import Document
from playwright.sync_api import expect

from lessons import words
from tests.browser.conftest import wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "<img src=x onerror=alert(1)>"


def test_drafts_are_written_kept_and_taken_away(visit) -> None:
    say = words("en")
    window = visit(locale="en", width=375)
    alerts: list[str] = []
    window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page = window.open("content", lang="en", box="gpt2-starter", sentence=f"The movie was good. {HOSTILE}")
    page.locator(".st-key-content_start button").click()
    expect(page.locator(".st-key-content_keep_0 button")).to_be_visible(timeout=200_000)
    wait_until_drawn(page)
    cards = page.locator(".ct-card")
    expect(cards).to_have_count(3)
    for at in range(3):
        met, missed = (cards.nth(at).locator(f"li.{name}").count() for name in ("met", "missed"))
        assert cards.nth(at).locator("header strong").inner_text() == f"{met}/{met + missed}"
        said = cards.nth(at).locator(".ct-demands b").all_inner_texts()
        assert said.count(say("content.met")) == met
    page.locator(".st-key-content_keep_0 button").click()
    editor = page.locator(".st-key-content_editor textarea")
    expect(editor).not_to_have_value("", timeout=60_000)
    own = f"Our weekend\n\nTea {HOSTILE} and https://e.vil/\n- one\n- two"
    editor.fill(own)
    editor.blur()
    expect(page.locator(".st-key-content_docx")).to_be_visible(timeout=60_000)
    wait_until_drawn(page)
    files: dict[str, bytes] = {}
    for name in ("markdown", "docx"):
        with page.expect_download(timeout=60_000) as download:
            page.locator(f".st-key-content_{name} button").click()
        files[name] = Path(download.value.path()).read_bytes()
        wait_until_drawn(page)
    assert files["markdown"].decode().startswith("# Our weekend\n\nTea \\<img")
    shown = [paragraph.text for paragraph in Document(io.BytesIO(files["docx"])).paragraphs]
    assert shown == ["Our weekend", f"Tea {HOSTILE} and https://e.vil/", "one", "two"]
    expect(page.locator(".kit .do li").nth(3)).to_have_class("done")
    wide = page.evaluate("(at => at.scrollWidth - at.clientWidth)(document.querySelector('[data-testid=stMain]'))")
    assert wide <= 0
    assert not alerts
    assert page.locator(".ct-card img").count() == 0
