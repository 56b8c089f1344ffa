"""Step 4-3 as a learner sees it: before and after its jobs ran, with tables of any kind, and what leaves it."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from components import analysis_engine as found
from components.workbench import DEFAULT_BOX
from lessons import words
from llmkit import jobs
from llmkit.analyse import ask, reading
from llmkit.analyse.operation import Group, as_dict
from llmkit.analyse.sample import keep_sample
from llmkit.analyse.table import open_table
from llmkit.jobs import DirectReport, Job
from llmkit.tune.data.source import keep_file
from tests.pages.conftest import OpenPage, done, seen

LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
TASKS = {found.READ: reading.run, found.ASK: ask.run}
HOSTILE = "</script><img src=x onerror=alert(1)> [x](javascript:alert(1)) *b* `c` $d$ :red[e]"
Ran = dict[str, Job]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_home: Path) -> Ran:
    """Every job that the page asks for has been done, by its real task."""
    kept: Ran = {}

    def folder(job_id: str) -> Path:
        return tmp_path / "jobs" / job_id

    def find(kind: str, settings: Mapping[str, Any]) -> Job | None:
        key = hashlib.blake2b(json.dumps([kind, settings], sort_keys=True).encode(), digest_size=8).hexdigest()
        if key not in kept:
            folder(key).mkdir(parents=True)
            result = json.loads(json.dumps(TASKS[kind](settings, DirectReport(folder(key)))))
            kept[key] = Job(id=key, kind=kind, settings=settings, state="done", result=result)
        return kept[key]

    monkeypatch.setattr(jobs, "find", find)
    monkeypatch.setattr(jobs, "get", lambda job_id: kept[job_id])
    monkeypatch.setattr(jobs, "folder", folder)
    return kept


def table_now(app: AppTest) -> pd.DataFrame:
    """The table as the page shows it."""
    return app.dataframe[0].value


def with_file(app: AppTest, content: bytes, name: str) -> AppTest:
    """Give the page a file; AppTest cannot upload, so it is laid where an upload is kept."""
    app.session_state["_analysis_file"] = keep_file(content, name)
    app.segmented_control(key="analysis_kind").set_value("file")
    return app.run()


@LANGS
def test_the_page_is_whole_before_anything_ran(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    assert not app.exception
    assert not app.error
    say, text = words(lang), seen(app)
    table = open_table(keep_sample(lang).id)
    assert table_now(app).columns.tolist() == table.columns.tolist()
    assert len(table_now(app)) == 200
    product, rating = table.columns[1], table.columns[3]
    means = table.groupby(product, observed=True)[rating].mean().sort_values(ascending=False)
    first = say("analysis.chart.one", name=means.index[0], value=f"{means.iloc[0]:,.4g}")
    assert first in text
    assert say("analysis.steps.none") in text
    assert done(app) == ["open"] * 4
    assert say("analysis.read.no_embed", box=DEFAULT_BOX) in text  # without minilm


@LANGS
def test_a_question_becomes_a_step_that_can_be_taken_back(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    say, table = words(lang), open_table(keep_sample(lang).id)
    product, rating = table.columns[1], table.columns[3]
    result = say("analysis.result", how=say("analysis.how.mean"), column=rating)
    app.button(key="analysis_take_rules").click().run()
    assert not app.exception
    shown = table_now(app)
    expected = table.groupby(product, observed=True)[rating].mean().sort_values(ascending=False)
    assert shown[product].astype(str).tolist() == expected.index.astype(str).tolist()
    np.testing.assert_allclose(shown[result], expected)
    assert done(app)[0] == "done"
    assert say("analysis.op.group", by=product, result=result) in seen(app)
    assert json.loads(app.query_params["steps"]) == [as_dict(Group(by=product, how="mean", column=rating))]
    app.button(key="analysis_undo_0").click().run()
    assert not app.exception
    assert len(table_now(app)) == 200
    assert "steps" not in app.query_params


def test_a_link_takes_the_same_steps(open_page: OpenPage, own_home: Path) -> None:
    steps = [
        {"op": "filter", "column": "region", "test": "is", "value": "Taipei"},
        {"op": "eval", "column": "x"},
        {"op": "sort", "column": "no such column"},
        {"op": "top", "column": "rating", "n": 3},
    ]
    app = open_page("analysis", lang="en", box=DEFAULT_BOX, steps=json.dumps(steps))
    assert not app.exception
    assert len(table_now(app)) == 3
    assert set(table_now(app)["region"]) == {"Taipei"}
    for nonsense in ("[", "{}", "[[]]", "9" * 9000, '[{"op": []}]'):
        app = open_page("analysis", lang="en", box=DEFAULT_BOX, steps=nonsense)
        assert not app.exception
        assert len(table_now(app)) == 200


@LANGS
def test_a_step_by_hand(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    table = open_table(keep_sample(lang).id)
    rating = table.columns[3]
    for op in ("filter", "group", "aggregate", "sort", "top", "chart"):
        app.selectbox(key="analysis_edit_op").set_value(op).run()
        assert not app.exception
    app.selectbox(key="analysis_edit_op").set_value("filter").run()
    app.selectbox(key="analysis_edit_column").set_value(rating).run()
    app.selectbox(key="analysis_edit_test").set_value("at_least").run()
    assert app.button(key="analysis_edit_take").disabled
    app.text_input(key="analysis_edit_value").set_value("5").run()
    app.button(key="analysis_edit_take").click().run()
    assert not app.exception
    assert len(table_now(app)) == (table[rating] >= 5).sum()


def test_a_proposal_can_be_changed(open_page: OpenPage, own_home: Path) -> None:
    app = open_page("analysis", lang="en", box=DEFAULT_BOX)
    app.text_input(key="analysis_question_en").set_value("top 7 rating").run()
    app.button(key="analysis_edit_rules").click().run()
    assert not app.exception
    assert app.selectbox(key="analysis_edit_op").value == "top"
    assert app.number_input(key="analysis_edit_n").value == 7
    app.number_input(key="analysis_edit_n").set_value(2).run()
    app.button(key="analysis_edit_take").click().run()
    assert not app.exception
    assert len(table_now(app)) == 2


@LANGS
@pytest.mark.parametrize("question", ["", "x" * 400, HOSTILE, "講個笑話 tell a joke", "\x01\ud7ff😀"])
def test_any_question_is_answered(open_page: OpenPage, own_home: Path, question: str, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    app.text_input(key=f"analysis_question_{lang}").set_value(question).run()
    assert not app.exception
    say = words(lang)
    if not question:
        assert [error.value for error in app.error] == [say("common.error.ask_empty")]
    elif question != HOSTILE:
        assert app.error or say("analysis.ask.nothing") in seen(app)
    assert say("analysis.title") in seen(app)


@LANGS
def test_what_a_box_reads_becomes_columns(open_page: OpenPage, ran: Ran, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    assert not app.exception
    assert not app.error
    say, table = words(lang), open_table(keep_sample(lang).id)
    (job,) = [job for job in ran.values() if job.kind == found.READ]
    rows = pd.read_parquet(jobs.folder(job.id) / reading.ROWS)
    text, topic = table.columns[6], table.columns[5]
    name = say("analysis.new.classify", column=text)
    shown = table_now(app)
    assert shown[name].astype(str).tolist() == rows["answer"].tolist()
    np.testing.assert_allclose(shown[say("analysis.new.sure", name=name)], rows["confidence"], atol=1e-4)
    right = int((rows["answer"] == table[topic].astype(str)).sum())
    assert f"{right}" in seen(app)
    assert f"{right / 200:.0%}" in seen(app)
    assert done(app)[1] == done(app)[2] == "done"

    app.radio(key="guess_analysis_agree").set_value("no").run()
    app.button(key="run_analysis_agree").click().run()
    assert not app.exception
    assert bool(app.success) == (right / 200 <= 0.8)

    app.button(key="analysis_remove_0").click().run()
    assert not app.exception
    assert name not in table_now(app).columns
    app.button(key="analysis_again").click().run()
    assert name in table_now(app).columns


@pytest.mark.parametrize("way", ["tag", "extract", "cluster"])
def test_every_way_is_drawn(open_page: OpenPage, ran: Ran, way: str) -> None:
    app = open_page("analysis", lang="en", box=DEFAULT_BOX)
    app.segmented_control(key="analysis_way").set_value(way).run()
    assert not app.exception
    assert not app.error
    assert len(table_now(app).columns) >= 7 + 2 + 1
    if way == "tag":
        tags = words("en")("analysis.new.tag", column="text")
        app.slider(key="analysis_threshold").set_value(0.0).run()
        every = table_now(app)[tags].str.count(";")
        count = len(ran)
        app.slider(key="analysis_threshold").set_value(0.8).run()
        assert not app.exception
        assert table_now(app)[tags].fillna("").str.count(";").sum() <= every.sum()
        assert len(ran) == count  # what was read is not read again
    if way == "cluster":
        assert words("en")("analysis.cluster.what") in seen(app)


def test_a_box_chooses_among_valid_steps(open_page: OpenPage, ran: Ran) -> None:
    app = open_page("analysis", lang="en", box=DEFAULT_BOX)
    *_, job = [job for job in ran.values() if job.kind == found.ASK]  # the table has grown by what was read meanwhile
    assert len(job.settings["phrases"]) == len(job.result["probs"])
    assert sum(job.result["probs"]) == pytest.approx(1, abs=1e-4)
    assert words("en")("analysis.ask.sure", p=f"{max(job.result['probs']):.0%}") in seen(app)
    app.button(key="analysis_take_box").click().run()
    assert not app.exception
    assert done(app)[0] == "done"


FILES: dict[str, tuple[bytes, str]] = {
    "Big5": ("文字,評分\n好看,5\n難看,1\n".encode("cp950"), "a.csv"),
    "markup": (f'{HOSTILE!r},b\n"{HOSTILE}",1\n"{HOSTILE}",2\n"x",3\n'.encode(), "m.csv"),
    "formulas": (b"=cmd|calc,text\n=HYPERLINK(1),+1+1\n@x,-2\n", "f.csv"),
    "one column": (b"text\nsome words\nother words\n", "one.csv"),
    "empty cells": (b"text,n\n,\n,\n", "e.csv"),
    "numbers alone": (b"a,b\n1,2\n3,4\n", "n.csv"),
    "dates": (b"day,n\n2026-01-01,1\n2026-02-01,2\n", "d.csv"),
}


@LANGS
@pytest.mark.parametrize("name", list(FILES))
def test_tables_of_any_kind(open_page: OpenPage, own_home: Path, name: str, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    app = with_file(app, *FILES[name])
    assert not app.exception
    assert words(lang)("analysis.title") in seen(app)
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body
    body = "\n".join(str(element.proto) for kind in ("markdown", "caption", "info") for element in app.get(kind))
    assert "](javascript" not in body
    has_check = any(radio.key.startswith("guess_analysis_") for radio in app.radio)
    assert has_check != (name == "empty cells")
    assert len(app.error) == (name == "empty cells")  # no cell holds anything: said, and there is nothing to ask about


def test_a_file_that_is_no_table_is_said_and_let_go(open_page: OpenPage, own_home: Path) -> None:
    app = open_page("analysis", lang="en", box=DEFAULT_BOX)
    app = with_file(app, b"PAR1 this is none", "x.parquet")
    assert not app.exception
    assert len(app.error) == 1
    assert "_analysis_file" not in app.session_state


def test_fifty_thousand_rows_are_a_window(open_page: OpenPage, own_home: Path) -> None:
    lines = "\n".join(f"text number {at % 700},{at % 7},2026-{1 + at % 12:02}-01" for at in range(50_000))
    app = open_page("analysis", lang="en", box=DEFAULT_BOX)
    app = with_file(app, f"text,n,day\n{lines}\n".encode(), "big.csv")
    assert not app.exception
    assert len(table_now(app)) == 500
    app.number_input(key="analysis_window").set_value(100).run()
    assert not app.exception
    assert table_now(app)["n"].tolist() == [at % 7 for at in range(49_500, 50_000)]
    assert words("en")("analysis.most.of", n="700", all="700", rows="50,000") in seen(app)


def test_downloads_are_ticked_and_safe(open_page: OpenPage, own_home: Path) -> None:
    from llmkit.analyse.export import write

    table = pd.DataFrame({"=a": ["=1+1"]})
    assert pd.read_csv(io.BytesIO(write(table, "csv"))).to_numpy().tolist() == [["'=1+1"]]
    app = open_page("analysis", lang="en", box=DEFAULT_BOX)
    app.session_state["_analysis_saved"] = True
    app.run()
    assert done(app)[3] == "done"


@LANGS
def test_the_check_is_reckoned(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("analysis", lang=lang, box=DEFAULT_BOX)
    table = open_table(keep_sample(lang).id)
    region, rating = table.columns[2], table.columns[3]
    means = table.groupby(region, observed=True)[rating].mean()
    app.radio(key="guess_analysis_group").set_value(str(means.idxmax())).run()
    app.button(key="run_analysis_group").click().run()
    assert not app.exception
    assert len(app.success) == 1
