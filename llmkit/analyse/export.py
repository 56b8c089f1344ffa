"""A table as a file to take away. A text that a spreadsheet would run as a formula is written so that it stays text."""

from __future__ import annotations

import io
import re
from typing import Literal, get_args

import pandas as pd

from llmkit.analyse.columns import kind_of
from llmkit.analyse.errors import AnalyseError
from llmkit.tune.data.safe_cell import safe_cell

Format = Literal["csv", "xlsx", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)

MOST_EXCEL_ROWS = 1_048_575
MOST_EXCEL_CHARACTERS = 32_767
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Excel's format cannot hold these."""


def write(frame: pd.DataFrame, form: Format) -> bytes:
    """Write a table. Parquet keeps cells as they are (nothing runs them); CSV and Excel take `safe_cell`.

    Raises:
        AnalyseError: ``export_too_big``: more rows than a sheet of Excel has.
    """
    if form == "parquet":
        body = io.BytesIO()
        frame.to_parquet(body, index=False)
        return body.getvalue()
    safe = _safe(frame)
    if form == "csv":
        return safe.to_csv(index=False, date_format="%Y-%m-%d %H:%M:%S").encode("utf-8-sig", errors="replace")
    if len(frame) > MOST_EXCEL_ROWS:
        raise AnalyseError("export_too_big", rows=len(frame), limit=MOST_EXCEL_ROWS)
    return _excel(safe)


def _safe(frame: pd.DataFrame) -> pd.DataFrame:
    """Names and texts made safe; days without a time are written as days."""
    made = {}
    for name in frame.columns:
        column, kind = frame[name], kind_of(frame[name])
        if kind == "date" and (column.dropna() == column.dropna().dt.normalize()).all():
            column = column.dt.strftime("%Y-%m-%d")
        elif kind in ("text", "category"):
            column = column.astype(object).map(safe_cell, na_action="ignore")
        made[str(safe_cell(name))] = column
    return pd.DataFrame(made)


def _excel(safe: pd.DataFrame) -> bytes:
    """Cells one by one; a text that openpyxl would take for a formula stays text."""
    from openpyxl import Workbook  # type: ignore[import-untyped]
    from openpyxl.cell import WriteOnlyCell  # type: ignore[import-untyped]

    book = Workbook(write_only=True)
    sheet = book.create_sheet()

    def cell(value: object) -> object:
        if value is None or value is pd.NaT or (isinstance(value, float) and value != value):
            return None
        if not isinstance(value, str):
            return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value
        text = _CONTROL.sub("", value)[:MOST_EXCEL_CHARACTERS]
        if not text.startswith("="):  # control characters before it may have hidden it
            return text
        made = WriteOnlyCell(sheet, value=text)
        made.data_type = "s"
        return made

    sheet.append([cell(name) for name in safe.columns])
    for row in safe.itertuples(index=False, name=None):
        sheet.append([cell(value) for value in row])
    body = io.BytesIO()
    book.save(body)
    return body.getvalue()
