"""What holds for every page of the guide, in both languages."""

from __future__ import annotations

import html

import pytest

from lessons import LANGUAGES, registry, words
from lessons.registry import Step
from tests.pages.conftest import OpenPage, shown_text

STEPS = registry.available()
by_slug = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.slug)
by_lang = pytest.mark.parametrize("lang", list(LANGUAGES))


@by_lang
@by_slug
def test_page_is_drawn(open_page: OpenPage, step: Step, lang: str) -> None:
    app = open_page(step.slug, lang=lang)
    assert not app.exception
    assert not app.error
    say, seen = words(lang), html.unescape(shown_text(app))
    for key in ("title", "warning", *step.do, *(part.key for part in step.parts)):
        assert say(step.key(key)) in seen
    assert say("common.minutes", n=step.minutes) in seen


@by_slug
def test_notes_survive_a_page_turn(open_page: OpenPage, step: Step) -> None:
    app = open_page(step.slug, lang="en")
    app.text_area(key=f"notes_{step.slug}").set_value("remember this").run()
    away = next(other for other in STEPS if other is not step)
    app.switch_page(away.script).run()
    app.switch_page(step.script).run()
    assert app.text_area(key=f"notes_{step.slug}").value == "remember this"


BAD = {
    "empty": "",
    "long": "x" * 100_000,
    "emoji": "😀👩‍👩‍👧‍👦🏳️‍🌈",
    "right to left": "مرحبا שלום",
    "invisible": "a\u200bb\u200d\u2060\ufeffc",
    "control": "a\x01b\x7fc\r\n\td",
    "markup": "</script><img src=x onerror=alert(1)>",
    "spaces": "   ",
}


@pytest.mark.parametrize("sentence", BAD.values(), ids=BAD)
@by_slug
def test_any_sentence_gets_a_picture_or_a_message(open_page: OpenPage, step: Step, sentence: str) -> None:
    app = open_page(step.slug, lang="en")
    app.text_area(key="sentence").set_value(sentence).run()
    assert not app.exception
    if step is not registry.STEPS[0]:
        assert words("en")(step.key("title")) in html.unescape(shown_text(app))
