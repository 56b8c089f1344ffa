"""How fluidly the engine plays: frames a second in Chromium, beside the frames of an empty page in the same run.

    python -m benchmarks.engine_fps [--box smollm2-135m-instruct] [--tokens 64] [--seconds 5] [--speeds 3 30]

Plays every token through every layer, and counts what was painted: the pictures that the drawing made, and the
browser's own animation frames. ``work`` is the time that one picture takes to draw, apart from any waiting; the
frames can be no more than the display's, and other work on the machine takes from them.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.pages import CHROMIUM, FLAGS, machine, middle_and_p95, opened, served, window
from components.exploded_engine import MAX_TOKENS
from llmkit.shelf import locate
from llmkit.tokens import Tokenizer

FRAMES = """async (seconds) => {
  const until = performance.now() + seconds * 1000, gaps = [];
  let last = performance.now();
  while (last < until) {
    const now = await new Promise(requestAnimationFrame);
    gaps.push(now - last);
    last = now;
  }
  return gaps.slice(1);
}"""
"""Waits for one animation frame after another and gives the time between them, in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Fluency:
    """What was painted while it played.

    Args:
        drawn: pictures a second. gap_ms: between the browser's frames, middle and 95th percentile.
        work_ms: of one picture, middle and 95th percentile.
    """

    drawn: float
    gap_ms: tuple[float, float]
    work_ms: tuple[float, float]


def sentence_of(box_id: str, tokens: int) -> str:
    """Return a sentence of at most so many tokens.

    Raises:
        SystemExit: the box is not here.
    """
    folder = locate(box_id)
    if folder is None:
        raise SystemExit(f"{box_id} is not here: python -m llmkit get {box_id}")
    tokenizer = Tokenizer.from_folder(folder)
    words = "The movie was good, and I liked the book that it was made from, every page of it.".split()
    text = words[0]
    while len(tokenizer.encode(f"{text} {words[0]}")) <= tokens:
        words = [*words[1:], words[0]]
        text += f" {words[0]}"
    return text


def play(page: Page, speed: int, seconds: float) -> Fluency:
    """Play from the first token on for some seconds."""
    view = page.locator(".view.machine")
    page.locator(".view.machine input.speed").fill(str(speed))
    page.locator(".view.machine input.token").fill("0")
    page.locator(".view.machine input.stage").fill("0")
    page.evaluate(FRAMES, 1.0)  # what the sliders told the server has been answered by then
    view.evaluate("view => { view.works = []; }")
    before = view.evaluate("view => view.frames")
    page.locator(".view.machine button.play").click()
    gaps = page.evaluate(FRAMES, seconds)
    after = view.evaluate("view => view.frames")
    page.locator(".view.machine button.play").click()
    works = view.evaluate("view => view.works")
    return Fluency(
        drawn=1000 * (after - before) / sum(gaps), gap_ms=middle_and_p95(gaps), work_ms=middle_and_p95(works)
    )


def empty_page(browser: Browser, seconds: float) -> tuple[float, float]:
    """Time between the frames of a page that does nothing, in milliseconds: middle and 95th percentile."""
    page = browser.new_page()
    page.set_content("<p>")
    gaps = page.evaluate(FRAMES, seconds)
    page.close()
    return middle_and_p95(gaps)


def main() -> None:
    """Measure and print one line for each speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--box", default="smollm2-135m-instruct")
    parser.add_argument("--tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--speeds", type=int, nargs="+", default=[3, 30], help="steps a second")
    options = parser.parse_args()
    sentence = sentence_of(options.box, options.tokens)
    print(" · ".join(f"{name} {value}" for name, value in machine().items()))
    with sync_playwright() as playwright, served("app.py") as address:
        own = CHROMIUM if CHROMIUM.exists() else Path(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=str(own), args=FLAGS)
        page = window(browser)
        opened(page, address, "engine", box=options.box, lang="en", sentence=sentence)
        page.locator(".view.machine").wait_for()
        size = page.locator(".view.machine input.stage").get_attribute("max")
        tokens = int(page.locator(".view.machine input.token").get_attribute("max") or 0) + 1
        print(f"{options.box}: {tokens} tokens, {int(size or 0) + 1} stages each; load {os.getloadavg()[0]:.1f}")
        for speed in options.speeds:
            gap, slow = empty_page(browser, options.seconds)
            found = play(page, speed, options.seconds)
            print(
                f"{speed:3} steps/s: {found.drawn:5.1f} pictures/s, frames {found.gap_ms[0]:.1f} ms"
                f" (p95 {found.gap_ms[1]:.1f}), work {found.work_ms[0]:.1f} ms (p95 {found.work_ms[1]:.1f});"
                f" empty page {1000 / gap:.1f} frames/s, {gap:.1f} ms (p95 {slow:.1f})"
            )
        browser.close()


if __name__ == "__main__":
    main()
