"""What a page tells the journal: once, when it is new; and a page without a journal is a page all the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components import audience
from lessons import registry, words
from llmkit import journal, workshop
from llmkit.journal.progress import Kind
from tests.pages.conftest import OpenPage, seen


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


def me() -> str:
    return journal.profiles()[0].id


def write(app: AppTest, text: str, slug: str = "tokens") -> AppTest:
    return app.text_area(key=f"notes_{slug}").set_value(text).run()


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_the_notes_box_writes_the_journal(open_page: OpenPage, lang: str) -> None:
    app = write(open_page("tokens", lang=lang, layer="3"), "詞元 <s> is no word")
    assert not app.exception
    assert words(lang)("common.notes.kept") in seen(app)
    (note,) = journal.notes(me())
    assert (note.page, note.text) == ("tokens", "詞元 <s> is no word")
    assert "layer=3" in note.link
    assert note.settings["box"] == app.session_state["box"]
    write(app, "詞元 <s> is a mark")
    assert [one.text for one in journal.notes(me())] == ["詞元 <s> is a mark"]
    app.button(key="next_tokens").click().run()
    assert not app.text_area(key="notes_tokens").value
    write(app, "another")
    assert [one.text for one in journal.notes(me())] == ["another", "詞元 <s> is a mark"]
    write(app, "")
    assert len(journal.notes(me())) == 2


def test_a_note_that_was_deleted_in_the_notebook_begins_anew(open_page: OpenPage) -> None:
    app = write(open_page("tokens", lang="en"), "one")
    journal.delete_note(me(), journal.notes(me())[0].id)
    write(app, "two")
    assert not app.exception
    assert [one.text for one in journal.notes(me())] == ["two"]


def test_a_note_that_may_not_be_kept_says_why(open_page: OpenPage) -> None:
    app = write(open_page("tokens", lang="en"), "<script>alert(1)</script>")
    assert not app.exception
    assert "backticks" in app.error[0].value
    assert not journal.notes(me())
    assert not app.get("exception")
    write(app, "`<script>`")
    assert not app.error
    assert journal.notes(me())


def test_checks_are_heard_once_and_opening_a_page_is_no_work(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    truly = journal.pass_by

    def listen(profile: str, page: str, kind: Kind, name: str, now: datetime, *, counts: bool) -> bool:
        heard.append(name)
        return truly(profile, page, kind, name, now, counts=counts)

    monkeypatch.setattr(journal, "pass_by", listen)
    journal.add_planned(me(), "1706.03762", page="attention")
    app = open_page("notebook", lang="en")
    assert "do.plan" in heard
    assert not journal.days(me())
    heard.clear()
    for guess in ("stays", "zero", "zero"):
        app.radio(key="guess_notebook_day_off").set_value(guess).run()
        app.button(key="run_notebook_day_off").click().run()
    app.run()
    assert not app.exception
    assert heard == ["day_off"]
    assert {one.kind for one in journal.progress(me()) if one.name == "day_off"} == {"check"}
    assert list(journal.days(me()).values()) == [1]


def test_a_tick_is_heard_once(open_page: OpenPage) -> None:
    app = open_page("notebook", lang="en")
    app.text_input(key="notebook_plan_title").set_value("1706.03762")
    next(one for one in app.button if one.label == words("en")("notebook.plan.add")).click().run()
    app.run()
    assert not app.exception
    assert ("notebook", "step", "do.plan") in [(one.page, one.kind, one.name) for one in journal.progress(me())]
    assert list(journal.days(me()).values()) == [1]


def failing() -> None:
    """Draw a section that cannot go on."""
    from components.frame import Page
    from components.workbench import Workbench
    from lessons import registry
    from tests.pages.failing import CutError

    page = Page(step=registry.step("tokens"), bench=Workbench(lang="en", box_id="gpt2-starter", sentence="a"))
    with page.guard():
        raise CutError(page="*x*")


def test_an_error_on_a_page_is_offered_once(place: Path) -> None:
    app = AppTest.from_function(failing).run().run()
    assert not app.exception
    assert app.error
    (offered,) = journal.mistakes(me(), "offered")
    assert (offered.page, offered.code, offered.details, offered.times) == ("tokens", "cut", {"page": "*x*"}, 1)
    place.rename(place.with_name("moved"))
    place.write_text("no folder")
    again = AppTest.from_function(failing).run()
    assert not again.exception
    assert again.session_state["_journal_missed"] == 1


@pytest.mark.parametrize("slug", ["tokens", "notebook"])
def test_a_page_goes_on_without_a_journal(open_page: OpenPage, place: Path, slug: str) -> None:
    place.write_text("a file where the folder should be")
    app = open_page(slug, lang="en")
    write(app, "lost?", slug)
    assert not app.exception
    assert app.text_area(key=f"notes_{slug}").value == "lost?"
    assert any("journal.db" in one.value for one in app.error)


def test_what_was_ticked_yesterday_is_known_today(open_page: OpenPage) -> None:
    journal.pass_by(me(), "tokens", "step", "do.cut", datetime(2026, 1, 1, tzinfo=UTC))
    shown = seen(open_page("tokens", lang="en"))
    assert shown.count('<li class=\\"before\\">') == 1
    for do in registry.step("unbox").do:
        journal.pass_by(me(), "unbox", "step", do, datetime(2026, 1, 1, tzinfo=UTC))
    plan = seen(open_page("unbox", lang="en"))
    listed = plan[plan.index('class=\\"plan\\"') :]
    assert words("en")("unbox.title") not in listed[: listed.index("</ol>")]


def test_a_guest_has_a_journal_of_its_own(open_page: OpenPage, own_home: Path) -> None:
    room, _ = workshop.open_room()
    app = open_page("tokens", lang="en", room=room.code)
    write(app, "before anyone knows who I am")
    app.session_state[audience.GUEST], app.session_state[audience.LABEL] = workshop.join(room.code, "a").id, "K7QM 1"
    write(app.run(), "mine")
    host, guest = journal.profiles()
    assert guest.name == "K7QM 1"
    assert [note.text for note in journal.notes(guest.id)] == ["mine"]
    assert journal.notes(host.id) == ()
    assert journal.progress(host.id) == ()
    assert app.query_params["profile"] == guest.id
