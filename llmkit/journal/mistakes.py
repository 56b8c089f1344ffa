"""The error log: what went wrong, why, and what mended it. The app offers what it met; the learner keeps it or not."""

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from llmkit.journal.days import count_day
from llmkit.journal.errors import JournalError
from llmkit.journal.store import database, transaction
from llmkit.journal.text import MOST_LINE, clean, line, moment, page_slug, plain_json, query

State = Literal["offered", "kept", "dismissed"]
MOST_ANSWER = 4_000
"""Characters of why, and of what mended it."""
MOST_OFFERED = 50
"""Offers that wait at a time; the oldest makes room."""


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One entry of the error log.

    Args:
        id: its own in a profile. page: where it happened. state: offered by the app, kept, or dismissed.
        code, details: of the error that the app met; empty where the learner wrote it down. link: the page's query.
        what, why, mended: in the learner's words; any may be empty.
        times: how often it was met. last_at, created_at, changed_at: seconds since 1970.
    """

    id: str
    page: str
    state: State
    code: str
    details: Mapping[str, Any]
    link: str
    what: str
    why: str
    mended: str
    times: int
    last_at: float
    created_at: float
    changed_at: float


def offer(profile: str, error: Exception, *, page: str, link: str = "", now: datetime | None = None) -> Mistake | None:
    """Offer an error that the app met; the same error on the same page is one entry, met once more.

    Args:
        error: with a ``.code`` and ``.values``; one without a code, and the journal's own, are not for the log.

    Returns:
        The entry, in whatever state it is (dismissed stays dismissed); None where there is nothing to offer.
    """
    code = getattr(error, "code", None)
    if not isinstance(code, str) or not code or isinstance(error, JournalError):
        return None
    values = {str(name)[:40]: str(value)[:200] for name, value in (getattr(error, "values", None) or {}).items()}
    when, details = moment(now), plain_json(values)
    entry_id = hashlib.sha256(json.dumps([page, code, details]).encode()).hexdigest()[:32]
    with transaction() as connection:
        connection.execute(
            """INSERT INTO mistakes VALUES (?, ?, ?, 'offered', ?, ?, ?, '', '', '', 1, ?, ?, ?, NULL)
               ON CONFLICT (profile, id) DO UPDATE SET times = times + 1, last_at = excluded.last_at""",
            (
                *(profile, entry_id, page_slug(page), code[:60], details, query(link)),
                *[when.timestamp()] * 3,
            ),
        )
        connection.execute(
            """DELETE FROM mistakes WHERE profile = ? AND state = 'offered' AND id NOT IN
               (SELECT id FROM mistakes WHERE profile = ? AND state = 'offered' ORDER BY last_at DESC LIMIT ?)""",
            (profile, profile, MOST_OFFERED),
        )
        row = connection.execute("SELECT * FROM mistakes WHERE profile = ? AND id = ?", (profile, entry_id)).fetchone()
    return None if row["deleted_at"] is not None else _mistake(row)


def add_mistake(
    profile: str, page: str, what: str, *, why: str = "", mended: str = "", link: str = "", now: datetime | None = None
) -> Mistake:
    """Write down what went wrong.

    Raises:
        JournalError: ``journal_empty`` where nothing is said, ``journal_long``, ``journal_html``.
    """
    when, entry_id = moment(now), uuid.uuid4().hex
    said = _said(what, why, mended)
    if not any(said):
        raise JournalError("journal_empty")
    with transaction() as connection:
        connection.execute(
            "INSERT INTO mistakes VALUES (?, ?, ?, 'kept', '', '{}', ?, ?, ?, ?, 1, ?, ?, ?, NULL)",
            (profile, entry_id, page_slug(page), query(link), *said, *[when.timestamp()] * 3),
        )
        count_day(connection, profile, when)
    return mistake(profile, entry_id)


def adopt(
    profile: str, entry_id: str, *, what: str = "", why: str = "", mended: str = "", now: datetime | None = None
) -> Mistake:
    """Keep what was offered, or write a kept entry anew.

    Raises:
        JournalError: ``journal_unknown``, ``journal_long``, ``journal_html``.
    """
    when, said = moment(now), _said(what, why, mended)
    with transaction() as connection:
        changed = connection.execute(
            """UPDATE mistakes SET state = 'kept', what = ?, why = ?, mended = ?, changed_at = ?
               WHERE profile = ? AND id = ? AND deleted_at IS NULL""",
            (*said, when.timestamp(), profile, entry_id),
        )
        _require_one(changed, entry_id)
        count_day(connection, profile, when)
    return mistake(profile, entry_id)


def dismiss(profile: str, entry_id: str) -> None:
    """Say no to what was offered: it is not offered again.

    Raises:
        JournalError: ``journal_unknown``.
    """
    _change(profile, entry_id, "state = 'dismissed'", "state = 'offered' AND deleted_at IS NULL")


def delete_mistake(profile: str, entry_id: str) -> None:
    """Take an entry away; `undelete_mistake` brings it back.

    Raises:
        JournalError: ``journal_unknown``.
    """
    _change(profile, entry_id, "deleted_at = :now", "deleted_at IS NULL")


def undelete_mistake(profile: str, entry_id: str) -> Mistake:
    """Bring an entry back that was deleted.

    Raises:
        JournalError: ``journal_unknown``.
    """
    _change(profile, entry_id, "deleted_at = NULL", "deleted_at IS NOT NULL")
    return mistake(profile, entry_id)


def mistake(profile: str, entry_id: str) -> Mistake:
    """Return one entry.

    Raises:
        JournalError: ``journal_unknown``.
    """
    with database() as connection:
        row = connection.execute(
            "SELECT * FROM mistakes WHERE profile = ? AND id = ? AND deleted_at IS NULL", (profile, entry_id)
        ).fetchone()
    if row is None:
        raise JournalError("journal_unknown", entry=entry_id[:40])
    return _mistake(row)


def mistakes(profile: str, state: State = "kept") -> tuple[Mistake, ...]:
    """Return the entries in one state, the latest first."""
    with database() as connection:
        rows = connection.execute(
            """SELECT * FROM mistakes WHERE profile = ? AND state = ? AND deleted_at IS NULL
               ORDER BY last_at DESC, id""",
            (profile, state),
        ).fetchall()
    return tuple(map(_mistake, rows))


def _said(what: str, why: str, mended: str) -> tuple[str, str, str]:
    return line(what, most=MOST_LINE), clean(why, most=MOST_ANSWER), clean(mended, most=MOST_ANSWER)


def _change(profile: str, entry_id: str, change: str, where: str) -> None:
    values = {"now": moment(None).timestamp(), "profile": profile, "id": entry_id}
    with transaction() as connection:
        changed = connection.execute(
            f"UPDATE mistakes SET {change}, changed_at = :now WHERE profile = :profile AND id = :id AND {where}", values
        )
        _require_one(changed, entry_id)


def _require_one(changed: sqlite3.Cursor, entry_id: str) -> None:
    if changed.rowcount != 1:
        raise JournalError("journal_unknown", entry=entry_id[:40])


def _mistake(row: sqlite3.Row) -> Mistake:
    told = {name: row[name] for name in row.keys() if name not in ("profile", "deleted_at")}  # noqa: SIM118
    return Mistake(**{**told, "details": json.loads(row["details"])})
