"""Done: what the records say is on the page, in both languages; what is missing is dashed, not made up."""

from __future__ import annotations

import pytest

from lessons import words
from tests.llmkit.test_sheet import child_of, record, tuned
from tests.pages.conftest import OpenPage, done, seen

LANGS = ("zh-TW", "en")


@pytest.mark.parametrize("lang", LANGS)
def test_an_empty_machine_has_its_box_and_ghosts(open_page: OpenPage, own_home: object, lang: str) -> None:
    say = words(lang)
    app = open_page("done", lang=lang)
    assert not app.exception
    shown = seen(app)
    assert say("done.stage.box") in shown
    assert shown.count(f"<p>{say('done.ghost')}</p>") == 5
    assert done(app)[:3] == ["open", "open", "open"]
    app.radio(key="guess_done_share").set_value("none").run()
    app = app.button(key="run_done_share").click().run()
    assert say("done.check.because.none") in seen(app)


@pytest.mark.parametrize("lang", LANGS)
def test_what_was_done_is_drawn_with_its_figures(open_page: OpenPage, own_home: object, lang: str) -> None:
    say = words(lang)
    child = child_of("gpt2-starter", "tuned-here")
    settings = {"box_id": "gpt2-starter", "data": "reviews-en", "config": {"method": "lora"}}
    record("finetune", settings, tuned("gpt2-starter", child, learning=500), at=1_700_000_000)
    app = open_page("done", lang=lang, box=child)
    assert not app.exception
    shown = seen(app)
    for said in (say("done.stage.finetune"), "90.0 %", "50.0 %", child, "2023-11-1", say("done.stage.data")):
        assert said in shown
    assert done(app)[0] == "done"
    app.radio(key="guess_done_share").set_value("some").run()
    app = app.button(key="run_done_share").click().run()
    assert "50.00%" in seen(app)
    assert app.success


def test_a_broken_list_of_jobs_is_said(open_page: OpenPage, own_home: object) -> None:
    from llmkit.jobs.store import database_path

    database_path().parent.mkdir(parents=True, exist_ok=True)
    database_path().write_bytes(b"nonsense" * 100)
    app = open_page("done", lang="en")
    assert not app.exception
    assert app.error
