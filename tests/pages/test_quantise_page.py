"""Step 3-1 on the bundled box and the standard kit."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM

from components import engine
from components import quantise_bench as bench
from components import quantise_canvas as canvas
from components import quantise_engine as found
from lessons import LANGUAGES, words
from llmkit import jobs, shelf
from llmkit.compress.matrix import BITS, Scheme, cost, quantise
from llmkit.compress.row import Row, Spread
from llmkit.tune.corpus import is_held_out
from tests.pages.conftest import OpenPage, done, seen

BOX = "gpt2-starter"
KIT = (BOX, "minilm-l6", "smollm2-135m-instruct")


@pytest.fixture(autouse=True)
def own_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Jobs of the test's own."""
    monkeypatch.setenv("LLMKIT_JOBS", str(tmp_path / "jobs"))
    yield
    jobs.stop()


def reference(box_id: str) -> np.ndarray:
    """The queries' matrix of layer 1 as transformers has it, [outputs, inputs]."""
    loader = AutoModel if box_id == "minilm-l6" else AutoModelForCausalLM
    model = loader.from_pretrained(shelf.locate(box_id), dtype=torch.float32, local_files_only=True)
    if hasattr(model, "transformer"):
        joined = model.transformer.h[1].attn.c_attn.weight
        weight = joined[:, : joined.shape[1] // 3].T
    elif hasattr(model, "encoder"):
        weight = model.encoder.layer[1].attention.self.query.weight
    else:
        weight = model.model.layers[1].self_attn.q_proj.weight
    return np.asarray(weight.detach())


@pytest.mark.registry
@pytest.mark.parametrize("box_id", KIT)
def test_the_matrix_is_the_references(box_id: str, standard_kit: tuple[str, ...]) -> None:
    theirs = reference(box_id)
    shown = found.matrix(box_id, 1, "attention.q").value
    assert shown.shape == theirs.shape
    assert np.array_equal(shown.corner, theirs[: found.ROWS, : found.COLUMNS])
    assert shown.counts.sum() == theirs.size
    assert ("feed_forward.gate" in found.matrices(box_id)) == (box_id == KIT[2])
    for per in ("channel", 32):
        told = cost(theirs, quantise(theirs, Scheme(bits=4, per=per)).weights)
        ours = shown.costs[4, per, "symmetric"]
        assert ours.max_abs == told.max_abs
        assert ours.snr_db == pytest.approx(told.snr_db)


def test_what_is_sent_are_the_costs_in_the_browsers_order() -> None:
    shown = found.matrix(BOX, 0, "feed_forward.down").value
    sent = shown.sent()
    whole = np.frombuffer(base64.b64decode(sent["whole"]), dtype=np.float32)
    whole = whole.reshape(len(found.KINDS), len(BITS), len(shown.pers), 3)
    told = shown.costs[3, 64, "asymmetric"]
    at = whole[1, BITS.index(3), shown.pers.index(64)]
    assert at.tolist() == pytest.approx([told.snr_db, told.max_abs, shown.bits_a_weight(3, 64, "asymmetric")], rel=1e-6)
    assert len(found.costs_frame(shown)) == len(shown.costs)
    assert sum(len(value) for value in sent.values() if isinstance(value, str)) < 100_000


@pytest.mark.parametrize("lang", list(LANGUAGES))
def test_perplexity_is_measured_on_held_out_rows(lang: str) -> None:
    text, data = found.text_of(lang, "a sentence")
    assert data == found.TEXTS[lang]
    assert len(text) == found.TEXT_CHARACTERS
    learned = [row.text for row in shelf.open_data(data).rows if not is_held_out(row.text)]
    assert not [row for row in text.split("\n\n")[:-1] if row in learned]


@pytest.mark.registry
@pytest.mark.parametrize("lang", list(LANGUAGES))
@pytest.mark.parametrize("box_id", KIT)
def test_the_page_is_drawn(open_page: OpenPage, box_id: str, lang: str, standard_kit: tuple[str, ...]) -> None:
    app = open_page("quantise", lang=lang, box=box_id)
    assert not app.exception
    assert not app.error
    assert (words(lang)("quantise.head.none") in seen(app)) == (box_id == "minilm-l6")
    app.selectbox(key="quantise_name").set_value(found.matrices(box_id)[-1]).run()
    app.select_slider(key="quantise_layer").set_value(2).run()
    assert not app.exception
    assert app.session_state["quantise_layer"] == 2


def test_a_layer_that_there_is_not_is_the_last(open_page: OpenPage) -> None:
    app = open_page("quantise", lang="en", box=BOX, layer="99")
    assert not app.exception
    assert app.session_state["quantise_layer"] == found.n_layers(BOX) - 1
    assert app.session_state["quantise_name"] == found.matrices(BOX)[0]


def test_the_check_is_answered_by_the_matrix(open_page: OpenPage) -> None:
    app = open_page("quantise", lang="en", box=BOX, layer="1")
    shown = found.matrix(BOX, 1, "attention.q").value
    bits, per, kind = found.START
    ratio = shown.costs[3, per, kind].mean_square / shown.costs[4, per, kind].mean_square
    assert ratio == pytest.approx((7 / 3) ** 2, rel=0.25)
    app.radio(key="guess_quantise_bit").set_value("4").run()
    app.button(key="run_quantise_bit").click().run()
    assert f"{ratio:.1f} times" in seen(app)
    assert app.session_state["_scores"]["quantise.bit"] is True
    assert bits in BITS
    assert canvas.per_name(32, words("zh-TW")) == "每 32 個一組"


def test_layers_and_head_are_measured_by_a_job(open_page: OpenPage) -> None:
    settings = found.head_settings(BOX, "en", "The movie was good, and this book is long.", 4)
    jobs.submit("head_cost", settings)
    job = wait(settings)
    assert job.state == "done", jobs.log(job.id)
    app = open_page("quantise", lang="en", box=BOX, sentence="The movie was good, and this book is long.")
    assert not app.exception
    told = job.result["perplexity"]
    assert f"{told['both']:.2f}" in seen(app)
    assert done(app)[2] == "done"


def row(form: str, **measured: Any) -> dict[str, Any]:
    """A row of the bench as a job gives it, with what is measured here."""
    return asdict(Row(box=BOX, form=form, about={}, **measured))


def rate(value: float) -> Spread:
    return Spread(median=value, low=value, high=value, n=1)


def test_int8_is_smaller_and_slower_only_where_the_rows_say_so() -> None:
    original = row("torch-float32", size_bytes=400, decode_tokens_s={"1": rate(10)}, perplexity=rate(20))
    slow = row("quanto-int8", size_bytes=100, decode_tokens_s={"1": rate(5)}, perplexity=rate(21))
    fast = row("onnx-int8", size_bytes=100, decode_tokens_s={"1": rate(50)}, perplexity=rate(21))
    big = row("torchao-int8", size_bytes=500, decode_tokens_s={"1": rate(5)}, perplexity=rate(21))
    assert bench.smaller_and_slower([original, slow, fast, big]) is slow
    assert bench.smaller_and_slower([original, fast, big]) is None
    assert bench.smaller_and_slower([slow]) is None
    encoder = row("quanto-int8", size_bytes=100, prefill_tokens_s={"1": rate(7)}, cosine=rate(0.99))
    assert (bench.quality(encoder), bench.speed(encoder)) == (0.99, 7)


def test_what_the_bench_measures_is_drawn(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", "bench=tests.pages.quantise_tasks:run")
    sentence = "The movie was"
    settings = {
        "box": BOX,
        "fingerprint": engine.fingerprint(BOX),
        "forms": list(bench.USUAL),
        "prompt": sentence,
        "quick": True,
    }
    jobs.submit("bench", settings)
    job = wait(settings, "bench")
    assert job.state == "done", jobs.log(job.id)
    app = open_page("quantise", lang="en", box=BOX, sentence=sentence)
    assert not app.exception
    assert not app.error
    assert job.result["rows"][-1]["text"] in seen(app)
    assert done(app)[3] == "done"
    assert words("en")("quantise.slower.title") in [title.value for title in app.subheader]


def wait(settings: dict[str, Any], kind: str = "head_cost") -> jobs.Job:
    """The job, once it has ended."""
    for _ in range(900):
        job = jobs.find(kind, settings)
        if job is not None and not job.active:
            return job
        time.sleep(0.1)
    raise AssertionError(job)
