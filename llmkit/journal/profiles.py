"""Whose journal it is: on a shared machine each learner has a profile; the first is there without asking."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from llmkit.journal.errors import JournalError
from llmkit.journal.store import database, transaction
from llmkit.journal.text import MOST_NAME, known_time, line, moment

MOST_PROFILES = 200


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One learner.

    Args:
        id: 32 hexadecimal digits, unlike any other machine's. name: as the learner wrote it; empty for the first one.
        created_at: seconds since 1970.
        daily_at: the fixed time ("20:30"), empty where none is set. minutes: how long a day's work is.
    """

    id: str
    name: str
    created_at: float
    daily_at: str
    minutes: int


def profiles() -> tuple[Profile, ...]:
    """Return all profiles of this machine, the first (which is made if need be) first."""
    with database() as connection:
        found = connection.execute("SELECT * FROM profiles ORDER BY created_at, id").fetchall()
    if not found:
        with transaction() as connection:
            if not connection.execute("SELECT count(*) FROM profiles").fetchone()[0]:  # another tab may be quicker
                connection.execute(
                    "INSERT INTO profiles (id, name, created_at) VALUES (?, '', ?)",
                    (uuid.uuid4().hex, moment(None).timestamp()),
                )
            found = connection.execute("SELECT * FROM profiles ORDER BY created_at, id").fetchall()
    return tuple(Profile(**dict(row)) for row in found)


def profile(profile_id: str) -> Profile:
    """Return one profile.

    Raises:
        JournalError: ``journal_profile`` where there is none.
    """
    with database() as connection:
        row = connection.execute("SELECT * FROM profiles WHERE id = ?", (profile_id,)).fetchone()
    if row is None:
        raise JournalError("journal_profile", profile=profile_id[:40])
    return Profile(**dict(row))


def make_profile(name: str, now: datetime | None = None) -> Profile:
    """Make a profile for another learner.

    Raises:
        JournalError: ``journal_name`` where the name is empty, too long or taken; ``journal_html``.
    """
    known = profiles()
    written = _name(name)
    if written.casefold() in {one.name.casefold() for one in known} or len(known) >= MOST_PROFILES:
        raise JournalError("journal_name", name=written, most=MOST_NAME)
    made_id = uuid.uuid4().hex
    with transaction() as connection:
        connection.execute(
            "INSERT INTO profiles (id, name, created_at) VALUES (?, ?, ?)", (made_id, written, moment(now).timestamp())
        )
    return profile(made_id)


def rename(profile_id: str, name: str) -> Profile:
    """Give a profile another name.

    Raises:
        JournalError: ``journal_name``, ``journal_profile``.
    """
    written = _name(name)
    with transaction() as connection:
        connection.execute("UPDATE profiles SET name = ? WHERE id = ?", (written, profile_id))
    return profile(profile_id)


def set_daily(profile_id: str, at: str, minutes: int) -> Profile:
    """Fix the daily time; an empty `at` gives it up.

    Raises:
        JournalError: ``journal_field`` where there is no such time, or minutes are not 1 to 600.
    """
    if not 1 <= minutes <= 600:
        raise JournalError("journal_field", field="minutes", value=minutes)
    with transaction() as connection:
        connection.execute(
            "UPDATE profiles SET daily_at = ?, minutes = ? WHERE id = ?",
            (known_time(at) if at else "", minutes, profile_id),
        )
    return profile(profile_id)


def _name(name: str) -> str:
    written = line(name[: 10 * MOST_NAME])
    if not written or len(written) > MOST_NAME:
        raise JournalError("journal_name", name=written[:MOST_NAME], most=MOST_NAME)
    return written
