"""Step 2-5 as a learner sees it: before, while and after its jobs run, with every family, and with data that is odd."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components import finetune_more as more
from components import finetune_picture as picture
from components import finetune_plan as asked
from components.finetune_plan import METHODS
from lessons import words
from llmkit import jobs, shelf
from llmkit.home import home
from llmkit.jobs import DirectReport, Job, JobError
from llmkit.tune import finetune_job, run_folder
from llmkit.tune.data import prepared
from llmkit.tune.tuned import tuned_boxes
from tests.llmkit.told import kept, rows
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
HOSTILE = '</script><img src=x onerror=alert(1)> <b>&"bold" {text}'
by_lang = pytest.mark.parametrize("lang", ["zh-TW", "en"])


class Ran:
    """Jobs that are done as soon as they are asked for, by their real tasks, on the learner's own settings."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.jobs: dict[str, Job] = {}
        self.auto = True

    def find(self, kind: str, settings: Mapping[str, Any]) -> Job | None:
        job_id = f"{kind}-{run_folder.run_id({'kind': kind, **settings})}"
        if job_id not in self.jobs and self.auto:
            folder = self.place / job_id / "files"
            folder.mkdir(parents=True)
            task = finetune_job.run if kind == "finetune" else finetune_job.run_pace
            made = {"device": "a test's CPU", "date": "2026-01-01", "versions": "torch"}
            try:
                result = json.loads(json.dumps(task(settings, DirectReport(folder)), allow_nan=False))
                job = Job(id=job_id, kind=kind, settings=settings, state="done", result=result, made_with=made)
            except Exception as error:
                if not hasattr(error, "code"):
                    raise
                told = JobError(error.code, **error.values)  # type: ignore[attr-defined]
                job = Job(id=job_id, kind=kind, settings=settings, state="failed", error=told)
            self.jobs[job_id] = job
        return self.jobs.get(job_id)

    def folder(self, job_id: str) -> Path:
        return self.place / job_id / "files"


@pytest.fixture
def data(own_home: Path) -> str:
    """A learner's prepared set in a home of its own; no box but the bundled one is there."""
    return kept(rows(96))


