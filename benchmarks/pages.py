"""How long a learner waits for each page, in Chromium, beside an empty Streamlit page in the same run.

    python -m benchmarks.pages [--quick] [--pages tokens] [--boxes gpt2-starter] [--steps 20] [--sessions 1 20] [--json]

For every page and box: the first picture and the whole page after a cold start of the server, after a new
sentence, and after one step of each of the page's controls: layer, head, token, neuron, and all other sliders. The
baseline is a second server whose script opens the same box once and is then one slider and nothing else: its step is
taken in turns with the page's. A step that asks the server begins when the browser sends it and ends with the last
message or the last change on the screen, whichever is later; one that is drawn in the browser begins with the key and
ends with the last change on the screen before the server is told (that comes later, and is the column "server").
With more sessions, that many others settle the same control of the same page on another place, each once a second,
all the while (`benchmarks/guests.py`: they are sessions of the server, without windows). A control that never asks the
server makes no work for others, and is measured without them; its line says 0 answers.
"""

import argparse
import json
import os
import re
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
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.guests import Answers, keep_moving, note
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
CONTROLS = {
    "tokens": ("input[name=tokens_step]",),
    "embeddings": ("input[name=embeddings_token]", "input[name=embeddings_near]", "input[name=embeddings_stage]"),
    "positions": (
        "input[name=positions_length]",
        "input[name=positions_row]",
        "input[name=positions_turn]",
        "input[name=positions_distance]",
        "input[name=positions_heads]",
    ),
    "attention": (
        ".st-key-picture_attention_explorer input.layer",
        ".st-key-picture_attention_explorer input.head",
        "input[name=attention_depth]",
    ),
    "feed_forward": (
        ".st-key-picture_feed_forward_machine input.layer",
        ".st-key-picture_feed_forward_machine input.token",
        ".st-key-picture_feed_forward_machine input.neuron",
    ),
    "engine": (
        ".st-key-picture_engine_machine input.layer",
        ".st-key-picture_engine_machine input.token",
        ".st-key-picture_engine_machine input.stage",
        ".st-key-picture_engine_lens .view",
        ".st-key-picture_engine_adds input.token",
    ),
    "how": (".st-key-picture_how_strip .view",),
}
"""Each page's controls, as selectors: sliders, and pictures that arrow keys move in."""

EMPTY_SLIDER = '[data-testid="stSlider"] input[type="range"]'
WATCH = Path(__file__).with_name("pages_watch.js")
"""What notes, in the browser, when a step is sent and when the screen last changed."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """One wait, in milliseconds from what was sent.

    Args:
        picture: until the first picture stood; after a step, the first picture that changed.
        server: from what was sent until the last message of the server arrived.
        whole: until the last change on the screen was painted.
        own: whether the browser drew it without asking the server.
    """

    picture: float
    server: float
    whole: float
    own: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one page cost with one box.

    Args:
        what: "cold", "sentence", or a control's selector.
        sessions: 1, or how many others move the control meanwhile.
        waits: of the page. empty: of the empty page, taken in turns; none for a cold start or a sentence.
        others: what the other sessions saw; None where they had nothing to ask.
    """

    page: str
    box: str
    what: str
    sessions: int
    waits: tuple[Wait, ...]
    empty: tuple[Wait, ...] = ()
    others: Answers | None = None


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


