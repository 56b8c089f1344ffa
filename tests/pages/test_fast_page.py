"""Step 3-3: before there is a graph, with one, and with everything done; the jobs themselves are tested in llmkit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from components import engine
from components import fast_engine as found
from components import fast_race as race
from lessons import LANGUAGES, words
from llmkit import jobs, shelf
from llmkit.compress import FormError, made
from llmkit.compress.providers import Provider
from tests.pages import fast_tasks
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
TASKS = {"onnx": "run_onnx", "onnx_zip": "run_zip", "provider": "run_provider", "bench": "run_bench"}
by_lang = pytest.mark.parametrize("lang", list(LANGUAGES))


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick tasks in place of the real ones, and forms that are always whole."""
    told = ",".join(f"{kind}=tests.pages.fast_tasks:{name}" for kind, name in TASKS.items())
    monkeypatch.setenv("LLMKIT_TEST_KINDS", told)
    monkeypatch.setattr(made, "facts", lambda *_: {"files": {"model.onnx": 1}})


def finish(kind: str, settings: dict[str, Any]) -> jobs.Job:
    """Do a job, and wait until it has ended."""
    job = jobs.submit(kind, settings)
    for _ in range(900):
        job = jobs.get(job.id)
        if not job.active:
            assert job.state == "done", jobs.log(job.id)
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def box_settings() -> dict[str, Any]:
    return {"box": BOX, "fingerprint": engine.fingerprint(BOX)}


def race_settings(prompt: str) -> dict[str, Any]:
    able = [one for one in found.RACERS if made.why_not(one, BOX) is None]
    return {**box_settings(), "forms": able, "prompt": prompt, "quick": True}


@by_lang
def test_before_there_is_a_graph_the_way_and_the_button_are_there(open_page: OpenPage, lang: str) -> None:
    app = open_page("fast", lang=lang, box=BOX)
    say = words(lang)
    assert not app.exception
    assert not app.error
    assert app.button(key="fast_export_start").label == say("fast.export.run")
    assert say("fast.way.none.small") in seen(app)
    assert say("fast.provider.later") in seen(app)
    assert done(app) == ["open"] * 5
    app.radio(key="guess_fast_fused").set_value("half").run()
    app.button(key="run_fast_fused").click().run()
    assert [error.value for error in app.error] == [say("common.error.fast_not_exported")]


@by_lang
def test_what_was_exported_is_drawn(open_page: OpenPage, tasks: None, lang: str) -> None:
    finish("onnx", box_settings())
    app = open_page("fast", lang=lang, box=BOX)
    say = words(lang)
    assert not app.exception
    assert not app.error
    told = seen(app)
    assert say("fast.operators.alt", n=21, kinds=4, most="MatMul", count=9) in told
    assert say("fast.fusion.alt", before=21, after=17, n=4) in told
    assert say("fast.norms.joined", n=5) in told
    assert say("fast.attention.pieces", n=2) in told
    assert say("fast.delta.alt", value="2.0e-05") in told
    assert "past_key_values.0.key … past_key_values.1.key" in told
    assert "float × 2 [batch, 2, past_len, 4]" in told
    assert all(fast_tasks.MARKUP not in element.proto.body for element in app.get("html"))
    assert done(app) == ["done", "open", "open", "open", "open"]
    app.segmented_control(key="fast_view").set_value("after").run()
    assert say("fast.operators.alt", n=17, kinds=4, most="MatMul", count=9) in seen(app)
    assert done(app)[1] == "done"


def test_the_check_is_answered_by_what_was_timed(open_page: OpenPage, tasks: None) -> None:
    finish("onnx", box_settings())
    app = open_page("fast", lang="en", box=BOX)
    app.radio(key="guess_fast_fused").set_value("double").run()
    app.button(key="run_fast_fused").click().run()
    assert "1.80 times" in seen(app)
    assert app.session_state["_scores"]["fast.fused"] is True


