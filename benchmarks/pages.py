"""How long a learner waits for each page, in Chromium, beside an empty Streamlit page in the same run.

    python -m benchmarks.pages [--pages tokens] [--boxes gpt2-starter] [--steps 20] [--sessions 1 20] [--json]

For every page and box: the first picture and the whole page after a cold start of the server, after a new
sentence, and after one step of each of the page's sliders. The baseline is a second server whose script opens the
same box once and is then one slider and nothing else: its step is taken in turns with the page's. A step begins when
the browser sends it and ends with the last message or the last change on the screen, whichever is later; with more
sessions all windows step at the same moment, and all are counted.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from lessons import registry
from llmkit.doctor import cpu_name

ROOT = Path(__file__).parents[1]
EMPTY = """import streamlit as st
from components import engine

if "box" not in st.session_state:
    st.session_state.box = st.query_params.get("box")
    engine.open_box(st.session_state.box)
st.slider("step", 0, 1000, 500)
"""
CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
BOXES = ("gpt2-starter", "minilm-l6", "smollm2-135m-instruct")
SLIDERS = {
    "tokens": ("tokens_step",),
    "embeddings": ("embeddings_near", "embeddings_stage_"),
    "positions": ("positions_length", "positions_row_", "positions_turn", "positions_heads"),
    "attention": ("attention_depth",),
}
"""The beginnings of the keys of each page's sliders."""

WATCH = Path(__file__).with_name("pages_watch.js")
"""What notes, in the browser, when a step is sent and when the screen last changed."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """One wait, in milliseconds from what was sent.

    Args:
        picture: until the first picture stood; after a step, the first picture that changed.
        server: until the last message of the server arrived.
        whole: until the last change on the screen was painted.
    """

    picture: float
    server: float
    whole: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one page cost with one box.

    Args:
        what: "cold", "sentence", or a slider's key.
        sessions: windows open at once, all of them stepping.
        waits: of the page. empty: of the empty page, taken in turns; none for a cold start or a sentence.
    """

    page: str
    box: str
    what: str
    sessions: int
    waits: tuple[Wait, ...]
    empty: tuple[Wait, ...] = ()