def press(page: Page, selector: str, at: int) -> None:
    """Move a control by one step with a key: to the right, and from its end back again."""
    control = page.locator(selector).first
    back = at % 2 == 1
    if control.get_attribute("type") == "range":
        low, high, stride = (int(float(control.get_attribute(name) or 1)) for name in ("min", "max", "step"))
        now = int(float(control.input_value()))
        back = now >= high or (now > low and at % ((high - low) // stride + 1) > (high - now) // stride)
    page.evaluate("window.__watch.arm()")
    control.press("ArrowLeft" if back else "ArrowRight")


def step(page: Page, selector: str, at: int) -> Wait:
    """Move a control by one step and wait until that is done."""
    press(page, selector, at)
    return settled(page)


def measure_steps(page: Page, idle: Page, selector: str, steps: int) -> tuple[list[Wait], list[Wait]]:
    """Step page and empty page in turns; the first turn of each is not counted."""
    turns = [(step(page, selector, at), step(idle, EMPTY_SLIDER, at)) for at in range(steps + 1)][1:]
    return [mine for mine, _ in turns], [empty for _, empty in turns]


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
        page, idle = window(browser), window(browser)
        for each in (page, idle):
            open_windows.callback(each.context.close)
        sent = note(page)
        cold = opened(page, address, slug, box=box, lang="zh-TW")
        opened(idle, empty, "", box=box)
        opening = sent.cut()[0]
        if sessions == 1:
            yield Row(page=slug, box=box, what="cold", sessions=1, waits=(cold,))
            sentences = measure_sentences(page, max(steps // 4, 3))
            yield Row(page=slug, box=box, what="sentence", sessions=1, waits=tuple(sentences))
        for selector in CONTROLS.get(slug, ()):
            if not page.locator(selector).count():
                continue
            page.locator(selector).first.scroll_into_view_if_needed()
            sent.cut()
            asked = []
            for at in range(2 if sessions > 1 else 0):
                step(page, selector, at)
                asked += sent.cut()[-1:]
            row = Row(page=slug, box=box, what=selector, sessions=sessions, waits=())
            if not asked:
                mine, baseline = measure_steps(page, idle, selector, steps)
                yield replace(row, waits=tuple(mine), empty=tuple(baseline))
                continue
            with keep_moving(address, opening, asked, count=sessions) as seen:
                mine, baseline = measure_steps(page, idle, selector, steps)
            yield replace(row, waits=tuple(mine), empty=tuple(baseline), others=seen[0])


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
        f"{row.page:12} {row.box:22} {_name(row):24} {row.sessions:3} {len(row.waits):4}"
        f" {picture:8.1f} {server:8.1f} {whole:8.1f} {slow:8.1f}"
    )
    if not row.empty:
        return told
    empty, empty_slow = middle_and_p95([wait.whole for wait in row.empty])
    told = f"{told} {empty:8.1f} {empty_slow:8.1f} {whole / empty:6.2f} {slow / empty_slow:6.2f}"
    if row.sessions == 1:
        return told
    answers = row.others.waits_ms if row.others else ()
    typical = f" {statistics.median(answers):.0f} ms" if answers else ""
    errors = f", {len(row.others.errors)} errors" if row.others and row.others.errors else ""
    return f"{told}  {len(answers)} answers{typical}{errors}"


def _name(row: Row) -> str:
    """A control without the dress of its selector; a star where the browser drew it itself."""
    plain = re.sub(rf"\.st-key-picture_({row.page}_)?|input[.\[]|name=|\]", "", row.what)
    return f"{plain}{' *' if row.empty and all(wait.own for wait in row.waits) else ''}"


def head() -> str:
    """Name the table's columns."""
    times = "".join(f" {name:>8}" for name in ("picture", "server", "whole", "p95", "empty", "its p95"))
    return f"{'page':12} {'box':22} {'what':24} {'ses':>3} {'n':>4}{times} {'ratio':>6} {'p95':>6}"


def machine() -> dict[str, object]:
    """What the figures were taken on."""
    names = ("streamlit", "torch", "plotly", "playwright")
    return {"cpu": cpu_name(), "cores": os.cpu_count(), **{name: version(name) for name in names}}


def main() -> None:
    """Measure every page with every box, and print a line as soon as it is known."""
    steps = [step.slug for step in registry.available() if step.slug != "unbox"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", nargs="+", choices=steps, default=steps)
    parser.add_argument("--boxes", nargs="+")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--quick", action="store_true", help="fewer steps, and the bundled box alone")
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 20])
    parser.add_argument("--json", type=Path, help="write every single wait into this file")
    options = parser.parse_args()
    boxes = options.boxes or list(BOXES[:1] if options.quick else BOXES)
    count = options.steps or (8 if options.quick else 20)
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
                    for box in boxes:
                        for row in measure(browser, empty, slug, box, sessions, count):
                            rows.append(row)
                            print(line(row), flush=True)
        browser.close()
    if options.json:
        told = {"machine": about, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
