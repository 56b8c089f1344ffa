"""The job panel and the list of jobs, with real workers: AppTest asks again as the browser would each second."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lessons import LANGUAGES, words
from llmkit import jobs
from llmkit.jobs.kinds import KINDS
from tests.llmkit.job_tasks import KINDS as TEST_KINDS
from tests.pages.conftest import seen

APP = Path(__file__).with_name("job_app.py")
say = words("en")
WAITING = r"naming \<b\> · "
"""What the task that waits says of itself, as Markdown that means just that."""
by_lang = pytest.mark.parametrize("lang", list(LANGUAGES))


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", TEST_KINDS)


def open_job(kind: str, settings: dict[str, object], **query: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60)
    query = {"lang": "en", "kind": kind, "settings": json.dumps(settings)} | query
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def ask_until(app: AppTest, text: str, *, timeout_s: float = 30.0) -> AppTest:
    """Run the page again and again until it says something."""
    deadline = time.monotonic() + timeout_s
    while text not in seen(app) + progress(app):
        assert time.monotonic() < deadline, f"{text!r} not in {seen(app)} {progress(app)}"
        assert not app.exception
        time.sleep(0.2)
        app.run()
    return app


def progress(app: AppTest) -> str:
    return "\n".join(bar.proto.text for bar in app.get("progress"))


def keys(app: AppTest) -> set[str]:
    return {str(button.key) for button in app.button}


@by_lang
@pytest.mark.parametrize("where", ["page", "section"])
def test_a_job_from_its_button_to_its_result(lang: str, where: str) -> None:
    told = words(lang)
    settings = {"seconds": 1.5}
    app = open_job("test_wait", settings, lang=lang, **({"section": "1"} if where == "section" else {}))
    assert not jobs.all_jobs()
    assert app.button(key="it_start").label == "Start it"
    app.button(key="it_start").click().run()
    assert not app.exception
    assert "it_cancel" in keys(app)
    assert "it_start" not in keys(app)
    ask_until(app, WAITING)
    assert "so far: [" in seen(app)
    ask_until(app, "result: waited")
    assert not {key for key in keys(app) if key.startswith("it_")}
    assert f"result: waited {told('common.badge.live')} · " in seen(app)
    found = jobs.find("test_wait", settings)
    assert found is not None
    assert found.made_with["date"] in seen(app)
    again = open_job("test_wait", settings, lang=lang)  # another session
    assert f"result: waited {told('common.badge.cached')} · {found.made_with['device']}" in seen(again)


def test_a_second_session_finds_the_job_running_and_can_cancel_it() -> None:
    first = open_job("test_wait", {"seconds": 60})
    first.button(key="it_start").click().run()
    second = open_job("test_wait", {"seconds": 60})
    ask_until(second, WAITING)
    second.button(key="it_cancel").click().run()
    ask_until(first, say("jobs.cancelled"))
    assert "it_retry" in keys(first)
    assert len(jobs.all_jobs()) == 1


def test_the_queue_is_told_and_retry_begins_again() -> None:
    app = open_job("test_wait", {"seconds": 60})
    app.button(key="it_start").click().run()
    behind = open_job("test_add", {"numbers": [1, 2]})
    behind.button(key="it_start").click().run()
    assert say("jobs.place", n=1) in progress(behind)
    behind.button(key="it_cancel").click().run()
    assert say("jobs.cancelled") in seen(behind)
    behind.button(key="it_retry").click().run()
    assert say("jobs.place", n=1) in progress(behind)
    app.run().button(key="it_cancel").click().run()
    ask_until(behind, "result: {sum: 3")


@by_lang
@pytest.mark.parametrize(
    ("kind", "code", "values"),
    [
        ("test_fails", "text_too_long", {"tokens": 300, "limit": 256}),
        ("test_killed", "job_killed", {}),
        ("test_crash", "job_crashed", {"detail": "SIGSEGV"}),
        ("test_bug", "job_failed", {"detail": r"ZeroDivisionError\: \<b\>one\</b\>"}),
    ],
)
def test_what_happened_is_said(lang: str, kind: str, code: str, values: dict[str, object]) -> None:
    app = open_job(kind, {}, lang=lang)
    app.button(key="it_start").click().run()
    sentence = words(lang)(f"common.error.{code}", **values)
    deadline = time.monotonic() + 30
    while not app.error and time.monotonic() < deadline:
        time.sleep(0.2)
        app.run()
    assert [error.value for error in app.error] == [sentence]
    assert "it_retry" in keys(app)
    assert [box.label for box in app.main.expander][-1] == words(lang)("jobs.log")


def test_an_interrupted_job_says_so() -> None:
    app = open_job("test_wait", {"seconds": 60})
    app.button(key="it_start").click().run()
    ask_until(app, WAITING)
    jobs.stop()
    app.run()
    assert [error.value for error in app.error] == [say("common.error.job_interrupted")]
    app.button(key="it_retry").click().run()
    ask_until(app, WAITING)


@by_lang
def test_the_list_in_the_sidebar(lang: str) -> None:
    told = words(lang)
    app = open_job("test_add", {"numbers": [1]}, lang=lang)
    assert not app.sidebar.expander  # no jobs, nothing to see
    running = jobs.submit("test_wait", {"seconds": 60, "box_id": "a*b*<i>"})
    queued = jobs.submit("test_add", {"numbers": [1]})
    ask_until(app, WAITING)
    [box] = app.sidebar.expander
    assert box.label == f"{told('jobs.title')} · {told('jobs.count.running', n=1)} · {told('jobs.count.queued', n=1)}"
    assert r"a\*b\*\<i\>" in "".join(element.value for element in app.sidebar.markdown)
    app.button(key=f"job_cancel_{queued.id}").click().run()
    assert jobs.get(queued.id).state == "cancelled"
    assert told("jobs.state.cancelled") in seen(app)
    app.button(key=f"job_retry_{queued.id}").click().run()
    assert jobs.get(queued.id).state == "queued"
    app.button(key=f"job_cancel_{running.id}").click().run()
    ask_until(app, "result: {sum: 1")
    app.button(key=f"job_forget_{queued.id}").click().run()
    assert "it_start" in keys(app)
    assert [job.id for job in jobs.all_jobs()] == [running.id]


@by_lang
def test_a_broken_list_is_said_and_set_aside(lang: str, own_jobs: Path) -> None:
    own_jobs.mkdir()
    (own_jobs / "jobs.db").write_bytes(b"this is no database, but it is somebody's" * 100)
    app = open_job("test_add", {"numbers": [1]}, lang=lang)
    assert not app.exception
    assert len(app.error) == 2  # in the sidebar, and where the job would stand
    assert str(own_jobs / "jobs.db").split("/")[-1].replace(".", r".") in app.error[0].value
    app.button(key="jobs_set_aside").click().run()
    assert not app.exception
    assert not app.error
    assert "it_start" in keys(app)
    [aside] = own_jobs.parent.glob(f"{own_jobs.name}.aside-*")
    assert (aside / "jobs.db").read_bytes().startswith(b"this is no database")


def test_every_kind_has_a_name() -> None:
    assert not [kind for kind in KINDS if f"jobs.kind.{kind}" not in say]
