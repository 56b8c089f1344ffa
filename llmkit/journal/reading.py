"""What a learner reads: papers unread, being read or done; one picked for each week; searches that are followed."""

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from llmkit.journal.days import count_day
from llmkit.journal.errors import JournalError
from llmkit.journal.store import database, transaction
from llmkit.journal.text import address, iso_week, known_week, moment, page_slug, paper_id, quoted, topic

State = Literal["unread", "reading", "done"]
STATES: tuple[State, ...] = ("unread", "reading", "done")
MOST_TOPICS = 20
_ASKED = "id, title, authors, address, step, state, week, created_at, changed_at"


@dataclass(frozen=True, kw_only=True)
class Work:
    """A paper, as whoever lists it describes it; title and authors are a stranger's text.

    Args:
        id: arXiv's number, or another name that only this paper has. address: where it is; may be empty.
        step: the slug of the page that it is about; empty where nobody knows.
    """

    id: str
    title: str
    authors: str
    address: str = ""
    step: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A paper in a learner's hands.

    Args:
        state: how far they are. week: the week it was picked for ("2026-W48"); empty where it was not.
        created_at, changed_at: seconds since 1970.
    """

    id: str
    title: str
    authors: str
    address: str
    step: str
    state: State
    week: str
    created_at: float
    changed_at: float

    @property
    def work(self) -> Work:
        """The paper itself."""
        return Work(id=self.id, title=self.title, authors=self.authors, address=self.address, step=self.step)


def set_state(profile: str, work: Work, state: State, now: datetime | None = None) -> Reading:
    """Say how far a paper is read.

    Raises:
        JournalError: ``journal_field`` where there is no such state, or the paper's name or address cannot be one.
    """
    if state not in STATES:
        raise JournalError("journal_field", field="state", value=str(state)[:40])
    when = moment(now)
    with transaction() as connection:
        _put(connection, profile, work, when)
        connection.execute(
            "UPDATE papers SET state = ?, changed_at = ? WHERE profile = ? AND id = ?",
            (state, when.timestamp(), profile, work.id),
        )
        if state != "unread":
            count_day(connection, profile, when)
    return _one(profile, work.id)


def pick(profile: str, work: Work, *, week: str | None = None, now: datetime | None = None) -> Reading:
    """Pick a paper for a week, this week where none is given; the one picked before makes room.

    Raises:
        JournalError: ``journal_field``.
    """
    when = moment(now)
    chosen = known_week(week or iso_week(when.date()))
    with transaction() as connection:
        _unpick(connection, profile, chosen, when)
        _put(connection, profile, work, when)
        connection.execute(
            "UPDATE papers SET week = ?, picked_at = ?, changed_at = ? WHERE profile = ? AND id = ?",
            (chosen, when.timestamp(), when.timestamp(), profile, work.id),
        )
        count_day(connection, profile, when)
    return _one(profile, work.id)


def unpick(profile: str, week: str | None = None, now: datetime | None = None) -> None:
    """Give up the pick of a week, this week where none is given; how far it is read stays.

    Raises:
        JournalError: ``journal_field``.
    """
    when = moment(now)
    with transaction() as connection:
        _unpick(connection, profile, known_week(week or iso_week(when.date())), when)


def picked(profile: str, week: str) -> Reading | None:
    """Return the paper picked for a week; after an import with another one, the later pick."""
    with database() as connection:
        row = connection.execute(
            f"SELECT {_ASKED} FROM papers WHERE profile = ? AND week = ? ORDER BY picked_at DESC, id LIMIT 1",
            (profile, known_week(week)),
        ).fetchone()
    return None if row is None else Reading(**dict(row))


def readings(profile: str) -> tuple[Reading, ...]:
    """Return every paper that was ever begun, done or picked, the latest change first."""
    with database() as connection:
        rows = connection.execute(
            f"SELECT {_ASKED} FROM papers WHERE profile = ? ORDER BY changed_at DESC, id", (profile,)
        ).fetchall()
    return tuple(Reading(**dict(row)) for row in rows)


def follow(profile: str, words: str, now: datetime | None = None) -> str:
    """Follow a search, and return it as it is kept.

    Raises:
        JournalError: ``journal_empty``, ``journal_long``, ``journal_html``; ``journal_topics`` where there are enough.
    """
    kept, when = topic(words), moment(now).timestamp()
    with transaction() as connection:
        (others,) = connection.execute(
            "SELECT count(*) FROM topics WHERE profile = ? AND deleted_at IS NULL AND words <> ?", (profile, kept)
        ).fetchone()
        if others >= MOST_TOPICS:
            raise JournalError("journal_topics", most=MOST_TOPICS)
        connection.execute(
            """INSERT INTO topics VALUES (?, ?, ?, ?, NULL) ON CONFLICT (profile, words)
               DO UPDATE SET deleted_at = NULL, changed_at = excluded.changed_at WHERE deleted_at IS NOT NULL""",
            (profile, kept, when, when),
        )
    return kept


def unfollow(profile: str, words: str) -> None:
    """Follow a search no longer; `follow` brings it back.

    Raises:
        JournalError: ``journal_unknown`` where it is not followed.
    """
    now = moment(None).timestamp()
    with transaction() as connection:
        changed = connection.execute(
            """UPDATE topics SET deleted_at = ?, changed_at = ?
               WHERE profile = ? AND words = ? AND deleted_at IS NULL""",
            (now, now, profile, words),
        )
        if changed.rowcount != 1:
            raise JournalError("journal_unknown", entry=words[:40])


def topics(profile: str) -> tuple[str, ...]:
    """Return the searches that are followed, the first one first."""
    with database() as connection:
        rows = connection.execute(
            "SELECT words FROM topics WHERE profile = ? AND deleted_at IS NULL ORDER BY created_at, words", (profile,)
        )
        return tuple(row["words"] for row in rows)


def _put(connection: sqlite3.Connection, profile: str, work: Work, when: datetime) -> None:
    """Make room for a paper; one that is here already stays as it is."""
    told = (paper_id(work.id), quoted(work.title), quoted(work.authors), address(work.address), page_slug(work.step))
    connection.execute(
        """INSERT INTO papers VALUES (?, ?, ?, ?, ?, ?, 'unread', '', NULL, ?, ?)
           ON CONFLICT (profile, id) DO NOTHING""",
        (profile, *told, when.timestamp(), when.timestamp()),
    )


def _unpick(connection: sqlite3.Connection, profile: str, week: str, when: datetime) -> None:
    connection.execute(
        "UPDATE papers SET week = '', picked_at = NULL, changed_at = ? WHERE profile = ? AND week = ?",
        (when.timestamp(), profile, week),
    )


def _one(profile: str, work_id: str) -> Reading:
    with database() as connection:
        row = connection.execute(
            f"SELECT {_ASKED} FROM papers WHERE profile = ? AND id = ?", (profile, work_id)
        ).fetchone()
    return Reading(**dict(row))
