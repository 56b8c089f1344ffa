"""Papers in the journal: states, one pick a week, searches followed; an older journal becomes this one."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llmkit import journal
from llmkit.journal import archive, bundle, schema
from tests.llmkit.test_journal import ROOT, refused
from tests.llmkit.test_journal_bundle import changed

TAIPEI = ZoneInfo("Asia/Taipei")
FIRST_DAY = datetime(2026, 11, 30, 9, tzinfo=TAIPEI)  # a Monday, week 49
ROPE = journal.Work(id="2104.09864", title="RoFormer", authors="Jianlin Su", step="positions")
GQA = journal.Work(id="2305.13245", title="GQA", authors="Joshua Ainslie", address="https://arxiv.org/abs/2305.13245")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a journal of its own."""
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def me(place: Path) -> str:
    return journal.profiles()[0].id


def test_a_paper_is_begun_done_and_put_back(me: str) -> None:
    assert journal.set_state(me, ROPE, "reading", FIRST_DAY).state == "reading"
    kept = journal.set_state(me, journal.Work(id=ROPE.id, title="another title", authors=""), "done", FIRST_DAY)
    assert (kept.work, kept.state, kept.week) == (ROPE, "done", "")  # what was told first stays
    assert sum(journal.days(me).values()) == 2
    assert journal.set_state(me, ROPE, "unread", FIRST_DAY).state == "unread"
    assert sum(journal.days(me).values()) == 2  # putting away is nothing done
    assert journal.readings(journal.make_profile("Mei").id) == ()


def test_one_paper_a_week(me: str) -> None:
    journal.set_state(me, ROPE, "reading", FIRST_DAY)
    journal.pick(me, ROPE, now=FIRST_DAY)
    journal.pick(me, GQA, now=FIRST_DAY)
    assert [(one.id, one.week, one.state) for one in journal.readings(me) if one.week] == [
        (GQA.id, "2026-W49", "unread")
    ]
    journal.pick(me, ROPE, week="2026-W48", now=FIRST_DAY)
    assert journal.picked(me, "2026-W48").id == ROPE.id  # type: ignore[union-attr]
    assert journal.picked(me, "2026-W49").work == GQA  # type: ignore[union-attr]
    journal.unpick(me, now=FIRST_DAY)
    assert journal.picked(me, "2026-W49") is None
    assert {one.id: one.state for one in journal.readings(me)} == {ROPE.id: "reading", GQA.id: "unread"}


def test_the_later_pick_of_two_counts(me: str) -> None:
    other = journal.make_profile("Mei").id
    journal.pick(other, GQA, now=FIRST_DAY)
    journal.pick(me, ROPE, now=FIRST_DAY.replace(hour=8))
    journal.apply_import(me, journal.read_import(me, journal.export_all(other)))
    assert len([one for one in journal.readings(me) if one.week == "2026-W49"]) == 2
    assert journal.picked(me, "2026-W49").id == GQA.id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad",
    [{"id": "../x"}, {"id": ""}, {"id": "a b"}, {"address": "http://a.example/x"}, {"address": "javascript:1"}],
)
def test_what_is_no_paper_is_refused(me: str, bad: dict[str, str]) -> None:
    with refused("journal_field"):
        journal.pick(me, journal.Work(**{"id": "1", "title": "", "authors": "", **bad}))
    with refused("journal_field"):
        journal.set_state(me, ROPE, "lost")  # type: ignore[arg-type]
    assert journal.readings(me) == ()


def test_a_strangers_title_is_kept_as_text(me: str) -> None:
    wild = journal.Work(id="1", title="JavaScript:\n<script>\x00" + "x" * 600, authors="\ud800")
    kept = journal.pick(me, wild)
    assert kept.title.startswith("JavaScript: <script> xxx")
    assert (len(kept.title), kept.title[-1], kept.authors) == (500, "…", "?")
    journal.read_import(me, journal.export_all(me))  # and leaves and comes back


