"""Step 5-1: milestones without a network, arXiv at a press alone, a reading list that the journal keeps."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from components.papers_history import asked_since
from lessons import words
from lessons.milestones import PARTS, milestones
from llmkit import journal
from llmkit.journal.text import iso_week
from tests.llmkit.test_papers import Endpoint, entry, feed
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import sent, settle

both = pytest.mark.parametrize("lang", ["zh-TW", "en"])
HOSTILE = "JavaScript: </script><img src=x onerror=alert(1)> *bold* [a](javascript:b) $x$"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMKIT_JOURNAL", str(tmp_path / "journal"))
    return tmp_path / "journal"


@pytest.fixture
def arxiv(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    endpoint = Endpoint()
    module = importlib.import_module("llmkit.papers.arxiv")
    monkeypatch.setattr(module, "API", endpoint.address)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


@both
def test_the_map_holds_every_paper_and_nothing_is_fetched(open_page: OpenPage, arxiv: Endpoint, lang: str) -> None:
    app = open_page("papers", lang=lang)
    assert not app.exception
    assert not app.error
    assert arxiv.asked == []
    numbers = sent(app, "papers_map")
    assert [one["title"] for one in numbers["papers"]] == [one.title for one in milestones()]
    assert [one["name"] for one in numbers["parts"]] == list(PARTS)
    for told, paper in zip(numbers["papers"], milestones(), strict=True):
        assert told["said"] == (paper.en if lang == "en" else paper.zh)
        assert (told["citation"], told["bibtex"], told["address"]) == (paper.citation, paper.bibtex, paper.address)
    assert words(lang)("papers.none_yet", n=len(milestones())) in seen(app)
    table = next(one.proto.body for one in app.get("html") if "pp-table" in one.proto.body and "<th>" in one.proto.body)
    assert table.count("<tr>") == len(milestones()) + 1


def test_the_sliders_tick_their_steps_and_the_address_opens_a_paper(open_page: OpenPage, arxiv: Endpoint) -> None:
    app = open_page("papers", lang="en", papers_paper="14")  # 15: Fast Transformer Decoding, about attention
    assert milestones()[14].step == "attention"
    assert words("en")("attention.title") in "".join(one.proto.label for one in app.get("page_link"))
    assert "“Fast Transformer Decoding" in seen(app)
    app = settle(open_page("papers", lang="en"), papers_year=2017, papers_paper=3)
    assert done(app)[:2] == ["done", "done"]
    counts = Counter(paper.part for paper in milestones() if paper.year <= 2017)
    listed = ", ".join(f"{words('en')(f'papers.at.{part}')} {counts[part]}" for part in PARTS)
    assert listed in seen(app)


def feed_of_two(days: float = 1) -> bytes:
    now, rope = datetime.now(UTC), "Rotary position embeddings and RoPE. <b>x</b>"
    return feed(
        entry(
            "2611.00002v1",
            HOSTILE,
            rope,
            (now - timedelta(days=days)).isoformat(),
        ),
        entry("2611.00001v1", "On cats", "", (now - timedelta(days=30)).isoformat(), tuple(f"A{n}" for n in range(9))),
        entry("2611.00001v1", "On cats", "", (now - timedelta(days=30)).isoformat()),
    )


@both
def test_a_press_asks_and_the_list_stays_dated(
    open_page: OpenPage, arxiv: Endpoint, monkeypatch: pytest.MonkeyPatch, lang: str
) -> None:
    say = words(lang)
    arxiv.answer = (200, feed_of_two())
    app = open_page("papers", lang=lang)
    app.button(key="papers_ask").click().run()
    assert not app.exception
    assert not app.error
    assert len(arxiv.asked) == 1
    told = seen(app)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", told)
    assert say("papers.guess", part=say("papers.at.positions"), words="@").split("@")[0] in told
    assert say("papers.more_authors", n=9).strip() in told
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body
        assert "<b>x" not in element.proto.body
    title = next(one.value for one in app.markdown if "JavaScript" in one.value)
    assert title.endswith("](https://arxiv.org/abs/2611.00002)**")
    assert not re.search(r"(?<!\\)[<$]", title)
    assert "](javascript" not in title
    monkeypatch.setenv("LLMKIT_OFFLINE", "1")
    arxiv.answer = (503, b"")
    fresh = open_page("papers", lang=lang)
    assert "2611.00001" in seen(fresh)
    fresh.text_input(key="papers_words").set_value("something else").run()
    assert say("papers.other_list") in seen(fresh)
    fresh.button(key="papers_ask").click().run()
    assert not fresh.exception
    assert fresh.error[0].value == say("common.error.papers_offline")
    assert "2611.00001" in seen(fresh)


@both
@pytest.mark.parametrize(
    ("answer", "code"),
    [((429, b""), "papers_refused"), ((200, b"<html>log in</html>"), "papers_garbled"), ((200, b""), "papers_garbled")],
)
def test_a_bad_answer_is_said_and_nothing_is_lost(
    open_page: OpenPage, arxiv: Endpoint, lang: str, answer: tuple[int, bytes], code: str
) -> None:
    arxiv.answer = answer
    app = open_page("papers", lang=lang)
    app.button(key="papers_ask").click().run()
    assert not app.exception
    assert app.error[0].value[:5] == words(lang)(f"common.error.{code}")[:5]
    assert words(lang)("papers.none_yet", n=len(milestones())) in seen(app)


def test_an_empty_list_is_a_list(open_page: OpenPage, arxiv: Endpoint) -> None:
    arxiv.answer = (200, feed())
    app = open_page("papers", lang="en", papers_words="xyzzy")
    app.button(key="papers_ask").click().run()
    assert not app.exception
    assert not app.error
    assert ": 0 papers" in seen(app)


def test_a_search_is_followed_asked_and_let_go(open_page: OpenPage, arxiv: Endpoint) -> None:
    app = open_page("papers", lang="en")
    app.text_input(key="papers_words").set_value("Rotary Embedding").run()
    app.button(key="papers_follow").click().run()
    me = journal.profiles()[0].id
    assert journal.topics(me) == ("rotary embedding",)
    app.button(key="papers_ask").click().run()
    assert arxiv.asked[0]["search_query"][0].endswith("all:Rotary AND all:Embedding")
    app = open_page("papers", lang="en")
    app.pills[0].set_value("rotary embedding").run()
    assert app.text_input(key="papers_words").value == "rotary embedding"
    app.button(key="papers_follow").click().run()
    assert not app.exception
    assert journal.topics(me) == ()


def test_a_paper_is_read_picked_and_noted(open_page: OpenPage, arxiv: Endpoint) -> None:
    me, say = journal.profiles()[0].id, words("en")
    arxiv.answer = (200, feed_of_two())
    app = open_page("papers", lang="en")
    app.button(key="papers_ask").click().run()
    app.button(key="papers_new_2611.00002_pick").click().run()
    assert not app.exception
    assert done(app)[2] == "done"
    picked = journal.picked(me, iso_week(datetime.now().astimezone().date()))
    assert picked is not None
    assert (picked.id, picked.step) == ("2611.00002", "positions")
    app.segmented_control(key="papers_picked_2611.00002_state").set_value("reading").run()
    assert journal.readings(me)[0].state == "reading"
    assert app.segmented_control(key="papers_new_2611.00002_state").value == "reading"
    app.text_area(key="papers_new_2611.00002_text").set_value("turns pairs").run()
    app.button(key="papers_new_2611.00002_keep").click().run()
    (note,) = journal.notes(me)
    assert (note.text, note.page, note.settings["paper"]) == ("arXiv:2611.00002\n\nturns pairs", "papers", "2611.00002")
    assert "turns pairs" in seen(app)
    app.segmented_control(key="papers_map_1706.03762_state").set_value("done").run()
    assert say("papers.shelf.done", n=1) in [one.label for one in app.expander]
    app.button(key="papers_picked_2611.00002_pick").click().run()
    assert say("papers.week.none") in seen(app)
    assert say("papers.shelf.reading", n=1) in [one.label for one in app.expander]


def test_a_broken_journal_leaves_the_papers(open_page: OpenPage, arxiv: Endpoint, place: Path) -> None:
    place.mkdir()
    (place / "journal.db").write_bytes(b"no database at all")
    app = open_page("papers", lang="en")
    assert not app.exception
    assert app.error
    assert len(sent(app, "papers_map")["papers"]) == len(milestones())
    app.button(key="papers_ask").click().run()
    assert not app.exception
    assert "2311.01234" in seen(app)


@pytest.mark.parametrize("year", range(2010, 2030))
def test_the_check_has_one_answer_whatever_year_is_asked(year: int) -> None:
    since = asked_since(year)
    counts = Counter(one.part for one in milestones() if one.year >= since and one.part != "engine").most_common()
    assert len(counts) == 1 or counts[0][1] > counts[1][1]


@both
def test_the_check_counts(open_page: OpenPage, lang: str) -> None:
    app = settle(open_page("papers", lang=lang), papers_year=2020)
    since = asked_since(2020)
    counts = Counter(one.part for one in milestones() if one.year >= since and one.part != "engine")
    app.radio(key="guess_papers_most").set_value(counts.most_common(1)[0][0]).run()
    app.button(key="run_papers_most").click().run()
    assert str(since) in app.success[0].value
