"""The journal: nothing is lost, nothing is overwritten, nothing comes in that could act."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llmkit import journal
from llmkit.journal import schema, store

TAIPEI = ZoneInfo("Asia/Taipei")
ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(17)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a journal of its own."""
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def me(place: Path) -> str:
    return journal.profiles()[0].id


def refused(code: str):
    return pytest.raises(journal.JournalError, match=rf"^{code}\b")


# ---- the file


def test_processes_and_threads_write_at_the_same_time() -> None:
    command = [sys.executable, str(Path(__file__).with_name("journal_process.py"))]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [subprocess.Popen([*command, name, "25"], env=env) for name in ("a", "b")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    (only,) = journal.profiles()  # both began on an empty folder
    tabs = [threading.Thread(target=journal.add_note, args=(only.id, "tokens", f"tab {n}")) for n in range(8)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert len({note.text for note in journal.notes(only.id)}) == 58
    assert sum(journal.days(only.id).values()) == 58
    with store.database() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_write_that_fails_leaves_nothing_behind(me: str) -> None:
    def fail() -> None:
        with store.transaction() as connection:
            connection.execute("DELETE FROM profiles")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert journal.profiles()[0].id == me


def test_the_next_version_is_reached_and_this_one_kept(me: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.add_note(me, "tokens", "before")
    version = len(schema.MIGRATIONS)
    following = "ALTER TABLE notes ADD COLUMN mood TEXT NOT NULL DEFAULT 'good';"
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, following))
    with store.database() as connection:
        assert connection.execute("SELECT text, mood FROM notes").fetchall()[0][:] == ("before", "good")
        assert connection.execute("PRAGMA user_version").fetchone()[0] == version + 1
    (kept,) = [path for path in journal.backups() if path.name.startswith(f"before-v{version + 1}")]
    with sqlite3.connect(kept) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == version
        assert connection.execute("SELECT text FROM notes").fetchall() == [("before",)]
    monkeypatch.undo()


def test_a_migration_that_fails_changes_nothing(me: str, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.add_note(me, "tokens", "still here")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "DROP TABLE notes; SELECT nothing FROM nowhere;"))
        with refused("journal_database"):
            journal.notes(me)
    assert [note.text for note in journal.notes(me)] == ["still here"]


def test_a_newer_journal_is_left_alone(me: str, place: Path) -> None:
    with sqlite3.connect(place / "journal.db") as connection:
        connection.execute("PRAGMA user_version = 9")
    with refused("journal_database_newer"):
        journal.add_note(me, "tokens", "no")
    with sqlite3.connect(place / "journal.db") as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 9


@pytest.mark.parametrize("content", [b"no database at all", b"\0" * 4096, "another"])
def test_what_is_no_journal_is_not_overwritten_and_can_be_set_aside(place: Path, content: bytes | str) -> None:
    place.mkdir()
    path = place / "journal.db"
    if isinstance(content, str):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE another (value)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with refused("journal_database"):
        journal.profiles()
    assert path.read_bytes() == before
    aside = journal.set_aside()
    assert (aside / "journal.db").read_bytes() == before
    assert journal.profiles()[0].name == ""


