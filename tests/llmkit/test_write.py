"""A brief, its prompt, and its check by code; what is exported is text alone; what is kept stays whole."""

from __future__ import annotations

import io
import itertools
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from docx import Document
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from opencc import OpenCC

from llmkit.write import (
    Brief,
    Demand,
    WriteError,
    changes,
    check,
    forget,
    keep,
    kept,
    lines,
    prompt,
    to_docx,
    to_markdown,
)
from llmkit.write.brief import KINDS, LANGS, STRUCTURES, TONES
from llmkit.write.demands import count_words, simplified
from llmkit.write.find import find, fold

NOW = datetime(2026, 11, 30, 9, 0, tzinfo=UTC)
HOSTILE = "</script><img src=x onerror=alert(1)>"


def brief(**more: object) -> Brief:
    return Brief(**{"lang": "en", "topic": "our picnic", "least": 3, "most": 9, **more})  # type: ignore[arg-type]


def of(kind: str, text: str, asked: Brief) -> Demand:
    return next(one for one in check(text, asked) if one.kind == kind)


# ---- the brief


@pytest.mark.parametrize("asked", itertools.product(LANGS, KINDS, TONES, STRUCTURES))
def test_every_field_has_its_line_and_no_other(asked: tuple[str, ...]) -> None:
    lang, kind, tone, structure = asked
    full = brief(
        lang=lang, kind=kind, tone=tone, structure=structure, audience="bees", must_have=("tea",), must_not=("wasp",)
    )
    said = {line.field: line.text for line in lines(full)}
    assert set(said) - {"structure"} == {"task", "audience", "tone", "length", "must", "must_not", "language"}
    assert ("structure" in said) == (structure != "prose")
    assert "our picnic" in said["task"]
    assert "bees" in said["audience"]
    assert "3" in said["length"]
    assert "9" in said["length"]
    assert "tea" in said["must"]
    assert "wasp" in said["must_not"]
    assert prompt(full) == "\n".join(said.values())
    least = brief(lang=lang, kind=kind, tone=tone, structure="prose")
    assert {line.field for line in lines(least)} == {"task", "tone", "length", "language"}


def test_braces_and_line_ends_in_a_field_are_text() -> None:
    made = prompt(brief(topic="{kind}\n\n{topic} {0}", must_have=("{x}",)))
    assert "{kind} {topic} {0}" in made
    assert "{x}" in made
    assert len(made.splitlines()) == len(lines(brief(must_have=("x",))))


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"topic": " \n"}, "brief_topic_empty"),
        ({"least": 0}, "brief_length"),
        ({"least": 10, "most": 9}, "brief_length"),
        ({"must_have": tuple("abcdefghijklm")}, "brief_too_many_words"),
        ({"audience": "x" * 201}, "brief_too_long"),
        ({"must_have": ("ＴＥＡ",), "must_not": ("tea",)}, "brief_conflict"),
    ],
)
def test_a_brief_that_cannot_be_is_refused(more: dict[str, object], code: str) -> None:
    with pytest.raises(WriteError) as refused:
        brief(**more)
    assert refused.value.code == code


# ---- what is looked for


@pytest.mark.parametrize(
    ("text", "word", "found"),
    [
        ("Start the ART, art.", "art", ["ART", "art"]),
        ("ｗｅｅｋｅｎｄ！", "Weekend", ["ｗｅｅｋｅｎｄ"]),
        ("我住臺北，不住台北市。", "台北", ["臺北", "台北"]),
        ("two  \n words", "two words", ["two  \n words"]),
        ("Café and cafe\u0301", "CAFÉ", ["Café", "cafe\u0301"]),
        ("ﾊﾞｽ", "バス", ["ﾊﾞｽ"]),
        ("the ﬁnal straße", "FINAL", ["ﬁnal"]),
        ("the straße", "STRASSE", ["straße"]),
        ("週末也週末", "週末", ["週末", "週末"]),
        ("iPhone手機", "iphone", ["iPhone"]),
        ("weekends", "weekend", []),
        ("aaa", "aa", []),
        ("", "x", []),
        ("x", " ", []),
    ],
)
def test_a_word_is_found_whatever_its_case_and_width(text: str, word: str, found: list[str]) -> None:
    assert [text[start:end] for start, end in find(text, word)] == found


@given(st.text(max_size=60), st.text(min_size=1, max_size=5))
def test_what_is_found_reads_like_the_word(text: str, word: str) -> None:
    for start, end in find(text, word):
        assert 0 <= start < end <= len(text)
        assert fold(word) in fold(text[start:end])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("Don't stop; it's 3.5 km to well-known Rome!", 8),
        ("今天天氣很好。", 6),
        ("我有 2 支 iPhone 15，共 1,200 元", 9),
        ("one-two", 1),
        ("end.Start", 1),
        ("你好world再見", 5),
    ],
)
def test_words_are_counted(text: str, words: int) -> None:
    assert count_words(text) == words


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), max_size=30))
def test_plain_english_is_counted_as_split_does(words: list[str]) -> None:
    assert count_words(" ".join(words)) == len(words)


