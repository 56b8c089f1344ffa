"""Study partners: progress and notes go back and forth as a file; theirs stand beside mine and never among them."""

import json
from dataclasses import dataclass
from datetime import date, datetime

from llmkit.journal import archive
from llmkit.journal.bundle import checked_rows, content_of, owner
from llmkit.journal.errors import JournalError
from llmkit.journal.markdown import as_markdown
from llmkit.journal.progress import Passed
from llmkit.journal.store import database, transaction
from llmkit.journal.text import moment


@dataclass(frozen=True, kw_only=True)
class PartnerNote:
    """A partner's note: page, text, and when it was written (seconds since 1970)."""

    page: str
    text: str
    created_at: float


@dataclass(frozen=True, kw_only=True)
class Partner:
    """What a partner has given.

    Args:
        id, name: of their profile. made_at: when they made the file, seconds since 1970.
        notes, progress, days: theirs.
    """

    id: str
    name: str
    made_at: float
    notes: tuple[PartnerNote, ...]
    progress: tuple[Passed, ...]
    days: tuple[date, ...]


def export_for_partner(profile_id: str, *, with_notes: bool = True, now: datetime | None = None) -> bytes:
    """Return what a partner may see: progress, days, and the notes unless they stay at home. No error log, no figure.

    Raises:
        JournalError: ``journal_profile``.
    """
    content, _ = content_of(profile_id, now)
    notes = [row for row in content["notes"] if row["deleted_at"] is None] if with_notes else []
    none = {"figure_kind": "", "figure_name": "", "figure_key": "", "figure_badge": "", "figure_left_out": 0}
    bare = [{**row, **none, "settings": "{}", "link": ""} for row in notes]
    given = {**content, "notes": bare, "mistakes": [], "plan": [], "papers": [], "topics": []}
    return archive.pack(given, "partner", markdown=as_markdown(given), figures={})


def keep_partner(profile_id: str, file: bytes, now: datetime | None = None) -> Partner:
    """Keep a partner's file beside one's own journal, in place of an older one of theirs.

    Raises:
        JournalError: as `bundle.read_import`; ``journal_partner_self`` where it is one's own.
    """
    book, figures = archive.unpack(file, "partner")
    rows = checked_rows(book, figures)
    theirs, name, made_at = owner(book)
    if theirs == profile_id:
        raise JournalError("journal_partner_self")
    content = json.dumps(
        {
            "notes": [
                {key: row[key] for key in ("page", "text", "created_at")}
                for row in rows["notes"]
                if row["deleted_at"] is None
            ],
            "progress": rows["progress"],
            "days": [row["day"] for row in rows["days"]],
        }
    )
    with transaction() as connection:
        connection.execute(
            "INSERT OR REPLACE INTO partners VALUES (?, ?, ?, ?, ?, ?)",
            (profile_id, theirs, name, made_at, moment(now).timestamp(), content),
        )
    return next(one for one in partners(profile_id) if one.id == theirs)


def partners(profile_id: str) -> tuple[Partner, ...]:
    """Return all partners of a profile, by name."""
    with database() as connection:
        rows = connection.execute(
            "SELECT id, name, made_at, content FROM partners WHERE profile = ? ORDER BY name, id", (profile_id,)
        ).fetchall()
    found = []
    for row in rows:
        content = json.loads(row["content"])
        found.append(
            Partner(
                id=row["id"],
                name=row["name"],
                made_at=row["made_at"],
                notes=tuple(PartnerNote(**one) for one in content["notes"]),
                progress=tuple(Passed(**one) for one in content["progress"]),
                days=tuple(date.fromisoformat(day) for day in content["days"]),
            )
        )
    return tuple(found)


def forget_partner(profile_id: str, partner_id: str) -> None:
    """Take a partner's file away.

    Raises:
        JournalError: ``journal_unknown``.
    """
    with transaction() as connection:
        gone = connection.execute("DELETE FROM partners WHERE profile = ? AND id = ?", (profile_id, partner_id))
        if gone.rowcount != 1:
            raise JournalError("journal_unknown", entry=partner_id[:40])
