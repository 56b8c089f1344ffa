"""A note's figure: kept with where it comes from, changed, taken away as a file and brought back, also from before."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest

from llmkit import journal
from llmkit.journal import store
from tests.llmkit.test_journal import refused
from tests.llmkit.test_journal_bundle import changed

ALT = "第 3 層：<script> & ![詞元](javascript:x)\n看向前一個"
FIGURE = journal.Figure(
    kind="csv",
    name=ALT,
    content="\ufefftoken,weight\n椅子,0.25\n".encode(),
    key="attention_../map",
    badge="即時計算 · CPU",
    left_out=1_234,
)
KEPT = journal.Figure(
    kind="csv",
    name="第 3 層：<script> & ![詞元](javascript:x) 看向前一個",
    content=FIGURE.content,
    key="attention_..-map",
    badge="即時計算 · CPU",
    left_out=1_234,
)
NEW_COLUMNS = ("figure_key", "figure_badge", "figure_left_out")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a journal of its own."""
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def me(place: Path) -> str:
    return journal.profiles()[0].id


def test_a_figure_is_kept_exchanged_and_taken_away(me: str) -> None:
    note = journal.add_note(me, "attention", "look", link="layer=2", figure=FIGURE)
    assert journal.figure(me, note.id) == KEPT
    assert (note.figure_key, note.figure_badge, note.figure_left_out) == (KEPT.key, KEPT.badge, 1_234)
    other = journal.Figure(kind="csv", name="another", content=b"a\n1\n")
    again = journal.set_figure(me, note.id, other, link="?layer=3&profile=x", settings={"layer": 3})
    assert (again.text, again.link, again.settings) == ("look", "layer=3", {"layer": 3})
    assert again.changed_at > note.changed_at
    assert journal.figure(me, note.id) == other
    assert journal.edit_note(me, note.id, "look again").figure_name == "another"
    gone = journal.set_figure(me, note.id, None, link="", settings={})
    assert (gone.figure_kind, gone.figure_name, gone.figure_left_out) == ("", "", 0)
    assert journal.figure(me, note.id) is None
    journal.delete_note(me, note.id)
    with refused("journal_unknown"):
        journal.set_figure(me, note.id, other, link="", settings={})
    with refused("journal_figure"):
        journal.set_figure(me, note.id, journal.Figure(kind="csv", name="", content=b""), link="", settings={})


def test_a_figure_leaves_with_its_words_and_its_file(me: str) -> None:
    note = journal.add_note(me, "attention", "look", figure=FIGURE)
    with zipfile.ZipFile(io.BytesIO(journal.export_all(me))) as packed:
        assert packed.read(f"figures/{note.id}.csv") == FIGURE.content
        told = packed.read("journal.md").decode()
    assert told == journal.export_markdown(me)
    line = next(line for line in told.splitlines() if line.startswith("[figures/"))
    assert line.startswith(f"[figures/{note.id}.csv](figures/{note.id}.csv) · 第 3 層：\\<script\\> & !\\[詞元\\]")
    assert line.endswith(KEPT.badge)
    book = json.loads(zipfile.ZipFile(io.BytesIO(journal.export_for_partner(me))).read("journal.json"))
    assert {name: value for name, value in book["notes"][0].items() if name.startswith("figure") and value} == {}


def as_second(book: dict[str, Any]) -> None:
    """Take from an export what the second version did not write."""
    book.update(version=2)
    for note in book["notes"]:
        for column in NEW_COLUMNS:
            del note[column]


def test_a_file_of_the_second_version_comes_in_with_its_figures(me: str) -> None:
    note = journal.add_note(me, "attention", "look", figure=FIGURE)
    file = changed(journal.export_all(me), as_second)
    other = journal.make_profile("other").id
    journal.apply_import(other, journal.read_import(other, file))
    assert journal.figure(other, note.id) == journal.Figure(kind="csv", name=KEPT.name, content=FIGURE.content)


def test_a_journal_of_the_second_version_opens_with_its_figures(me: str, place: Path) -> None:
    note = journal.add_note(me, "attention", "注意力 look", figure=FIGURE)
    friend = journal.make_profile("Mei").id
    number = journal.apply_import(friend, journal.read_import(friend, journal.export_all(me)))
    journal.edit_note(me, note.id, "newer")
    newer = journal.apply_import(friend, journal.read_import(friend, journal.export_all(me)))
    for backup in journal.backups():
        backup.unlink()
    with sqlite3.connect(place / "journal.db") as connection:
        for column in NEW_COLUMNS:
            connection.execute(f"ALTER TABLE notes DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 2")
        for row, made in connection.execute("SELECT place, changes FROM imports").fetchall():
            changes = json.loads(made)
            for old in changes["before"]["notes"]:  # as that version wrote it down
                for column in NEW_COLUMNS:
                    del old[column]
            connection.execute("UPDATE imports SET changes = ? WHERE place = ?", (json.dumps(changes), row))
    assert journal.figure(me, note.id) == journal.Figure(kind="csv", name=KEPT.name, content=FIGURE.content)
    assert [path.name[:9] for path in journal.backups() if path.name.startswith("before")] == ["before-v3"]
    assert journal.undo_import(friend, newer) == 1
    assert [one.text for one in journal.notes(friend, search="注意力")] == ["注意力 look"]
    assert journal.figure(friend, note.id) == journal.Figure(kind="csv", name=KEPT.name, content=FIGURE.content)
    assert journal.undo_import(friend, number) >= 1
    with store.database() as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 3
    journal.set_figure(me, note.id, FIGURE, link="", settings={})
    assert journal.figure(me, note.id) == KEPT
