"""Step 2-3 in a real browser: the jobs run, then ways, dial, cells and rows are looked at without the server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from lessons import words
from llmkit import jobs
from llmkit.tune.ways.runner import FILE
from llmkit.tune.ways.task import open_task
from tests.browser.conftest import serve, wait_until_drawn
from tests.llmkit.test_ways import HOSTILE, keep, labelled_rows

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def line(page: Page, name: str) -> dict[str, str]:
    """A way's numbers as the board shows them."""
    row = page.locator(".line", has=page.get_by_role("button", name=name, exact=True))
    return {key: row.locator(f".{key} b").inner_text() for key in ("accuracy", "f1")}


def test_ways_are_run_and_looked_at(visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    say, home, place = words("en"), tmp_path / "home", tmp_path / "jobs"
    monkeypatch.setenv("LLMKIT_HOME", str(home))
    data = keep([(f"{text} {HOSTILE}", label) for text, label in labelled_rows((HOSTILE, "good", "bad"), 70)])
    task = open_task({"data": data, "sample": 200})
    environment = {"LLMKIT_HOME": str(home), "LLMKIT_JOBS": str(place), "LLMKIT_JOBS_GRACE_S": "1"}
    with serve(tmp_path / "server.log", LLMKIT_OFFLINE="1", **environment) as address:
        window = visit(locale="en", address=address, width=375)
        alerts: list[str] = []
        window.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
        page = window.open("classify", lang="en", box="gpt2-starter", data=data)
        page.locator(".st-key-classify_run button").click()
        expect(page.locator(".line .dot")).to_have_count(5, timeout=200_000)
        wait_until_drawn(page)

        monkeypatch.setenv("LLMKIT_JOBS", str(place))
        job = next(jobs.get(one.id) for one in jobs.all_jobs() if "neighbours" in one.settings["ways"])
        facts = job.result["ways"]["neighbours"]
        judged = np.load(jobs.folder(job.id) / FILE)["neighbours"].argmax(-1)  # [places, N]
        truth = np.array(task.numbers(task.test))

        name = say("classify.way.neighbours")
        page.get_by_role("button", name=name, exact=True).click()
        dial = page.locator(".detail input[type=range]")
        asked: list[str] = []
        page.on("websocket", lambda socket: asked.append(socket.url))
        dial.focus()
        for key, at in (("Home", 0), ("End", len(facts["dial"]) - 1), ("ArrowLeft", len(facts["dial"]) - 2)):
            dial.press(key)
            score = facts["scores"][at]
            assert line(page, name) == {"accuracy": f"{100 * score['accuracy']:.0f}%", "f1": f"{score['f1']:.2f}"}
            cells = [int(text) for text in page.locator(".matrix button").all_inner_texts()]
            assert cells == [int(((truth == i) & (judged[at] == j)).sum()) for i in range(3) for j in range(3)]

        at = len(facts["dial"]) - 2
        table = np.bincount(3 * truth + judged[at], minlength=9)
        cell = divmod(int(table.argmax()), 3)
        button = page.locator(".matrix button").nth(3 * cell[0] + cell[1])
        button.click()
        inside = [row.text for row, i, j in zip(task.test, truth, judged[at], strict=True) if (i, j) == cell]
        shown = page.locator(".opened li bdi").all_inner_texts()
        assert sorted(shown) == sorted(inside)[:40] if len(inside) <= 40 else set(shown) <= set(inside)
        wait_until_drawn(page)
        expect(page.locator(".kit .do li").nth(1)).to_have_class("done")
        expect(page.get_by_text(say("classify.moved", ways=name))).to_be_visible()

        page.locator(".matrix button").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        focused = page.evaluate(
            "() => { let at = document.activeElement; while (at?.shadowRoot) at = at.shadowRoot.activeElement;"
            " return at.getAttribute('aria-label'); }"
        )
        assert focused == page.locator(".matrix button").nth(4).get_attribute("aria-label")
        assert "2-3" in page.locator(".step-number").inner_text()  # arrows have turned no page
        wide = page.evaluate("(at => at.scrollWidth - at.clientWidth)(document.querySelector('[data-testid=stMain]'))")
        assert wide <= 0
        assert not alerts
        assert not asked