def test_searches_are_followed(me: str) -> None:
    assert journal.follow(me, "  Rotary\n Embedding ") == "rotary embedding"
    journal.follow(me, "rotary embedding")
    journal.follow(me, "量化")
    assert journal.topics(me) == ("rotary embedding", "量化")
    journal.unfollow(me, "rotary embedding")
    with refused("journal_unknown"):
        journal.unfollow(me, "rotary embedding")
    assert journal.topics(me) == ("量化",)
    journal.follow(me, "ROTARY embedding")
    assert journal.topics(me) == ("rotary embedding", "量化")
    for words, code in (("  ", "journal_empty"), ("x" * 81, "journal_long"), ("<script>", "journal_html")):
        with refused(code):
            journal.follow(me, words)
    for n in range(18):
        journal.follow(me, f"topic {n}")
    with refused("journal_topics"):
        journal.follow(me, "one more")
    journal.follow(me, "量化")  # is followed already


# ---- from an older journal


NEW_COLUMNS = ("figure_key", "figure_badge", "figure_left_out")


def as_first(book: dict[str, Any]) -> None:
    """Take from an export what the first version did not write."""
    book.update(version=1)
    for table in ("papers", "topics"):
        del book[table]
    for note in book["notes"]:
        for column in NEW_COLUMNS:
            del note[column]


@pytest.fixture
def older(me: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A journal as the first version left it, with an import that was made there."""
    journal.set_aside()
    for old in journal.backups():
        old.unlink()
    owner, friend = journal.profiles()[0].id, journal.make_profile("Mei").id
    with monkeypatch.context() as then:
        first = ("notes", "mistakes", "plan", "progress", "days")
        then.setattr(bundle, "TABLES", {name: bundle.TABLES[name] for name in first})
        journal.add_note(friend, "tokens", "from Mei")
        number = journal.apply_import(owner, journal.read_import(owner, journal.export_all(friend)))
        assert number == 1
        journal.add_note(owner, "tokens", "older")
    (place / "old.zip").write_bytes(changed(journal.export_all(owner), as_first))
    for old in journal.backups():
        old.unlink()
    with sqlite3.connect(place / "journal.db") as connection:
        connection.executescript("DROP TABLE papers; DROP TABLE topics; PRAGMA user_version = 1;")
        for column in NEW_COLUMNS:
            connection.execute(f"ALTER TABLE notes DROP COLUMN {column}")
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'papers'").fetchone()
    return owner


def test_an_older_journal_opens_with_all_that_it_had(older: str) -> None:
    journal.pick(older, ROPE)
    assert {note.text for note in journal.notes(older)} == {"older", "from Mei"}
    assert [path.name[:9] for path in journal.backups() if path.name.startswith("before")] == ["before-v3"]
    assert journal.undo_import(older, 1) == 1  # the note; that day was worked on since. It knew no papers
    assert [note.text for note in journal.notes(older)] == ["older"]
    assert journal.readings(older)[0].id == ROPE.id


def test_an_older_guide_leaves_this_journal_alone(older: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.pick(older, ROPE)
    with monkeypatch.context() as then:
        then.setattr(schema, "MIGRATIONS", (schema.FIRST,))
        with refused("journal_database_newer"):
            journal.add_note(older, "tokens", "no")
    assert journal.readings(older)


def test_two_processes_open_an_older_journal_at_once(older: str) -> None:
    command = [sys.executable, str(Path(__file__).with_name("journal_opener.py"))]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": env}
    both = [subprocess.Popen([*command, name], **pipes) for name in ("a", "b")]
    for one in both:
        assert one.stdout.readline() == "here\n"
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.wait(timeout=60) for one in both] == [0, 0]
    assert {one.id for one in journal.readings(older)} == {"by-a", "by-b"}
    assert len([path for path in journal.backups() if path.name.startswith("before")]) == 1
    assert {note.text for note in journal.notes(older)} == {"older", "from Mei"}


def test_an_older_file_comes_in_and_a_newer_one_is_refused(older: str, place: Path) -> None:
    other = journal.make_profile("other").id
    shown = journal.read_import(other, (place / "old.zip").read_bytes())
    assert (shown.added["notes"], shown.added["papers"]) == (2, 0)
    journal.apply_import(other, shown)
    assert {note.text for note in journal.notes(other)} == {"older", "from Mei"}
    now = journal.export_all(other)
    with refused("journal_file_newer"):
        journal.read_import(other, changed(now, lambda book: book.update(version=archive.VERSION + 1)))
    book = json.loads(zipfile.ZipFile(io.BytesIO(now)).read("journal.json"))
    assert (book["version"], book["papers"], book["topics"]) == (3, [], [])