@by_lang
def test_race_providers_and_zip(open_page: OpenPage, tasks: None, lang: str) -> None:
    sentence = "The movie was"
    finish("onnx", box_settings())
    rows = finish("bench", race_settings(sentence)).result["rows"]
    finish("provider", {**box_settings(), "providers": ["tensorrt", "cuda"], "fp16": False})
    finish("onnx_zip", {**box_settings(), "form": found.FORM})
    app = open_page("fast", lang=lang, box=BOX, sentence=sentence)
    say, told = words(lang), seen(app)
    assert not app.exception
    assert not app.error
    last = 2 ** (len(rows) - 1)
    assert rows[-1]["form"] == found.FORM
    assert say("fast.race.alt.decode", form=found.FORM, value=f"{10 * last:.1f}") in told
    assert say("fast.race.alt.prefill", form=found.FORM, value=f"{100 * last:.1f}") in told
    assert say("fast.race.alt.first", form=found.FORM, value=f"{64 / last:.1f}") in told
    compiled = say("fast.race.compile", form="torch-compiled", s="41")
    assert (compiled in told) == (made.why_not("torch-compiled", BOX) is None)
    assert say("fast.tried.fallback") in told
    assert app.get("download_button")
    assert done(app) == ["done", "open", "done", "done", "done"]


def test_an_encoder_only_reads(open_page: OpenPage, tasks: None) -> None:
    finish("bench", race_settings("encoder"))
    app = open_page("fast", lang="en", box=BOX, sentence="encoder")
    assert not app.exception
    assert words("en")("fast.race.prefill") in [title.value for title in app.subheader]
    assert words("en")("fast.race.decode") not in [title.value for title in app.subheader]


def test_a_way_that_cannot_run_says_why(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    app = open_page("fast", lang="en", box=BOX)
    assert not app.exception
    assert "no-such-compiler" in seen(app)


def test_an_export_whose_files_are_gone_is_offered_again(
    open_page: OpenPage, tasks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish("onnx", box_settings())
    monkeypatch.setattr(made, "facts", lambda *_: None)
    app = open_page("fast", lang="en", box=BOX)
    assert not app.exception
    assert app.button(key="fast_export_start")


def test_a_box_that_cannot_be_exported_says_why(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    why = FormError("form_missing", form=found.FORM, detail="onnxscript is not installed")
    monkeypatch.setattr(made, "why_not", lambda *_: why)
    app = open_page("fast", lang="en", box=BOX)
    assert not app.exception
    assert "onnxscript is not installed" in seen(app)
    assert words("en")("fast.warning") in seen(app)


def test_a_full_disk_is_said_and_can_be_tried_again(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", "onnx=tests.pages.fast_failing:run_full")
    job = jobs.submit("onnx", box_settings())
    while job.active:
        time.sleep(0.1)
        job = jobs.get(job.id)
    app = open_page("fast", lang="en", box=BOX)
    assert not app.exception
    assert "The disk has no room" in app.error[0].value
    assert app.button(key="fast_export_retry")


def test_rows_say_who_is_how_fast() -> None:
    row = {
        "form": "x",
        "decode_tokens_s": {"1": {"median": 3.0}},
        "prefill_tokens_s": None,
        "first_token_ms": {"median": 4.0},
        "about": {},
        "noisy": False,
    }
    assert race.speeds(row) == {"decode": 3.0, "prefill": None, "first": 4.0}


def test_changes_are_those_that_changed_the_greatest_first() -> None:
    before, after = fast_tasks.graph(MatMul=9, Sqrt=5, Add=2), fast_tasks.graph(MatMul=9, Norm=4, Add=1)
    assert found.changes(before, after)["operator"].tolist() == ["Sqrt", "Norm", "Add"]


def test_no_way_leads_out_of_the_look(tmp_path: Path) -> None:
    class Given:
        def __init__(self, name: str, content: bytes) -> None:
            self.name, self.file_id, self._content = name, name, content

        def getbuffer(self) -> memoryview:
            return memoryview(self._content)

    for name in ("../../evil.onnx", "..\\..\\evil.onnx", "/etc/evil.onnx"):
        with pytest.raises(FormError) as caught:
            found.look_into([Given(name, b"no graph")])
        assert (caught.value.code, caught.value.values["file"]) == ("graph_broken", "evil.onnx")
    with pytest.raises(FormError, match="graph_missing"):
        found.look_into([Given("weights.bin", b"x")])


def test_a_provider_that_is_whole_lacks_nothing() -> None:
    one = Provider(name="cuda", full="X", built_in=True, package="p", libraries={"cudnn": None}, gpu="A GPU")
    assert (one.complete, one.missing) == (False, ("cudnn",))


@pytest.mark.registry
@pytest.mark.parametrize("box_id", ["minilm-l6", "smollm2-135m-instruct"])
def test_the_standard_kits_boxes_are_drawn(open_page: OpenPage, box_id: str, standard_kit: tuple[str, ...]) -> None:
    assert shelf.locate(box_id) is not None
    app = open_page("fast", lang="zh-TW", box=box_id)
    assert not app.exception
    assert not app.error
