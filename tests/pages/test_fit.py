"""The fit, on each page that shows one: the report's own numbers, said in the page's language."""

from __future__ import annotations

import html
import math

import pytest

from lessons import words
from llmkit import reference
from llmkit.reference import Fit, Report, verify_box
from tests.pages.conftest import OpenPage, shown_text

BOX = "gpt2-starter"
SENTENCE = "The movie was good."
PAGES = {"embeddings": "embedding", "positions": "positions", "attention": "attention_weights"}


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
@pytest.mark.parametrize(("slug", "part"), PAGES.items())
def test_the_page_shows_what_verify_finds(open_page: OpenPage, slug: str, part: str, lang: str) -> None:
    app = open_page(slug, lang=lang, box=BOX, sentence=SENTENCE)
    app.button(key=f"fit_{slug}").click().run()
    assert not app.exception
    assert not app.error
    report = verify_box(BOX, text=SENTENCE)
    row = next(row for row in report.rows if row.part == part)
    seen, say = html.unescape(shown_text(app)), words(lang)
    assert f"{row.float32:.1e} < {row.float32_limit:.1e}" in seen
    assert say("common.fit.all", n=len(report.rows), tokens=report.tokens) in seen


def test_a_part_that_does_not_fit_is_named(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Fit(part="attention", places=6, scale=1.0, float32=math.nan, float64=0.5)
    monkeypatch.setattr(
        reference, "verify_box", lambda box_id, text: Report(box_id=box_id, kind="gpt2", tokens=4, rows=(wrong,))
    )
    app = open_page("attention", lang="en", box=BOX, sentence=SENTENCE)
    app.button(key="fit_attention").click().run()
    assert not app.exception
    say, seen = words("en"), html.unescape(shown_text(app))
    assert say("common.fit.misfit") in seen
    assert say("common.fit.some", listed=say("common.fit.attention")) in seen
