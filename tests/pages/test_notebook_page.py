"""Step 5-3: what is written is kept, shown inert, found again, and can be mended when the file is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lessons import words
from llmkit import journal
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.failing import CutError


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


def upload(app: AppTest, key: str, file: bytes) -> AppTest:
    next(one for one in app.file_uploader if one.key == key).upload("notes.zip", file, "application/zip")
    return app.run()


def someone_elses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[bytes, bytes]:
    """Return a whole journal and a partner's file, both from another machine."""
    with monkeypatch.context() as there:
        there.setenv("LLMKIT_JOURNAL", str(tmp_path / "another"))
        them = journal.make_profile("Mei").id
        journal.add_note(them, "tokens", "from afar **bold**")
        journal.pass_by(them, "tokens", "step", "do.cut")
        return journal.export_all(them), journal.export_for_partner(them)


def test_a_partner_comes_and_goes(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _, file = someone_elses(monkeypatch, tmp_path)
    app = upload(open_page("notebook", lang="en"), "notebook_partner_file", file)
    assert not app.exception
    assert not app.error
    (partner,) = journal.partners(journal.profiles()[0].id)
    assert partner.name == "Mei"
    assert "from afar <strong>bold</strong>" in seen(app)
    assert not journal.notes(journal.profiles()[0].id)
    app.button(key=f"notebook_leave_{partner.id}").click().run()
    assert not app.exception
    assert not journal.partners(journal.profiles()[0].id)


def test_an_import_is_shown_done_and_undone(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, _ = someone_elses(monkeypatch, tmp_path)
    me = journal.profiles()[0].id
    app = upload(open_page("notebook", lang="en"), "notebook_import_file", file)
    assert not app.exception
    assert app.info
    assert not journal.notes(me)
    app.button(key="notebook_import_do").click().run()
    assert [one.text for one in journal.notes(me)] == ["from afar **bold**"]
    app.button(key="notebook_import_undo").click().run()
    assert not app.exception
    assert not journal.notes(me)


def test_a_file_of_the_wrong_kind_is_refused(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, _ = someone_elses(monkeypatch, tmp_path)
    app = upload(open_page("notebook", lang="en"), "notebook_partner_file", whole)
    assert not app.exception
    assert "partner" in app.error[0].value
    app = upload(open_page("notebook", lang="en"), "notebook_import_file", b"no ZIP")
    assert not app.exception
    assert app.error


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dismissed"])
def test_what_a_page_met_is_kept_or_not(open_page: OpenPage, keep: bool) -> None:
    me = journal.profiles()[0].id
    for _ in range(2):
        met = journal.offer(me, CutError(box="*x*"), page="tokens", link="box=gpt2-starter&layer=2")
    assert met is not None
    app = open_page("notebook", lang="en")
    assert not app.exception
    assert words("en")("notebook.offer", n=2) in seen(app)
    if keep:
        app.text_input(key=f"notebook_mended_{met.id}").set_value("another box").run()
        app.button(key=f"notebook_adopted_{met.id}").click().run()
    else:
        app.button(key=f"notebook_dismiss_{met.id}").click().run()
    assert not app.exception
    assert not journal.mistakes(me, "offered")
    assert [one.mended for one in journal.mistakes(me)] == (["another box"] if keep else [])
    assert ("another box" in seen(app)) is keep


def test_a_note_leads_back_to_its_page_as_it_was(open_page: OpenPage) -> None:
    me = journal.profiles()[0].id
    journal.add_note(me, "tokens", "here", link="box=gpt2-starter&sentence=a+%26+b&layer=2")
    app = open_page("notebook", lang="en")
    (link,) = app.get("link_button")
    assert link.proto.url == f"tokens?box=gpt2-starter&sentence=a+%26+b&layer=2&profile={me}"
