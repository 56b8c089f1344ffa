"""Read a learner's file as a table: CSV, TSV, JSON lines, plain text, Excel or Parquet, whatever it turns out to be.

Nothing in a file is ever run: Excel's formulas give their stored values, pickles are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from llmkit.tune.data.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

Format = Literal["csv", "tsv", "jsonl", "json", "txt", "xlsx", "parquet", "box"]

MAX_BYTES = 50_000_000
MAX_ROWS = 200_000
MAX_COLUMNS = 100
MAX_CELL = 131_072
"""Characters of one cell; Python's csv module takes no more either."""

_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"\x28\xb5\x2f\xfd")
_OTHER = (b"%PDF", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"\x7fELF", b"MZ\x90", b"RIFF", b"ID3", b"SQLite format 3")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """A file, read. Shared: never change it in place.

    Args:
        name: the file's name, as it was given.
        format: what it turned out to be; ``box`` for a data box of the shelf.
        frame: its cells as text, None where there is nothing; the index is each row's number as a spreadsheet
            shows it (1-based; the header is row 1 where there is one).
        encoding, sure: of a text file, and how sure that is, from 0 to 1; empty for Excel and Parquet.
        delimiter: between cells; empty where there is none.
        header: whether row 1 names the columns.
        sheets, sheet: Excel's sheets, and which was read.
        otherwise: rows that are in another encoding than the rest, with its name.
        undecodable: rows with bytes that no encoding explains.
        ragged: rows with more or fewer cells than the first.
        unreadable: rows that could not be read at all and are left out.
    """

    name: str
    format: Format
    frame: "pd.DataFrame"
    encoding: str = ""
    sure: float = 1.0
    delimiter: str = ""
    header: bool = False
    sheets: tuple[str, ...] = ()
    sheet: str = ""
    otherwise: Mapping[int, str] = field(default_factory=dict)
    undecodable: tuple[int, ...] = ()
    ragged: tuple[int, ...] = ()
    unreadable: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, each once."""
        return tuple(self.frame.columns)


def read_table(
    content: bytes,
    name: str,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    sheet: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Table:
    """Read a file as a table.

    Args:
        content: its bytes. name: what it is called; its ending is a hint, its content decides.
        encoding: a key of `text_encoding.CODECS`; delimiter: one character; header: whether the first row names the
            columns; sheet: of an Excel file. None to find out.
        max_bytes: refuse more.

    Raises:
        DataError: see its codes; nothing else, whatever the bytes are.
    """
    refuse(content, name, max_bytes=max_bytes)
    ending = PurePath(name).suffix.lower().lstrip(".")
    if content.startswith(b"PAR1"):
        from llmkit.tune.data.read_parquet import read_parquet

        return read_parquet(content, name)
    if content.startswith(b"PK\x03\x04"):
        from llmkit.tune.data.read_excel import read_excel

        return read_excel(content, name, sheet=sheet, header=header)
    if ending in ("xlsx", "xlsm", "parquet"):
        raise DataError("data_broken", name=name, detail=ending)
    from llmkit.tune.data.read_text import read_text

    return read_text(content, name, ending=ending, encoding=encoding, delimiter=delimiter, header=header)


def refuse(content: bytes, name: str, *, max_bytes: int = MAX_BYTES) -> None:
    """Refuse what is no table of a size that can be worked with.

    Raises:
        DataError: ``data_empty, data_too_big, data_pickle, data_compressed, data_password, data_old_excel`` or
            ``data_not_table``.
    """
    if len(content) > max_bytes:
        raise DataError("data_too_big", name=name, size=_mb(len(content)), limit=_mb(max_bytes))
    if not content[:100_000].strip(b" \t\r\n\x0b\x0c\xef\xbb\xbf") and not content.strip():
        raise DataError("data_empty", name=name)
    if content.startswith(_PICKLES) or PurePath(name).suffix.lower() in (".pkl", ".pickle", ".joblib"):
        raise DataError("data_pickle", name=name)
    if content.startswith(_PACKED):
        raise DataError("data_compressed", name=name)
    if content.startswith(_OLE):
        locked = "EncryptedPackage".encode("utf-16-le") in content
        raise DataError("data_password" if locked else "data_old_excel", name=name)
    if content.startswith(_OTHER) or content[:200].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError("data_not_table", name=name)


def from_box(box_id: str) -> Table:
    """A data box of the shelf as a table: text, rating, group.

    Raises:
        ShelfError: it is not here, or its rows cannot be read.
    """
    import pandas as pd

    from llmkit import shelf

    rows = shelf.open_data(box_id).rows
    frame = pd.DataFrame(
        {
            "text": pd.Series([row.text for row in rows], dtype=object),
            "rating": pd.Series([f"{row.rating:g}" for row in rows], dtype=object),
            "group": pd.Series([row.group for row in rows], dtype=object),
        }
    )
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Table(name=box_id, format="box", frame=frame, encoding="UTF-8")


def make_frame(columns: list[str], rows: list[list[str | None]], numbers: list[int], *, name: str) -> "pd.DataFrame":
    """Build the frame of a table: cells as text, the rows' numbers as index.

    Raises:
        DataError: ``data_empty`` where no row is left, ``data_too_many_rows``, ``data_too_many_columns``,
            ``data_cell_too_long``.
    """
    import pandas as pd

    if not rows:
        raise DataError("data_empty", name=name)
    if len(rows) > MAX_ROWS:
        raise DataError("data_too_many_rows", name=name, rows=len(rows), limit=MAX_ROWS)
    if len(columns) > MAX_COLUMNS:
        raise DataError("data_too_many_columns", name=name, columns=len(columns), limit=MAX_COLUMNS)
    for row, number in zip(rows, numbers, strict=True):
        longest = max((len(cell) for cell in row if cell), default=0)
        if longest > MAX_CELL:
            raise DataError("data_cell_too_long", name=name, row=number, characters=longest, limit=MAX_CELL)
    return pd.DataFrame(rows, columns=pd.Index(unique_names(columns)), index=pd.Index(numbers), dtype=object)


def unique_names(columns: list[str]) -> list[str]:
    """Name every column once: an empty name becomes its place, a second ``text`` becomes ``text 2``.

    >>> unique_names(["text", "", "text"])
    ['text', '#2', 'text 2']
    """
    seen: dict[str, int] = {}
    names = []
    for at, column in enumerate(columns, start=1):
        name = column.strip()[:80] or f"#{at}"
        count = seen.get(name, 0) + 1
        seen[name] = count
        while count > 1 and f"{name} {count}" in seen:
            count += 1
        name = name if count == 1 else f"{name} {count}"
        seen.setdefault(name, 1)
        names.append(name)
    return names


def names_columns(rows: list[list[str | None]]) -> bool:
    """Whether the first row names the columns: short, different, no numbers, and not found again below.

    >>> names_columns([["text", "label"], ["good", "pos"], ["bad", "neg"]])
    True
    >>> names_columns([["good film", "pos"], ["bad film", "neg"], ["fine film", "pos"]])
    False
    """
    first = [(cell or "").strip() for cell in rows[0]]
    if not all(first) or len(set(first)) < len(first) or any(len(cell) > 60 for cell in first):
        return False
    if any(is_number(cell) for cell in first):
        return False
    if len(first) == 1:
        return first[0].lower() in KNOWN_NAMES
    if any(cell.lower() in KNOWN_NAMES for cell in first):
        return True
    below = rows[1:1000]
    again = any(at < len(row) and row[at] == cell for row in below for at, cell in enumerate(first))
    return bool(below) and not again


TEXT_NAMES = tuple(
    "text sentence review content comment message tweet question document body "
    "文字 內容 句子 評論 文本 留言 訊息 内容 评论".split()
)
LABEL_NAMES = tuple(
    "label labels rating sentiment class category target stars score polarity "
    "標籤 類別 分類 評分 情緒 分數 标签 类别".split()
)
KNOWN_NAMES = frozenset((*TEXT_NAMES, *LABEL_NAMES, "id", "group", "split", "title"))
"""What columns of text and label are often called."""


def is_number(text: str) -> bool:
    """Whether a cell is a finite number."""
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f}"
