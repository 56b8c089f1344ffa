"""An app with a home of its own, so that what a test deploys is all there is; everything is ended afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from llmkit.serve import process
from llmkit.serve.deployment import Deployment
from tests.browser.conftest import serve

SOON_MS = 60_000
"""A server is ready so soon, on a slow machine, too."""


@contextmanager
def app_with_home(place: Path, *, to_be_continued: bool = False) -> Iterator[str]:
    """Start an app whose home is in this folder; yield its address. What it deployed is forgotten at the end."""
    own = {"LLMKIT_HOME": place / "home", "LLMKIT_JOBS": place / "jobs", "LLMKIT_JOURNAL": place / "journal"}
    environment = {name: str(path) for name, path in own.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        try:
            with serve(
                place / "server.log", **environment, LLMKIT_JOBS_GRACE_S="1", LLMKIT_SERVE_GRACE_S="1"
            ) as address:
                yield address
        finally:
            if not to_be_continued:
                end_all()
    assert "Traceback" not in (place / "server.log").read_text()


def end_all() -> None:
    """Stop whatever runs, and forget all of it."""
    for one in process.deployments():
        assert not process.stop(one.id).alive
        process.forget(one.id)


def expect_accessible(page: Page) -> None:
    """Wait until axe finds nothing: what is drawn anew just now is pale on a slow machine."""
    deadline = time.monotonic() + SOON_MS / 1000
    while found := Axe().run(page).response["violations"]:
        told = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def script_errors(page: Page) -> list[str]:
    """A list that every error of the page's scripts is written into, from now on."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def the_one() -> Deployment:
    """The deployment that lives."""
    (one,) = (one for one in process.deployments() if one.alive)
    return one


def press(page: Page, key: str) -> None:
    """Press the button whose key begins so."""
    page.locator(f'[class*="st-key-{key}"] button').first.click()


def expect_ready(page: Page) -> None:
    """Wait until the page says by itself that its server is ready."""
    expect(page.locator(".place.is-ready")).to_be_visible(timeout=SOON_MS)
