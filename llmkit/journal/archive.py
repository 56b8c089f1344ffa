"""The file that a journal travels in: a ZIP that is read in memory, with limits, and trusted in nothing."""

import io
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from llmkit.journal.errors import JournalError

FORMAT = "llm-assembly-guide-journal"
VERSION = 3
"""Version 1 had no papers and no topics, version 2 did not say where a note's figure came from."""
Kind = Literal["all", "partner"]

MOST_BYTES = 50_000_000
"""Of the file, and again of each file inside; all that is inside may be three times that."""
MOST_FILES = 5_000
MOST_RATIO = 200
"""How many times larger a file may be than what it is packed in; text packs to a tenth."""
SMALL = 1_000_000
"""Below this a ratio says nothing: twenty thousand times the same letter is a note."""

_BOOK = "journal.json"
_KNOWN = re.compile(r"journal\.(?:json|md)|figures/[0-9a-f]{32}\.(?:png|csv)")


def pack(content: Mapping[str, Any], kind: Kind, *, markdown: str, figures: Mapping[str, bytes]) -> bytes:
    """Return a ZIP with the journal as JSON, the same to read as Markdown, and its figures.

    Args:
        content: plain data. figures: name ("<id>.png") and file.
    """
    out = io.BytesIO()
    book = {"format": FORMAT, "version": VERSION, "kind": kind, **content}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(_BOOK, json.dumps(book, ensure_ascii=False, indent=1, allow_nan=False))
        packed.writestr("journal.md", markdown)
        for name, file in figures.items():
            packed.writestr(f"figures/{name}", file)
    return out.getvalue()


def unpack(file: bytes, kind: Kind) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the journal in a ZIP and its figures by name ("<id>.png"). Nothing is written anywhere.

    Raises:
        JournalError: ``journal_file_large`` (too many bytes or files, or a bomb), ``journal_file_unsafe`` (a path that
            leaves its folder, a link, a file that no export has), ``journal_file`` (no export of a journal, or a
            broken one), ``journal_file_newer``, ``journal_file_kind``.
    """
    _require(len(file), MOST_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as packed:
            infos = packed.infolist()
            _inspect(infos)
            left = 3 * MOST_BYTES
            files: dict[str, bytes] = {}
            for info in infos:
                with packed.open(info) as inside:
                    files[info.filename] = inside.read(min(left, MOST_BYTES) + 1)  # whatever its head says
                _require(len(files[info.filename]), min(left, MOST_BYTES))
                left -= len(files[info.filename])
        book = json.loads(files[_BOOK].decode("utf-8"))
    except JournalError:
        raise
    except (KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error, ValueError) as error:
        raise JournalError("journal_file", detail=type(error).__name__) from error
    except (NotImplementedError, RuntimeError, RecursionError) as error:  # another method, a password, deep JSON
        raise JournalError("journal_file", detail=type(error).__name__) from error
    _require_book(book, kind)
    figures = {name.removeprefix("figures/"): content for name, content in files.items() if name.startswith("figures/")}
    return book, figures


def _inspect(infos: list[zipfile.ZipInfo]) -> None:
    """Look at what the ZIP says of its files before any is read."""
    _require(len(infos), MOST_FILES)
    if len({info.filename for info in infos}) < len(infos):
        raise JournalError("journal_file_unsafe", name=infos[0].filename[:80])
    for info in infos:
        mode = info.external_attr >> 16
        is_file = stat.S_IFMT(mode) in (0, stat.S_IFREG)
        if not _KNOWN.fullmatch(info.filename) or info.orig_filename != info.filename or not is_file:
            raise JournalError("journal_file_unsafe", name=info.orig_filename[:80])
        if info.file_size > SMALL and info.file_size > MOST_RATIO * max(info.compress_size, 1):
            raise JournalError("journal_file_large", size=f"{info.file_size:,}", most=f"{MOST_BYTES:,}")
    _require(sum(info.file_size for info in infos), 3 * MOST_BYTES)


def _require(size: int, most: int) -> None:
    if size > most:
        raise JournalError("journal_file_large", size=f"{size:,}", most=f"{most:,}")


def _require_book(book: object, kind: Kind) -> None:
    if not isinstance(book, dict) or book.get("format") != FORMAT:
        raise JournalError("journal_file", detail="format")
    version = book.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise JournalError("journal_file", detail="version")
    if version > VERSION:
        raise JournalError("journal_file_newer", version=version, known=VERSION)
    if book.get("kind") != kind:
        raise JournalError("journal_file_kind", kind=str(book.get("kind"))[:20], wanted=kind)
