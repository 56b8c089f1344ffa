"""SQLite files: all or nothing, SQLite's and the disk's trouble told, everybody else's left as it is."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from llmkit.database import all_or_nothing, opened


class ToldError(Exception):
    """What a room says of its file."""


def ready(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS chairs (legs INTEGER NOT NULL)")


def chairs(path: Path, *, make: bool = True) -> AbstractContextManager[sqlite3.Connection]:
    return opened(path, ready, ToldError, make=make)


def write(path: Path, *rows: tuple[int | None], error: BaseException | None = None) -> None:
    """Put chairs in, then fail with `error`."""
    with chairs(path) as connection, all_or_nothing(connection):
        for row in rows:
            connection.execute("INSERT INTO chairs VALUES (?)", row)
        if error is not None:
            raise error


def legs(path: Path) -> list[int]:
    with chairs(path) as connection:
        return [row["legs"] for row in connection.execute("SELECT legs FROM chairs ORDER BY legs")]


def test_everything_inside_is_done_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a folder? 100% 椅子#" / "chairs.db"
    write(path, (3,), (4,))
    with pytest.raises(KeyboardInterrupt):
        write(path, (5,), error=KeyboardInterrupt())
    with pytest.raises(ToldError, match="NOT NULL"):
        write(path, (6,), (None,))
    assert legs(path) == [3, 4]


def test_what_sqlite_has_taken_back_itself_is_told_as_it_was(tmp_path: Path) -> None:
    with chairs(tmp_path / "chairs.db") as connection:
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"), all_or_nothing(connection):
            connection.execute("INSERT OR ROLLBACK INTO chairs VALUES (NULL)")
        with all_or_nothing(connection):  # the same connection goes on
            connection.execute("INSERT INTO chairs VALUES (4)")
    assert legs(tmp_path / "chairs.db") == [4]


def test_nobody_else_writes_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "chairs.db"
    with chairs(path) as first, all_or_nothing(first), chairs(path) as second:
        second.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(sqlite3.OperationalError, match="locked"), all_or_nothing(second):
            pytest.fail("two are writing")
        first.execute("INSERT INTO chairs VALUES (4)")
    assert legs(path) == [4]


def test_what_cannot_be_opened_or_made_ready_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToldError), chairs(tmp_path / "nowhere.db", make=False):
        pytest.fail("a file was made")
    assert not (tmp_path / "nowhere.db").exists()
    (tmp_path / "a file").touch()
    with pytest.raises(ToldError), chairs(tmp_path / "a file" / "chairs.db"):
        pytest.fail("a folder was made of a file")
    (tmp_path / "text.db").write_text("this is no database" * 100)
    with pytest.raises(ToldError, match="not a database"), chairs(tmp_path / "text.db"):
        pytest.fail("a text was opened")
    assert (tmp_path / "text.db").read_text().startswith("this is no database")


def test_what_goes_wrong_inside_for_another_reason_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), chairs(tmp_path / "chairs.db"):
        (tmp_path / "not there").read_text()
