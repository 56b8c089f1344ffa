"""Step 0 in a real browser: a box arrives from a slow hub, survives a reload, can be stopped and fetched again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from safetensors.numpy import save

from lessons import words
from tests.browser.conftest import serve, wait_until_drawn
from tests.llmkit.fakes.hub import FakeHub

pytestmark = pytest.mark.browser

BOX = "hub:a/b"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    """A hub whose box of four megabytes takes some ten seconds."""
    with FakeHub() as hub:
        weights = np.ones((1000, 1000), dtype=np.float32)
        hub.put({"config.json": b'{"model_type": "gpt2"}', "model.safetensors": save({"wte.weight": weights})})
        hub.behaviour.pause_s = 0.04
        yield hub


@pytest.fixture
def address(tmp_path: Path, hub: FakeHub) -> Iterator[str]:
    """A server with an empty shelf, whose hub is the one above."""
    outside = {"HF_ENDPOINT": hub.address, "HF_TOKEN": "", "NO_PROXY": "127.0.0.1", "LLMKIT_OFFLINE": ""}
    with serve(tmp_path / "server.log", LLMKIT_HOME=str(tmp_path / "home"), **outside) as address:
        yield address


def get(page: Page, say, name: str) -> None:
    page.get_by_text(say("unbox.get.other")).click()
    field = page.get_by_role("textbox", name=say("unbox.own"), exact=True)
    field.fill(name)
    field.press("Enter")
    page.get_by_role("button", name=say("unbox.own.use"), exact=True).click()


def test_a_box_is_watched_stopped_and_fetched_again(visit, address: str, hub: FakeHub, tmp_path: Path) -> None:
    say = words("en")
    page = visit(locale="en", address=address).open("", lang="en")
    get(page, say, "a/b")
    told = page.locator(".stMain [data-testid=stProgress]")
    expect(told).to_contain_text(re.compile(r"MB / 4 MB · .+/s · \d+ s left"), timeout=15_000)
    page.reload()
    wait_until_drawn(page)
    expect(told).to_contain_text("MB / 4 MB")
    page.get_by_role("button", name=say("unbox.get.cancel", box=BOX)).click()
    again = page.get_by_role("button", name=say("unbox.get.again", box=BOX))
    expect(again).to_be_visible(timeout=15_000)
    expect(page.get_by_text(say("common.error.cancelled", box=BOX))).to_be_visible()
    hub.behaviour.pause_s = 0.0
    again.click()
    expect(page.get_by_text(say("unbox.get.done", box=BOX))).to_be_visible(timeout=15_000)
    assert any((one.start or 0) > 0 for one in hub.asked_for("model.safetensors"))  # it went on where it had stopped
    assert list((tmp_path / "home").rglob("model.safetensors"))
    page.context.close()


def test_a_hub_that_has_no_such_box_is_said(visit, address: str) -> None:
    say = words("zh-TW")
    page = visit(width=375, dark=True, address=address).open("", lang="zh-TW")
    get(page, say, "no/such")
    expect(page.get_by_text(say("common.error.no_source", box="hub:no/such"))).to_be_visible(timeout=20_000)
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 375
    page.context.close()


def test_without_a_network_the_way_out_is_said(visit, tmp_path: Path) -> None:
    say = words("en")
    quiet = {"LLMKIT_HOME": str(tmp_path / "home"), "LLMKIT_OFFLINE": "1"}
    with serve(tmp_path / "server.log", **quiet) as address:
        page = visit(locale="en", address=address).open("", lang="en")
        page.locator(".st-key-unbox_get_kit button").click()
        expect(page.get_by_text(say("common.error.offline", box="minilm-l6"))).to_be_visible(timeout=15_000)
        page.context.close()