def test_simplified_characters_are_those_that_opencc_changes() -> None:
    text = "這本书很好看，里面讲的是台灣的历史，我们都喜歡。"
    convert = OpenCC("s2t").convert
    changed = {at for at, char in enumerate(text) if convert(char) != char}
    told = {start for start, _ in simplified(text)}
    assert told == {at for at, char in enumerate(text) if char in "书讲历们"}
    assert told <= changed  # 里 is written in Taiwan, too (公里)
    assert not simplified("這本書很好看，裡面講的是臺灣的歷史，我們都喜歡。")


@pytest.mark.parametrize(
    ("lang", "text", "met"),
    [
        ("en", "A fine day.", True),
        ("en", "今天很好 ok", False),
        ("en", "Привет мир", False),
        ("en", "Café déjà vu", True),
        ("en", "123 !!", False),
        ("zh-TW", "今天用 iPhone 拍照。", True),
        ("zh-TW", "今天用手机拍照。", False),
        ("zh-TW", "A fine day.", False),
    ],
)
def test_language_is_told_by_script(lang: str, text: str, met: bool) -> None:
    assert of("language", text, brief(lang=lang)).met is met


@pytest.mark.parametrize(
    ("structure", "text", "met"),
    [
        ("title", "Our picnic\n\nCome on Sunday.", True),
        ("title", "# Our picnic!\nCome.", True),
        ("title", "Come on Sunday.\nBring tea.", False),
        ("title", "Our picnic", False),
        ("title", "- a\n- b", False),
        ("list", "Bring:\n- tea\n- cake", True),
        ("list", "1. tea\n2. cake", True),
        ("list", "一、茶\n二、蛋糕", True),
        ("list", "- tea", False),
        ("list", "3.5 km and\n-5 degrees", False),
    ],
)
def test_structure_is_found(structure: str, text: str, met: bool) -> None:
    assert of("structure", text, brief(structure=structure)).met is met


def test_length_bounds_are_inside() -> None:
    for count, met in ((2, False), (3, True), (9, True), (10, False)):
        found = of("length", " ".join(["word"] * count), brief())
        assert (found.met, found.found) == (met, count)


def test_a_sentence_said_twice_is_shown_where_it_is_said_again() -> None:
    text = "Come to the picnic. Thank you. Bring tea! come to the PICNIC! Thank you."
    again = of("repeats", text, brief())
    assert [text[start:end] for start, end in again.spans] == ["come to the PICNIC!"]
    assert not again.met
    assert of("repeats", "今天天氣好。明天也好。", brief(lang="zh-TW")).met


def test_words_that_must_not_be_are_shown_and_a_text_without_an_end_is_told() -> None:
    asked = brief(must_have=("tea", "cake"), must_not=("wasp",))
    text = "Tea for all, no Wasp"
    demands = {(one.kind, one.word): one for one in check(text, asked)}
    assert demands["must", "tea"].met
    assert not demands["must", "cake"].met
    assert [text[a:b] for a, b in demands["must_not", "wasp"].spans] == ["Wasp"]
    assert not demands["must_not", "wasp"].met
    assert not demands["closed", ""].met
    assert of("closed", "Tea for all.”", asked).met


def test_nothing_meets_nothing() -> None:
    asked = brief(must_not=("wasp",), structure="list")
    for text in ("", " \n\t"):
        assert not any(one.met for one in check(text, asked))
    assert len(check("", asked)) == len(check("tea", asked))


@given(st.text(max_size=200))
def test_any_text_is_judged_within_itself(text: str) -> None:
    for lang in LANGS:
        for one in check(text, brief(lang=lang, structure="list", must_have=("a",), must_not=("b",))):
            assert all(0 <= start <= end <= len(text) for start, end in one.spans)


# ---- what changed


@given(st.text(max_size=80), st.text(max_size=80))
def test_changes_make_both_versions_again(before: str, after: str) -> None:
    found = changes(before, after)
    assert "".join(one.text for one in found if one.kind != "new") == before
    assert "".join(one.text for one in found if one.kind != "gone") == after
    assert (before == after) == all(one.kind == "same" for one in found)


def test_chinese_changes_character_by_character() -> None:
    found = [(one.kind, one.text) for one in changes("請回答問題", "請簡短回答")]
    assert found == [("same", "請"), ("new", "簡短"), ("same", "回答"), ("gone", "問題")]


# ---- what is taken away

MARKUP = [
    HOSTILE,
    "[click](javascript:alert(1))",
    "![x](http://e.vil/a.png)",
    "<http://e.vil>",
    "http://e.vil and https://e.vil",
    "[a]: http://e.vil\n\n[a]",
    "`code` ~~~\n```\nfence\n```",
    "    <b>indented</b>",
    "a\\[b](c)",
    "| a | b |\n|---|---|\n| 1 | 2 |",
    "---\n***\n===\n+ x\n> quote",
    "&lt;b&gt; &copy;",
    "text\n===\nmore",
    "12345. x",
    "*a* _b_ **c**",
    "- # x\n- [ ] y",
    "\x00\x07\u2028a",
]


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_is_drawn_as_text(text: str) -> None:
    drawn = MarkdownIt("commonmark").enable("table").parse(to_markdown(text))
    inner = [token for block in drawn for token in (block.children or [])]
    kinds = {token.type for token in [*drawn, *inner]}
    allowed = {
        f"{name}_{end}"
        for name in "paragraph heading bullet_list ordered_list list_item".split()
        for end in ("open", "close")
    }
    assert kinds <= allowed | {"inline", "text", "softbreak", "text_special"}
    shown = "".join(token.content for token in inner if token.type.startswith("text"))
    letters = [char for char in text if char.isalpha()]
    assert [char for char in shown if char.isalpha()] == letters


