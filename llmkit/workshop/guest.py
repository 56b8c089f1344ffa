"""The room's guests: each is a device; where it is, whether its learner is stuck, what was predicted."""

import sqlite3
import time
from dataclasses import dataclass

from llmkit.workshop.errors import WorkshopError
from llmkit.workshop.store import transaction

MOST_GUESTS = 200
NAME_CHARACTERS = 30
ID_CHARACTERS = 64
QUESTION_CHARACTERS = 200
ANSWER_CHARACTERS = 200
AWAY_S = 45.0
"""A device that has not been heard of for so long has gone."""


@dataclass(frozen=True, kw_only=True)
class Guest:
    """One device in the room.

    Args:
        id: the device's own name for itself; nobody else is shown it.
        number: in the order of joining, from 1.
        name: what its learner wants to be called; empty where nothing was said.
        page: the slug of the step that is open there.
        seen_at, moved_at: seconds since 1970: when the device was last heard of, when its learner last did something.
        hand_at: since when its learner asks for help; None where not.
    """

    id: str
    number: int
    name: str
    page: str
    seen_at: float
    moved_at: float
    hand_at: float | None

    def is_here(self, now: float | None = None) -> bool:
        """Whether the device was heard of lately."""
        return (time.time() if now is None else now) - self.seen_at < AWAY_S


def join(code: str, guest_id: str) -> Guest:
    """Enter the room, or come back to it as the same guest.

    Raises:
        WorkshopError: ``room_unknown`` (no such room is open), ``room_full``, ``room_database``.
    """
    guest_id, now = guest_id[:ID_CHARACTERS], time.time()
    with transaction() as connection:
        row = connection.execute("SELECT code FROM room").fetchone()
        if row is None or row["code"] != code.strip().upper() or not guest_id:
            raise WorkshopError("room_unknown", room=code[:20])
        if (there := _guest(connection, guest_id)) is not None:
            return there
        if connection.execute("SELECT count(*) FROM guests").fetchone()[0] >= MOST_GUESTS:
            raise WorkshopError("room_full", n=MOST_GUESTS)
        connection.execute(
            "INSERT INTO guests (id, joined_at, seen_at, moved_at) VALUES (?, ?, ?, ?)", (guest_id, now, now, now)
        )
        made = _guest(connection, guest_id)
    assert made is not None
    return made


def seen(guest_id: str, page: str, *, moved: bool) -> None:
    """Note that a device is there, and on which page; ``moved`` where its learner did something just now."""
    now = time.time()
    with transaction() as connection:
        connection.execute("UPDATE guests SET seen_at = ?, page = ? WHERE id = ?", (now, page[:60], guest_id))
        if moved:
            connection.execute("UPDATE guests SET moved_at = ? WHERE id = ?", (now, guest_id))


def rename(guest_id: str, name: str) -> None:
    """Call a guest as its learner wants to be called."""
    clean = " ".join("".join(char for char in name if char.isprintable()).split())[:NAME_CHARACTERS]
    with transaction() as connection:
        connection.execute("UPDATE guests SET name = ? WHERE id = ?", (clean, guest_id))


def hand(guest_id: str, *, up: bool) -> None:
    """Raise or lower a guest's hand; one that is up stays up since then."""
    with transaction() as connection:
        if up:
            connection.execute("UPDATE guests SET hand_at = coalesce(hand_at, ?) WHERE id = ?", (time.time(), guest_id))
        else:
            connection.execute("UPDATE guests SET hand_at = NULL WHERE id = ?", (guest_id,))


def predict(guest_id: str, question: str, answer: str) -> None:
    """Note what a guest thinks; the last word counts. Of a guest who is not in the room nothing is noted."""
    with transaction() as connection:
        if _guest(connection, guest_id) is not None:
            connection.execute(
                "INSERT OR REPLACE INTO predictions (guest, question, answer, at) VALUES (?, ?, ?, ?)",
                (guest_id, question[:QUESTION_CHARACTERS], answer[:ANSWER_CHARACTERS], time.time()),
            )


def predictions(question: str) -> dict[str, int]:
    """Return how many guests predicted each answer to a question."""
    with transaction(write=False) as connection:
        rows = connection.execute(
            "SELECT answer, count(*) AS n FROM predictions WHERE question = ? GROUP BY answer",
            (question[:QUESTION_CHARACTERS],),
        ).fetchall()
    return {row["answer"]: row["n"] for row in rows}


def guests() -> tuple[Guest, ...]:
    """Return everyone who joined: raised hands first, the longest up first, then in the order of joining."""
    with transaction(write=False) as connection:
        rows = connection.execute("SELECT * FROM guests ORDER BY hand_at IS NULL, hand_at, number").fetchall()
    return tuple(_made(row) for row in rows)


def _guest(connection: sqlite3.Connection, guest_id: str) -> Guest | None:
    row = connection.execute("SELECT * FROM guests WHERE id = ?", (guest_id,)).fetchone()
    return None if row is None else _made(row)


def _made(row: sqlite3.Row) -> Guest:
    names = ("id", "number", "name", "page", "seen_at", "moved_at", "hand_at")
    return Guest(**{name: row[name] for name in names})
