"""The app in a real browser: one server and one Chromium for the whole run.

Chromium is Debian's (/usr/bin/chromium) or Playwright's own. With CI=true a missing browser is a failure.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request, expect, sync_playwright

expect.set_options(timeout=30_000)  # two browsers, their servers and their jobs may share two cores

ROOT = Path(__file__).parents[2]
DEBIAN_CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DRAWN = '[data-testid="stApp"][data-test-script-state="notRunning"]'

STATE = """selector => {
  const roots = [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")].map((host) => host.shadowRoot);
  const empty = roots.some((root) => !root?.childElementCount
    || (root.childElementCount === 1 && root.firstElementChild.childElementCount));
  return [!!document.querySelector(selector) && !empty, document.body.innerHTML.length].join();
}"""
"""Whether the script has finished and every picture of our own, too, has more in it than its style; and how long the
page is. A picture's script comes later than its place on the page."""


@dataclass(kw_only=True)
class Visit:
    """One browser window on the app, with every request that it made to another machine.

    Args:
        page: Playwright's page.
        address: where the app answers.
        outside: addresses on other hosts that the page asked for.
    """

    page: Page
    address: str
    outside: list[str] = field(default_factory=list)

    def open(self, path: str = "", **query: str) -> Page:
        """Open a page of the app ("tokens") with the given query string and wait until it is drawn."""
        self.page.goto(f"{self.address}/{path}" + (f"?{urlencode(query)}" if query else ""))
        wait_until_drawn(self.page)
        return self.page


def wait_until_drawn(page: Page, *, timeout_s: float = 60.0) -> None:
    """Wait until the script has finished, sheet and pictures are there, and nothing more arrived for a moment."""
    page.wait_for_selector(f"{DRAWN} .sheet-head", timeout=timeout_s * 1000)
    quiet_since, seen = time.monotonic(), ""
    deadline = quiet_since + timeout_s
    while time.monotonic() < deadline:
        now = page.evaluate(STATE, DRAWN)
        if now != seen:
            quiet_since, seen = time.monotonic(), now
        elif now.startswith("true") and time.monotonic() - quiet_since > 0.4:
            return
        page.wait_for_timeout(100)
    raise TimeoutError("the page kept changing")


def turn_and_return(page: Page) -> None:
    """Go to the next step and come back, by the links at the sheet's foot."""
    head = page.locator("h1")
    title = head.inner_text()
    page.locator(".st-key-go_next a").press("Enter")
    expect(head).not_to_have_text(title)
    wait_until_drawn(page)
    page.locator(".st-key-go_previous a").press("Enter")
    expect(head).to_have_text(title)
    wait_until_drawn(page)


@contextmanager
def serve(log: Path, script: str = "app.py", **environment: str) -> Iterator[str]:
    """Start the app on a free port, as its README says, and yield its address.

    Args:
        log: where the server writes. script: what it runs, from the project's root.
        environment: variables that this server sees besides the tests' own.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", script]
    options = ["--server.port", str(port), "--server.headless", "true", "--server.fileWatcherType", "none"]
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(server, f"{address}/_stcore/health", log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


@pytest.fixture(scope="session")
def app_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the app that most tests share and yield its address."""
    place = tmp_path_factory.mktemp("streamlit")
    log = place / "server.log"
    own = {"LLMKIT_JOBS": str(place / "jobs"), "LLMKIT_JOURNAL": str(place / "journal")}
    with serve(log, **own, LLMKIT_JOBS_GRACE_S="1") as address:  # no worker outlives it
        yield address
    assert "Please replace" not in log.read_text(), "a deprecated Streamlit call is in use; see the server's log"


def _wait_until_ready(server: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(health, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    raise RuntimeError(f"the app did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Chromium; skip where there is none, fail where CI=true."""
    with sync_playwright() as playwright:
        path = _chromium(playwright)
        if path is None:
            reason = "no Chromium: apt-get install chromium, or playwright install chromium"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        started = playwright.chromium.launch(executable_path=str(path), args=FLAGS)
        yield started
        started.close()


def _chromium(playwright: Playwright) -> Path | None:
    own = Path(playwright.chromium.executable_path)
    return next((path for path in (DEBIAN_CHROMIUM, own) if path.exists()), None)


@pytest.fixture
def visit(browser: Browser, app_address: str) -> Iterator[Callable[..., Visit]]:
    """Return a function that opens a fresh window: `visit(width=375, locale="zh-TW", dark=True)`.

    `address` leads it to a server of the test's own.

    When the test ends, no window may have asked another machine for anything.
    """
    contexts: list[BrowserContext] = []
    visits: list[Visit] = []

    def new(
        *, width: int = 1280, height: int = 900, locale: str = "zh-TW", dark: bool = False, address: str = app_address
    ) -> Visit:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale=locale,
            color_scheme="dark" if dark else "light",
        )
        contexts.append(context)
        made = Visit(page=context.new_page(), address=address)
        visits.append(made)

        def note(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "blob", "about") and parts.hostname != "127.0.0.1":
                made.outside.append(request.url)

        context.on("request", note)
        return made

    yield new
    for context in contexts:
        context.close()
    assert not [url for made in visits for url in made.outside], "a page asked another machine for something"
