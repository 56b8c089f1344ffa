"""Triton on the pages of steps 3-5 and 3-6: what is missing is said and made, a server is deployed and asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from components import deploy_engine
from lessons import words
from llmkit import jobs
from llmkit.compress import made
from llmkit.serve import process, smoke
from llmkit.serve.nvidia import container, environment
from tests.llmkit.random_box import random_box
from tests.llmkit.real_server import lend_tritonserver
from tests.llmkit.serve_boxes import wait_for
from tests.pages.conftest import OpenPage, done, seen

LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
SENTENCE = "The movie was good, and"
FORM = "onnx-float32"


@pytest.fixture
def deploy(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for one in process.deployments():
        process.stop(one.id)
    process.leave()


def choose_triton(app: AppTest) -> AppTest:
    app = app.segmented_control(key="deploy_engine").set_value("triton").run()
    assert not app.exception
    return app


def make_form(box: str) -> None:
    made.make(box, FORM, lambda _done, _total, note="": None)


@LANGS
def test_what_is_missing_is_said_and_offered(
    open_page: OpenPage, deploy: None, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = words(lang)
    monkeypatch.setattr(environment, "why_not", lambda: None)
    app = choose_triton(open_page("deploy", lang=lang))
    mb = f"{environment.ROOM_BYTES / 1e6:.0f}"
    assert say("deploy.triton.absent", mb=mb) in seen(app)
    assert app.button(key="deploy_triton_setup_start")
    assert app.button(key="deploy_start").disabled
    assert app.text_input(key="deploy_key").disabled
    assert say("deploy.triton.no_key") in seen(app)
    code = "\n".join(block.value for block in app.code)
    assert container.docker_run(0) in code
    assert "python -m llmkit setup-triton" in code
    assert {one.label for one in app.get("download_button")} >= {"Dockerfile", "compose.yaml"}
    environment.place().mkdir(parents=True)
    assert say("deploy.triton.broken", mb=mb) in seen(app.run())
    monkeypatch.setattr(environment, "state", lambda: "ready")
    monkeypatch.setattr(environment, "facts", lambda: {"size_bytes": 344_000_000, "date": "2026-11-30"})
    app = app.run()
    assert say("deploy.triton.ready", pin=environment.PINS[0], mb="344", date="2026-11-30") in seen(app)
    assert say("deploy.triton.no_form", form=FORM) in seen(app)
    assert app.button(key="deploy_triton_form_start")
    assert app.button(key="deploy_start").disabled
    assert done(app) == ["open", "open", "open"]


@LANGS
def test_a_machine_that_cannot_run_it_gets_the_container(
    open_page: OpenPage, deploy: None, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment.platform, "machine", lambda: "arm64")
    app = choose_triton(open_page("deploy", lang=lang))
    (error,) = app.error
    why = environment.why_not()
    assert why is not None
    assert error.value.replace("\\", "") == words(lang)("common.error.tritonserver_impossible", **why.values)
    assert app.button(key="deploy_start").disabled
    assert container.IMAGE in "\n".join(block.value for block in app.code)


@LANGS
def test_one_that_was_made_and_is_gone_is_made_again(
    open_page: OpenPage, deploy: None, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "why_not", lambda: None)
    asked: list[str] = []
    settings = {"pins": list(environment.PINS)}
    job = jobs.Job(id="tritonserver-1", kind="tritonserver", settings=settings, state="done", result={"size_bytes": 1})
    monkeypatch.setattr(jobs, "find", lambda kind, _settings: job if kind == "tritonserver" else None)
    monkeypatch.setattr(jobs, "submit", lambda kind, _settings: asked.append(kind) or job)
    monkeypatch.setattr(jobs, "forget", lambda name: asked.append(name))
    app = choose_triton(open_page("deploy", lang=lang))
    app = app.button(key="deploy_triton_again").click().run()
    assert not app.exception
    assert asked[-2:] == ["tritonserver-1", "tritonserver"]


@pytest.mark.slow
@pytest.mark.registry
@pytest.mark.timeout(600)
@LANGS
def test_deployed_asked_and_stopped(
    open_page: OpenPage, deploy: None, own_home: Path, tmp_path: Path, lang: str
) -> None:
    """A decoder in English, an encoder in Chinese; then the same server on 3-6, chosen and by its address."""
    say = words(lang)
    lend_tritonserver(own_home)
    box = "gpt2-starter" if lang == "en" else f"folder:{random_box(tmp_path / 'bert', 'bert', seed=2)}"
    make_form(box)
    app = choose_triton(open_page("deploy", lang=lang, box=box, sentence=SENTENCE))
    app = app.button(key="deploy_start").click().run()
    assert not app.exception
    (one,) = process.deployments()
    assert (one.engine, one.form) == ("triton", FORM)
    wait_for(lambda: process.get(one.id).state == "ready", 90)
    app = app.run()
    assert say("deploy.state.ready") in seen(app)
    assert "graph/configs/python.pbtxt" in "\n".join(block.value for block in app.code)
    app = app.button(key="deploy_ask").click().run()
    request, reply = deploy_engine.first_answer(
        process.get(one.id), deploy_engine.beginning(SENTENCE), ("completions",) if lang == "en" else ("embeddings",)
    )
    assert reply.ok
    wanted = reply.text if lang == "en" else f"{reply.data['outputs'][0]['data'][0]:.3f}"
    assert wanted in seen(app)
    assert request.path in seen(app)
    app = app.radio(key="guess_deploy_too_long").set_value("400").run()
    app = app.button(key="run_deploy_too_long").click().run()
    assert say("common.check.right", answer=say("deploy.check.400")) in seen(app)
    assert done(app) == ["done", "done", "done"]

    app = open_page("socket", lang=lang, box=box, sentence=SENTENCE)
    n = len(smoke.usual("box", can=(), context_length=1, has_key=False, protocol="kserve"))
    for by_address in (False, True):
        if by_address:
            app = app.text_input(key="socket_address").set_value(one.address).run()
        app = app.button(key="socket_send").click().run()
        assert not app.exception
        assert say("socket.pick.about", model="box", address=one.address, can="")[:20] in seen(app)
        app = app.button(key="socket_wrong_too_long").click().run()
        assert "context_length_exceeded" in seen(app)
        app = app.button(key="socket_smoke_run").click().run()
        assert say("socket.smoke.passed", n=n) in seen(app).replace("\\", "")
        assert not app.exception
