"""Papers asked of arXiv: a fake endpoint answers as arXiv does, or as nobody should."""

from __future__ import annotations

import contextlib
import importlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest

from llmkit import papers
from llmkit.papers import Paper, PapersError
from llmkit.papers.arxiv import MOST_BYTES, parse, question

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom">'
Answer = Callable[[str], tuple[int, bytes]]


def entry(
    id_: str = "2311.01234v2",
    title: str = "A title\n  in two lines",
    summary: str = "An\n abstract.",
    published: str = "2026-11-20T17:59:58Z",
    authors: tuple[str, ...] = ("Ana Ma", "王小明"),
) -> str:
    named = "".join(f"<author><name>{escape(name)}</name></author>" for name in authors)
    return (
        f"<entry><id>http://arxiv.org/abs/{id_}</id><published>{published}</published>"
        f"<title>{escape(title)}</title><summary>{escape(summary)}</summary>{named}"
        '<arxiv:primary_category xmlns:arxiv="http://arxiv.org/schemas/atom" term="cs.CL"/></entry>'
    )


def feed(*entries: str) -> bytes:
    return f"{HEAD}{''.join(entries)}</feed>".encode()


class Endpoint:
    """A server that answers with what the test has put there, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, feed(entry()))
        self.asked: list[dict[str, list[str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(parse_qs(urlsplit(self.path).query))
                status, body = outer.answer
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.end_headers()
                with contextlib.suppress(OSError):  # who asked has hung up
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/api/query"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def arxiv(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    monkeypatch.setattr(importlib.import_module("llmkit.papers.arxiv"), "API", endpoint.address)
    monkeypatch.setattr(importlib.import_module("llmkit.papers.arxiv"), "PAUSE_S", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


def test_a_paper_is_read_as_arxiv_writes_it(arxiv: Endpoint) -> None:
    listed = papers.refresh("rotary <b>embedding</b>")
    assert arxiv.asked == [
        {
            "search_query": ["(cat:cs.CL OR cat:cs.LG) AND all:rotary AND all:b AND all:embedding AND all:b"],
            "sortBy": ["submittedDate"],
            "sortOrder": ["descending"],
            "max_results": ["50"],
        }
    ]
    (paper,) = listed.papers
    assert paper == Paper(
        id="2311.01234",
        title="A title in two lines",
        summary="An abstract.",
        authors=("Ana Ma", "王小明"),
        published=datetime(2026, 11, 20, 17, 59, 58, tzinfo=UTC),
        category="cs.CL",
    )
    assert paper.address == "https://arxiv.org/abs/2311.01234"


@pytest.mark.parametrize(
    ("written", "id_"),
    [("1706.03762v7", "1706.03762"), ("1706.03762", "1706.03762"), ("cmp-lg/9404001v1", "cmp-lg/9404001")],
)
def test_an_id_has_no_version(written: str, id_: str) -> None:
    assert [paper.id for paper in parse(feed(entry(written)))] == [id_]


def test_the_list_is_kept_for_each_search_and_found_without_a_network(
    arxiv: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert papers.last_list() is None
    fresh = papers.refresh()
    arxiv.answer = (200, feed(entry("2401.00001v1", title="另一篇 😀")))
    other = papers.refresh("another")
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    with pytest.raises(PapersError) as error:
        papers.refresh()
    assert error.value.code == "papers_offline"
    assert papers.last_list() == fresh
    assert papers.last_list("another") == other
    assert papers.last_list("nobody asked") is None


def test_a_fresh_list_is_not_asked_for_again(arxiv: Endpoint, own_home: Path) -> None:
    first = papers.newest("a")
    assert papers.newest("a") == first
    assert len(arxiv.asked) == 1
    papers.newest("b")
    assert len(arxiv.asked) == 2
    for kept in (own_home / "papers").iterdir():
        old = re.sub(r'"fetched": "[^"]+"', '"fetched": "2020-01-01T00:00:00+00:00"', kept.read_text(encoding="utf-8"))
        kept.write_text(old, encoding="utf-8")
    assert papers.newest("a").fetched > first.fetched


def test_questions_keep_their_distance(arxiv: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("llmkit.papers.arxiv"), "PAUSE_S", 0.3)
    began = time.monotonic()
    askers = [threading.Thread(target=papers.refresh, args=(f"word{n}",)) for n in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(arxiv.asked) == 3
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((503, b"busy"), "papers_refused"),
        ((302, b""), "papers_refused"),
        ((200, b""), "papers_garbled"),
        ((200, b"<html><body>login</body></html>"), "papers_garbled"),
        ((200, b"\x00\xff\xfe"), "papers_garbled"),
        ((200, feed(entry())[:-20]), "papers_garbled"),
        ((200, b"a" * (MOST_BYTES + 1)), "papers_garbled"),
        (
            (200, b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><a>&c;</a>'),
            "papers_garbled",
        ),
        (
            (
                200,
                feed(
                    "<entry><id>https://arxiv.org/api/errors#start_must_be_non-negative</id>"
                    "<title>Error</title><summary>start must be non-negative</summary></entry>"
                ),
            ),
            "papers_refused",
        ),
    ],
)
def test_a_bad_answer_is_named_and_the_kept_list_stays(arxiv: Endpoint, answer: tuple[int, bytes], code: str) -> None:
    kept = papers.refresh()
    arxiv.answer = answer
    with pytest.raises(PapersError) as error:
        papers.refresh()
    assert error.value.code == code
    assert papers.last_list() == kept


def test_nobody_there(arxiv: Endpoint) -> None:
    arxiv.server.shutdown()
    arxiv.server.server_close()
    with pytest.raises(PapersError) as error:
        papers.refresh()
    assert error.value.code == "papers_unreachable"


def test_an_entry_that_is_no_paper_is_left_out() -> None:
    bad = (entry("x y"), entry(title=" "), entry(published="yesterday"), entry(published="2026-11-20T17:59:58"))
    assert [paper.title for paper in parse(feed(*bad, entry(title="</script><img src=x onerror=alert(1)>")))] == [
        "</script><img src=x onerror=alert(1)>"
    ]


def test_this_week_is_counted_from_when_it_was_fetched(arxiv: Endpoint) -> None:
    now = datetime.now(UTC)
    dates = [now - timedelta(days=days) for days in (1, 6.9, 7.1)]
    arxiv.answer = (200, feed(*(entry(f"2611.0000{n}v1", published=at.isoformat()) for n, at in enumerate(dates))))
    listed = papers.refresh()
    assert [paper.id for paper in listed.since()] == ["2611.00000", "2611.00001"]


@pytest.mark.parametrize("words", ["", "   ", '"AND" (OR) -- :', "😀"])
def test_a_search_without_a_word_and_without_a_category_is_none(words: str) -> None:
    with pytest.raises(PapersError) as error:
        question(words, ())
    assert error.value.code == "papers_query"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"papers": [{"id": 1}], "fetched": "x"}', b"\xff"])
def test_a_broken_kept_list_is_none(arxiv: Endpoint, own_home: Path, content: bytes) -> None:
    papers.refresh()
    (kept,) = (own_home / "papers").iterdir()
    kept.write_bytes(content)
    assert papers.last_list() is None
