"""The room: who teaches in it, which steps are closed, where the instructor is."""

import hashlib
import hmac
import json
import secrets
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass

from llmkit.workshop.errors import WorkshopError
from llmkit.workshop.store import database_path, transaction

CODE_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without those that look alike from the back row."""

CODE_LENGTH = 4


@dataclass(frozen=True, kw_only=True)
class Room:
    """The room that is open on this machine.

    Args:
        code: what a guest's link says ("K7QM").
        opened_at: seconds since 1970.
        page: the slug of the step that the instructor shows; empty before the first.
        closed: slugs of the steps that guests may not open yet.
    """

    code: str
    opened_at: float
    page: str
    closed: frozenset[str]


def room() -> Room | None:
    """Return the room that is open; None where there is none.

    Raises:
        WorkshopError: ``room_database``.
    """
    if not database_path().exists():
        return None
    with transaction(write=False) as connection:
        return _room(connection)


def open_room() -> tuple[Room, str]:
    """Open a room, and return it with the instructor's key, which is kept nowhere else.

    Raises:
        WorkshopError: ``room_taken`` where one is open; ``room_database``.
    """
    key = secrets.token_urlsafe(24)
    code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    with transaction() as connection:
        if (there := _room(connection)) is not None:
            raise WorkshopError("room_taken", room=there.code)
        _empty(connection)
        connection.execute(
            "INSERT INTO room (only, code, key_hash, opened_at) VALUES (1, ?, ?, ?)", (code, _hash(key), time.time())
        )
        made = _room(connection)
    assert made is not None
    return made, key


def close_room(key: str | None) -> None:
    """Close the room and forget its guests; ``None`` as the key is for who sits at this machine's command line.

    Raises:
        WorkshopError: ``room_not_yours``, ``room_database``.
    """
    with transaction() as connection:
        if key is not None:
            require(connection, key)
        _empty(connection)
        connection.execute("DELETE FROM room")


def reset(key: str) -> None:
    """Forget guests and predictions and open all steps; the code stays, and who is still there joins again.

    Raises:
        WorkshopError: ``room_not_yours``, ``room_database``.
    """
    with transaction() as connection:
        require(connection, key)
        _empty(connection)
        connection.execute("UPDATE room SET closed = '[]'")


def set_closed(key: str, slugs: Iterable[str]) -> None:
    """Say which steps guests may not open.

    Raises:
        WorkshopError: ``room_not_yours``, ``room_database``.
    """
    with transaction() as connection:
        require(connection, key)
        connection.execute("UPDATE room SET closed = ?", (json.dumps(sorted(set(slugs))),))


def teach_at(key: str, slug: str) -> None:
    """Say which step the instructor shows.

    Raises:
        WorkshopError: ``room_not_yours``, ``room_database``.
    """
    with transaction() as connection:
        require(connection, key)
        connection.execute("UPDATE room SET page = ? WHERE page != ?", (slug, slug))


def is_instructor(key: str | None) -> bool:
    """Whether the key is that of the room that is open.

    Raises:
        WorkshopError: ``room_database``.
    """
    if not key or not database_path().exists():
        return False
    with transaction(write=False) as connection:
        return _fits(connection, key)


def require(connection: sqlite3.Connection, key: str) -> None:
    """Let only the instructor pass.

    Raises:
        WorkshopError: ``room_not_yours``.
    """
    if not _fits(connection, key):
        raise WorkshopError("room_not_yours")


def _fits(connection: sqlite3.Connection, key: str) -> bool:
    row = connection.execute("SELECT key_hash FROM room").fetchone()
    return row is not None and hmac.compare_digest(row["key_hash"], _hash(key))


def _room(connection: sqlite3.Connection) -> Room | None:
    row = connection.execute("SELECT code, opened_at, page, closed FROM room").fetchone()
    if row is None:
        return None
    closed = frozenset(json.loads(row["closed"]))
    return Room(code=row["code"], opened_at=row["opened_at"], page=row["page"], closed=closed)


def _empty(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM predictions")
    connection.execute("DELETE FROM guests")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