def test_damage_is_seen_before_it_reaches_the_backup_and_a_backup_comes_back(me: str, place: Path) -> None:
    journal.add_note(me, "tokens", "kept")
    for old in journal.backups():
        old.unlink()
    journal.notes(me)  # the day's backup is made again, with the note
    (good,) = journal.backups()
    good.rename(good.with_name("day-2020-01-01.db"))
    with sqlite3.connect(place / "journal.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    file = bytearray((place / "journal.db").read_bytes())
    file[8192:] = b"\xff" * (len(file) - 8192)
    (place / "journal.db").write_bytes(file)
    with refused("journal_database"):
        journal.notes(me)
    (good,) = journal.backups()
    aside = journal.restore(good)
    assert (aside / "journal.db").read_bytes() == bytes(file)
    assert [note.text for note in journal.notes(me)] == ["kept"]
    with refused("journal_database"):
        journal.restore(place / "elsewhere.db")


def test_three_daily_backups_are_kept(me: str, place: Path) -> None:
    folder = place / "backups"
    for at in range(5):
        old = folder / f"day-2020-01-0{at + 1}.db"
        old.write_bytes(b"")
        os.utime(old, (at + 1, at + 1))
    (folder / f"day-{date.today().isoformat()}.db").unlink()
    journal.notes(me)
    assert sorted(path.name for path in journal.backups())[:2] == ["day-2020-01-04.db", "day-2020-01-05.db"]
    assert len(journal.backups()) == 3


# ---- profiles


def test_profiles_keep_their_notes_apart(me: str) -> None:
    other = journal.make_profile("小美 <b>")
    journal.add_note(me, "tokens", "mine")
    journal.add_note(other.id, "tokens", "hers")
    assert [note.text for note in journal.notes(other.id)] == ["hers"]
    assert journal.rename(other.id, "Mei").name == "Mei"
    for name in ("", "  ", "x" * 41, "MEI"):
        with refused("journal_name"):
            journal.make_profile(name)
    with refused("journal_profile"):
        journal.profile("../../etc")


# ---- notes


def test_a_note_is_kept_changed_deleted_and_brought_back(me: str) -> None:
    note = journal.add_note(
        *(me, "attention", " 第 3 頭\r\n看 `the` \x00"),
        link="?box=gpt2-starter&sentence=這本&profile=abc",
        settings={"layer": 2},
        figure=journal.Figure(kind="png", name="heads", content=PNG),
    )
    assert (note.text, note.settings, note.figure_kind) == ("第 3 頭\n看 `the`", {"layer": 2}, "png")
    assert note.link == "box=gpt2-starter&sentence=%E9%80%99%E6%9C%AC"
    assert journal.figure(me, note.id) == journal.Figure(kind="png", name="heads", content=PNG)
    assert journal.edit_note(me, note.id, "new").text == "new"
    journal.delete_note(me, note.id)
    assert journal.notes(me) == ()
    for act in (journal.delete_note, journal.note, journal.figure):
        with refused("journal_unknown"):
            act(me, note.id)
    assert journal.undelete_note(me, note.id).text == "new"


@pytest.mark.parametrize("search", ["注意", "注意力", "意", "QUERY", "qu", "100%", "注意力 query", '"quoted"', "a_b"])
def test_search_finds_in_any_language(me: str, search: str) -> None:
    journal.add_note(me, "attention", '注意力看的是 Query，100% "quoted" a_b')
    journal.add_note(me, "tokens", "axb 100 詞元")
    assert [note.page for note in journal.notes(me, search=search)] == ["attention"]


def test_search_follows_changes_and_does_without_an_index(me: str) -> None:
    note = journal.add_note(me, "tokens", "embedding")
    journal.edit_note(me, note.id, "positions")
    assert not journal.notes(me, search="embedding")
    with store.database() as connection:
        connection.executescript(
            "DROP TRIGGER notes_added; DROP TRIGGER notes_taken; DROP TRIGGER notes_changed; DROP TABLE notes_text;"
        )
    assert len(journal.notes(me, search="POSITION", page="tokens")) == 1
    assert not journal.notes(me, search="position", page="attention")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "journal_empty"),
        (" \n\u200b\x01", "journal_empty"),
        ("x" * 100_000, "journal_long"),
        ("<script>alert(1)</script>", "journal_html"),
        ("a <IMG src=x onerror=alert(1)>", "journal_html"),
        ("<b onclick = alert(1)>", "journal_html"),
        ("[a](javascript:alert(1))", "journal_html"),
        ("` <script> ``", "journal_html"),
    ],
)
def test_bad_texts_are_refused(me: str, text: str, code: str) -> None:
    with refused(code):
        journal.add_note(me, "tokens", text)
    assert journal.notes(me) == ()


@pytest.mark.parametrize("text", ["<s> <|im_start|> a < b", "`<script>`", "```html\n<img src=x>\n```", "😀", "\ud800a"])
def test_texts_about_markup_are_kept(me: str, text: str) -> None:
    assert journal.add_note(me, "tokens", text).text


@pytest.mark.parametrize(
    ("kind", "content", "code"),
    [
        ("png", b"<svg/>", "journal_figure"),
        ("csv", b"\xff\xfe\x00", "journal_figure"),
        ("svg", b"<svg/>", "journal_figure"),
        ("csv", b"\n", "journal_figure"),
        ("csv", b"a" * 200_000, "journal_figure"),  # a cell that no reader takes
        ("csv", b"a" * 2_000_001, "journal_figure_large"),
    ],
)
def test_bad_figures_are_refused(me: str, kind: str, content: bytes, code: str) -> None:
    with refused(code):
        journal.add_note(me, "tokens", "x", figure=journal.Figure(kind=kind, name="", content=content))  # type: ignore[arg-type]


# ---- error log


class BrokenError(Exception):
    code, values = "text_long", {"length": 5, "html": "<script>"}


def test_an_error_is_offered_once_and_a_no_is_remembered(me: str) -> None:
    first = journal.offer(me, BrokenError(), page="attention", link="layer=2")
    again = journal.offer(me, BrokenError(), page="attention")
    assert first
    assert again
    assert (again.id, again.times, again.state, again.link) == (first.id, 2, "offered", "layer=2")
    kept = journal.adopt(me, first.id, why="too long", mended="cut it")
    assert (kept.state, kept.details["length"]) == ("kept", "5")
    other = journal.offer(me, BrokenError(), page="tokens")
    assert other
    journal.dismiss(me, other.id)
    assert journal.offer(me, BrokenError(), page="tokens").state == "dismissed"  # type: ignore[union-attr]
    assert journal.mistakes(me, "offered") == ()
    journal.delete_mistake(me, first.id)
    assert journal.offer(me, BrokenError(), page="attention") is None
    assert journal.undelete_mistake(me, first.id).mended == "cut it"
    assert journal.offer(me, ValueError(), page="tokens") is None


