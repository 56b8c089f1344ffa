"""Notes: Markdown beside a page, with the way back, the settings, and at most one figure."""

import csv
import io
import json
import sqlite3
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from llmkit.journal.days import count_day
from llmkit.journal.errors import JournalError
from llmkit.journal.store import database, transaction
from llmkit.journal.text import figure_key, moment, page_slug, plain_json, query, quoted, required

FigureKind = Literal["", "png", "csv"]
MOST_FIGURE_BYTES = 2_000_000
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_ABOUT = "figure_kind, figure_name, figure_key, figure_badge, figure_left_out"
_ASKED = f"id, page, text, link, settings, {_ABOUT}, created_at, changed_at"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture or the numbers of one.

    Args:
        kind: "png" or "csv". name: what it shows. content: the file.
        key: its name on its page. badge: where its numbers come from, in words.
        left_out: how many rows of its numbers are not in the file.
    """

    kind: FigureKind
    name: str
    content: bytes
    key: str = ""
    badge: str = ""
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class Note:
    """One note, without its figure's bytes (`figure` has them).

    Args:
        id: its own in a profile. page: the page's slug. text: Markdown. link: that page's query string.
        settings: plain data. figure_…: of the figure (see `Figure`); empty where there is none.
        created_at, changed_at: seconds since 1970.
    """

    id: str
    page: str
    text: str
    link: str
    settings: Mapping[str, Any]
    figure_kind: FigureKind
    figure_name: str
    figure_key: str
    figure_badge: str
    figure_left_out: int
    created_at: float
    changed_at: float


def add_note(
    profile: str,
    page: str,
    text: str,
    *,
    link: str = "",
    settings: Mapping[str, Any] | None = None,
    figure: Figure | None = None,
    now: datetime | None = None,
) -> Note:
    """Write a note down.

    Args:
        profile: whose. page: beside which page. text: Markdown. link: the page's query string.
        settings: what the page was set to. figure: to keep with it. now: in the learner's zone.

    Raises:
        JournalError: ``journal_empty``, ``journal_long``, ``journal_html``, ``journal_figure``,
            ``journal_figure_large``, ``journal_field``.
    """
    when, note_id = moment(now), uuid.uuid4().hex
    row = (
        *(profile, note_id, page_slug(page), required(text), query(link), plain_json(settings or {})),
        *_figure_row(figure),
        *(when.timestamp(), when.timestamp()),
    )
    with transaction() as connection:
        connection.execute(
            f"""INSERT INTO notes (profile, id, page, text, link, settings, figure, {_ABOUT}, created_at, changed_at)
                VALUES ({", ".join("?" * len(row))})""",
            row,
        )
        count_day(connection, profile, when)
    return note(profile, note_id)


def edit_note(profile: str, note_id: str, text: str, now: datetime | None = None) -> Note:
    """Write a note anew.

    Raises:
        JournalError: ``journal_unknown`` where there is no such note, and as `add_note`.
    """
    when, written = moment(now), required(text)
    with transaction() as connection:
        changed = connection.execute(
            "UPDATE notes SET text = ?, changed_at = ? WHERE profile = ? AND id = ? AND deleted_at IS NULL",
            (written, when.timestamp(), profile, note_id),
        )
        _require_one(changed, note_id)
        count_day(connection, profile, when)
    return note(profile, note_id)


def set_figure(
    profile: str,
    note_id: str,
    figure: Figure | None,
    *,
    link: str,
    settings: Mapping[str, Any],
    now: datetime | None = None,
) -> Note:
    """Keep a figure with a note in place of the one it had, or none; the note leads to where this one is drawn.

    Args:
        link: the query string of the note's page. settings: what that page is set to.

    Raises:
        JournalError: ``journal_unknown`` where there is no such note, and as `add_note`.
    """
    when = moment(now)
    row = (*_figure_row(figure), query(link), plain_json(settings), when.timestamp(), profile, note_id)
    with transaction() as connection:
        changed = connection.execute(
            f"""UPDATE notes SET (figure, {_ABOUT}, link, settings, changed_at) = (?, ?, ?, ?, ?, ?, ?, ?, ?)
                WHERE profile = ? AND id = ? AND deleted_at IS NULL""",
            row,
        )
        _require_one(changed, note_id)
        count_day(connection, profile, when)
    return note(profile, note_id)


def delete_note(profile: str, note_id: str) -> None:
    """Take a note away; `undelete_note` brings it back.

    Raises:
        JournalError: ``journal_unknown``.
    """
    now = time.time()
    with transaction() as connection:
        _require_one(
            connection.execute(
                "UPDATE notes SET deleted_at = ?, changed_at = ? WHERE profile = ? AND id = ? AND deleted_at IS NULL",
                (now, now, profile, note_id),
            ),
            note_id,
        )


def undelete_note(profile: str, note_id: str) -> Note:
    """Bring a note back that was deleted.

    Raises:
        JournalError: ``journal_unknown``.
    """
    with transaction() as connection:
        _require_one(
            connection.execute(
                """UPDATE notes SET deleted_at = NULL, changed_at = ?
                   WHERE profile = ? AND id = ? AND deleted_at IS NOT NULL""",
                (time.time(), profile, note_id),
            ),
            note_id,
        )
    return note(profile, note_id)


def note(profile: str, note_id: str) -> Note:
    """Return one note.

    Raises:
        JournalError: ``journal_unknown`` where there is none.
    """
    with database() as connection:
        row = connection.execute(
            f"SELECT {_ASKED} FROM notes WHERE profile = ? AND id = ? AND deleted_at IS NULL", (profile, note_id)
        ).fetchone()
    if row is None:
        raise JournalError("journal_unknown", entry=note_id[:40])
    return _note(row)


def notes(profile: str, *, page: str | None = None, search: str = "") -> tuple[Note, ...]:
    """Return notes, the newest first.

    Args:
        page: only those beside this page. search: only those that hold all of these words, in any language.
    """
    asked, values = ["profile = ?", "deleted_at IS NULL"], [profile]
    if page is not None:
        asked.append("page = ?")
        values.append(page)
    words = search.split()[:20]
    with database() as connection:
        if words and min(map(len, words)) >= 3 and _is_indexed(connection):
            asked.append("place IN (SELECT rowid FROM notes_text WHERE notes_text MATCH ?)")
            values.append(" ".join('"' + word.replace('"', '""') + '"' for word in words))
        else:  # a trigram needs three characters; many Chinese words have two
            for word in words:
                asked.append(r"text LIKE ? ESCAPE '\'")
                values.append("%" + "".join("\\" + char if char in r"\%_" else char for char in word) + "%")
        rows = connection.execute(
            f"SELECT {_ASKED} FROM notes WHERE {' AND '.join(asked)} ORDER BY created_at DESC, place DESC", values
        ).fetchall()
    return tuple(map(_note, rows))


def figure(profile: str, note_id: str) -> Figure | None:
    """Return a note's figure; None where it has none.

    Raises:
        JournalError: ``journal_unknown``.
    """
    with database() as connection:
        row = connection.execute(
            f"SELECT figure, {_ABOUT} FROM notes WHERE profile = ? AND id = ? AND deleted_at IS NULL",
            (profile, note_id),
        ).fetchone()
    if row is None:
        raise JournalError("journal_unknown", entry=note_id[:40])
    if not row["figure_kind"]:
        return None
    about = {name.removeprefix("figure_"): row[name] for name in _ABOUT.split(", ")}
    return Figure(content=row["figure"], **about)


def checked_figure(given: Figure | None) -> Figure | None:
    """Return a figure as the journal keeps it.

    Raises:
        JournalError: ``journal_figure`` where it is neither a PNG nor a CSV in UTF-8; ``journal_figure_large``.
    """
    if given is None:
        return None
    if len(given.content) > MOST_FIGURE_BYTES:
        sizes = {"size": f"{len(given.content) / 1e6:.1f}", "most": f"{MOST_FIGURE_BYTES / 1e6:.1f}"}
        raise JournalError("journal_figure_large", **sizes)
    if given.kind == "png":
        good = given.content.startswith(_PNG)
    elif given.kind == "csv":
        good = _is_csv(given.content)
    else:
        good = False
    if not good:
        raise JournalError("journal_figure", name=given.name[:40])
    return replace(given, name=quoted(given.name), key=figure_key(given.key), badge=quoted(given.badge))


def _is_csv(content: bytes) -> bool:
    try:
        text = content.decode("utf-8-sig")
        return "\0" not in text and any(list(csv.reader(io.StringIO(text, newline=""))))
    except (UnicodeDecodeError, csv.Error):
        return False


def _figure_row(given: Figure | None) -> tuple[object, ...]:
    """Return a note's columns for its figure: the file, then `_ABOUT`."""
    kept = checked_figure(given)
    if kept is None:
        return (None, "", "", "", "", 0)
    return (kept.content, kept.kind, kept.name, kept.key, kept.badge, kept.left_out)


def _is_indexed(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'notes_text'").fetchone() is not None


def _note(row: sqlite3.Row) -> Note:
    return Note(**{**dict(row), "settings": json.loads(row["settings"])})


def _require_one(changed: sqlite3.Cursor, entry: str) -> None:
    if changed.rowcount != 1:
        raise JournalError("journal_unknown", entry=entry[:40])
