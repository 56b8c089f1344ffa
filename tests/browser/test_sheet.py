"""Every sheet in a real browser: readable by everyone, on a phone, in both languages, light and dark, offline."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from components.door import HTML_LANG
from lessons import registry, words
from lessons.registry import Step
from tests.browser.conftest import Visit, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

STEPS = registry.available()
NewVisit = Callable[..., Visit]
by_slug = pytest.mark.parametrize("step", STEPS, ids=lambda step: step.slug)
by_lang = pytest.mark.parametrize("lang", list(HTML_LANG))


def path(step: Step) -> str:
    """Where the step is in the address bar: the first one is the front door."""
    return "" if step is STEPS[0] else step.slug


def sentence_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name=words("en")("common.sentence"), exact=True)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@by_lang
@by_slug
def test_everyone_can_read_it_in_the_language_that_it_names(visit: NewVisit, step: Step, lang: str, dark: bool) -> None:
    page = visit(dark=dark).open(path(step), lang=lang)
    expect(page.locator("html")).to_have_attribute("lang", HTML_LANG[lang])
    title = words(lang)(step.key("title"))
    assert page.title() == f"{step.number} {title}"
    assert page.locator("h1").all_inner_texts() == [title]
    found = Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


@by_lang
@by_slug
def test_a_phone_does_not_scroll_sideways(visit: NewVisit, step: Step, lang: str) -> None:
    page = visit(width=375, height=812).open(path(step), lang=lang)
    widths = page.evaluate(
        "['html', '[data-testid=stMain]'].map(s => document.querySelector(s)).map(e => e.scrollWidth - e.clientWidth)"
    )
    assert widths == [0, 0]


@pytest.mark.parametrize(("locale", "lang"), [("zh-TW", "zh-TW"), ("en-GB", "en"), ("fr-FR", "zh-TW")])
def test_the_browser_chooses_the_first_language(visit: NewVisit, locale: str, lang: str) -> None:
    page = visit(locale=locale).open()
    expect(page.locator("html")).to_have_attribute("lang", HTML_LANG[lang])


def test_keys_turn_pages_but_not_while_typing(visit: NewVisit) -> None:
    if len(STEPS) < 2:
        pytest.skip("there is only one page to turn")
    page = visit().open(path(STEPS[0]), lang="en")
    say = words("en")
    for key, step in (("ArrowRight", STEPS[1]), ("[", STEPS[0]), ("]", STEPS[1]), ("ArrowLeft", STEPS[0])):
        page.keyboard.press(key)
        page.wait_for_function("title => document.title === title", arg=f"{step.number} {say(step.key('title'))}")
        wait_until_drawn(page)
    notes = page.get_by_label(say("common.notes"))
    notes.click()
    notes.press_sequentially("a[b]c")
    notes.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert notes.input_value() == "a[b]c"
    assert page.title().startswith(STEPS[0].number)


def test_the_address_holds_the_workbench(visit: NewVisit) -> None:
    first = visit(locale="en-GB")
    page = first.open()
    sentence = sentence_field(page)
    sentence.fill("A cat & a dog, 貓和狗 + 50%?")
    sentence.press("Control+Enter")
    wait_until_drawn(page)
    query = parse_qs(urlsplit(page.url).query)
    assert query["sentence"] == ["A cat & a dog, 貓和狗 + 50%?"]
    assert query["lang"] == ["en"]
    assert query["box"]
    other = visit(locale="zh-TW")
    other.page.goto(page.url)
    wait_until_drawn(other.page)
    again = sentence_field(other.page)
    assert again.input_value() == "A cat & a dog, 貓和狗 + 50%?"


@by_slug
def test_markup_in_the_address_is_text(visit: NewVisit, step: Step) -> None:
    made = visit()
    alerts: list[str] = []
    made.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    hostile = "</script><img src=x onerror=alert(1)><!--<script>"
    page = made.open(path(step), lang="en", sentence=hostile, box=hostile, nonsense=hostile)
    page.wait_for_timeout(500)
    assert not alerts
    assert page.locator("img[src=x]").count() == 0


@by_slug
def test_a_pasted_book_is_cut_and_survives_a_reload(visit: NewVisit, step: Step) -> None:
    page = visit().open(path(step), lang="en")
    sentence = sentence_field(page)
    sentence.fill("字" * 100_000)
    sentence.press("Control+Enter")
    wait_until_drawn(page)
    expect(page.get_by_text(words("en")("common.notice.sentence", value=2_000)).first).to_be_attached()
    page.reload()
    wait_until_drawn(page)
    assert page.locator(".sheet-head").count() == 1