def test_offers_do_not_pile_up(me: str) -> None:
    for at in range(60):
        error = BrokenError()
        error.values = {"length": at}
        journal.offer(me, error, page="tokens")
    assert len(journal.mistakes(me, "offered")) == 50
    with refused("journal_empty"):
        journal.add_mistake(me, "tokens", " ")


# ---- progress, plan, days


def test_progress_and_plan(me: str) -> None:
    assert journal.pass_by(me, "tokens", "step", "do.cut")
    assert not journal.pass_by(me, "tokens", "step", "do.cut")
    assert journal.pass_by(me, "tokens", "check", "longest")
    assert [one.name for one in journal.progress(me)] == ["do.cut", "longest"]
    item = journal.add_planned(me, "1706.03762", now=datetime(2027, 1, 1, tzinfo=TAIPEI))
    assert item.week == "2026-W53"
    assert journal.set_done(me, item.id, True).done_at
    assert journal.set_done(me, item.id, False).done_at is None
    journal.delete_planned(me, item.id)
    assert journal.planned(me) == ()
    assert journal.undelete_planned(me, item.id) == journal.planned(me)[0]
    with refused("journal_field"):
        journal.add_planned(me, "x", week="2027-W53")  # that year has 52


def test_a_day_is_the_learners_own(me: str) -> None:
    late = datetime(2026, 11, 25, 15, 59, 59, tzinfo=UTC)  # one second before midnight in Taipei
    journal.add_note(me, "tokens", "a", now=late.astimezone(TAIPEI))
    journal.add_note(me, "tokens", "b", now=(late + timedelta(seconds=1)).astimezone(TAIPEI))
    journal.add_note(me, "tokens", "c", now=(late + timedelta(seconds=1)).astimezone(ZoneInfo("America/New_York")))
    assert journal.days(me) == {date(2026, 11, 25): 2, date(2026, 11, 26): 1}
    with pytest.raises(ValueError, match="zone"):
        journal.add_note(me, "tokens", "d", now=datetime(2026, 11, 25))


@pytest.mark.parametrize(
    ("back", "current", "longest", "today"),
    [
        ([], 0, 0, False),
        ([0], 1, 1, True),
        ([1], 1, 1, False),
        ([2], 0, 1, False),
        ([0, 1, 2, 5, 6, 7, 8], 3, 4, True),
        ([-1, 0, 1], 3, 3, True),
    ],
)
def test_streaks(back: list[int], current: int, longest: int, today: bool) -> None:
    now = datetime(2026, 3, 29, 0, 30, tzinfo=ZoneInfo("Europe/Berlin"))  # the night that has 23 hours
    found = journal.streak([now.date() - timedelta(days=n) for n in back], now)
    assert (found.current, found.longest, found.today) == (current, longest, today)


def test_the_calendar_file_keeps_to_rfc_5545(me: str) -> None:
    journal.set_daily(me, "20:30", 30)
    now = datetime(2026, 11, 25, 21, 0, tzinfo=TAIPEI)
    title, details = "LLM 組裝；一天, 三十; 分\\鐘\nEND:VEVENT", "中文字" * 40
    file = journal.daily_event(
        journal.profile(me), title=title, details=details, address="https://a.example/notebook?x=1", now=now
    )
    assert file.endswith(b"\r\n")
    assert b"\n" not in file.replace(b"\r\n", b"")
    assert max(map(len, file.split(b"\r\n"))) <= 75
    for piece in file.split(b"\r\n"):
        piece.decode("utf-8")  # no character is torn
    lines = file.decode("utf-8").replace("\r\n ", "").split("\r\n")[:-1]
    fields = dict(line.split(":", 1) for line in lines)
    assert all(re.match(r"[A-Z-]+:", line) for line in lines)
    assert [line for line in lines if line.startswith(("BEGIN", "END"))] == [
        *(f"BEGIN:{name}" for name in ("VCALENDAR", "VEVENT", "VALARM")),
        *(f"END:{name}" for name in ("VALARM", "VEVENT", "VCALENDAR")),
    ]
    read = re.sub(r"\\(.)", lambda found: "\n" if found[1] in "nN" else found[1], fields["SUMMARY"])
    assert read == title
    assert fields["DTSTART"] == "20261126T203000"  # floating, tomorrow: today's time has passed
    assert fields["DTSTAMP"] == "20261125T130000Z"
    assert (fields["RRULE"], fields["DURATION"]) == ("FREQ=DAILY", "PT30M")
    assert fields["URL"] == "https://a.example/notebook?x=1"
    for at, minutes in (("24:00", 30), ("8:00", 30), ("20:30", 0)):
        with refused("journal_field"):
            journal.set_daily(me, at, minutes)
