"""Step 2-1: an empty bench, a box's own parts, its weights, a swap, a plan kept, a link and files of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from components import build_bench, build_fit, build_sections, build_swap
from components.badge import Badge
from components.engine import Made
from lessons import words
from llmkit import jobs
from llmkit.assembly import saved
from llmkit.assembly.plan import EMPTY, Plan, from_config
from llmkit.jobs import kinds
from llmkit.reference import open_box
from tests.llmkit.random_box import random_box
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
HOSTILE = "</script><img src=x onerror=alert(1)>"
LANGS = pytest.mark.parametrize("lang", ["zh-TW", "en"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("boxes")
    return {family: random_box(place / family, family, seed=2) for family in ("gpt2", "bert", "llama")}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let the page's jobs run here and now, as if they had run before; returns the kinds that ran."""
    ran: list[str] = []

    def draw(_page: Any, kind: str, settings: dict[str, Any], **_: Any) -> Made[Any]:
        ran.append(kind)
        result = kinds.task(kind)(settings, jobs.DirectReport(tmp_path))
        return Made(value=json.loads(json.dumps(result)), badge=Badge.live())

    for room in (build_fit, build_swap, build_sections):
        monkeypatch.setattr(room, "draw_job", draw)
    return ran


def lay(app: AppTest, plan: Plan) -> AppTest:
    """Put a plan on the bench, as the browser does when it has settled."""
    app.session_state["_build_plan"]["plan"] = plan
    return app.run()


@LANGS
def test_an_empty_bench_says_what_to_do(open_page: OpenPage, lang: str) -> None:
    app, say = open_page("build", lang=lang), words(lang)
    assert not app.exception
    assert not app.error
    text = seen(app)
    assert say("build.alt.empty") in text
    assert say("build.built.not_yet") in text
    assert done(app) == ["open"] * 3
    assert [button.key for button in app.button if button.key.startswith("build_")] == ["build_lay"]
    assert "plan" not in app.query_params


@LANGS
@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_a_box_is_built_loaded_and_taken_apart(
    open_page: OpenPage, folders: dict[str, Path], at_once: list[str], family: str, lang: str
) -> None:
    say = words(lang)
    app = open_page("build", lang=lang, box=f"folder:{folders[family]}", sentence="Good book")
    app.button(key="build_lay").click().run()
    assert not app.exception
    assert not app.error
    assert done(app)[:2] == ["done", "done"]
    text = seen(app)
    whole = "build.whole.logits.fits"
    assert say(whole).split("{")[0] in text
    assert say("build.swap.title") in [header.value for header in app.header]
    assert set(at_once) == {"fit_box", "exchange"}
    measure = "turned" if family == "bert" else "loss"
    assert say(f"build.swap.alt.{measure}").split("{")[0] in text
    app.button(key="build_assemble").click().run()
    assert say("build.built.same").split("{")[0] in seen(app)
    choices = app.selectbox(key="build_change")
    choices.set_value(len(choices.options) - 1).run()
    assert not app.exception
    assert done(app) == ["done"] * 3
    if family == "bert":
        assert say("common.turned.title") in [one.value for one in app.subheader]
    else:
        assert say("build.swap.before") in seen(app)


@LANGS
def test_checks_are_answered_by_the_machine(open_page: OpenPage, lang: str) -> None:
    app, say = open_page("build", lang=lang), words(lang)
    plan = Plan(vocab_size=500, d_model=32, d_mlp=4096)
    lay(app, plan)
    total = sum(weight.numel() for weight in __import__("torch").nn.ModuleList([assembled(plan)]).parameters())
    for name, guess in (("parameters", "total"), ("most", "feed_forward")):
        app.radio(key=f"guess_build_{name}").set_value(guess).run()
        app.button(key=f"run_build_{name}").click().run()
    assert len(app.success) == 2
    assert f"{total:,}" in app.success[0].value
    assert say("build.bench.part.feed_forward") in app.success[1].value


def assembled(plan: Plan) -> Any:
    from llmkit.assembly.plan import to_config
    from llmkit.parts import assemble

    return assemble(to_config(plan))


@LANGS
def test_what_was_built_otherwise_does_not_fit(open_page: OpenPage, at_once: list[str], lang: str) -> None:
    app, say = open_page("build", lang=lang, box=BOX), words(lang)
    own = from_config(open_box(BOX).config)
    lay(app, replace(own, norm="rms"))
    text = seen(app)
    assert "RMSNorm" in text
    assert say("build.fit.unfinished") in text
    assert done(app)[:2] == ["done", "open"]
    lay(app, replace(own, causal=False, norm_order="post"))
    text = seen(app)
    assert say("build.whole.logits.differs").split("{")[0] in text
    assert "norm_order" in text
    assert say("build.swap.title") not in [header.value for header in app.header]
    app.button(key="build_lay").click().run()
    assert done(app)[:2] == ["done", "done"]


@LANGS
def test_misfits_are_said_in_words(open_page: OpenPage, lang: str) -> None:
    app, say = open_page("build", lang=lang), words(lang)
    lay(app, Plan(d_model=64, n_heads=5, n_kv_heads=2))
    assert not app.exception
    text = seen(app)
    assert say("build.bench.misfit.heads", d_model=64, n_heads=5, rest=4) in text
    assert say("build.built.not_yet") in text


