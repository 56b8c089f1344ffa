"""The Deploy page: a real server is started from it, asked, and stopped."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import psutil
import pytest
from streamlit.testing.v1 import AppTest

from components import deploy_engine
from lessons import registry, words
from llmkit.serve import process, recipe
from tests.llmkit.random_box import random_box
from tests.llmkit.serve_boxes import is_ready, wait_for
from tests.pages.conftest import OpenPage, done, seen

ROOT = Path(__file__).parents[2]
SENTENCE = "The movie was good, and"


@pytest.fixture
def deploy(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for one in process.deployments():
        process.stop(one.id)
    process.leave()


def start(app: AppTest) -> AppTest:
    """Press start, and wait until the server answers."""
    app.button(key="deploy_start").click().run()
    assert not app.exception
    (one,) = (one for one in process.deployments() if one.alive)
    wait_for(lambda: is_ready(one), 60)
    return app.run()


@pytest.mark.parametrize("lang", ["zh-TW", "en"])
def test_a_box_is_deployed_asked_and_stopped(open_page: OpenPage, deploy: None, lang: str) -> None:
    say = words(lang)
    app = open_page("deploy", lang=lang, sentence=SENTENCE)
    assert not app.exception
    assert say("deploy.state.none") in seen(app)
    assert done(app) == ["open", "open", "open"]
    app.text_input(key="deploy_key").set_value("a-key")
    start(app)
    (one,) = process.deployments()
    assert one.has_key
    assert say("deploy.state.ready") in seen(app)
    assert one.address in seen(app)

    app.button(key="deploy_ask").click().run()
    answer = httpx.post(
        f"{one.address}/v1/completions",
        json={"prompt": deploy_engine.beginning(SENTENCE), "max_tokens": deploy_engine.FIRST_TOKENS, "temperature": 0},
        headers={"Authorization": "Bearer a-key"},
        trust_env=False,
    )
    assert answer.json()["choices"][0]["text"] in seen(app)

    app.radio(key="guess_deploy_too_long").set_value("200").run()
    app.button(key="run_deploy_too_long").click().run()
    assert not app.exception
    assert "256 tokens" in seen(app)  # the server's own words, with its context
    assert done(app) == ["done", "done", "done"]

    app.button(key=f"deploy_stop_{one.id}").click().run()
    assert process.get(one.id).state == "stopped"
    app.run()
    assert say("deploy.state.stopped") in seen(app)
    app.button(key=f"deploy_forget_{one.id}").click().run()
    assert process.deployments() == ()


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_other_families_answer_what_they_can(open_page: OpenPage, deploy: None, tmp_path: Path, family: str) -> None:
    box = random_box(tmp_path / family, family, seed=2)
    app = start(open_page("deploy", lang="en", box=f"folder:{box}", sentence=SENTENCE))
    app.button(key="deploy_ask").click().run()
    assert not app.exception
    assert ("/v1/embeddings" if family == "bert" else "/v1/completions") in seen(app)
    app.radio(key="guess_deploy_too_long").set_value("400").run()
    app.button(key="run_deploy_too_long").click().run()
    assert words("en")("common.check.right", answer=words("en")("deploy.check.400")) in seen(app)


def test_a_server_that_is_killed_is_seen(open_page: OpenPage, deploy: None) -> None:
    app = start(open_page("deploy", lang="en"))
    (one,) = process.deployments()
    assert one.pid is not None
    psutil.Process(one.pid).kill()
    wait_for(lambda: process.get(one.id).state == "dead")
    app.run()
    assert words("en")("deploy.state.dead") in seen(app)
    assert not app.exception


def test_what_cannot_be_done_is_said(open_page: OpenPage, deploy: None, monkeypatch: pytest.MonkeyPatch) -> None:
    say = words("en")
    app = open_page("deploy", lang="en")
    app.radio(key="guess_deploy_too_long").set_value("400").run()
    app.button(key="run_deploy_too_long").click().run()
    assert say("common.error.deploy_not_ready") in seen(app)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        app.number_input(key="deploy_port").set_value(taken.getsockname()[1])
        app.button(key="deploy_start").click().run()
    assert "Another program uses port" in seen(app)
    app.toggle(key="deploy_everyone").set_value(True).run()
    assert say("deploy.exposed") in seen(app)
    monkeypatch.setattr(deploy_engine, "MOST_ALIVE", 0)
    app.number_input(key="deploy_port").set_value(None)
    app.button(key="deploy_start").click().run()
    assert say("common.error.deploy_too_many", n=0) in seen(app)
    assert not app.exception


def test_a_wrong_key_is_said(open_page: OpenPage, deploy: None) -> None:
    one = process.start("gpt2-starter", key="right")
    wait_for(lambda: is_ready(one), 60)
    app = open_page("deploy", lang="en")
    app.text_input(key=f"deploy_key_{one.id}").set_value("wrong").run()
    app.button(key="deploy_ask").click().run()
    assert "401" in seen(app)
    assert not app.exception


def test_the_page_is_drawn_without_torch(own_home: Path) -> None:
    code = f"""
import logging, sys
logging.disable(logging.WARNING)
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("app.py", default_timeout=60).run()
app.switch_page({registry.step("deploy").script!r}).run()
assert not app.exception, app.exception
assert not {{"torch", "transformers", "onnxruntime", "fastapi"}} & set(sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]


def test_the_container_gets_every_package_that_a_server_loads() -> None:
    """Asked of a process that has served: what it has loaded of what the guide pins."""
    code = """
import json, os, sys
from llmkit.cli import serve
from llmkit.serve import process, server
from llmkit.serve.app import create_app
from llmkit.serve.engine import open_engine
engine = open_engine("gpt2-starter")
engine.vectors([[1, 2]])
list(engine.writer.stream([1], max_new_tokens=2))
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
sys.stdout.flush()
os._exit(0)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    loaded = json.loads(ran.stdout.splitlines()[-1])
    owners = packages_distributions()
    used = {owner.lower().replace("_", "-") for name in loaded for owner in owners.get(name, ())}
    pinned = {line.partition("==")[0].partition("[")[0] for line in recipe.requirements("onnx-int8").splitlines()}
    given = {line.partition("==")[0] for line in recipe.requirements("torch-float32").splitlines()}
    assert used & pinned <= given, used & pinned - given
    assert given < pinned


def test_the_recipe_names_the_form_and_the_port() -> None:
    assert '"--form", "onnx-int8"' in recipe.dockerfile("onnx-int8")
    assert '"127.0.0.1:9000:8000"' in recipe.compose(9000)
    assert "LLMKIT_SERVE_KEY" in recipe.compose(0)
    assert "'/a b/c'" in recipe.steps(Path("/a b/c"))
