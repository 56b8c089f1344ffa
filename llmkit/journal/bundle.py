"""A journal leaves the house and comes back: all of it as a file, merged without doubles, and taken back again."""

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from llmkit.journal import archive, text
from llmkit.journal.errors import JournalError
from llmkit.journal.markdown import as_markdown
from llmkit.journal.mistakes import MOST_ANSWER
from llmkit.journal.notes import Figure, checked_figure
from llmkit.journal.profiles import profile
from llmkit.journal.store import database, transaction

Row = dict[str, Any]


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e11:
        raise JournalError("journal_field", field="time", value=str(value)[:40])
    return float(value)


def _maybe(value: Any) -> float | None:
    return None if value is None else _seconds(value)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise JournalError("journal_field", field="count", value=str(value)[:40])
    return value


def _text(check: Callable[[str], str]) -> Callable[[Any], str]:
    def checked(value: Any) -> str:
        if not isinstance(value, str):
            raise JournalError("journal_field", field="text", value=str(value)[:40])
        return check(value)

    return checked


def _one_of(*known: str) -> Callable[[Any], str]:
    def checked(value: Any) -> str:
        if value not in known:
            raise JournalError("journal_field", field="kind", value=str(value)[:40])
        return str(value)

    return checked


def _id(value: str) -> str:
    if len(value) != 32 or set(value) - set("0123456789abcdef"):
        raise JournalError("journal_field", field="id", value=value[:40])
    return value


_page, _link = _text(text.page_slug), _text(text.query)
_line, _answer = _text(text.line), _text(lambda given: text.clean(given, most=MOST_ANSWER))
_json, _name = _text(text.plain_json), _text(lambda given: text.line(given, most=60))
_quoted = _text(text.quoted)
_times = {"created_at": _seconds, "changed_at": _seconds, "deleted_at": _maybe}

TABLES: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "notes": {
        "id": _text(_id), "page": _page, "text": _text(text.required), "link": _link, "settings": _json,
        "figure_kind": _one_of("", "png", "csv"), "figure_name": _quoted,
        "figure_key": _text(text.figure_key), "figure_badge": _quoted, "figure_left_out": _count, **_times,
    },
    "mistakes": {
        "id": _text(_id), "page": _page, "state": _one_of("offered", "kept", "dismissed"), "code": _name,
        "details": _json, "link": _link, "what": _line, "why": _answer, "mended": _answer,
        "times": _count, "last_at": _seconds, **_times,
    },
    "plan": {
        "id": _text(_id), "week": _text(text.known_week), "title": _line, "page": _page, "done_at": _maybe, **_times,
    },
    "progress": {"page": _page, "kind": _one_of("step", "check"), "name": _name, "first_at": _seconds},
    "days": {"day": _text(text.known_day), "actions": _count},
    "papers": {
        "id": _text(text.paper_id), "title": _quoted, "authors": _quoted, "address": _text(text.address),
        "step": _page, "state": _one_of("unread", "reading", "done"), "week": _text(text.week_or_none),
        "picked_at": _maybe, "created_at": _seconds, "changed_at": _seconds,
    },
    "topics": {"words": _text(text.topic), **_times},
}  # fmt: skip
"""What each table of a file holds, and what makes each value fit to be kept."""

KEYS = {
    **dict.fromkeys(("notes", "mistakes", "plan", "papers"), ("id",)),
    "progress": ("page", "kind", "name"),
    "days": ("day",),
    "topics": ("words",),
}
SINCE = {"papers": 2, "topics": 2}
"""Tables that older files do not have: the version of a file from which on they stand in it."""
SINCE_COLUMNS = {"notes": (3, {"figure_key": "", "figure_badge": "", "figure_left_out": 0})}
"""Columns that older files do not have, from which version of a file on they stand in it, and what is meant before."""
MOST_ROWS = 50_000


@dataclass(frozen=True, kw_only=True)
class Import:
    """What an import would do, or has done.

    Args:
        added, replaced: how many rows of each table. same: how many are here already, or here in a newer wording.
        name: of the profile that the file is from. rows: what would be written; for `apply_import`.
    """

    added: Mapping[str, int]
    replaced: Mapping[str, int]
    same: int
    name: str
    rows: Mapping[str, tuple[Row, ...]]


def export_all(profile_id: str, now: datetime | None = None) -> bytes:
    """Return a profile's whole journal as a ZIP: JSON, the same as Markdown, and figures; what was deleted as well.

    Raises:
        JournalError: ``journal_profile``.
    """
    content, figures = content_of(profile_id, now)
    return archive.pack(content, "all", markdown=as_markdown(content), figures=figures)


