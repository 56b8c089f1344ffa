"""The days on which something was done, and the streak that they make. A day is the learner's own date."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from llmkit.journal.store import database
from llmkit.journal.text import moment


@dataclass(frozen=True, kw_only=True)
class Streak:
    """How many days in a row.

    Args:
        current: up to today, or up to yesterday as long as today may still come.
        longest: the most there ever were.
        today: whether something was done today.
    """

    current: int
    longest: int
    today: bool


def count_day(connection: sqlite3.Connection, profile: str, now: datetime) -> None:
    """Count one more thing done on the learner's day `now`, inside the transaction that does it."""
    connection.execute(
        "INSERT INTO days VALUES (?, ?, 1) ON CONFLICT (profile, day) DO UPDATE SET actions = actions + 1",
        (profile, now.date().isoformat()),
    )


def days(profile: str) -> Mapping[date, int]:
    """Return each day on which something was done, and how many things, the oldest first."""
    with database() as connection:
        rows = connection.execute("SELECT day, actions FROM days WHERE profile = ? ORDER BY day", (profile,))
        return {date.fromisoformat(row["day"]): row["actions"] for row in rows}


def streak(active: Iterable[date], now: datetime | None = None) -> Streak:
    """Count the days in a row, as of `now` in the learner's zone. Days after today (a flight westwards) count, too.

    >>> from datetime import timezone
    >>> streak([date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1)], datetime(2026, 3, 2, tzinfo=timezone.utc))
    Streak(current=3, longest=3, today=False)
    """
    known, today = set(active), moment(now).date()
    longest = run = 0
    for day in sorted(known):
        run = run + 1 if day - timedelta(days=1) in known else 1
        longest = max(longest, run)
    last = next((day for day in (today + timedelta(days=1), today, today - timedelta(days=1)) if day in known), None)
    current = 0
    while last is not None and last - timedelta(days=current) in known:
        current += 1
    return Streak(current=current, longest=longest, today=today in known)