@LANGS
def test_a_trillion_parameters_are_counted_and_refused(open_page: OpenPage, lang: str) -> None:
    app = open_page("build", lang=lang)
    plan = Plan(d_model=65_536, n_layers=24, n_heads=512, n_kv_heads=512, d_mlp=262_144, vocab_size=8_192)
    lay(app, plan)
    assert not app.exception
    assert any("GiB" in error.value for error in app.error)
    assert "1,2" in seen(app)
    assert "build_assemble" not in [button.key for button in app.button]


@LANGS
def test_a_link_reopens_the_bench(open_page: OpenPage, lang: str) -> None:
    plan = Plan(d_model=48, n_heads=6, n_kv_heads=2, positions="alibi", missing=("unembedding",))
    app = open_page("build", lang=lang, plan=saved.to_link(plan))
    assert not app.error
    assert app.session_state["_build_plan"]["plan"] == plan
    assert app.query_params["plan"] == saved.to_link(plan)
    assert saved.to_link(plan) in app.code[0].value


@LANGS
@pytest.mark.parametrize("link", ["x", "1~2", "9" * 5_000, HOSTILE, "1~" + "9" * 30 + "~" * 17, "%00"])
def test_nonsense_in_a_link_is_said(open_page: OpenPage, link: str, lang: str) -> None:
    app = open_page("build", lang=lang, plan=link)
    assert not app.exception
    assert len(app.error) == 1
    assert app.session_state["_build_plan"]["plan"] == EMPTY
    assert "<img" not in app.error[0].value.replace("\\<", "")


def given(content: bytes) -> SimpleNamespace:
    return SimpleNamespace(file_id=str(hash(content)), size=len(content), getvalue=lambda: content)


@pytest.fixture
def bring(monkeypatch: pytest.MonkeyPatch) -> Callable[[AppTest, bytes], AppTest]:
    """Return a function that brings a file to the page's uploader."""

    def put(app: AppTest, content: bytes) -> AppTest:
        monkeypatch.setattr(build_sections.st, "file_uploader", lambda *_, **__: given(content))
        return app.run()

    return put


@LANGS
def test_a_saved_file_is_opened_once(open_page: OpenPage, bring: Callable[..., AppTest], lang: str) -> None:
    app, say = open_page("build", lang=lang), words(lang)
    plan = Plan(d_model=96, n_heads=3, n_kv_heads=3)
    bring(app, saved.to_json(saved.Saved(name=HOSTILE, plan=plan)).encode())
    assert not app.exception
    assert app.session_state["_build_plan"]["plan"] == plan
    assert say("build.keep.opened", name="").strip() in app.success[0].value
    assert "<img" not in app.success[0].value.replace("\\<", "")
    other = replace(plan, n_layers=5)
    lay(app, other)  # the learner goes on; the file does not come back over it
    assert app.session_state["_build_plan"]["plan"] == other


@LANGS
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "plan_json"),
        (b'{"model_type": "<b>gpt2</b>"}', "plan_foreign"),
        (json.dumps({"format": saved.FORMAT, "version": 1, "plan": {"d_model": 10**40}}).encode(), "plan_number"),
        (json.dumps({"format": saved.FORMAT, "version": 1, "plan": {"norm": HOSTILE}}).encode(), "plan_choice"),
        (b"x" * 200_000, "plan_big_file"),
    ],
)
def test_other_files_are_refused(
    open_page: OpenPage, bring: Callable[..., AppTest], content: bytes, code: str, lang: str
) -> None:
    app, say = open_page("build", lang=lang), words(lang)
    bring(app, content)
    assert not app.exception
    assert len(app.error) == 1
    assert say(f"common.error.{code}").split("{")[0] in app.error[0].value.replace("\\", "")
    assert app.session_state["_build_plan"]["plan"] == EMPTY


@LANGS
def test_bad_sentences_are_said(open_page: OpenPage, lang: str) -> None:
    app = open_page("build", lang=lang, box=BOX, sentence="a" * 1_900)
    own = from_config(open_box(BOX).config)
    lay(app, replace(own, max_seq_len=4, positions="none"))
    assert not app.exception
    assert len(app.error) == 1


def test_what_the_browser_sends_is_checked(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"n": 3, "plan": EMPTY, "given": EMPTY}
    session: dict[str, Any] = {"_build_plan": state}
    monkeypatch.setattr(build_bench.st, "session_state", session)
    for settled, kept in (
        ({"given": 3, "plan": Plan(n_layers=7).to_dict()}, 7),
        ({"given": 2, "plan": Plan(n_layers=9).to_dict()}, 7),
        ({"given": 3, "plan": {"n_layers": 10**20}}, 7),
        ({"given": 3, "plan": {"roof": 1}}, 7),
        ("nothing", 7),
        (None, 7),
    ):
        session["build_bench"] = {"settled": settled}
        build_bench.take_settled()
        assert state["plan"].n_layers == kept
    assert build_bench.complaint() is not None
    assert build_bench.complaint() is None


@pytest.mark.registry
@pytest.mark.parametrize("box_id", ["minilm-l6", "smollm2-135m-instruct"])
def test_real_boxes(
    standard_kit: tuple[str, ...],
    open_page: OpenPage,
    at_once: list[str],
    monkeypatch: pytest.MonkeyPatch,
    box_id: str,
) -> None:
    monkeypatch.setattr(build_swap, "draw_job", lambda *_, **__: None)
    app = open_page("build", lang="en", box=box_id)
    app.button(key="build_lay").click().run()
    assert not app.exception
    assert not app.error
    assert done(app)[:2] == ["done", "done"]
    assert words("en")("build.swap.note") in seen(app)
