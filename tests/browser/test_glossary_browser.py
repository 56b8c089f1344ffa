"""The glossary and the code in a real browser: marked, explained, searched by keys, linked to; source at its line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from lessons import glossary, registry, words
from llmkit.tokens import ByteLevelBPE
from tests.browser.conftest import Visit, wait_until_drawn

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NewVisit = Callable[..., Visit]

MARKED = "() => [...(CSS.highlights.get('glossary') ?? [])].map(range => range.toString())"
PLACE = """(text) => {
  const range = [...CSS.highlights.get("glossary")].find(one => one.toString() === text);
  range.startContainer.parentElement.scrollIntoView({ block: "center" });
  const box = range.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2];
}"""


def marked(page: Page, text: str) -> tuple[float, float]:
    """Wait until `text` is marked, bring it into view, and return where it is."""
    page.wait_for_function(f"text => ({MARKED})().includes(text)", arg=text)
    x, y = page.evaluate(PLACE, text)
    page.wait_for_timeout(300)
    x, y = page.evaluate(PLACE, text)
    return x, y


def hint(page: Page) -> Locator:
    return page.locator(".glossary .hint")


def dialog(page: Page) -> Locator:
    return page.locator(".glossary dialog")


def chosen(page: Page) -> Locator:
    return dialog(page).locator("[role=option][aria-selected=true] b")


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_term_is_marked_where_it_first_stands_and_explained(visit: NewVisit, lang: str) -> None:
    page = visit().open("tokens", lang=lang)
    term = glossary.term("tokenizer")
    name, means = (term.zh, term.zh_means) if lang == "zh-TW" else (term.en, term.en_means)
    text = words(lang)("tokens.part.tokenizer")
    html = page.locator(".kit").inner_html()
    x, y = marked(page, text)
    assert page.evaluate(MARKED).count(text) == 1
    assert page.locator(".kit").inner_html() == html
    page.mouse.move(x, y)
    expect(hint(page)).to_contain_text(means)
    expect(hint(page).locator("h2")).to_contain_text(name)
    page.keyboard.press("Escape")
    expect(hint(page)).to_be_hidden()


def test_a_tap_explains_and_a_tap_beside_puts_away(visit: NewVisit) -> None:
    page = visit(width=375, height=812).open("tokens", lang="en")
    x, y = marked(page, words("en")("tokens.part.tokenizer"))
    page.mouse.click(x, y)
    expect(hint(page)).to_contain_text(glossary.term("tokenizer").en_means)
    box = hint(page).bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 375
    page.mouse.click(10, y + 260)
    expect(hint(page)).to_be_hidden()


def test_the_explanation_leads_to_the_step_and_keeps_what_was_done(visit: NewVisit) -> None:
    page = visit().open("tokens", lang="en")
    page.get_by_label(words("en")("common.notes")).fill("remember this")
    page.get_by_label(words("en")("common.notes")).press("Control+Enter")
    wait_until_drawn(page)
    page.mouse.click(*marked(page, "boxes"))
    step = registry.step("unbox")
    title = words("en")("unbox.title")
    hint(page).get_by_role("link", name=words("en")("glossary.step", number=step.number, title=title)).click()
    page.wait_for_function("title => document.title === title", arg=f"{step.number} {title}")
    wait_until_drawn(page)
    page.go_back()
    wait_until_drawn(page)
    expect(page.get_by_label(words("en")("common.notes"))).to_have_value("remember this")


def test_keys_open_search_choose_and_close(visit: NewVisit) -> None:
    page = visit().open("tokens", lang="en")
    button = page.locator(".glossary .opener")
    button.focus()
    page.keyboard.press("?")
    expect(dialog(page)).to_be_visible()
    expect(dialog(page).get_by_text(words("en")("glossary.here"))).to_be_visible()
    for typed, key in (
        ("n_embd", "d_model"),
        ("殘差流", "residual_stream"),
        ("softmax", "softmax"),
        ("√head", "score"),
    ):
        page.keyboard.press("Control+a")
        page.keyboard.type(typed)
        expect(chosen(page)).to_have_text(glossary.term(key).en)
        assert f"term={key}" in page.url
    page.keyboard.press("Control+a")
    page.keyboard.type("norm")
    before = chosen(page).inner_text()
    page.keyboard.press("ArrowDown")
    assert chosen(page).inner_text() != before
    page.keyboard.press("ArrowUp")
    assert chosen(page).inner_text() == before
    page.keyboard.press("Control+a")
    page.keyboard.type("zzzz")
    expect(dialog(page).get_by_text(words("en")("glossary.none"))).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog(page)).to_be_hidden()
    expect(button).to_be_focused()
    assert "term=" not in page.url


def test_focus_stays_in_the_dialog_and_keys_do_not_turn_pages(visit: NewVisit) -> None:
    page = visit().open("tokens", lang="en")
    page.locator(".glossary .opener").click()
    inside = """() => document.activeElement === document.body ||
      Boolean(document.activeElement.shadowRoot?.activeElement?.closest("dialog"))"""
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate(inside)
    title = page.title()
    for key in ("ArrowRight", "]", "["):
        page.keyboard.press(key)
    page.wait_for_timeout(400)
    assert page.title() == title
    expect(dialog(page)).to_be_visible()


def test_a_question_mark_in_a_field_is_a_question_mark(visit: NewVisit) -> None:
    page = visit().open("tokens", lang="en")
    notes = page.get_by_label(words("en")("common.notes"))
    notes.click()
    notes.press_sequentially("why?")
    expect(notes).to_have_value("why?")
    expect(dialog(page)).to_be_hidden()


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_link_opens_its_term_readable_by_everyone(visit: NewVisit, dark: bool, lang: str) -> None:
    page = visit(dark=dark).open("tokens", lang=lang, term="d_model")
    term = glossary.term("d_model")
    expect(dialog(page)).to_be_visible()
    expect(chosen(page)).to_have_text(term.zh if lang == "zh-TW" else term.en)
    expect(dialog(page).locator("article")).to_contain_text("n_embd")
    found = Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]


def test_a_term_that_is_not_there_is_ignored(visit: NewVisit) -> None:
    page = visit().open("tokens", lang="en", term="</script><img src=x onerror=alert(1)>")
    expect(dialog(page)).to_be_hidden()
    assert page.locator("img[src=x]").count() == 0


def test_the_dialog_fits_a_phone(visit: NewVisit) -> None:
    page = visit(width=375, height=700).open("tokens", lang="zh-TW")
    page.locator(".glossary .opener").click()
    box = dialog(page).bounding_box()
    assert box is not None
    assert box["width"] <= 375
    assert box["height"] <= 700
    dialog(page).locator("[role=option]").nth(3).click()
    expect(chosen(page)).to_have_count(1)
    dialog(page).get_by_role("button", name=words("zh-TW")("glossary.close")).click()
    expect(dialog(page)).to_be_hidden()


def test_marks_follow_the_page(visit: NewVisit) -> None:
    """A page that is drawn again is read again; no mark of the page before stays."""
    page = visit().open("tokens", lang="en")
    marked(page, words("en")("tokens.part.tokenizer"))
    before = page.title()
    page.keyboard.press("[")
    page.wait_for_function("before => document.title !== before", arg=before)
    wait_until_drawn(page)
    page.wait_for_function(f"text => !({MARKED})().includes(text)", arg=words("en")("tokens.part.tokenizer"))
    assert page.evaluate(MARKED)
    assert not page.evaluate("() => [...CSS.highlights.get('glossary')].some(r => !r.startContainer.isConnected)")


def test_code_is_shown_at_its_line_and_copied(visit: NewVisit) -> None:
    made = visit()
    page = made.open("tokens", lang="en")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=made.address)
    say = words("en")
    code = page.locator("[class*=st-key-source_tokens_ByteLevelBPE] details")
    code.locator("summary").click()
    first = code.locator(".line").first
    expect(code.locator(".line").nth(1)).to_contain_text(f"class {ByteLevelBPE.__name__}")  # its decorator is the first
    line = int(first.get_attribute("data-n") or 0)
    text = (registry.ROOT / "llmkit/tokens/byte_level_bpe.py").read_text(encoding="utf-8")
    assert text.splitlines()[line - 1] == first.inner_text()
    expect(code.get_by_text(say("source.place", path="llmkit/tokens/byte_level_bpe.py", line=line))).to_be_visible()
    code.get_by_role("button", name=say("source.where")).click()
    expect(code.get_by_role("button", name=say("source.copied"))).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == f"llmkit/tokens/byte_level_bpe.py:{line}"
    code.get_by_role("button", name=say("source.whole")).click()
    shown = code.locator(".line").all_inner_texts()
    assert [one.rstrip("\n") for one in shown] == text.splitlines()
    own = code.locator(".line.own")
    assert own.first.get_attribute("data-n") == str(line)
    gap = own.first.evaluate("one => one.getBoundingClientRect().top - one.closest('pre').getBoundingClientRect().top")
    assert 0 <= gap < 40
    code.get_by_role("button", name=say("source.copy")).click()
    page.wait_for_timeout(200)
    assert page.evaluate("navigator.clipboard.readText()") == text
    found = Axe().run(page).response["violations"]
    assert not [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
