"""What is behind the learner (steps ticked, checks passed) and before: one thing planned for each week."""

import sqlite3
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from llmkit.journal.days import count_day
from llmkit.journal.errors import JournalError
from llmkit.journal.store import database, transaction
from llmkit.journal.text import MOST_LINE, iso_week, known_week, line, moment, page_slug, required

Kind = Literal["step", "check"]


@dataclass(frozen=True, kw_only=True)
class Passed:
    """A *do* step that was ticked ("do.cut"), or a check that was predicted right.

    Args:
        page: the page's slug. kind: "step" or "check". name: its own on the page. first_at: seconds since 1970.
    """

    page: str
    kind: Kind
    name: str
    first_at: float


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One thing to do in one week: a paper to read, a page to work through.

    Args:
        id: its own in a profile. week: ISO's ("2026-W48"). title: what. page: the page's slug; empty where none is.
        done_at: seconds since 1970; None as long as it is to be done.
    """

    id: str
    week: str
    title: str
    page: str
    done_at: float | None
    created_at: float
    changed_at: float


def pass_by(
    profile: str, page: str, kind: Kind, name: str, now: datetime | None = None, *, counts: bool = True
) -> bool:
    """Write down that a step was ticked or a check passed; return whether it was new.

    Args:
        counts: whether it was done `now`, so that the day counts; else it was found done.
    """
    when = moment(now)
    with transaction() as connection:
        added = connection.execute(
            "INSERT INTO progress VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (profile, page_slug(page), kind, line(name, most=60), when.timestamp()),
        )
        if counts:
            count_day(connection, profile, when)
        return added.rowcount == 1


def progress(profile: str) -> tuple[Passed, ...]:
    """Return all that was ticked and passed, in order of time."""
    with database() as connection:
        rows = connection.execute(
            "SELECT page, kind, name, first_at FROM progress WHERE profile = ? ORDER BY first_at, page, name",
            (profile,),
        )
        return tuple(Passed(**dict(row)) for row in rows)


def add_planned(
    profile: str, title: str, *, page: str = "", week: str | None = None, now: datetime | None = None
) -> Planned:
    """Plan a thing for a week, this week where none is given.

    Raises:
        JournalError: ``journal_empty``, ``journal_long``, ``journal_html``, ``journal_field``.
    """
    when, entry_id = moment(now), uuid.uuid4().hex
    with transaction() as connection:
        connection.execute(
            "INSERT INTO plan VALUES (?, ?, ?, ?, ?, NULL, ?, ?, NULL)",
            (
                *(profile, entry_id, known_week(week or iso_week(when.date()))),
                *(line(required(title, most=MOST_LINE)), page_slug(page), when.timestamp(), when.timestamp()),
            ),
        )
    return planned_one(profile, entry_id)


def set_done(profile: str, entry_id: str, done: bool, now: datetime | None = None) -> Planned:
    """Say that a planned thing is done, or that it is not.

    Raises:
        JournalError: ``journal_unknown``.
    """
    when = moment(now)
    with transaction() as connection:
        changed = connection.execute(
            """UPDATE plan SET done_at = ?, changed_at = ? WHERE profile = ? AND id = ? AND deleted_at IS NULL""",
            (when.timestamp() if done else None, when.timestamp(), profile, entry_id),
        )
        _require_one(changed, entry_id)
        if done:
            count_day(connection, profile, when)
    return planned_one(profile, entry_id)


def delete_planned(profile: str, entry_id: str) -> None:
    """Take a planned thing away; `undelete_planned` brings it back.

    Raises:
        JournalError: ``journal_unknown``.
    """
    _mark(profile, entry_id, deleted=True)


def undelete_planned(profile: str, entry_id: str) -> Planned:
    """Bring a planned thing back that was deleted.

    Raises:
        JournalError: ``journal_unknown``.
    """
    _mark(profile, entry_id, deleted=False)
    return planned_one(profile, entry_id)


def planned_one(profile: str, entry_id: str) -> Planned:
    """Return one planned thing.

    Raises:
        JournalError: ``journal_unknown``.
    """
    for one in planned(profile):
        if one.id == entry_id:
            return one
    raise JournalError("journal_unknown", entry=entry_id[:40])


def planned(profile: str) -> tuple[Planned, ...]:
    """Return what is planned, week by week."""
    with database() as connection:
        rows = connection.execute(
            """SELECT id, week, title, page, done_at, created_at, changed_at FROM plan
               WHERE profile = ? AND deleted_at IS NULL ORDER BY week, created_at, id""",
            (profile,),
        )
        return tuple(Planned(**dict(row)) for row in rows)


def _mark(profile: str, entry_id: str, *, deleted: bool) -> None:
    now = moment(None).timestamp()
    with transaction() as connection:
        changed = connection.execute(
            """UPDATE plan SET deleted_at = ?, changed_at = ?
               WHERE profile = ? AND id = ? AND (deleted_at IS NULL) = ?""",
            (now if deleted else None, now, profile, entry_id, deleted),
        )
        _require_one(changed, entry_id)


def _require_one(changed: sqlite3.Cursor, entry_id: str) -> None:
    if changed.rowcount != 1:
        raise JournalError("journal_unknown", entry=entry_id[:40])
