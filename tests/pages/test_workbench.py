"""The workbench: what the address bar asks for, what is laid out, what is said when it cannot be had."""

from __future__ import annotations

from components.workbench import DEFAULT_BOX, SENTENCE_LIMIT
from lessons import words
from tests.pages.conftest import OpenPage

HOSTILE = "</script><img src=x onerror=alert(1)>"


def test_defaults_are_laid_out(open_page: OpenPage) -> None:
    app = open_page("unbox")
    assert app.segmented_control(key="lang").value == "zh-TW"
    assert app.selectbox(key="box").value == DEFAULT_BOX
    assert app.text_area(key="sentence").value == words("zh-TW")("common.sentence.default")
    assert not app.warning


def test_a_link_lays_out_its_sentence(open_page: OpenPage) -> None:
    app = open_page("unbox", lang="en", box=DEFAULT_BOX, sentence="A cat sat.")
    assert app.segmented_control(key="lang").value == "en"
    assert app.text_area(key="sentence").value == "A cat sat."
    assert not app.warning


def test_nonsense_in_the_address_is_named_and_replaced(open_page: OpenPage) -> None:
    app = open_page("unbox", lang="xx", box=HOSTILE, layer="-7", sentence="Still here")
    assert not app.exception
    assert app.segmented_control(key="lang").value == "zh-TW"
    assert app.selectbox(key="box").value == DEFAULT_BOX
    assert app.text_area(key="sentence").value == "Still here"
    said = [warning.value for warning in app.warning]
    assert len(said) == 2
    assert not [text for text in said if "<" in text]


def test_a_long_sentence_is_cut_and_said(open_page: OpenPage) -> None:
    app = open_page("unbox", lang="en", sentence="x" * 100_000)
    assert app.text_area(key="sentence").value == "x" * SENTENCE_LIMIT
    assert [w.value for w in app.warning] == [words("en")("common.notice.sentence", value=SENTENCE_LIMIT)]
    app.text_area(key="sentence").set_value("short").run()
    assert not app.warning
    app.text_area(key="sentence").set_value("y" * 5_000).run()
    assert app.text_area(key="sentence").value == "y" * SENTENCE_LIMIT
    assert len(app.warning) == 1


def test_an_emptied_bench_is_laid_again(open_page: OpenPage) -> None:
    app = open_page("unbox", lang="en", sentence="Something")
    app.text_area(key="sentence").set_value("").run()
    assert app.text_area(key="sentence").value == words("en")("common.sentence.default")
    assert not app.exception


def test_the_language_changes_every_word(open_page: OpenPage) -> None:
    app = open_page("unbox", lang="en", sentence="A cat sat.")
    app.segmented_control(key="lang").set_value("zh-TW").run()
    assert app.text_area(key="sentence").value == "A cat sat."
    assert app.text_area(key="notes_unbox").label == words("zh-TW")("common.notes")


def test_two_sessions_do_not_mix(open_page: OpenPage) -> None:
    first, second = (
        open_page("unbox", lang="en", sentence="one"),
        open_page("unbox", lang="zh-TW", sentence="two"),
    )
    first.run()
    assert first.text_area(key="sentence").value == "one"
    assert second.text_area(key="sentence").value == "two"
    assert first.segmented_control(key="lang").value == "en"
