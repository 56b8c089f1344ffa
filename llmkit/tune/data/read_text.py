"""Text files as tables: CSV and its kin, JSON lines, one text a line."""

import csv
import io
import itertools
import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Any

from llmkit.tune.data.dataset import MAX_CELL, MAX_COLUMNS, MAX_ROWS, Format, Table, make_frame, names_columns
from llmkit.tune.data.encoding import Decoded, decode
from llmkit.tune.data.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
NO_DELIMITER = "\x1f"
"""Unit separator: what the csv module is given where a line is one cell."""

SAMPLE_ROWS = 300
MOST_CONTROLS = 0.02
"""Share of control characters above which a file is no text."""

Rows = list[list[str | None]]


def read_text(
    content: bytes, name: str, *, ending: str, encoding: str | None, delimiter: str | None, header: bool | None
) -> Table:
    """Read a text file; see `dataset.read_table`."""
    decoded = decode(content, encoding)
    text = decoded.text
    if not text.strip():
        raise DataError("data_empty", name=name)
    if "\x00" in text:
        row = text.count("\n", 0, text.index("\x00")) + 1
        raise DataError("data_nul", name=name, row=row, n=text.count("\x00"))
    head = text[:100_000]
    controls = sum(char < " " and char not in "\t\r\n\x0b\x0c" for char in head)
    if controls > MOST_CONTROLS * len(head) + 3:
        raise DataError("data_not_table", name=name)
    if delimiter is None and _looks_like_json(text, ending):
        return _read_json(decoded, name, whole=text.lstrip().startswith("["))
    if delimiter is None:
        delimiter = find_delimiter(text, ending)
    return _read_delimited(decoded, name, ending=ending, delimiter=delimiter, header=header)


def find_delimiter(text: str, ending: str) -> str:
    """Return what stands between cells: the sign that cuts most lines into equally many; empty for none."""
    sample = text[:200_000]
    best, found = (0.0, 0), ""
    for sign in DELIMITERS if ending != "txt" else ("\t",):
        reader = csv.reader(io.StringIO(sample, newline=""), delimiter=sign)
        try:
            rows = [row for row in itertools.islice(reader, SAMPLE_ROWS) if row]
        except csv.Error:
            continue
        if len(rows) > 2 and len(sample) < len(text):
            rows.pop()  # the sample may cut it
        counts = Counter(len(row) for row in rows)
        width, often = counts.most_common(1)[0]
        share = often / len(rows)
        enough = 0.4 if len(rows[0]) == width else 0.7
        if width > 1 and share >= enough and (len(rows) > 1 or ending in ("csv", "tsv")) and (share, width) > best:
            best, found = (share, width), sign
    return found


def _read_delimited(decoded: Decoded, name: str, *, ending: str, delimiter: str, header: bool | None) -> Table:
    records, numbers, last_lines = _records(decoded.text, name, delimiter or NO_DELIMITER, plain=ending == "txt")
    filled = [at for at, row in enumerate(records) if any(cell.strip() for cell in row)]
    if not filled:
        raise DataError("data_empty", name=name)
    width = max(len(records[filled[0]]), 1)
    if width > MAX_COLUMNS:
        raise DataError("data_too_many_columns", name=name, columns=width, limit=MAX_COLUMNS)
    numbers = [numbers[at] for at in filled]
    ragged = tuple(number for number, at in zip(numbers, filled, strict=True) if len(records[at]) != width)
    rows: Rows = [[*records[at][:width], *[None] * (width - len(records[at]))] for at in filled]
    named = names_columns(rows) if header is None else header
    columns = [cell or "" for cell in rows[0]] if named else ["text"] if width == 1 else [""] * width
    if named:
        rows, numbers = rows[1:], numbers[1:]

    def row_of(line: int) -> int:
        return bisect_left(last_lines, line) + 1

    kind: Format = "tsv" if delimiter == "\t" else "csv" if delimiter or ending == "csv" else "txt"
    return Table(
        name=name,
        format=kind,
        frame=make_frame(columns, rows, numbers, name=name),
        encoding=decoded.encoding,
        sure=decoded.sure,
        delimiter=delimiter,
        header=named,
        otherwise={row_of(line): used for line, used in decoded.otherwise.items()},
        undecodable=tuple(row_of(line) for line in decoded.undecodable),
        ragged=ragged,
    )


