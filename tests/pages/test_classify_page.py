"""Step 2-3 as a learner sees it: before and after its jobs ran, with every family, and with rows of any kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from streamlit.testing.v1 import AppTest

from components import classify_engine as found
from components.classify_board import shown_label
from components.classify_sections import answers_table
from components.figure import as_csv
from components.workbench import DEFAULT_BOX
from lessons import words
from llmkit import jobs
from llmkit.jobs import DirectReport, Job
from llmkit.tune import labelled
from llmkit.tune.ways import runner
from llmkit.tune.ways.task import open_task
from tests.llmkit.random_box import random_box
from tests.llmkit.test_ways import HOSTILE, keep, labelled_rows, put_tuned
from tests.pages.conftest import OpenPage, done, seen

LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
TASKS = {found.KIND: runner.run, found.ONE: runner.run_one}
Ran = dict[str, Any]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own_home: Path) -> Ran:
    """Every job that the page asks for has been done, by its real task; one that fails has failed."""
    kept: dict[str, Job] = {}

    def folder(job_id: str) -> Path:
        return tmp_path / "jobs" / job_id

    def find(kind: str, settings: Mapping[str, Any]) -> Job | None:
        key = hashlib.blake2b(json.dumps([kind, settings], sort_keys=True).encode(), digest_size=8).hexdigest()
        if key not in kept:
            folder(key).mkdir(parents=True)
            kept[key] = Job(id=key, kind=kind, settings=settings, state="running")
            result = TASKS[kind](settings, DirectReport(folder(key)))
            kept[key] = Job(id=key, kind=kind, settings=settings, state="done", result=json.loads(json.dumps(result)))
        return kept[key]

    monkeypatch.setattr(jobs, "find", find)
    monkeypatch.setattr(jobs, "folder", folder)
    return kept


def results(ran: Ran) -> dict[str, Any]:
    """What the jobs found out about each way."""
    made = [job.result["ways"] for job in ran.values() if job.kind == found.KIND]
    return {way: facts for ways in made for way, facts in ways.items()}


@pytest.fixture
def two_labels(own_home: Path) -> str:
    return keep(labelled_rows(("negative", "positive"), 60))


@LANGS
@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_the_page_is_whole_before_anything_ran(
    open_page: OpenPage, two_labels: str, tmp_path: Path, family: str, lang: str
) -> None:
    box = f"folder:{random_box(tmp_path / family, family, seed=1)}"
    app = open_page("classify", lang=lang, box=box, data=two_labels)
    assert not app.exception
    assert not app.error
    say, text = words(lang), seen(app)
    task = open_task({"data": two_labels, "sample": 200})
    assert app.selectbox(key="classify_data").value == two_labels
    assert app.button(key="classify_run")
    sizes = {"test": len(task.test), "train": len(task.train), "validation": len(task.validation)}
    assert say("classify.rows", **sizes, labels=say("common.comma").join(task.labels)) in text
    assert say("classify.fewer", asked=200, n=len(task.test)) in text
    assert say("classify.alt.none", n=len(task.test), chance=f"{task.chance:.0%}") in text
    assert done(app) == ["open"] * 3
    asked = app.selectbox(key=f"classify_asked_{box}").options
    assert (box in asked) == (family != "bert")
    app.radio(key="guess_classify_winner").set_value("probe").run()
    app = app.button(key="run_classify_winner").click().run()
    assert [error.value for error in app.error] == [say("common.error.ways_not_run", n=0)]


@LANGS
def test_what_ran_is_what_is_said(open_page: OpenPage, two_labels: str, ran: Ran, lang: str) -> None:
    app = open_page("classify", lang=lang, box=DEFAULT_BOX, data=two_labels)
    assert not app.exception
    assert not app.error
    say, text = words(lang), seen(app)
    ways = results(ran)
    assert set(ways) == set(found.WAYS) - {"finetuned"}
    scores = {way: facts["scores"][facts["place"]] for way, facts in ways.items()}
    for way, score in scores.items():
        told = {"share": f"{score['accuracy']:.0%}", "low": f"{score['low']:.0%}", "high": f"{score['high']:.0%}"}
        assert say("classify.alt.one", way=say(f"classify.way.{way}"), f1=f"{score['f1']:.2f}", **told) in text
    best = max(found.WAYS[:5], key=lambda way: scores[way]["right"])
    app.radio(key="guess_classify_winner").set_value("probe").run()
    app = app.button(key="run_classify_winner").click().run()
    assert not app.exception
    right = [way for way in scores if scores[way]["right"] == scores[best]["right"]]
    assert bool(app.success) == ("probe" in right)
    assert say("classify.not_made") in text


def test_one_row_is_judged_by_all(open_page: OpenPage, two_labels: str, ran: Ran) -> None:
    app = open_page("classify", lang="en", box=DEFAULT_BOX, data=two_labels)
    app.text_area(key="classify_typed").set_value(f"{HOSTILE} {'long ' * 300}").run()
    assert not app.exception
    assert not app.error
    (one,) = [job.result for job in ran.values() if job.kind == found.ONE and HOSTILE in job.settings["text"]]
    say, text = words("en"), seen(app)
    for way, made in one["ways"].items():
        top = int(np.argmax(made["probs"]))
        told = {"label": one["labels"][top], "p": f"{max(made['probs']):.0%}"}
        assert say("classify.typed.one", way=say(f"classify.way.{way}"), **told) in text
        assert made["cut"]
    assert say("classify.typed.cut", limit=min(made["limit"] for made in one["ways"].values())) in text
    assert done(app)[0] == done(app)[2] == "done"


@LANGS
@pytest.mark.parametrize(
    ("typed", "code"), [("", "row_empty"), ("   ", "row_empty"), ("x" * 100_000, "typed_too_long")]
)
def test_a_row_that_cannot_be_asked(
    open_page: OpenPage, two_labels: str, ran: Ran, typed: str, code: str, lang: str
) -> None:
    app = open_page("classify", lang=lang, box=DEFAULT_BOX, data=two_labels)
    app.text_area(key="classify_typed").set_value(typed).run()
    assert not app.exception
    assert [error.value for error in app.error] == [words(lang)(f"common.error.{code}", n=100_000, limit=2_000)]


ROWS: dict[str, tuple[Callable[[], list[tuple[str, str | None]]], str | None]] = {
    "one class": (lambda: labelled_rows(("same",), 40), "one_class"),
    "no label": (lambda: [(text, None) for text, _ in labelled_rows(("a", "b"), 20)], None),
    "texts as labels": (lambda: [(f"t {at}", f"label {at % 90}") for at in range(300)], "too_many_labels"),
    "empty texts": (lambda: [*labelled_rows(("a", "b"), 20), ("", "a"), ("  ", "b"), ("x", None)], None),
    "long labels": (lambda: labelled_rows(("y" * 1000, "z" * 1000), 20), None),
    "markup": (lambda: labelled_rows((HOSTILE, "*b* `c` $d$ :red[e]"), 20), None),
    "fifty": (lambda: labelled_rows([f"class {at}" for at in range(50)], 8), None),
    "long texts": (lambda: [(f"{n} " + "word " * 400, "ab"[n % 2]) for n in range(40)], None),
}


@LANGS
@pytest.mark.parametrize("name", list(ROWS))
def test_rows_of_any_kind_get_a_board_or_a_message(open_page: OpenPage, own_home: Path, name: str, lang: str) -> None:
    make, code = ROWS[name]
    data = keep(make())
    app = open_page("classify", lang=lang, box=DEFAULT_BOX, data=data)
    assert not app.exception
    if code is None:
        assert not app.error
    else:
        start = words(lang)(f"common.error.{code}", data="@", rows="@", labels="@", limit="@").split("@")[0]
        assert len(app.error) == 1
        assert app.error[0].value.replace("\\", "").startswith(start)
    if name == "empty texts":
        assert words(lang)("classify.left_out", empty=2, unlabelled=1) in seen(app)
    body = "\n".join(element.proto.body for element in app.get("html"))
    assert "<img src=x" not in body


def test_fifty_classes_and_long_texts_run(open_page: OpenPage, ran: Ran) -> None:
    for name in ("fifty", "long texts", "markup"):
        data = keep(ROWS[name][0]())
        app = open_page("classify", lang="en", box=DEFAULT_BOX, data=data)
        assert not app.exception
        if name == "long texts":
            assert all(facts["cut"] for facts in results(ran).values() if facts["limit"] < 256)


def test_a_box_tuned_on_these_rows_joins_in(open_page: OpenPage, two_labels: str, ran: Ran, tmp_path: Path) -> None:
    mark = labelled.fingerprint(two_labels)
    box_id = put_tuned(tmp_path, ("positive", "negative"), data=two_labels, data_fingerprint=mark)
    app = open_page("classify", lang="en", box=DEFAULT_BOX, data=two_labels)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="classify_tuned").value == box_id
    assert words("en")("classify.not_made") not in seen(app)
    assert "finetuned" in results(ran)


def test_files_that_leave_run_no_formula(ran: Ran, two_labels: str) -> None:
    rows = [(f"=HYPERLINK({at})", label) for at, label in enumerate(["+1", "@b"] * 30)]
    data = keep(rows)
    task = open_task({"data": data, "sample": 50})
    probs = np.full((1, len(task.test), 2), 0.5, dtype=np.float32)
    way = found.Answered(way="probe", facts={"place": 0, "dial": [""]}, probs=probs, badge=None)  # type: ignore[arg-type]
    picked = found.Rows(data=data, fingerprint="", sample=50, task=task)
    lines = as_csv(answers_table(picked, {"probe": way}, {"probe": 0})).decode("utf-8-sig").splitlines()
    assert lines[0] == "text,label,probe,probe_probability"
    assert len(lines) == len(task.test) + 1
    assert all(line.startswith("'=") for line in lines[1:])
    assert all(",'@b," in line or ",+1," in line for line in lines[1:])  # a number stays one


def test_dials_stand_where_they_were_settled_and_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    way = found.Answered(
        way="neighbours", facts={"place": 2, "dial": ["1", "3", "5"]}, probs=np.zeros((3, 1, 2)), badge=None
    )  # type: ignore[arg-type]
    for asked, expected in ({}, 2), ({"neighbours": 0}, 0), ({"neighbours": 99}, 2), ({"neighbours": "x"}, 2), ("x", 2):
        state = {found.SEEN: SimpleNamespace(get=lambda name, asked=asked: {"dials": asked})}
        monkeypatch.setattr(found.st, "session_state", state)
        assert found.places({"neighbours": way}) == {"neighbours": expected}


def test_labels_are_shown_on_one_line() -> None:
    assert shown_label("a\n\n b") == "a b"
    assert len(shown_label("y" * 1000)) == 32


@pytest.mark.registry
@LANGS
def test_real_boxes_and_reviews(open_page: OpenPage, standard_kit: tuple[str, ...], lang: str) -> None:
    app = open_page("classify", lang=lang, box=DEFAULT_BOX)
    assert not app.exception
    assert not app.error
    say = words(lang)
    assert app.selectbox(key="classify_data").value == "reviews-en"
    assert app.selectbox(key=f"classify_reader_{DEFAULT_BOX}").value == "minilm-l6"
    assert app.selectbox(key=f"classify_asked_{DEFAULT_BOX}").value == "smollm2-135m-instruct"
    app = app.selectbox(key="classify_data").set_value("reviews-zh-tw").run()
    assert not app.exception
    assert not app.error
    chance = open_task({"data": "reviews-zh-tw", "sample": 200}).chance
    assert say("classify.other_language", box="minilm-l6", chance=f"{chance:.0%}") in seen(app)


def test_the_check_says_what_cannot_be_told_apart(open_page: OpenPage, two_labels: str, ran: Ran) -> None:
    app: AppTest = open_page("classify", lang="en", box=DEFAULT_BOX, data=two_labels)
    files = {
        way: np.load(jobs.folder(job.id) / runner.FILE)
        for job in ran.values()
        if job.kind == found.KIND
        for way in job.result["ways"]
    }
    ways = results(ran)
    right = {
        way: files[way][way][ways[way]["place"]].argmax(-1) == files[way]["truth"] for way in found.WAYS if way in ways
    }
    best = max(right, key=lambda way: right[way].sum())
    ps = {}
    for way in right:
        only = int((right[best] & ~right[way]).sum()), int((right[way] & ~right[best]).sum())
        ps[way] = binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
    order = sorted((way for way in ps if way != best), key=lambda way: ps[way])
    adjusted, highest = {}, 0.0
    for rank, way in enumerate(order):
        highest = adjusted[way] = max(highest, min(1.0, ps[way] * (len(order) - rank)))
    unclear = [way for way in right if way != best and adjusted[way] >= 0.05]
    text = seen(app)
    for way in unclear:
        assert f"{words('en')(f'classify.way.{way}')} (p = {adjusted[way]:.3f})" in text
    assert bool(unclear) == ("cannot be told from it" in text)