@given(st.text(alphabet="<>[]()!#*-_`~&\\:/.w h1\n|=+@", max_size=60))
def test_no_markup_becomes_a_link_an_image_code_or_html(text: str) -> None:
    drawn = MarkdownIt("commonmark").parse(to_markdown(text))
    kinds = {token.type for block in drawn for token in (block, *(block.children or []))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "code_inline", "fence", "code_block", "hr"}


def test_bare_addresses_are_not_linked_by_programs_that_look_for_them() -> None:
    made = to_markdown("See www.e.vil or HTTP://e.vil or a@e.vil now.")
    assert "www." not in made
    assert "HTTP:" not in made
    assert "a@" not in made


def test_word_gets_title_list_and_paragraphs() -> None:
    text = "Our picnic\n\nCome on Sunday.\n- tea\n- cake\n1. be\n2. here"
    document = Document(io.BytesIO(to_docx(text, lang="en", title="Picnic", now=NOW)))
    assert [(p.style.name, p.text) for p in document.paragraphs] == [
        ("Title", "Our picnic"),
        ("Normal", "Come on Sunday."),
        ("List Bullet", "tea"),
        ("List Bullet", "cake"),
        ("List Number", "be"),
        ("List Number", "here"),
    ]
    assert document.core_properties.title == "Picnic"
    assert document.core_properties.author == ""


@pytest.mark.parametrize("lang", LANGS)
def test_a_word_file_holds_text_alone(lang: str) -> None:
    text = f"=HYPERLINK(1) {{ FIELD }} {HOSTILE} http://e.vil \x00\x0b\x1f\ud800 臺灣 😀"
    data = to_docx(text, lang=lang, title=text)  # type: ignore[arg-type]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        body = archive.read("word/document.xml")
        links = archive.read("word/_rels/document.xml.rels").decode()
    assert not [name for name in names if "vba" in name.lower() or "embeddings" in name]
    assert 'TargetMode="External"' not in links
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(body).iter()}
    assert not tags & {"fldSimple", "fldChar", "instrText", "hyperlink", "object", "altChunk"}
    shown = "\n".join(p.text for p in Document(io.BytesIO(data)).paragraphs)
    assert HOSTILE in shown
    assert "臺灣 😀" in shown


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=60))
def test_any_text_becomes_a_word_file(text: str) -> None:
    Document(io.BytesIO(to_docx(text, lang="zh-TW")))


# ---- what is kept


def test_texts_are_kept_newest_first_and_deleted() -> None:
    first = keep("me", "drafts", name="a", text="one\ud800", now=NOW, about={"must": ("x",)})
    second = keep("me", "drafts", name="b", text="two", now=NOW, about={})
    keep("you", "drafts", name="c", text="three", now=NOW, about={})
    keep("me", "prompts", name="d", text="four", now=NOW, about={})
    assert [one.text for one in kept("me", "drafts")] == ["two", "one\ud800"]
    again = keep("me", "drafts", name="a", text="one\ud800", now=NOW, about={"must": ("x",)})
    assert [one.id for one in kept("me", "drafts")] == [again.id, second.id]
    assert forget("me", "drafts", first.id) is None
    gone = forget("me", "drafts", again.id)
    assert gone is not None
    assert gone.about == {"must": ["x"]}
    assert [one.text for one in kept("me", "drafts")] == ["two"]
    assert [one.text for one in kept("you", "drafts")] == ["three"]


def test_a_broken_file_is_said_and_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path))
    keep("../../me", "drafts", name="a", text="one", now=NOW, about={})
    (path,) = (tmp_path / "texts").glob("*.json")
    for broken in ("{", '[{"id": 1}]', "[1]"):
        path.write_text(broken)
        with pytest.raises(WriteError, match="kept_broken"):
            kept("../../me", "drafts")
        with pytest.raises(WriteError, match="kept_broken"):
            keep("../../me", "drafts", name="b", text="two", now=NOW, about={})
        assert path.read_text() == broken


def test_the_last_place_is_said_to_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmkit.write.kept_texts.MOST", 2)
    for text in ("one", "two"):
        keep("me", "drafts", name="", text=text, now=NOW, about={})
    with pytest.raises(WriteError, match="kept_full"):
        keep("me", "drafts", name="", text="three", now=NOW, about={})
    keep("me", "drafts", name="", text="one", now=NOW, about={})  # it is there already
    assert [one.text for one in kept("me", "drafts")] == ["one", "two"]
    assert json.dumps([one.at for one in kept("me", "drafts")])
