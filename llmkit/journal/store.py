"""The file of all journals of this machine: opened for a moment, kept up to date, backed up, never overwritten."""

import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from filelock import FileLock, Timeout

from llmkit.database import BUSY_S, all_or_nothing, opened
from llmkit.home import home
from llmkit.journal import schema
from llmkit.journal.errors import JournalError

BACKUPS_KEPT = 3
"""Of those made daily, and again of those made before a migration."""


def journal_home() -> Path:
    """The folder of the journal: ``LLMKIT_JOURNAL``, else ``journal`` in `llmkit.home.home()`."""
    given = os.environ.get("LLMKIT_JOURNAL")
    return Path(given).expanduser() if given else home() / "journal"


def database_path() -> Path:
    """The SQLite file."""
    return journal_home() / "journal.db"


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Open the journal for a moment; it is made where there is none, and backed up once a day.

    Raises:
        JournalError: ``journal_database`` where it cannot be read or written (nothing is overwritten), or
            ``journal_database_newer`` where a newer version of the guide has written it.
    """
    path = database_path()
    with opened(
        path, _make_ready, lambda said: JournalError("journal_database", path=str(path), detail=said)
    ) as connection:
        yield connection


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Open the journal and do everything inside, or nothing; no other process writes meanwhile.

    Raises:
        JournalError: as `database`.
    """
    with database() as connection, all_or_nothing(connection):
        yield connection


def backups() -> tuple[Path, ...]:
    """The backups, the newest first."""
    return tuple(sorted(_backup_folder().glob("*.db"), key=lambda path: path.stat().st_mtime, reverse=True))


def set_aside() -> Path:
    """Move a journal that cannot be used out of the way, whole, and return where it went; the next one begins empty.

    Raises:
        JournalError: ``journal_database`` where it cannot be moved.
    """
    path = database_path()
    aside = path.with_name(f"aside-{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}")
    try:
        aside.mkdir(parents=True)
        for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if part.exists():
                part.rename(aside / part.name)
    except OSError as error:
        raise JournalError("journal_database", path=str(path), detail=str(error)) from error
    return aside


def restore(backup: Path) -> Path:
    """Put a backup in the journal's place; what was there is set aside, and returned.

    Raises:
        JournalError: ``journal_database`` where it is none of `backups`, or cannot be copied.
    """
    if backup not in backups():
        raise JournalError("journal_database", path=str(backup), detail="it is no backup of the journal")
    path = database_path()
    try:
        with FileLock(_making_lock(path), timeout=BUSY_S):
            made = path.with_name(f"restoring-{uuid.uuid4().hex}")
            shutil.copyfile(backup, made)
            aside = set_aside()
            os.replace(made, path)
    except OSError as error:
        raise JournalError("journal_database", path=str(path), detail=str(error)) from error
    return aside


def _make_ready(connection: sqlite3.Connection) -> None:
    """Bring a new or an older journal to this version, and keep the day's backup before anything is written."""
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    path, wanted = database_path(), len(schema.MIGRATIONS)
    if _version(connection) == wanted and _is_ours(connection) and _todays_backup().exists():
        return
    try:
        with FileLock(_making_lock(path), timeout=BUSY_S):
            version = _version(connection)  # another process may have been quicker
            if version > wanted:
                raise JournalError("journal_database_newer", path=str(path), version=version, known=wanted)
            holds = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if (holds or version) and not _is_ours(connection):
                raise sqlite3.DatabaseError("it holds the tables of something else")
            if version == wanted:
                _back_up(connection, _todays_backup())
                return
            if version:
                _back_up(connection, _backup_folder() / f"before-v{wanted}-{time.strftime('%Y%m%d-%H%M%S')}.db")
            _migrate(connection, version)
            _back_up(connection, _todays_backup())
    except Timeout as error:
        raise JournalError("journal_database", path=str(path), detail="another process keeps it") from error


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    """Run the scripts that are missing, all in one transaction: a script that fails leaves the journal as it was."""
    connection.execute("PRAGMA journal_mode = WAL")
    scripts = list(schema.MIGRATIONS[version:])
    if not version and schema.has_trigrams():
        scripts.append(schema.FULL_TEXT)
    marks = f"PRAGMA application_id = {schema.APPLICATION_ID}; PRAGMA user_version = {len(schema.MIGRATIONS)};"
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {' '.join(scripts)} {marks} COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy the journal whole into `target`, unless it is damaged; keep the last few of that kind."""
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise sqlite3.DatabaseError(damage)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_suffix(f".{uuid.uuid4().hex}.part")
    copy = sqlite3.connect(made)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    finally:
        copy.close()
    os.replace(made, target)
    kind = target.name.split("-")[0]
    for old in [path for path in backups() if path.name.startswith(kind)][BACKUPS_KEPT:]:
        old.unlink(missing_ok=True)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_ours(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == schema.APPLICATION_ID)


def _backup_folder() -> Path:
    return journal_home() / "backups"


def _todays_backup() -> Path:
    return _backup_folder() / f"day-{date.today().isoformat()}.db"


def _making_lock(path: Path) -> Path:
    return path.with_name("making.lock")