@contextmanager
def served(script: str) -> Iterator[str]:
    """Run a Streamlit server for a script and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)]
    quiet = ["--server.headless", "true", "--server.fileWatcherType", "none"]
    server = subprocess.Popen([*command, *quiet], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until_ready(f"{address}/_stcore/health")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def wait_until_ready(health: str) -> None:
    """Wait until a server answers.

    Raises:
        RuntimeError: it does not within a minute.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(health, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise RuntimeError("the server did not start")


def window(browser: Browser) -> Page:
    """Open a window of its own, with its own session."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, locale="zh-TW").new_page()
    page.set_default_timeout(180_000)
    page.add_init_script(path=WATCH)
    return page


def settled(page: Page) -> Wait:
    """Wait until what was sent is done and nothing has changed for a while."""
    return Wait(**page.evaluate("window.__watch.settled()"))


def opened(page: Page, address: str, slug: str, **query: str) -> Wait:
    """Open a page and wait until all of it stands."""
    page.goto(f"{address}/{slug}?{urlencode(query)}", wait_until="commit")
    return settled(page)


def slider(page: Page, key: str) -> Locator:
    """Find the slider whose key begins so; the empty page's only one for an empty key."""
    within = f'[class*="st-key-{key}"] ' if key else ""
    return page.locator(f'{within}input[type="range"]').first


def press(page: Page, key: str, at: int) -> None:
    """Move a slider by one step: to the right, and from its end back again."""
    thumb = slider(page, key)
    low, high = (int(float(thumb.get_attribute(end) or 0)) for end in ("min", "max"))
    now = int(float(thumb.input_value()))
    way = "ArrowLeft" if now >= high or (now > low and at % (high - low + 1) > high - now) else "ArrowRight"
    page.evaluate("window.__watch.arm()")
    thumb.press(way)


def step_all(pages: Sequence[Page], key: str, at: int) -> list[Wait]:
    """Step the slider in every window at the same moment; return each window's wait."""
    for page in pages:
        press(page, key, at)
    return [settled(page) for page in pages]


def measure_steps(pages: Sequence[Page], idle: Sequence[Page], key: str, steps: int) -> tuple[list[Wait], list[Wait]]:
    """Step page and empty page in turns; the first turn of each is not counted."""
    mine: list[Wait] = []
    empty: list[Wait] = []
    for at in range(steps + 1):
        took, baseline = step_all(pages, key, at), step_all(idle, "", at)
        if at:
            mine += took
            empty += baseline
    return mine, empty


def measure_sentences(page: Page, count: int) -> list[Wait]:
    """Lay new sentences on the workbench, each one that no session has used."""
    waits = []
    for at in range(count + 1):
        field = page.locator(".st-key-sentence textarea")
        page.evaluate("window.__watch.arm()")
        field.fill(f"這本書寫得真好，第 {at + 1} 次讀還是會笑。 The movie was great, {time.monotonic_ns() % 9973}.")
        field.press("Control+Enter")
        waits.append(settled(page))
    return waits[1:]


def measure(browser: Browser, empty: str, slug: str, box: str, sessions: int, steps: int) -> Iterator[Row]:
    """Measure one page with one box on a server that has just started."""
    with served("app.py") as address, ExitStack() as open_windows:
        pages = [window(browser) for _ in range(sessions)]
        idle = [window(browser) for _ in range(sessions)]
        for page in (*pages, *idle):
            open_windows.callback(page.context.close)
        cold = opened(pages[0], address, slug, box=box, lang="zh-TW")
        yield Row(page=slug, box=box, what="cold", sessions=1, waits=(cold,))
        if sessions == 1:
            sentences = measure_sentences(pages[0], max(steps // 4, 5))
            yield Row(page=slug, box=box, what="sentence", sessions=1, waits=tuple(sentences))
        for page in pages[1:]:
            opened(page, address, slug, box=box, lang="zh-TW")
        for page in idle:
            opened(page, empty, "", box=box)
        for key in SLIDERS.get(slug, ()):
            if slider(pages[0], key).count():
                mine, baseline = measure_steps(pages, idle, key, steps)
                yield Row(page=slug, box=box, what=key, sessions=sessions, waits=tuple(mine), empty=tuple(baseline))


def middle_and_p95(values: Sequence[float]) -> tuple[float, float]:
    """Return median and 95th percentile (the nearest rank)."""
    ordered = sorted(values)
    return statistics.median(ordered), ordered[max(0, -(-95 * len(ordered) // 100) - 1)]


def line(row: Row) -> str:
    """Write one row of the table: milliseconds, and for sliders the ratio to the empty page."""
    whole, slow = middle_and_p95([wait.whole for wait in row.waits])
    picture, _ = middle_and_p95([wait.picture for wait in row.waits])
    server, _ = middle_and_p95([wait.server for wait in row.waits])
    told = (
        f"{row.page:11} {row.box:22} {row.what:20} {row.sessions:3} {len(row.waits):4}"
        f" {picture:8.0f} {server:8.0f} {whole:8.0f} {slow:8.0f}"
    )
    if not row.empty:
        return told
    empty, empty_slow = middle_and_p95([wait.whole for wait in row.empty])
    return f"{told} {empty:8.0f} {empty_slow:8.0f} {whole / empty:6.2f} {slow / empty_slow:6.2f}"


def head() -> str:
    """Name the table's columns."""
    times = "".join(f" {name:>8}" for name in ("picture", "server", "whole", "p95", "empty", "its p95"))
    return f"{'page':11} {'box':22} {'what':20} {'ses':>3} {'n':>4}{times} {'ratio':>6} {'p95':>6}"


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    names = ("streamlit", "torch", "plotly", "playwright")
    return {"cpu": cpu_name(), "cores": os.cpu_count(), **{name: version(name) for name in names}}


def main() -> None:
    """Measure every page with every box, and print a line as soon as it is known."""
    steps = [step.slug for step in registry.available() if step.slug != "unbox"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", nargs="+", choices=steps, default=steps)
    parser.add_argument("--boxes", nargs="+", default=list(BOXES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 20])
    parser.add_argument("--json", type=Path, help="write every single wait into this file")
    options = parser.parse_args()
    about = machine()
    print(" · ".join(f"{name} {value}" for name, value in about.items()), head(), sep="\n", flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        script = Path(folder, "empty.py")
        script.write_text(EMPTY, encoding="utf-8")
        own = CHROMIUM if CHROMIUM.exists() else Path(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=str(own), args=FLAGS)
        with served(str(script)) as empty:
            for sessions in options.sessions:
                for slug in options.pages:
                    for box in options.boxes:
                        for row in measure(browser, empty, slug, box, sessions, options.steps):
                            rows.append(row)
                            print(line(row), flush=True)
        browser.close()
    if options.json:
        told = {"machine": about, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
