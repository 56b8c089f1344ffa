"""What boxes have read before, kept: the same text, box and question need not be read again, in whatever table.

SQLite in ``LLMKIT_HOME/tables/readings.db``. What cannot be read there, or written, is only read again by the box.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

from llmkit.database import all_or_nothing, opened
from llmkit.home import home

MOST = 200_000
"""Readings kept; beyond them the oldest go. A vector of all-MiniLM-L6-v2 has 1,536 bytes."""

_LOOKUP = 500
_MAKE = """
CREATE TABLE IF NOT EXISTS readings (key BLOB PRIMARY KEY, value BLOB NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS readings_at ON readings (at);
CREATE TABLE IF NOT EXISTS pace (asked TEXT PRIMARY KEY, seconds REAL NOT NULL, at REAL NOT NULL);
"""


class Store:
    """Readings of one question to one box.

    Args:
        asked: everything but the text that changes a reading: the box's fingerprint, the question, the device.
    """

    def __init__(self, asked: Mapping[str, object]) -> None:
        self._asked = json.dumps(asked, sort_keys=True, ensure_ascii=False)

    def find(self, texts: Sequence[str]) -> dict[str, bytes]:
        """What is known of these texts."""
        keys = {self._key(text): text for text in texts}
        found: dict[str, bytes] = {}
        listed = list(keys)
        try:
            with _database() as connection:
                for start in range(0, len(listed), _LOOKUP):
                    some = listed[start : start + _LOOKUP]
                    marks = ",".join("?" * len(some))
                    for key, value in connection.execute(
                        f"SELECT key, value FROM readings WHERE key IN ({marks})", some
                    ):
                        found[keys[key]] = value
        except sqlite3.Error:
            return {}
        return found

    def keep(self, read: Mapping[str, bytes]) -> None:
        """Keep what was read just now."""
        now = time.time()
        try:
            with _database() as connection, all_or_nothing(connection):
                rows = [(self._key(text), value, now) for text, value in read.items()]
                connection.executemany("INSERT OR REPLACE INTO readings VALUES (?, ?, ?)", rows)
                (count,) = connection.execute("SELECT count(*) FROM readings").fetchone()
                if count > MOST:
                    connection.execute(
                        "DELETE FROM readings WHERE key IN (SELECT key FROM readings ORDER BY at LIMIT ?)",
                        (count - MOST,),
                    )
        except sqlite3.Error:
            return

    def keep_pace(self, seconds: float) -> None:
        """Keep how long one text took on this machine, in seconds."""
        try:
            with _database() as connection, all_or_nothing(connection):
                connection.execute("INSERT OR REPLACE INTO pace VALUES (?, ?, ?)", (self._asked, seconds, time.time()))
        except sqlite3.Error:
            return

    def pace(self) -> float | None:
        """How long one text took when this was last asked here, in seconds; None where it never was."""
        try:
            with _database() as connection:
                row = connection.execute("SELECT seconds FROM pace WHERE asked = ?", (self._asked,)).fetchone()
        except sqlite3.Error:
            return None
        return float(row[0]) if row else None

    def _key(self, text: str) -> bytes:
        told = f"{self._asked}\x00{text}".encode("utf-8", errors="surrogatepass")
        return hashlib.blake2b(told, digest_size=16).digest()


def _database() -> AbstractContextManager[sqlite3.Connection]:
    return opened(
        home() / "tables" / "readings.db", lambda made: made.executescript(_MAKE), told=sqlite3.OperationalError
    )
