"""Step 5-2: places for the sheet one is on, a question without secrets, a draft read for what it lacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from lessons import registry, words
from lessons.places import places, serving
from llmkit import journal
from llmkit.question import weighted_length
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.failing import CutError
from tests.pages.moving import sent

both = pytest.mark.parametrize("lang", ["zh-TW", "en"])
FAKE = "hf_A1b2C3d4E5f6G7h8"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


def posted(app: AppTest) -> str:
    """Return the question as the page shows it."""
    return str(sent(app, "community_ready")["text"])


def named(app: AppTest) -> list[str]:
    """Return the names on the cards, in order."""
    cards = "".join(one.proto.body for one in app.get("html") if "cm-places" in one.proto.body)
    return re.findall(r'rel="noopener noreferrer">([^<]+) ↗', cards)


@both
def test_places_are_those_of_the_sheet(open_page: OpenPage, lang: str) -> None:
    app = open_page("community", lang=lang, step="quantise")
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="community_step").value == "quantise"
    assert done(app)[0] == "done"
    found = serving("quantise", lang)
    assert set(named(app)) == {one.name for one in found}
    asks = [one.name for one in found if one.kind == "ask"]
    assert named(app)[: len(asks)] == asks
    told = seen(app)
    for one in found:
        assert (one.en if lang == "en" else one.zh) in told
    wall = next(one.proto.body for one in app.get("html") if "cm-wall" in one.proto.body and "<tr" in one.proto.body)
    assert wall.count("<tr") == len(places()) + 1
    assert wall.count('class="fits"') == len(found)
    app.selectbox(key="community_step").set_value("attention").run()
    assert set(named(app)) == {one.name for one in serving("attention", lang)}


def test_choosing_is_the_learners(open_page: OpenPage) -> None:
    app = open_page("community", lang="en").run()
    assert done(app) == ["open"] * 3
    app.selectbox(key="community_step").set_value("tokens").run()
    assert done(app) == ["done", "open", "open"]


@pytest.mark.parametrize("asked", ["community", "no such step", "<b>", "x" * 5000])
def test_a_wrong_step_in_the_address_is_none(open_page: OpenPage, asked: str) -> None:
    app = open_page("community", lang="en", step=asked)
    assert not app.exception
    assert app.selectbox(key="community_step").value == registry.STEPS[0].slug


@pytest.mark.parametrize("slug", ["unbox", "tokens", "notebook"])
def test_every_sheet_leads_here(open_page: OpenPage, slug: str) -> None:
    app = open_page(slug, lang="en")
    (way,) = [one.proto for one in app.get("page_link") if one.proto.label == words("en")("common.ask_more")]
    assert parse_qs(way.query_string) == {"step": [slug]}


def test_the_sheet_just_left_is_meant_with_its_settings(open_page: OpenPage) -> None:
    app = open_page("tokens", lang="en", sentence="A chair & a table", layer="3")
    app.switch_page(registry.step("community").script).run()
    assert app.selectbox(key="community_step").value == "tokens"
    settings = re.search(r"`(tokens\?[^`]+)`", posted(app))
    assert settings
    asked = parse_qs(settings[1].partition("?")[2])
    assert asked["sentence"] == ["A chair & a table"]
    assert asked["layer"] == ["3"]
    app.toggle(key="community_sentence").set_value(False).run()
    assert "chair" not in posted(app)


@both
def test_a_question_fills_itself_in_without_secrets(open_page: OpenPage, lang: str) -> None:
    import platform

    import torch

    say, me = words(lang), journal.profiles()[0].id
    error = CutError(box="x")
    error.code = "box_broken"  # type: ignore[misc]
    error.values = {"box": "folder:/home/mei/box", "detail": f"``` {FAKE}"}
    journal.offer(me, error, page="attention", link=f"box=gpt2-starter&layer=2&profile={me}&key={FAKE}")
    app = open_page("community", lang=lang, step="attention")
    app.text_area(key="community_tried").set_value("1. pressed <b>Run</b> with token=abc123def456").run()
    app.text_area(key="community_happened").set_value("nothing in /Users/mei/x").run()
    assert not app.exception
    assert done(app)[1] == "done"
    text = posted(app)
    for piece in (platform.python_version(), torch.__version__, "gpt2-starter (gpt2)", "torch-float32", "layer=2"):
        assert piece in text
    for piece in ("mei", FAKE, me, "abc123def456"):
        assert piece not in text
    assert "pressed <b>Run</b>" in text  # the learner's own words stay as they are
    assert "````text\nbox_broken: " in text
    assert say("community.post.tried") in text
    assert say("community.hidden.home") in seen(app)
    other = "en" if lang == "zh-TW" else "zh-TW"
    app.segmented_control(key="community_lang").set_value(other).run()
    assert words(other)("community.post.tried") in posted(app)
    app.segmented_control(key="community_kind").set_value("x").run()
    assert weighted_length(posted(app)) <= 280
    assert say("community.weight", n=weighted_length(posted(app)), most=280) in seen(app)
    app.segmented_control(key="community_kind").set_value("github").run()
    assert "<details>" in posted(app)
    app.selectbox(key="community_error").set_value("").run()
    assert "box_broken" not in posted(app)


def test_an_error_of_another_sheet_does_not_lend_its_settings(open_page: OpenPage) -> None:
    journal.offer(journal.profiles()[0].id, CutError(box="x"), page="attention", link="layer=2")
    app = open_page("community", lang="en", step="tokens")
    assert "layer=2" not in posted(app)
    assert "tokens?box=gpt2-starter" in posted(app)


def test_an_old_error_with_other_values_is_told_by_its_code(open_page: OpenPage) -> None:
    error = CutError(box="x")
    error.code = "box_broken"  # type: ignore[misc]
    error.values = {}
    journal.offer(journal.profiles()[0].id, error, page="tokens")
    app = open_page("community", lang="en")
    assert not app.exception
    assert "```text\nbox_broken\n```" in posted(app)


def test_a_broken_journal_leaves_the_question(open_page: OpenPage, place: Path) -> None:
    place.mkdir()
    (place / "journal.db").write_bytes(b"no database at all")
    app = open_page("community", lang="en")
    assert not app.exception
    assert app.error
    assert "torch-float32" in posted(app)


@both
@pytest.mark.parametrize(
    ("draft", "answer"),
    [
        (None, "error"),
        ("RuntimeError: no shape", "did"),
        ("1. pressed Run\nRuntimeError: no shape, torch 2.13.0", "box"),
        ("1. pressed Run on gpt2-starter\nRuntimeError: x, torch 2.13.0; I expected a picture", "none"),
    ],
)
def test_the_check_reads_the_draft(open_page: OpenPage, lang: str, draft: str | None, answer: str) -> None:
    app = open_page("community", lang=lang)
    if draft is not None:
        app.text_area(key=f"community_draft_{lang}").set_value(draft).run()
    app.radio(key="guess_community_lacks").set_value(answer).run()
    app.button(key="run_community_lacks").click().run()
    assert not app.exception
    assert words(lang)(f"community.piece.{answer}") in app.success[0].value
    app.text_area(key=f"community_draft_{lang}").set_value("another draft").run()
    assert not app.success


@pytest.mark.parametrize(
    "text", ["</script><img src=x onerror=alert(1)>", "😀" * 3000, "\x00\x01", "`" * 4000, "{x} %s"]
)
def test_any_text_can_be_asked(open_page: OpenPage, text: str) -> None:
    app = open_page("community", lang="en")
    for name in ("tried", "happened", "expected"):
        app.text_area(key=f"community_{name}").set_value(text)
    app.text_area(key="community_draft_en").set_value(text).run()
    app.segmented_control(key="community_kind").set_value("x").run()
    assert not app.exception
    assert weighted_length(posted(app)) <= 280
    assert json.dumps(posted(app))
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body