def export_markdown(profile_id: str, now: datetime | None = None) -> str:
    """Return a profile's journal as one Markdown text.

    Raises:
        JournalError: ``journal_profile``.
    """
    return as_markdown(content_of(profile_id, now)[0])


def read_import(profile_id: str, file: bytes) -> Import:
    """Return what importing a file would do; nothing is written.

    Raises:
        JournalError: as `archive.unpack`, and for whatever stands in the file and may not stand in a journal.
    """
    book, figures = archive.unpack(file, "all")
    rows = checked_rows(book, figures)
    with database() as connection:
        added, replaced, same = _compare(connection, profile_id, rows)
    return Import(
        added={table: len(found) for table, found in added.items()},
        replaced={table: len(found) for table, found in replaced.items()},
        same=same,
        name=owner(book)[1],
        rows=rows,
    )


def apply_import(profile_id: str, shown: Import, now: datetime | None = None) -> int:
    """Do what was shown; return the number of this import, for `undo_import`.

    Raises:
        JournalError: ``journal_file_changed`` where the journal has changed so that something else would be done.
    """
    profile(profile_id)
    with transaction() as connection:
        added, replaced, _ = _compare(connection, profile_id, shown.rows)
        counts = [{table: len(rows) for table, rows in found.items()} for found in (added, replaced)]
        if counts != [dict(shown.added), dict(shown.replaced)]:
            raise JournalError("journal_file_changed")
        before = {table: [_old(connection, profile_id, table, row) for row in rows] for table, rows in replaced.items()}
        for table in TABLES:
            for row in added[table]:
                _insert(connection, profile_id, table, row)
            for row in replaced[table]:
                _delete(connection, profile_id, table, row)
                _insert(connection, profile_id, table, row)
        changes = {
            "added": {table: [_stamp(table, row) for row in rows] for table, rows in added.items()},
            "replaced": {table: [_stamp(table, row) for row in rows] for table, rows in replaced.items()},
            "before": before,
        }
        made = connection.execute(
            "INSERT INTO imports (profile, made_at, changes) VALUES (?, ?, ?)",
            (profile_id, text.moment(now).timestamp(), json.dumps(changes)),
        )
        return int(made.lastrowid or 0)


def undo_import(profile_id: str, number: int) -> int:
    """Take an import back, and return how many rows; what was changed since then stays as it is now.

    Raises:
        JournalError: ``journal_no_undo`` where there is no such import, or it was taken back.
    """
    count = 0
    with transaction() as connection:
        found = connection.execute(
            "SELECT changes FROM imports WHERE place = ? AND profile = ? AND undone_at IS NULL", (number, profile_id)
        ).fetchone()
        if found is None:
            raise JournalError("journal_no_undo")
        changes = json.loads(found["changes"])
        for table in TABLES:
            for stamp in changes["added"].get(table, ()):  # an import of an older guide knew fewer tables
                if _is_as_imported(connection, profile_id, table, stamp):
                    _delete(connection, profile_id, table, stamp)
                    count += 1
            for stamp, old in zip(*(changes[name].get(table, ()) for name in ("replaced", "before")), strict=True):
                if _is_as_imported(connection, profile_id, table, stamp):
                    _delete(connection, profile_id, table, stamp)
                    _insert(connection, profile_id, table, _unjson(old))
                    count += 1
        connection.execute("UPDATE imports SET undone_at = ? WHERE place = ?", (text.moment(None).timestamp(), number))
    return count


def owner(book: Mapping[str, Any]) -> tuple[str, str, float]:
    """Return id, name and time of whose file it is.

    Raises:
        JournalError: ``journal_file``.
    """
    about = book.get("profile")
    if not isinstance(about, dict):
        raise JournalError("journal_file", detail="profile")
    return _text(_id)(about.get("id")), _name(about.get("name")), _seconds(about.get("made_at"))


