"""Step 3-2 on the bundled box and the standard kit."""

from __future__ import annotations

import base64
import time
from typing import Any

import numpy as np
import pytest

from components import prune_costs as costs
from components import prune_engine as found
from components.workbench import Workbench
from lessons import LANGUAGES, words
from llmkit import jobs, shelf
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import floats, sent

BOX = "gpt2-starter"
KIT = (BOX, "minilm-l6", "smollm2-135m-instruct")
SENTENCE = "The movie was good"


def finished(kind: str, settings: dict[str, Any]) -> jobs.Job:
    """The job, once it has ended."""
    jobs.submit(kind, settings)
    for _ in range(1_500):
        job = jobs.find(kind, settings)
        if job is not None and not job.active:
            assert job.state == "done", jobs.log(job.id)
            return job
        time.sleep(0.1)
    raise AssertionError(job)


@pytest.mark.registry
@pytest.mark.parametrize("lang", list(LANGUAGES))
@pytest.mark.parametrize("box_id", KIT)
def test_the_page_is_drawn(open_page: OpenPage, box_id: str, lang: str, standard_kit: tuple[str, ...]) -> None:
    app = open_page("prune", lang=lang, box=box_id)
    assert not app.exception
    assert not app.error
    encoder = box_id == "minilm-l6"
    assert (words(lang)("prune.cliff.encoder") in seen(app)) == encoder
    assert (words(lang)("prune.cliff.decoder") in seen(app)) != encoder
    assert f"{found.counts(box_id)['head']:,}×" in seen(app)


@pytest.mark.parametrize("kind", found.KINDS)
def test_every_kind_shows_what_goes_before_anything_is_measured(open_page: OpenPage, kind: str) -> None:
    app = open_page("prune", lang="en", box=BOX, prune_kind=kind)
    assert not app.exception
    assert words("en")(f"prune.what.{kind}") in seen(app)
    told = sent(app, f"prune_gone_{kind}")
    shown = found.matrix(BOX, kind, 0, "attention.q") if kind in found.SINGLE else found.units(BOX, kind)
    gone = np.frombuffer(base64.b64decode(told["gone"]), dtype=np.uint8).reshape(told["rows"], told["columns"])
    assert np.array_equal(gone, shown.value.gone)
    assert np.array_equal(floats(told["values"]), shown.value.values.ravel())
    assert told["goneImportance"] is None
    assert told["sliders"][0]["own"]


def test_what_was_measured_is_drawn_and_answers_the_check(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", "prune_curve=tests.pages.prune_tasks:run_curve")
    bench = Workbench(lang="en", box_id=BOX, sentence=SENTENCE)
    app = open_page("prune", lang="en", box=BOX, sentence=SENTENCE)
    app.radio(key="guess_prune_holds").set_value("high").run()
    app.button(key="run_prune_holds").click().run()
    assert words("en")("common.error.prune_first") in [error.value for error in app.error]
    settings = found.curve_settings(bench, "weights")
    assert settings["fingerprint"] == shelf.fingerprint(BOX)
    finished(found.CURVE, settings)
    app = open_page("prune", lang="en", box=BOX, sentence=SENTENCE)
    assert not app.exception
    assert not app.error
    cliff = sent(app, "prune_cliff_weights")
    assert cliff["size"][:6] == [4.0] * 6
    assert cliff["size"][6] > 5
    assert cliff["texts"]["importance"][7] == "<b>importance 7</b>"  # as text: the browser escapes it
    assert cliff["sliders"][0]["places"][9] == "90%"
    gone = sent(app, "prune_gone_weights")
    assert gone["goneImportance"] == gone["gone"]
    assert not gone["sliders"][0]["own"]
    assert words("en")("prune.order.mixed", n=2, all=9, share="70%", size="5.400", importance="4.000") in seen(app)
    assert done(app)[1] == "done"
    app.radio(key="guess_prune_holds").set_value("high").run()
    app.button(key="run_prune_holds").click().run()
    assert app.session_state["_scores"]["prune.holds"] is True
    assert words("en")("prune.check.because", size="50%", importance="70%") in seen(app)


def test_times_are_told_apart_only_where_they_differ() -> None:
    assert costs.compared(1.1, 1.0) == costs.compared(1.0, 1.1) == "same"
    assert costs.compared(2.0, 1.0) == "slower"
    assert costs.compared(1.0, 2.0) == "faster"