def _records(text: str, name: str, delimiter: str, *, plain: bool) -> tuple[list[list[str]], list[int], list[int]]:
    """All records with their numbers and the last line of each; quotation marks count where they make sense."""
    settings: list[dict[str, Any]] = [{"strict": True}, {"strict": False}]
    if plain:
        settings = [{"quoting": csv.QUOTE_NONE}]
    elif delimiter in ("\t", NO_DELIMITER):
        settings[1] = {"quoting": csv.QUOTE_NONE}
    for at, setting in enumerate(settings):
        rows: list[list[str]] = []
        last_lines: list[int] = []
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **setting)
        try:
            for row in reader:
                rows.append(row)
                last_lines.append(reader.line_num)
                if len(rows) > MAX_ROWS + 1:
                    raise DataError("data_too_many_rows", name=name, rows=f"> {MAX_ROWS}", limit=MAX_ROWS)
        except csv.Error as error:
            last = at == len(settings) - 1
            if delimiter not in ("\t", NO_DELIMITER) and "unexpected end" in str(error):
                raise DataError("data_quote_open", name=name, row=len(rows) + 1) from error
            if "field limit" in str(error) and (last or delimiter not in ("\t", NO_DELIMITER)):
                values = {"row": len(rows) + 1, "characters": f"> {MAX_CELL}", "limit": MAX_CELL}
                raise DataError("data_cell_too_long", name=name, **values) from error
            if last:
                raise DataError("data_broken", name=name, detail=str(error)) from error
            continue
        break
    return rows, list(range(1, len(rows) + 1)), last_lines


def _looks_like_json(text: str, ending: str) -> bool:
    start = text.lstrip("\ufeff \t\r\n")
    if ending in ("jsonl", "ndjson", "json"):
        return True
    if not start.startswith(("{", "[")):
        return False
    line = start.partition("\n")[0]
    try:
        return isinstance(json.loads(line), dict) or start.startswith("[")
    except (ValueError, RecursionError):
        return start.startswith("[{") and start.rstrip().endswith("]")


def _read_json(decoded: Decoded, name: str, *, whole: bool) -> Table:
    """One object a line, or one list of objects; what is no object is left out and named."""
    found: list[tuple[int, dict[str, Any]]] = []
    unreadable: list[int] = []
    for number, value in _json_values(decoded.text, name, whole=whole):
        if isinstance(value, dict):
            found.append((number, {_sound(key): cell for key, cell in value.items()}))
        elif isinstance(value, str):
            found.append((number, {"text": value}))
        else:
            unreadable.append(number)
        if len(found) > MAX_ROWS:
            raise DataError("data_too_many_rows", name=name, rows=f"> {MAX_ROWS}", limit=MAX_ROWS)
    if not found or len(unreadable) > len(found):
        raise DataError("data_not_table", name=name)
    columns = list(dict.fromkeys(key for _, value in found for key in value))
    if len(columns) > MAX_COLUMNS:
        raise DataError("data_too_many_columns", name=name, columns=len(columns), limit=MAX_COLUMNS)
    rows: Rows = [[json_cell(value.get(column)) for column in columns] for _, value in found]
    return Table(
        name=name,
        format="json" if whole else "jsonl",
        frame=make_frame(columns, rows, [number for number, _ in found], name=name),
        encoding=decoded.encoding,
        sure=decoded.sure,
        header=False,
        otherwise=decoded.otherwise,
        undecodable=decoded.undecodable,
        unreadable=tuple(unreadable),
    )


def _json_values(text: str, name: str, *, whole: bool) -> Iterator[tuple[int, Any]]:
    if whole:
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError("data_broken", name=name, detail=f"JSON: {error}") from error
        yield from enumerate(listed, start=1)
        return
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def json_cell(value: Any) -> str | None:
    """A JSON value as a cell's text.

    >>> json_cell(1.0), json_cell(True), json_cell(float("nan")), json_cell(["a"])
    ('1', 'true', None, '["a"]')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return _sound(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    return _sound(json.dumps(value, ensure_ascii=False, default=str))


def _sound(text: str) -> str:
    """A text without halves of characters, which JSON can name and nothing can show or write."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