@pytest.fixture
def ran(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    made = Ran(tmp_path / "ran")
    monkeypatch.setattr(jobs, "find", made.find)
    monkeypatch.setattr(jobs, "folder", made.folder)
    monkeypatch.setattr(jobs, "log", lambda _: "")
    return made


@pytest.fixture
def kit_home(standard_kit: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home of the test's own in which the standard kit can be read."""
    boxes = home() / "boxes"
    own = tmp_path / "kit"
    (own / "boxes").mkdir(parents=True)
    for path in boxes.iterdir():
        os.symlink(path, own / "boxes" / path.name)
    monkeypatch.setenv("LLMKIT_HOME", str(own))


@by_lang
@pytest.mark.registry
@pytest.mark.parametrize("box", ["gpt2-starter", "minilm-l6", "smollm2-135m-instruct"])
def test_the_page_is_whole_with_every_family(open_page: OpenPage, kit_home: None, lang: str, box: str) -> None:
    app = open_page("finetune", lang=lang, box=box)
    assert not app.exception
    assert not app.error
    tuned = "minilm-l6" if box == BOX else box
    assert app.selectbox(key=f"finetune_box_{box}").value == tuned
    counted = asked.learns(tuned, shelf.fingerprint(tuned), "lora", 2, 8, ("q", "v")).value
    text = seen(app)
    assert f"{counted.learning:,}" in text
    assert f"{counted.frozen:,}" in text
    assert done(app) == ["open"] * 3
    assert app.button(key="finetune_start").label == words(lang)("finetune.start", n=3)
    assert words(lang)("finetune.examples.none") in text


@pytest.mark.registry
def test_chinese_texts_are_said_to_be_strange_to_an_english_box(open_page: OpenPage, kit_home: None) -> None:
    app = open_page("finetune", lang="en", box="minilm-l6")
    app.selectbox(key="finetune_data_reviews-en").set_value("reviews-zh-tw").run()
    assert not app.exception
    said = [one.value for one in app.warning if "grew up on English alone" in one.value]
    plan = asked.plan("minilm-l6", "reviews-zh-tw")
    from llmkit.reference import open_box
    from llmkit.tune.labelled import open_labelled

    tokenizer = open_box("minilm-l6").tokenizer
    test = open_labelled("reviews-zh-tw").take(train=200, held_out=200).test
    ids = [one for row in test for one in tokenizer.encode(row.text, specials=False).ids]
    share = ids.count(tokenizer.model.vocab["[UNK]"]) / len(ids)
    assert share > 0
    assert f"{share:.1%}" in said[0]
    assert asked.is_foreign(plan)


@by_lang
def test_what_ran_is_what_is_said(open_page: OpenPage, data: str, ran: Ran, lang: str) -> None:
    app = open_page("finetune", lang=lang, box=BOX, data=data)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key=f"finetune_data_{data}").value == data
    results = {job.result["best"] and method: job.result for method, job in by_method(ran).items()}
    say, text = words(lang), seen(app)
    for method, result in results.items():
        assert f"{result['test']['after']['accuracy']:.1%}" in text
        assert picture.share(result["learning"], result["total"]) in text
        assert f"{result['memory']['peak'] / picture.MIB:,.0f} MiB" in text
        assert say("finetune.end.box", box=result["box"]) in text
        assert say(f"finetune.method.{method}") in text
    pace = next(job.result for job in ran.jobs.values() if job.kind == "finetune_pace")
    assert min(pace["step_s"].values()) > 0
    assert say("finetune.pace.said", listed="X", all="Y").partition("X")[0] in text
    assert done(app)[1] == "done"
    assert "a test's CPU" in text
    assert len(tuned_boxes()) == 3
    for one in tuned_boxes():
        assert one.box_id.replace("-", "\\-") in text or one.box_id in text


def by_method(ran: Ran) -> dict[str, Job]:
    return {job.settings["config"]["method"]: job for job in ran.jobs.values() if job.kind == "finetune"}


def test_rows_and_texts_are_asked_before_and_after(open_page: OpenPage, data: str, ran: Ran) -> None:
    app = open_page("finetune", lang="en", box=BOX, data=data)
    say = words("en")
    which = app.selectbox(key="finetune_row_all")
    which.set_value(2).run()
    assert not app.exception
    assert done(app)[2] == "done"
    app.segmented_control(key="finetune_source").set_value("typed").run()
    app.text_area(key="finetune_typed").set_value("so good 2").run()
    assert not app.exception
    assert not app.error
    result = by_method(ran)["full"].result
    from llmkit.tune.classifier import encode_examples, predict
    from llmkit.tune.classifier_box import open_classifier

    opened = open_classifier(result["box"])
    probs = predict(opened.classifier, encode_examples(opened.box, ["so good 2"], [0], max_tokens=64))[0]
    label = opened.labels[int(probs.argmax())]
    named = say("finetune.examples.one", name=say("finetune.method.full"), label=label, p=f"{float(probs.max()):.0%}")
    assert named in seen(app)
    shelf.remove(result["box"])
    app.text_area(key="finetune_typed").set_value("another text").run()
    assert not app.exception
    assert say("finetune.examples.gone", method=say("finetune.method.full")) in seen(app)


TYPED = {
    "": "finetune_text_empty",
    "  \n": "finetune_text_empty",
    "x" * 100_000: "typed_too_long",
    "word " * 390: None,
    HOSTILE: None,
    "😀👩‍👩‍👧‍👦": None,
    "a\x01b\x7f\tc": None,
}


def test_any_text_gets_a_picture_or_a_message(open_page: OpenPage, data: str, ran: Ran) -> None:
    app = open_page("finetune", lang="en", box=BOX, data=data)
    app.segmented_control(key="finetune_source").set_value("typed").run()
    for typed, code in TYPED.items():
        app.text_area(key="finetune_typed").set_value(typed).run()
        assert not app.exception
        values = {"n": 100_000, "limit": more.TEXT_LIMIT} if code == "typed_too_long" else {}
        said = [error.value for error in app.error]
        assert said == ([words("en")(f"common.error.{code}", **values)] if code else [])
        for element in app.get("html"):
            assert "<img src=x" not in element.proto.body


def test_the_checks_are_answered_by_what_ran(open_page: OpenPage, data: str, ran: Ran) -> None:
    app = open_page("finetune", lang="en", box=BOX, data=data)
    results = {method: job.result for method, job in by_method(ran).items()}
    peaks = {method: result["memory"]["peak"] for method, result in results.items()}
    least = min(METHODS, key=lambda method: peaks[method])
    app.radio(key="guess_finetune_memory").set_value(least).run()
    app.button(key="run_finetune_memory").click().run()
    assert not app.exception
    assert f"{peaks[least] / picture.MIB:,.0f} MiB" in app.success[-1].value
    app.radio(key="guess_finetune_best").set_value("full").run()
    app.button(key="run_finetune_best").click().run()
    assert not app.exception
    said = (app.success[-1] if app.success else app.info[-1]).value
    assert all(f"{result['test']['after']['accuracy']:.1%}" in seen(app) for result in results.values())
    assert "95%" in said or "95%" in seen(app)


def test_the_checks_want_the_runs_first(open_page: OpenPage, data: str, ran: Ran) -> None:
    ran.auto = False
    app = open_page("finetune", lang="en", box=BOX, data=data)
    app.radio(key="guess_finetune_best").set_value("full").run()
    app.button(key="run_finetune_best").click().run()
    assert not app.exception
    assert words("en")("common.error.finetune_not_run", n=0, all=3) in [error.value for error in app.error]


def test_a_rate_of_1000_is_warned_of_and_said(open_page: OpenPage, data: str, ran: Ran) -> None:
    app = open_page("finetune", lang="en", box=BOX, data=data)
    app.select_slider(key="finetune_rate_full").set_value(1000.0).run()
    assert not app.exception
    said = [warning.value for warning in app.warning]
    assert any("1000" in one and "5e-5" in one for one in said)
    full = [job for job in ran.jobs.values() if job.settings["config"].get("learning_rate") == 1000.0]
    assert [job.result["ending"] for job in full] == ["diverged"]
    assert any("It diverged" in one for one in said)


def test_what_goes_on_stops_and_is_interrupted_is_drawn(open_page: OpenPage, data: str, ran: Ran) -> None:
    ran.auto = False
    plan = asked.plan(BOX, data)
    settings = {method: plan.settings(method) for method in METHODS}
    report = DirectReport(ran.place / "direct")
    report.folder.mkdir(parents=True)
    finetune_job.run(settings["full"], report)
    partials = report.partials

    def job(method: str, state: str, **more: Any) -> None:
        job_id = f"finetune-{run_folder.run_id({'kind': 'finetune', **settings[method]})}"
        ran.jobs[job_id] = Job(id=job_id, kind="finetune", settings=settings[method], state=state, **more)  # type: ignore[arg-type]

    job("full", "running", done=5, total=20, note="learning", partial=partials[2])
    job("frozen", "queued", position=1)
    job("lora", "failed", error=JobError("out_of_memory", batch=16, tokens=64))
    app = open_page("finetune", lang="en", box=BOX, data=data)
    say = words("en")
    assert not app.exception
    assert app.error[0].value == say("common.error.out_of_memory", batch=16, tokens=64)
    step, _, accuracy = partials[2]["validation"][-1]
    assert f"Step {step}: {accuracy:.1%}" in seen(app)
    app.button(key="finetune_full_stop").click().run()
    assert run_folder.asked_to_stop(run_folder.run_folder(settings["full"]))
    assert say("finetune.run.stopping") in seen(app)
    job("full", "interrupted", error=JobError("job_interrupted"))
    job("lora", "cancelled")
    state = run_folder.run_folder(settings["full"]) / "state.safetensors"
    state.write_bytes(b"as a job has left it")
    app.run()
    assert not app.exception
    said = [one.value for one in app.info]
    assert say("finetune.run.interrupted") in said
    assert say("finetune.run.lost") in said  # nothing was saved
    assert app.button(key="finetune_full_go_on").label == say("finetune.run.do.go_on")
    assert app.button(key="finetune_lora_go_on").label == say("finetune.run.do.again")
    app.button(key="finetune_full_forget").click().run()
    assert not state.exists()


def test_one_class_and_no_rows_are_messages(open_page: OpenPage, own_home: Path, ran: Ran) -> None:
    one = kept(rows(labels=("same", "same")))
    app = open_page("finetune", lang="zh-TW", box=BOX, data=one)
    assert not app.exception
    train = sum(row.part == "train" for row in rows())
    assert [error.value for error in app.error] == [words("zh-TW")("common.error.one_class", rows=train)]


def test_long_and_hostile_labels_are_text(open_page: OpenPage, own_home: Path, ran: Ran) -> None:
    data = kept(rows(labels=(HOSTILE, "甲" * 1000)))
    app = open_page("finetune", lang="en", box=BOX, data=data)
    assert not app.exception
    assert not app.error
    for element in app.get("html"):
        assert "<img src=x" not in element.proto.body
    assert "甲" * 61 not in seen(app)


def test_a_set_that_is_gone_is_not_missed(open_page: OpenPage, data: str, ran: Ran) -> None:
    other = kept(rows(96, labels=("a", "b")), name="other.csv")
    app = open_page("finetune", lang="en", box=BOX, data=data)
    prepared.remove(data)
    app.run()
    assert not app.exception
    assert app.selectbox(key=f"finetune_data_{other}").value == other


@by_lang
def test_without_data_the_way_to_get_it_is_shown(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("finetune", lang=lang, box=BOX)
    assert not app.exception
    assert not app.error
    assert words(lang)("finetune.no_data") in [info.value for info in app.info]
    assert words(lang)("finetune.shelf.none") in seen(app)


def test_settings_that_change_no_method_leave_its_run_alone(data: str) -> None:
    plan = asked.plan(BOX, data)
    assert "rank" not in plan.config("full")
    assert plan.config("lora")["rank"] == 8
    assert plan.settings("full") != plan.settings("frozen")


def test_a_box_of_the_shelf_can_be_thrown_away(open_page: OpenPage, data: str, ran: Ran) -> None:
    app: AppTest = open_page("finetune", lang="en", box=BOX, data=data)
    first = tuned_boxes()[0].box_id
    app.button(key=f"finetune_remove_{first}").click().run()
    assert not app.exception
    assert first not in [one.box_id for one in tuned_boxes()]
