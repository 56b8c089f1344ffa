"""SQLite files of this machine: opened for a moment, everything in them done or nothing, trouble told in one way."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

BUSY_S = 15.0
"""How long one tab or process waits for another that writes."""


@contextmanager
def opened(
    path: Path,
    make_ready: Callable[[sqlite3.Connection], object],
    told: Callable[[str], Exception],
    *,
    make: bool = True,
) -> Iterator[sqlite3.Connection]:
    """Open a file for a moment; nothing is committed but what `all_or_nothing` or a single statement does.

    Args:
        path: the file. make: make it, and its folder, where there is none.
        make_ready: brings what is in it to the version wanted, before it is handed out.
        told: makes an exception of what SQLite or the disk says.

    Raises:
        Exception: what `told` makes, where the file cannot be opened, made ready, read or written.
    """
    with ExitStack() as stack:
        try:
            if make:
                path.parent.mkdir(parents=True, exist_ok=True)
            address = f"{path.absolute().as_uri()}?mode={'rwc' if make else 'rw'}"
            connection = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None)
            stack.enter_context(closing(connection))
            connection.row_factory = sqlite3.Row
            make_ready(connection)
        except (OSError, sqlite3.Error) as error:
            raise told(str(error)) from error
        try:
            yield connection
        except sqlite3.Error as error:
            raise told(str(error)) from error


@contextmanager
def all_or_nothing(connection: sqlite3.Connection, *, write: bool = True) -> Iterator[sqlite3.Connection]:
    """Do everything inside, or nothing.

    Args:
        write: whether something is changed: then no other process writes meanwhile.
    """
    connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # of some errors, such as a full disk, SQLite goes back by itself
            connection.execute("ROLLBACK")
        raise
