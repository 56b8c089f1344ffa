"""The file of the room: SQLite, so that a reload, a second window or a restart of the app finds it as it was."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from llmkit.database import BUSY_S, all_or_nothing, opened
from llmkit.home import home
from llmkit.workshop.errors import WorkshopError

VERSION = 1
APPLICATION_ID = 0x4C4D524D
"""Stands in the head of the file ("LMRM"), so that another program's database is not taken for a room."""

SCHEMA = """
CREATE TABLE room (
    only INTEGER PRIMARY KEY CHECK (only = 1), code TEXT NOT NULL, key_hash TEXT NOT NULL, opened_at REAL NOT NULL,
    page TEXT NOT NULL DEFAULT '', closed TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE guests (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL DEFAULT '',
    page TEXT NOT NULL DEFAULT '', joined_at REAL NOT NULL, seen_at REAL NOT NULL, moved_at REAL NOT NULL, hand_at REAL
);
CREATE TABLE predictions (
    guest TEXT NOT NULL REFERENCES guests (id) ON DELETE CASCADE, question TEXT NOT NULL, answer TEXT NOT NULL,
    at REAL NOT NULL, PRIMARY KEY (guest, question)
);
CREATE INDEX predictions_by_question ON predictions (question);
"""
"""Times are seconds since 1970. ``seen_at``: the device was there; ``moved_at``: its learner did something."""


def database_path() -> Path:
    """The SQLite file."""
    return home() / "workshop" / "room.db"


@contextmanager
def transaction(*, write: bool = True) -> Iterator[sqlite3.Connection]:
    """Open the file, which is made where there is none, and do everything inside, or nothing.

    Args:
        write: whether something is changed: then nobody else writes meanwhile.

    Raises:
        WorkshopError: ``room_database`` where it cannot be read or written; it is never overwritten.
    """
    path = database_path()
    with (
        opened(
            path, _make_ready, lambda said: WorkshopError("room_database", path=str(path), detail=said)
        ) as connection,
        all_or_nothing(connection, write=write),
    ):
        yield connection


def _make_ready(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = OFF")  # of an hour in a room nothing is worth waiting for a disk
    if _is_ours(connection):
        return
    with FileLock(database_path().with_name("making.lock"), timeout=BUSY_S):
        if _is_ours(connection):  # another process was quicker
            return
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise sqlite3.DatabaseError("it holds the tables of something else")
        connection.execute("PRAGMA journal_mode = WAL")
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
        connection.executescript(f"BEGIN IMMEDIATE; {SCHEMA} {marks} COMMIT;")


def _is_ours(connection: sqlite3.Connection) -> bool:
    marks = tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    return marks == (APPLICATION_ID, VERSION)
