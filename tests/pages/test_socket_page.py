"""Step 3-6 as a learner sees it: with real servers, with none, with one that answers nonsense, and with a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components import socket_load
from components.workbench import DEFAULT_BOX
from lessons import words
from llmkit import jobs
from llmkit.jobs import DirectReport, Job
from llmkit.serve import load, process, smoke
from llmkit.serve.client import Client
from llmkit.serve.deployment import Deployment
from tests.llmkit.random_box import random_box
from tests.llmkit.rough_server import RoughServer, http
from tests.llmkit.serve_boxes import is_ready, long_llama, wait_for
from tests.pages.conftest import OpenPage, done, seen, shown_text

LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])
KEY = "key-of-the-page"
HOSTILE = "<img src=x onerror=alert(1)> $x$ **b** 書🙂"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("socket-page")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_HOME", str(place / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield place
        for one in process.deployments():
            process.stop(one.id)
        process.leave()


@pytest.fixture(scope="module")
def servers(home: Path) -> SimpleNamespace:
    """An encoder without a key, and a tiny decoder with one."""
    bert = f"folder:{random_box(home / 'bert', 'bert', seed=2)}"
    running = SimpleNamespace(
        encoder=process.start(bert), decoder=process.start(long_llama(home / "llama", seed=2), key=KEY)
    )
    for one in (running.encoder, running.decoder):
        wait_for(lambda one=one: is_ready(one), 60)
    return running


def choose(app: Any, deployment: Deployment) -> Any:
    assert [option for option in app.selectbox(key="socket_pick").options if deployment.address in option]
    return app.selectbox(key="socket_pick").set_value(deployment.id).run()


def pressed(app: Any, key: str) -> Any:
    app = app.button(key=key).click().run()
    assert not app.exception
    return app


@LANGS
def test_no_server_runs(open_page: OpenPage, own_home: Path, lang: str) -> None:
    app = open_page("socket", lang=lang, box=DEFAULT_BOX)
    assert not app.exception
    assert words(lang)("socket.pick.none") in seen(app)
    assert app.button(key="socket_start")
    assert not [button for button in app.button if button.key == "socket_send"]
    assert done(app) == ["open"] * 4


@LANGS
def test_an_encoder_is_tested(open_page: OpenPage, servers: SimpleNamespace, lang: str) -> None:
    say = words(lang)
    app = choose(open_page("socket", lang=lang, box=DEFAULT_BOX, sentence=HOSTILE * 2), servers.encoder)
    assert not app.exception
    assert not app.error
    app = pressed(app, "socket_send")
    vector = Client(servers.encoder.address).embeddings(HOSTILE, model=servers.encoder.box).data["data"][0]["embedding"]
    head = say("common.comma").join(f"{value:+.3f}" for value in vector[:4])
    assert say("socket.send.dimensions", n=len(vector), head=head + " …") in seen(app)
    app = pressed(app, "socket_wrong_all")
    text = seen(app)
    assert say("socket.wrong.accepted") in text  # a server without a key takes any
    for status, code in ((400, "invalid_json"), (413, "body_too_large"), (404, "model_not_found")):
        assert str(status) in text
        assert code in text
    app = pressed(app, "socket_smoke_run")
    n = len(smoke.usual("m", can=("embeddings",), context_length=64, has_key=False))
    assert say("socket.smoke.passed", n=n) in seen(app).replace("\\", "")
    assert say("socket.smoke.no_key") in seen(app)
    assert done(app) == ["done", "done", "done", "open"]


@LANGS
def test_a_key_opens_the_door(open_page: OpenPage, servers: SimpleNamespace, lang: str) -> None:
    say, one = words(lang), servers.decoder
    app = choose(open_page("socket", lang=lang, box=DEFAULT_BOX, sentence=HOSTILE * 2), one)
    assert say("socket.pick.key.wants") in seen(app)
    app = pressed(app, "socket_send")
    assert "invalid_api_key" in seen(app)
    app = app.text_input(key=f"socket_key_{one.id}").set_value(KEY).run()
    app = pressed(app, "socket_send")
    said = Client(one.address, key=KEY).stream(HOSTILE, model=one.box, max_tokens=32)
    assert said.ok
    assert said.text.strip()[:20] in seen(app) or not said.text.strip().isprintable()
    assert "<img src=x" not in "\n".join(element.proto.body for element in app.get("html"))
    code = "\n".join(block.value for block in app.code)
    assert KEY not in code
    assert "LLMKIT_KEY" in code
    assert KEY not in shown_text(app)
    app = pressed(app, "socket_smoke_run")
    assert re.search(re.escape(say("socket.check.wrong_key")), seen(app))
    assert say("socket.smoke.passed", n=10) in seen(app).replace("\\", "")


def nonsense(text: str = "<script>alert(1)</script>") -> RoughServer:
    return RoughServer(http(text, kind="text/html"))


@LANGS
@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("ftp://example.org", "address_scheme"),
        ("http://a b", "address_bad"),
        ("<script>", "address_scheme"),
        ("http://user:pw@127.0.0.1", "address_bad"),
    ],
)
def test_an_address_that_is_none(open_page: OpenPage, own_home: Path, typed: str, code: str, lang: str) -> None:
    app = open_page("socket", lang=lang, box=DEFAULT_BOX)
    app = app.text_input(key="socket_address").set_value(typed).run()
    assert not app.exception
    (error,) = app.error
    assert error.value.replace("\\", "") == words(lang)(f"common.error.{code}", address=typed)


@LANGS
def test_a_server_that_answers_nonsense(open_page: OpenPage, own_home: Path, lang: str) -> None:
    say = words(lang)
    with nonsense() as server:
        app = open_page("socket", lang=lang, box=DEFAULT_BOX)
        app = app.text_input(key="socket_address").set_value(server.address).run()
        assert not app.exception
        app = pressed(app, "socket_send")
        assert say("socket.error.not_json") in seen(app)
        assert "<script>alert" not in "\n".join(element.proto.body for element in app.get("html"))
        app = pressed(app, "socket_smoke_run")
        assert say("socket.smoke.not_ok") in seen(app)
    app = app.text_input(key="socket_address").set_value("http://127.0.0.1:9").run()
    assert say("socket.error.connection_refused") in "\n".join(error.value for error in app.error)


@LANGS
def test_a_saved_smoke_test_is_opened(open_page: OpenPage, servers: SimpleNamespace, lang: str) -> None:
    say = words(lang)
    checks = [smoke.Check(name="<b>mine</b>", request=smoke.Request(method="GET", path="/health"), status=418)]
    app = choose(open_page("socket", lang=lang, box=DEFAULT_BOX), servers.encoder)
    file = app.get("file_uploader")[0]
    app = file.upload("t.json", smoke.to_json(checks).encode(), "application/json").run()
    app = pressed(app, "socket_smoke_run")
    assert say("socket.smoke.failed", n=1, k=1) in seen(app)
    bodies = "\n".join(element.proto.body for element in app.get("html"))
    assert "<b>mine" not in bodies
    app = app.get("file_uploader")[0].upload("t.json", b"[1]", "application/json").run()
    assert not app.exception
    assert [error.value for error in app.error] == [say("common.error.smoke_file_bad", detail="smoke\\_test")]


@LANGS
def test_the_load_test_is_drawn_and_answers_the_check(
    open_page: OpenPage, servers: SimpleNamespace, lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say, made = words(lang), {}

    def find(kind: str, settings: dict[str, Any]) -> Job | None:
        if kind == socket_load.KIND and not made:
            result = load.run({**settings, "users": [1, 2], "seconds": 0.5}, DirectReport(tmp_path))
            made["job"] = Job(id="j", kind=kind, settings=settings, state="done", result=json.loads(json.dumps(result)))
        return made.get("job")

    app = choose(open_page("socket", lang=lang, box=DEFAULT_BOX), servers.encoder)
    app.radio(key="guess_socket_knee").set_value("1").run()
    app = pressed(app, "run_socket_knee")
    assert [error.value for error in app.error] == [say("common.error.load_first")]
    monkeypatch.setattr(jobs, "find", find)
    app = app.run()
    assert not app.exception
    levels = made["job"].result["levels"]
    factor = f"{levels[1]['latency_ms']['p50'] / levels[0]['latency_ms']['p50']:.1f}"
    told = {"low": 1, "high": 2, "factor": factor}
    knee = load.knee(levels)
    assert (say("socket.load.rises", **told) in seen(app)) == (knee == 2)
    assert (say("socket.load.says", knee=1, **told) in seen(app)) == (knee == 1)
    app = pressed(app, "run_socket_knee")
    assert bool(app.success) == (knee == 1)
    assert done(app)[3] == "done"


def test_the_key_is_not_in_the_jobs_settings(servers: SimpleNamespace, home: Path) -> None:
    from components.socket_engine import Target

    page: Any = SimpleNamespace(bench=SimpleNamespace(sentence="a"))
    target = Target(
        address="http://127.0.0.1:1", model="m", can=("chat",), limit=None, key=KEY, wants_key=True, identity="x"
    )
    settings = socket_load.settings_of(page, target, 2)
    assert KEY not in json.dumps(settings)
    assert settings["key"] == load.lend_key(KEY)
    (load._keys() / settings["key"]).unlink()
