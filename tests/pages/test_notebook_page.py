"""Step 5-3: what is written is kept, shown inert, found again, and can be mended when the file is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from lessons import words
from llmkit import journal
from tests.pages.conftest import OpenPage, done, seen


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_day_at_the_desk(open_page: OpenPage, lang: str) -> None:
    say = words(lang)
    app = open_page("notebook", lang=lang)
    assert not app.exception
    assert done(app) == ["open"] * 3
    app.text_area(key="notebook_text").set_value("注意 <b>x</b> <s>")
    next(one for one in app.button if one.label == say("notebook.keep")).click().run()
    app.text_input(key="notebook_plan_title").set_value("1706.03762")
    next(one for one in app.button if one.label == say("notebook.plan.add")).click().run()
    assert not app.exception
    assert not app.error
    assert "注意 <b>x</b> <s>" in seen(app)
    assert done(app) == ["done", "done", "open"]
    me = journal.profiles()[0].id
    (note,) = journal.notes(me)
    assert note.page == "notebook"
    app.text_input(key="notebook_search").set_value("詞元").run()
    assert say("notebook.none") in seen(app)
    app.text_input(key="notebook_search").set_value("").run()
    app.button(key=f"notebook_delete_{note.id}").click().run()
    assert not journal.notes(me)
    app.button(key="notebook_undo").click().run()
    assert journal.notes(me)
    app.radio(key="guess_notebook_day_off").set_value("zero").run()
    app.button(key="run_notebook_day_off").click().run()
    assert app.success


def test_active_html_is_refused_in_words(open_page: OpenPage) -> None:
    app = open_page("notebook", lang="en")
    app.text_area(key="notebook_text").set_value("<script>alert(1)</script>")
    next(one for one in app.button if one.label == words("en")("notebook.keep")).click().run()
    assert not app.exception
    assert "backticks" in app.error[0].value


def test_two_learners_share_a_machine(open_page: OpenPage) -> None:
    first = journal.profiles()[0]
    journal.add_note(first.id, "tokens", "mine alone")
    other = journal.make_profile("Mei")
    app = open_page("notebook", lang="en", profile=other.id)
    assert "mine alone" not in seen(app)
    app.selectbox(key="notebook_profile").set_value(first.id).run()
    assert not app.exception
    assert "mine alone" in seen(app)


def test_a_broken_file_is_said_and_set_aside(open_page: OpenPage, place: Path) -> None:
    place.mkdir()
    (place / "journal.db").write_bytes(b"no database at all")
    app = open_page("notebook", lang="en")
    assert not app.exception
    assert app.error
    app.button(key="notebook_set_aside").click().run()
    assert not app.exception
    assert not app.error
