"""Step 0, what this machine can do: the doctor's facts at once, the measurement when it is asked for."""

from __future__ import annotations

import html
import os

import pytest
from streamlit.testing.v1 import AppTest

from lessons import LANGUAGES, words
from llmkit import doctor
from tests.pages.conftest import OpenPage, shown_text

by_lang = pytest.mark.parametrize("lang", list(LANGUAGES))


def seen(app: AppTest) -> str:
    return html.unescape(shown_text(app))


@by_lang
def test_facts_are_there_before_anything_is_pressed(open_page: OpenPage, lang: str) -> None:
    app, say = open_page("unbox", lang=lang), words(lang)
    found = doctor.describe_machine()
    assert say("unbox.machine") in seen(app)
    assert say("unbox.machine.cores", n=found.cores) in seen(app)
    assert found.cpu in seen(app)
    assert found.home in seen(app)
    assert "GFLOP/s" not in seen(app)


@by_lang
def test_the_measurement_is_what_the_doctor_found(
    open_page: OpenPage, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    measure = doctor.measure
    monkeypatch.setattr(doctor, "measure", lambda: found.append(measure()) or found[-1])
    app, say = open_page("unbox", lang=lang), words(lang)
    assert not found
    app.button(key="unbox_measure").click().run()
    assert not app.exception
    [result] = found
    best = say("unbox.machine.fastest", dtype=result.fastest, device=result.device_name, s=f"{result.seconds:.1f}")
    assert best in seen(app)
    for speed in result.speeds:
        if speed.gflops is not None:
            assert say("unbox.machine.gflops", n=f"{speed.gflops:,.1f}") in seen(app)
    assert "do.check" in app.session_state["_sheet_unbox_done"]
    app.run()
    assert len(found) == 1  # it stays on the page and is not timed again
    assert say("common.badge.cached") in seen(app)


def test_a_dtype_that_cannot_be_multiplied_is_said(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = tuple(doctor.Speed(dtype=name, gflops=None, width=128, runs=0) for name in doctor.DTYPES)
    nothing = doctor.Measurement(device="cpu", device_name="<b>x</b>", threads=1, torch="", seconds=0.0, speeds=speeds)
    monkeypatch.setattr(doctor, "measure", lambda: nothing)
    app = open_page("unbox", lang="en")
    app.button(key="unbox_measure").click().run()
    assert not app.exception
    assert words("en")("unbox.machine.cannot") in seen(app)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows asks for permission in another way")
def test_a_home_that_cannot_be_written_to_is_said(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert words("en")("unbox.machine.readonly") in seen(open_page("unbox", lang="en"))
