"""A figure of a page goes with a note: words, badge, numbers; found again, taken away, brought elsewhere."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from components import drawn as drawn_room
from components import note_figure
from components.drawn import MOST_BYTES, MOST_ROWS, Drawn
from lessons import words
from llmkit import journal
from tests.pages.conftest import OpenPage, seen
from tests.pages.test_notebook_page import upload

BOX = "notes_figure_tokens"
SENTENCE = "A chair, =1+1 椅子"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


def me() -> str:
    return journal.profiles()[0].id


def rows(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def write(app: AppTest, text: str) -> AppTest:
    return app.text_area(key="notes_tokens").set_value(text).run()


def choose(app: AppTest, key: str) -> AppTest:
    return app.selectbox(key=BOX).set_value(key).run()


def attached(lang: str, open_page: OpenPage) -> journal.Note:
    """Keep a note with the picture of the tokens, and return it."""
    app = write(choose(open_page("tokens", lang=lang, sentence=SENTENCE, layer="3"), "tokens_cut"), "look")
    assert not app.exception
    (note,) = journal.notes(me())
    return note


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_figure_goes_with_a_note_and_is_found_in_the_notebook(open_page: OpenPage, lang: str) -> None:
    say = words(lang)
    app = open_page("tokens", lang=lang, sentence=SENTENCE, layer="3")
    options = app.selectbox(key=BOX).options
    assert options[0] == say("common.notes.no_figure")
    assert len(options) == len(set(options)) > 2
    assert max(map(len, options)) < 80
    write(choose(app, "tokens_cut"), "look")
    assert not app.exception
    assert app.selectbox(key=BOX).value == "tokens_cut"
    (note,) = journal.notes(me())
    figure = journal.figure(me(), note.id)
    assert figure is not None
    assert (figure.key, figure.left_out) == ("tokens_cut", 0)
    assert say(f"common.badge.{'live' if say('common.badge.live') in figure.badge else 'cached'}") in figure.badge
    assert figure.name in seen(app)  # the alt text that stands under the picture
    head, *cells = rows(figure.content)
    pieces = b"".join(bytes.fromhex(row[head.index("bytes")]) for row in cells)
    assert pieces.decode() == SENTENCE
    app = open_page("notebook", lang=lang)
    assert not app.exception
    assert figure.name in seen(app)
    assert figure.badge in seen(app)
    assert say("notebook.figure", name="")[:-1].strip() in seen(app)
    assert say("common.figure.csv") in [one.label for one in app.get("download_button")]
    (link,) = app.get("link_button")
    assert link.proto.url.startswith("tokens?")
    assert "layer=3" in link.proto.url


def test_a_figure_is_chosen_after_the_note_exchanged_and_taken_away(open_page: OpenPage) -> None:
    app = write(open_page("tokens", lang="en", sentence=SENTENCE), "look")
    (first,) = journal.notes(me())
    assert (first.figure_kind, journal.figure(me(), first.id)) == ("", None)
    app.query_params["layer"] = "3"
    choose(app, "tokens_cut")
    (note,) = journal.notes(me())
    assert (note.id, note.figure_key) == (first.id, "tokens_cut")
    assert "layer=3" in note.link
    kept = journal.figure(me(), note.id)
    write(app, "look again")  # the text alone: the figure stays as it was kept
    assert journal.figure(me(), note.id) == kept
    choose(app, "tokens_steps")
    assert journal.note(me(), note.id).figure_key == "tokens_steps"
    choose(app, "")
    assert journal.figure(me(), note.id) is None
    choose(app, "tokens_cut")
    app.button(key="next_tokens").click().run()
    assert app.selectbox(key=BOX).value == ""
    write(app, "another")
    assert [one.figure_key for one in journal.notes(me())] == ["", "tokens_cut"]
    assert not app.exception


def test_a_kept_figure_stays_on_the_list_when_its_page_is_drawn_otherwise(open_page: OpenPage) -> None:
    app = write(choose(open_page("tokens", lang="en", sentence=SENTENCE), "tokens_cut"), "look")
    (note,) = journal.notes(me())
    kept = journal.figure(me(), note.id)
    app.query_params["sentence"] = ""
    app.session_state["sentence"] = ""
    app.run()
    assert not app.exception
    assert app.selectbox(key=BOX).value == "tokens_cut"
    write(app, "look again")
    assert not app.exception
    assert journal.figure(me(), note.id) == kept


def test_drawing_writes_no_numbers(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    truly = drawn_room.as_csv
    monkeypatch.setattr(drawn_room, "as_csv", lambda data: made.append(len(data)) or truly(data))
    app = choose(open_page("tokens", lang="en", sentence=SENTENCE), "tokens_cut")
    app.run()
    assert made == []
    write(app, "look")
    assert len(made) == 1
    app.run()
    assert len(made) == 1


def test_a_notebook_with_a_figure_comes_in_elsewhere(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = attached("en", open_page)
    figure, file = journal.figure(me(), note.id), journal.export_all(me())
    assert figure is not None
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "elsewhere"))
    app = open_page("notebook", lang="en")
    assert figure.name not in seen(app)
    app = upload(app, "notebook_import_file", file)
    app.button(key="notebook_import_do").click().run()
    assert not app.exception
    assert journal.figure(me(), note.id) == figure
    assert figure.name in seen(app)


def test_the_numbers_of_a_strangers_notebook_run_nothing() -> None:
    hostile = '\ufeff=cmd,b\n"=HYPERLINK(""x"")",-1.5\n@x,"+1\n2"\n'.encode()
    note = journal.add_note(me(), "tokens", "x", figure=journal.Figure(kind="csv", name="", content=hostile))
    assert rows(note_figure._file(me(), note.id)) == [["'=cmd", "b"], ['\'=HYPERLINK("x")', "-1.5"], ["'@x", "'+1\n2"]]


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_hostile_words_stay_words(open_page: OpenPage, lang: str) -> None:
    figure = journal.Figure(
        kind="csv",
        name="<img src=x onerror=alert(1)> ![a](b) 😀",
        content=b"a\n1\n",
        badge="<b>live</b>",
        left_out=1_234,
    )
    journal.add_note(me(), "tokens", "x", figure=figure)
    app = open_page("notebook", lang=lang)
    assert not app.exception
    shown = "".join(element.proto.body for element in app.get("html"))
    assert "<img src=x" not in shown
    assert "<b>live" not in shown
    assert figure.name in seen(app)
    assert "1,234" in seen(app)


# ---- what stands on a page


def add(drawn: Drawn, key: str, alt: str = "") -> None:
    drawn.add(key, badge="live", alt=alt or key, data=pd.DataFrame({"a": [1]}))


def test_a_section_that_is_drawn_again_takes_back_what_it_drew() -> None:
    drawn = Drawn()
    add(drawn, "above")
    first, second = drawn.next_section(), drawn.next_section()
    with drawn.inside(first):
        add(drawn, "old")
        add(drawn, "both")
    with drawn.inside(second):
        add(drawn, "other")
    with drawn.inside(first):
        add(drawn, "both", "drawn anew")
        add(drawn, "new")
    assert drawn.names() == {"above": "above", "both": "drawn anew", "other": "other", "new": "new"}
    with drawn.inside(None):
        add(drawn, "watched")
    assert "watched" in drawn.names()


def test_a_drawing_that_is_cut_off_takes_nothing_back() -> None:
    drawn = Drawn()
    with drawn.inside(1):
        add(drawn, "a")
    with pytest.raises(KeyboardInterrupt), drawn.inside(1):
        raise KeyboardInterrupt
    assert drawn.names() == {"a": "a"}
    with drawn.inside(1):
        pass
    assert drawn.names() == {}


@pytest.mark.parametrize("count", [10, 3_000, MOST_ROWS + 5])
def test_numbers_are_cut_where_they_grow_too_long(count: int) -> None:
    data = pd.DataFrame({"n": range(count), "text": ['=a"b\n椅子' + "x" * 80] * count})
    drawn = Drawn()
    drawn.add("k", badge="b", alt="a", data=data)
    figure = drawn.figure("k")
    assert figure is not None
    _, *kept = rows(figure.content)
    assert len(figure.content) <= MOST_BYTES
    assert figure.left_out == count - len(kept)
    assert [int(row[0]) for row in kept] == list(range(len(kept)))
    assert {row[1] for row in kept} == {"'=a\"b\n椅子" + "x" * 80}
    assert (count > 10) == (figure.left_out > 0)
    assert len(figure.content) > 0.5 * min(MOST_BYTES, 90 * count)


def test_numbers_with_signs_that_no_file_holds_are_kept() -> None:
    drawn = Drawn()
    data = pd.DataFrame({"t": ["a\0b", "😀"], "v": [np.float32(0.5), np.nan]})
    drawn.add("k", badge="b", alt="a\0", data=data)
    note = journal.add_note(me(), "tokens", "x", figure=drawn.figure("k"))
    figure = journal.figure(me(), note.id)
    assert figure is not None
    assert rows(figure.content) == [["t", "v"], ["ab", "0.5"], ["😀", ""]]
    assert drawn.figure("gone") is None
