"""Places: each is whole, its address well-formed, and every page has some; the link check tells the dead."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from lessons import check_links, registry
from lessons.places import COSTS, EVERY, KINDS, LEVELS, places, serving
from tests.lessons.test_milestones import PLANNED

SOON = PLANNED | {"triton", "chatbot", "content", "data", "done"}
"""Pages that may not be there yet."""
STEPS = [step.slug for step in registry.STEPS]


def test_each_is_whole_and_stands_once() -> None:
    assert len({one.address for one in places()}) == len({one.name for one in places()}) == len(places())
    for one in places():
        assert one.kind in KINDS
        assert one.level in LEVELS
        assert one.cost in COSTS
        assert one.lang
        assert set(one.lang) <= {"zh-TW", "zh-CN", "en"}
        assert len(set(one.steps)) == len(one.steps)
        assert set(one.steps) - {EVERY} <= set(STEPS) | SOON, one.name
        assert re.search(r"[\u4e00-\u9fff]", one.zh)
        assert not re.search(r"[\u4e00-\u9fff]", one.en)
        assert one.zh.endswith("。")
        assert one.en.endswith(".")


@pytest.mark.parametrize("one", places(), ids=lambda one: one.name)
def test_an_address_is_https_and_well_formed(one) -> None:
    parts = urlsplit(one.address)
    assert parts.scheme == "https"
    assert re.fullmatch(r"(?:[a-z0-9-]+\.)+[a-z]{2,}", parts.hostname or "")
    assert (parts.username, parts.port, parts.query, parts.fragment) == (None, None, "", "")
    assert re.fullmatch(r"/[\w./~@-]*", parts.path)


@pytest.mark.parametrize("step", sorted({*STEPS, *SOON}))
def test_every_page_has_a_place_to_ask_and_one_to_learn(step: str) -> None:
    kinds = {one.kind for one in serving(step, "en")}
    assert "ask" in kinds
    assert kinds - {"ask"}


@pytest.mark.parametrize("step", STEPS)
def test_ones_own_language_comes_first_and_then_the_best(step: str) -> None:
    found = serving(step, "zh-TW")
    assert {one.name for one in found} == {one.name for one in serving(step, "en")}
    own = ["zh-TW" in one.lang for one in found]
    assert own == sorted(own, reverse=True)
    for group in (True, False):
        ranks = [one.rank(step) for one in found if ("zh-TW" in one.lang) is group]
        assert ranks == sorted(ranks)  # type: ignore[type-var]
    assert any(own)


@pytest.fixture
def server() -> Iterator[str]:
    """A server whose path is the status that it answers with; /moved leads to /200."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            moved = self.path == "/moved"
            self.send_response(302 if moved else int(self.path[1:]))
            if moved:
                self.send_header("Location", "/200")
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"x")

        def log_message(self, *_: object) -> None: ...

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()


def test_the_link_check_tells_the_dead(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    fine = [f"{server}/200", f"{server}/moved", f"{server}/403"]
    assert check_links.main(fine) == 0
    gone = [f"{server}/404", f"{server}/500", "http://127.0.0.1:9/", "http://[broken"]
    assert check_links.main([*fine, *gone]) == 1
    told = capsys.readouterr().out.splitlines()[4:]
    assert [line[:4] for line in told[:-1]] == ["ok  "] * 3 + ["DEAD"] * 4
    assert told[-1] == "3/7"


def test_the_link_check_asks_every_address_once() -> None:
    asked = check_links.addresses()
    assert len(set(asked)) == len(asked)
    assert {one.address for one in places()} <= set(asked)
    assert "https://arxiv.org/abs/1706.03762" in asked