def checked_rows(book: Mapping[str, Any], figures: Mapping[str, bytes]) -> dict[str, tuple[Row, ...]]:
    """Return every row of a file, each value fit to be kept.

    Raises:
        JournalError: for the first value that is not.
    """
    rows: dict[str, tuple[Row, ...]] = {}
    for table, columns in TABLES.items():
        given = book.get(table) if book["version"] >= SINCE.get(table, 1) else []
        if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
            raise JournalError("journal_file", detail=table)
        if len(given) > MOST_ROWS:
            raise JournalError("journal_file_large", size=f"{len(given):,}", most=f"{MOST_ROWS:,}")
        since, absent = SINCE_COLUMNS.get(table, (1, {}))
        older = absent if book["version"] < since else {}
        checked = [{name: check({**row, **older}.get(name)) for name, check in columns.items()} for row in given]
        if len({tuple(row[key] for key in KEYS[table]) for row in checked}) < len(checked):
            raise JournalError("journal_file", detail=table)
        rows[table] = tuple(checked)
    for row in rows["notes"]:
        row["figure"] = None
        if kind := row["figure_kind"]:
            content = figures.get(f"{row['id']}.{kind}")
            if content is None:
                raise JournalError("journal_file", detail="figures")
            kept = checked_figure(Figure(kind=kind, name=row["figure_name"], content=content))
            row["figure"] = kept.content if kept else None
    return rows


def content_of(profile_id: str, now: datetime | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return all rows of a profile by table, whose they are, and its figures by name ("<id>.png")."""
    about = profile(profile_id)
    made_at = text.moment(now).timestamp()
    content: dict[str, Any] = {"profile": {"id": about.id, "name": about.name, "made_at": made_at}}
    with database() as connection:
        connection.execute("BEGIN")  # all tables as they were at one moment
        for table, columns in TABLES.items():
            found = connection.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE profile = ?", (profile_id,))
            content[table] = [dict(row) for row in found]
        drawn = connection.execute(
            "SELECT id, figure_kind, figure FROM notes WHERE profile = ? AND figure_kind <> ''", (profile_id,)
        )
        figures = {f"{row['id']}.{row['figure_kind']}": row["figure"] for row in drawn}
        connection.execute("COMMIT")
    return content, figures


def _compare(
    connection: sqlite3.Connection, profile_id: str, rows: Mapping[str, tuple[Row, ...]]
) -> tuple[dict[str, list[Row]], dict[str, list[Row]], int]:
    """Which rows are new here, which are newer than here, and how many are neither."""
    added: dict[str, list[Row]] = {table: [] for table in TABLES}
    replaced: dict[str, list[Row]] = {table: [] for table in TABLES}
    same = 0
    for table, given in rows.items():
        keys, dated = KEYS[table], "changed_at" in TABLES[table]
        asked = ", ".join((*keys, *(("changed_at",) if dated else ())))
        here = {
            tuple(row[key] for key in keys): row["changed_at"] if dated else 0.0
            for row in connection.execute(f"SELECT {asked} FROM {table} WHERE profile = ?", (profile_id,))
        }
        for row in given:
            key = tuple(row[name] for name in keys)
            if key not in here:
                added[table].append(row)
            elif dated and row["changed_at"] > here[key]:
                replaced[table].append(row)
            else:
                same += 1
    return added, replaced, same


def _where(table: str) -> str:
    return " AND ".join(("profile = ?", *(f"{key} = ?" for key in KEYS[table])))


def _insert(connection: sqlite3.Connection, profile_id: str, table: str, row: Row) -> None:
    names = ("profile", *row)
    marks = ", ".join("?" * len(names))
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", (profile_id, *row.values()))


def _delete(connection: sqlite3.Connection, profile_id: str, table: str, row: Row) -> None:
    connection.execute(f"DELETE FROM {table} WHERE {_where(table)}", (profile_id, *(row[key] for key in KEYS[table])))


def _old(connection: sqlite3.Connection, profile_id: str, table: str, row: Row) -> Row:
    """A row as it is here now, as plain data; a figure's bytes in hexadecimal."""
    found = connection.execute(
        f"SELECT * FROM {table} WHERE {_where(table)}", (profile_id, *(row[key] for key in KEYS[table]))
    ).fetchone()
    old = {name: found[name] for name in (*TABLES[table], *(("figure",) if table == "notes" else ()))}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in old.items()}


def _unjson(old: Row) -> Row:
    return {name: bytes.fromhex(value) if name == "figure" and value else value for name, value in old.items()}


def _stamp(table: str, row: Row) -> Row:
    """What tells whether a row is still as it was imported."""
    also = ("changed_at",) if "changed_at" in row else ("actions",) if table == "days" else ()
    return {name: row[name] for name in (*KEYS[table], *also)}


def _is_as_imported(connection: sqlite3.Connection, profile_id: str, table: str, stamp: Row) -> bool:
    where = " AND ".join(("profile = ?", *(f"{name} = ?" for name in stamp)))
    found = connection.execute(f"SELECT 1 FROM {table} WHERE {where}", (profile_id, *stamp.values())).fetchone()
    return found is not None
