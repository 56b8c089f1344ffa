"""Step 4-3 in a real browser: a job reads a column, markup in cells and answers stays text, files come out."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from playwright.sync_api import expect

from lessons import words
from tests.browser.conftest import serve, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) ![y](https://evil.example/y.png)"


def test_a_hostile_table_is_read_and_taken_away(visit, tmp_path: Path) -> None:
    say = words("en")
    file = tmp_path / "hostile.csv"
    rows = [(f"{HOSTILE} {n}" if n % 3 else f"=HYPERLINK({n})", HOSTILE if n % 2 else "+other", n) for n in range(40)]
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows([("text", "<img src=x onerror=alert(1)>", "n"), *rows])
    environment = {"LLMKIT_HOME": str(tmp_path / "home"), "LLMKIT_JOBS": str(tmp_path / "jobs")}
    with serve(tmp_path / "server.log", LLMKIT_OFFLINE="1", LLMKIT_JOBS_GRACE_S="1", **environment) as address:
        window = visit(locale="en", address=address, width=375)
        alerts: list[str] = []
        window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page = window.open("analysis", lang="en", box="gpt2-starter")
        page.get_by_text(say("analysis.source"), exact=True).click()
        page.get_by_text(say("analysis.from.file"), exact=True).click()
        wait_until_drawn(page)
        page.locator("input[type=file]").set_input_files(str(file))
        expect(page.locator(".kit")).to_contain_text("40×", timeout=60_000)
        wait_until_drawn(page)

        page.locator(".st-key-analysis_read_start button").click()
        expect(page.get_by_text(say("analysis.sure.classify"))).to_be_visible(timeout=120_000)
        wait_until_drawn(page)
        expect(page.locator(".kit")).to_contain_text("5×")  # two columns more

        with page.expect_download() as coming:
            page.locator(".st-key-analysis_save_csv button").click()
        content = Path(coming.value.path()).read_bytes().decode("utf-8-sig")
        saved = list(csv.reader(io.StringIO(content)))
        assert len(saved) == 41
        assert len(saved[0]) == 5
        assert not [cell for row in saved for cell in row if cell.startswith(("=", "+", "@"))]
        wait_until_drawn(page)
        expect(page.locator(".kit .do li").nth(3)).to_have_class("done")

        assert not alerts
        assert page.locator("[data-testid=stMain] img[src*='evil'], [data-testid=stMain] img[src='x']").count() == 0
        assert page.locator("[data-testid=stMain] a[href^='javascript']").count() == 0
        wide = page.evaluate("(at => at.scrollWidth - at.clientWidth)(document.querySelector('[data-testid=stMain]'))")
        assert wide <= 0
