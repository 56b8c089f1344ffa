"""Cells that leave the house: a text that a spreadsheet would run as a formula is written so that it stays text."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

_RUNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?%?")


def safe_cell(value: object) -> object:
    """Return a cell as every CSV and Excel file of ours writes it; numbers stay as they are.

    Source: OWASP, "CSV Injection". A single quotation mark in front makes a spreadsheet show the text.

    >>> safe_cell("=HYPERLINK(1)"), safe_cell("-1.5"), safe_cell(-1.5), safe_cell("a=b")
    ("'=HYPERLINK(1)", '-1.5', -1.5, 'a=b')
    """
    if isinstance(value, str) and value.lstrip(" ").startswith(_RUNS) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as CSV in UTF-8 with its mark, so that spreadsheets read it, too."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([safe_cell(name) for name in columns])
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return out.getvalue().encode("utf-8-sig", errors="replace")
