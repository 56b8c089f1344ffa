"""Step 4-4 in a real browser: both versions run, the board and the answers are there, and nothing of them is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import serve, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "<img src=x onerror=alert(1)>"


def test_versions_are_tried_on_pasted_rows(visit, tmp_path: Path) -> None:
    environment = {
        "LLMKIT_HOME": str(tmp_path / "home"),
        "LLMKIT_JOBS": str(tmp_path / "jobs"),
        "LLMKIT_JOURNAL": str(tmp_path / "journal"),
        "LLMKIT_JOBS_GRACE_S": "1",
    }
    with serve(tmp_path / "server.log", LLMKIT_OFFLINE="1", **environment) as address:
        window = visit(locale="en", address=address, width=375)
        alerts: list[str] = []
        window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page = window.open("prompt_tuning", lang="en", box="gpt2-starter")
        page.locator(".st-key-prompt_tuning_set button").nth(3).click()
        wait_until_drawn(page)
        page.locator(".st-key-prompt_tuning_paste textarea").fill(f"text,expected\nGood {HOSTILE},good\nBad,bad")
        page.locator(".st-key-prompt_tuning_paste textarea").blur()
        wait_until_drawn(page)
        page.locator(".st-key-prompt_tuning_use button").click()
        wait_until_drawn(page)
        expect(page.locator(".tp-diff ins").first).to_be_visible()
        page.locator(".st-key-prompt_tuning_try button").click()
        board = page.locator(".st-key-picture_prompt_tuning_board")
        expect(board.locator(".bars .point")).to_have_count(2, timeout=200_000)  # the second version follows the first
        wait_until_drawn(page)
        expect(page.locator(".kit .do li").nth(2)).to_have_class("done")
        wide = page.evaluate("(at => at.scrollWidth - at.clientWidth)(document.querySelector('[data-testid=stMain]'))")
        assert wide <= 0
        assert not alerts
        page.context.close()
