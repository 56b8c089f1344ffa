"""Excel files as tables: stored values only, never a formula; nothing that unpacks to more than a table should."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from llmkit.tune.data.dataset import MAX_COLUMNS, MAX_ROWS, Table, make_frame, names_columns
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.read_text import json_cell

MAX_UNPACKED = 300_000_000
"""Bytes that a container may unpack to, by its own table of contents; zipfile reads no more than that says."""

ERRORS = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!")
_DOCTYPE = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)


def read_excel(content: bytes, name: str, *, sheet: str | None, header: bool | None) -> Table:
    """Read one sheet: the one asked for, else the first that holds anything.

    Raises:
        DataError: ``data_broken, data_bomb, data_not_table, data_empty`` and those of a table too large.
    """
    _refuse_archive(content, name)
    import openpyxl  # type: ignore[import-untyped]

    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        sheets = tuple(one.title for one in book.worksheets)
        asked = [sheet] if sheet is not None and sheet in sheets else list(sheets)
        rows: list[list[str | None]] = []
        numbers: list[int] = []
        used = asked[0] if asked else ""
        for used in asked:
            rows, numbers = _read_sheet(book[used], name)
            if rows:
                break
        book.close()
    except DataError:
        raise
    except Exception as error:  # whatever a broken file makes openpyxl raise
        raise DataError("data_broken", name=name, detail=f"Excel: {type(error).__name__}") from error
    if not rows:
        raise DataError("data_empty", name=name)
    width = max(len(row) for row in rows)
    rows = [[*row, *[None] * (width - len(row))] for row in rows]
    named = names_columns(rows) if header is None else header
    columns = [cell or "" for cell in rows[0]] if named else ["text"] if width == 1 else [""] * width
    if named:
        rows, numbers = rows[1:], numbers[1:]
    frame = make_frame(columns, rows, numbers, name=name)
    return Table(name=name, format="xlsx", frame=frame, header=named, sheets=sheets, sheet=used)


def _refuse_archive(content: bytes, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if "xl/workbook.xml" not in names:
                code = "data_compressed" if not any(one.startswith("xl/") for one in names) else "data_not_table"
                raise DataError(code, name=name)  # type: ignore[arg-type]
            size = sum(member.file_size for member in members)
            if size > MAX_UNPACKED or len(members) > 10_000:
                raise DataError("data_bomb", name=name, size=f"{size / 1e6:.0f}", limit=f"{MAX_UNPACKED / 1e6:.0f}")
            for member in members:
                if member.filename.endswith((".xml", ".rels")):
                    with archive.open(member) as part:
                        if _DOCTYPE.search(part.read(4096)):
                            raise DataError("data_bomb", name=name, size="?", limit=f"{MAX_UNPACKED / 1e6:.0f}")
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError("data_broken", name=name, detail=f"Excel: {error}") from error


def _read_sheet(sheet: Any, name: str) -> tuple[list[list[str | None]], list[int]]:
    """All rows that hold anything, with their numbers in the sheet."""
    sheet.reset_dimensions()  # a sheet may say that it is smaller, or far larger, than it is
    rows: list[list[str | None]] = []
    numbers: list[int] = []
    for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
        row = list(_trimmed(cells))
        if not row:
            continue
        if len(row) > MAX_COLUMNS:
            raise DataError("data_too_many_columns", name=name, columns=len(row), limit=MAX_COLUMNS)
        rows.append(row)
        numbers.append(number)
        if len(rows) > MAX_ROWS + 1:
            raise DataError("data_too_many_rows", name=name, rows=f"> {MAX_ROWS}", limit=MAX_ROWS)
    return rows, numbers


def _trimmed(cells: tuple[Any, ...]) -> Iterator[str | None]:
    """A row's cells as text, without the empty ones at its end."""
    filled = max((at for at, cell in enumerate(cells) if cell is not None), default=-1)
    for cell in cells[: filled + 1]:
        if hasattr(cell, "isoformat"):
            yield cell.isoformat()
        else:
            yield None if cell in ERRORS else json_cell(cell)
