"""Step 3-4 on the bundled box, an encoder and random boxes of the families."""

from __future__ import annotations

import base64
import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from streamlit.testing.v1 import AppTest

from components import engine
from components import lora_engine as found
from components import lora_memory as memory
from components import lora_plan as asked
from lessons import LANGUAGES, words
from llmkit import jobs, shelf
from llmkit.jobs import DirectReport
from llmkit.reference import open_box
from llmkit.tune import finetune_job
from llmkit.tune.adapter import CONFIG, WEIGHTS, AdapterError
from llmkit.tune.adapter_job import adapters, run_train
from llmkit.tune.adapter_shelf import Here, adapters_here, remove
from tests.llmkit.random_box import random_box
from tests.llmkit.told import kept, rows
from tests.pages.conftest import OpenPage, done, seen
from tests.pages.moving import floats, sent, settle

SENTENCE = "so good"
BOX = "gpt2-starter"


@pytest.fixture(autouse=True)
def home_and_jobs(own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Adapters, data and jobs of the test's own."""
    monkeypatch.setenv("LLMKIT_JOBS", str(tmp_path / "jobs"))
    yield
    jobs.stop()


def settings_of(path: Path, family: str = "gpt2", **config: Any) -> dict[str, Any]:
    from llmkit.tune.adapter_texts import fingerprint

    data, box_id = kept(rows(96)), f"folder:{random_box(path / family, family, seed=3)}"
    usual = {"kind": "lora", "rank": 4, "alpha": 8, "targets": ["q", "v"], "steps": 6, "learning_rate": 1e-2}
    return {
        "box_id": box_id,
        "fingerprint": shelf.fingerprint(box_id),
        "data": data,
        "data_fingerprint": fingerprint(data),
        "label": None,
        "rows": 64,
        "device": "cpu",
        "config": {**usual, "batch_size": 4, "max_tokens": 16, "seed": 0, **config},
    }


def trained(path: Path, **config: Any) -> Here:
    settings = settings_of(path, **config)
    run_train(settings, DirectReport(path))
    return adapters_here(settings["box_id"])[0]


def wait(kind: str, settings: dict[str, Any]) -> jobs.Job:
    for _ in range(2400):
        job = jobs.find(kind, settings)
        if job is not None and not job.active:
            assert job.state == "done", jobs.log(job.id)
            return job
        time.sleep(0.1)
    raise AssertionError(kind)


@pytest.mark.parametrize("lang", list(LANGUAGES))
def test_without_an_adapter_frozen_parts_are_drawn_and_the_check_is_about_them(open_page: OpenPage, lang: str) -> None:
    app = open_page("lora", lang=lang, box=BOX)
    say = words(lang)
    assert not app.exception
    assert not app.error
    assert say("lora.none") in seen(app)
    weights = sum(p.numel() for p in open_box(BOX).model.parameters())
    learning = 6 * 8 * (2 * (192 + 192) + 2 * (192 + 768))  # layers · rank · (q, v and up, down)
    assert f"{weights:,}×" in seen(app)
    assert say("finetune.counts.learning", n=f"{learning:,}", share="2.9%") in seen(app)
    ratio = weights / learning
    app.radio(key="guess_lora_optimizer").set_value("30").run()
    app.button(key="run_lora_optimizer").click().run()
    assert app.session_state["_scores"]["lora.optimizer"] is True
    assert f"{ratio:.0f}" in seen(app)


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_what_is_sent_rebuilds_delta_w(tmp_path: Path, kind: str) -> None:
    one = trained(tmp_path, kind=kind)
    shown, data = found.picture(one).value, found.picture(one).value.sent()
    blob = np.frombuffer(base64.b64decode(data["bytes"]), dtype=np.int8)
    scales, sizes = floats(data["scales"]), floats(data["sizes"]).astype(int).reshape(-1, 2)
    singular, at, start = floats(data["singular"]), 0, 0
    opened = found.adapter(one).value
    weights = dict(open_box(one.box_id).model.named_parameters())
    for n, (changed, low) in enumerate(zip(shown.changed, opened.lows, strict=True)):
        tables = []
        for piece in range(5 * n, 5 * n + 5):
            rows_, columns = sizes[piece]
            tables.append(blob[at : at + rows_ * columns].reshape(rows_, columns) * scales[piece])
            at += rows_ * columns
        delta, b, a, left, right = tables
        whole = low.delta(weights[f"{low.name}.weight"]).numpy()[: found.ROWS, : found.COLUMNS]
        close = 1.5 * float(scales[5 * n : 5 * n + 5].max())
        assert delta == pytest.approx(whole, abs=close)
        assert b == pytest.approx(low.b.numpy()[: found.ROWS], abs=close)
        assert a == pytest.approx(low.a.numpy()[:, : found.COLUMNS], abs=close)
        assert left @ right == pytest.approx(whole, abs=0.05 * float(np.abs(whole).max()))
        values = singular[start : start + len(changed.singular)]
        start += len(changed.singular)
        assert np.sqrt((values[2:].astype(float) ** 2).sum()) == pytest.approx(changed.error(2), rel=1e-5, abs=1e-9)
    assert at == len(blob)
    assert data["names"][0] == "layers.0.attention.q"
    assert data["matrices"] == ["q", "v"]
    assert data["dora"] == (kind == "dora")


def test_directions_that_hold_a_share_are_counted(tmp_path: Path) -> None:
    one = found.picture(trained(tmp_path)).value.changed[0]
    squares = one.singular.astype(float) ** 2
    held = found.held_by(one)
    assert squares[:held].sum() >= 0.9 * squares.sum() > squares[: held - 1].sum()


@pytest.mark.parametrize("lang", list(LANGUAGES))
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_an_adapter_is_drawn_asked_merged_and_checked(
    open_page: OpenPage, tmp_path: Path, family: str, lang: str
) -> None:
    settings = settings_of(tmp_path, family)
    made = run_train(settings, DirectReport(tmp_path))
    one = adapters_here(settings["box_id"])[0]
    strength = {
        "box_id": one.box_id,
        "fingerprint": settings["fingerprint"],
        "adapter": one.id,
        "made_at": one.made_at,
        "prompt": SENTENCE,
        "max_new_tokens": 24,
        "strengths": list(found.STRENGTHS),
        "device": "cpu",
    }
    jobs.submit(asked.STRENGTH, strength)
    told = wait(asked.STRENGTH, strength).result["answers"]
    app = open_page("lora", lang=lang, box=one.box_id, sentence=SENTENCE)
    assert not app.exception
    assert not app.error
    shown = found.picture(one).value
    assert f"{shown.parameters:,}" in seen(app)
    assert shown.parameters == made["learning"]
    data = sent(app, "lora_strength_picture")
    probs = floats(data["probs"]).reshape(len(found.STRENGTHS), -1)
    assert data["texts"] == [answer["text"] for answer in told]
    assert probs[4].tolist() == pytest.approx([p for _, p in told[4]["next"]])
    assert done(app)[:3] == ["done", "open", "open"]
    settle(app, lora_strength=8)
    assert done(app)[2] == "done"
    app.button(key="lora_merge").click().run()
    merged = found.merging(one, SENTENCE).value
    assert merged.fits
    assert f"{merged.float32:.1e}" in seen(app)
    held = found.held_by(shown.changed[shown.most_changed])
    app.radio(key="guess_lora_directions").set_value(str(held)).run()
    app.button(key="run_lora_directions").click().run()
    assert app.session_state["_scores"]["lora.directions"] is True


def test_an_encoders_classifier_is_read_at_every_strength(open_page: OpenPage, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "bert")
    config = {"method": "lora", "rank": 2, "alpha": 8, "targets": ["q", "v"], "learning_rate": 1e-2, "epochs": 1}
    tuned = finetune_job.run({**settings, "held_out": 8, "config": config}, DirectReport(tmp_path))["box"]
    for box_id in (settings["box_id"], tuned):
        app = open_page("lora", lang="en", box=box_id, sentence=SENTENCE)
        assert not app.exception
        assert not app.error
        data = sent(app, "lora_strength_picture")
        assert data["names"] == ["no", "yes"]
        probs = floats(data["probs"]).reshape(len(found.STRENGTHS), 2)
        assert probs.sum(1) == pytest.approx(np.ones(len(found.STRENGTHS)), abs=1e-5)
        assert len({round(float(p), 6) for p in probs[:, 0]}) > 3
        assert words("en")("lora.train.encoder") in seen(app)
    assert words("en")("lora.base", box=tuned, base=settings["box_id"]) in seen(app)


def test_an_encoder_without_an_adapter_says_what_it_lacks(open_page: OpenPage, tmp_path: Path) -> None:
    kept(rows(96))
    app = open_page("lora", lang="en", box=f"folder:{random_box(tmp_path / 'bert', 'bert', seed=3)}")
    assert not app.exception
    assert not app.error
    assert words("en")("lora.none.encoder") in seen(app)
    assert words("en")("lora.train.encoder") in seen(app)


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_memory_is_drawn_as_it_was_measured(
    open_page: OpenPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setenv("LLMKIT_TEST_KINDS", "adapter_memory=tests.pages.lora_tasks:memory")
    settings = settings_of(tmp_path, family)
    app = open_page("lora", lang="en", box=settings["box_id"])
    assert not app.exception
    app.button(key="lora_memory_start").click().run()
    job = next(job for job in jobs.all_jobs() if job.kind == asked.MEMORY)
    told = wait(asked.MEMORY, dict(job.settings)).result["methods"]
    assert list(told) == list(asked.MEMORY_METHODS)
    assert sum(memory.pieces(told["full"]).values()) == told["full"]["peak"] - told["full"]["before"]
    app.run()
    assert not app.exception
    both = (told["full"], told["lora"])
    full, lora = (f"{(one['gradients'] + one['optimizer']) / 2**20:,.2f}" for one in both)
    assert f"{float(full):,.1f} MiB" in seen(app)
    assert f"{lora} MiB" in seen(app)
    assert "100 times" in seen(app)
    assert done(app)[3] == "done"


def test_pasted_lines_are_learned_and_the_adapter_is_deleted(open_page: OpenPage, tmp_path: Path) -> None:
    box_id = f"folder:{random_box(tmp_path / 'gpt2', 'gpt2', seed=3)}"
    app = open_page("lora", lang="en", box=box_id, sentence=SENTENCE)
    app.select_slider(key="lora_steps").set_value(20).run()
    app.segmented_control(key="lora_from").set_value("paste").run()
    lines = "\n".join(f"row {n}: the sea is blue" for n in range(30))
    app.text_area(key="lora_paste").set_value(lines).run()
    app.button(key="lora_use").click().run()
    assert words("en")("lora.data.note", train="27", held="3") in seen(app)
    app.button(key="lora_train_start").click().run()
    job = next(job for job in jobs.all_jobs() if job.kind == asked.TRAIN)
    assert job.settings["data"].startswith("file:")
    result = wait(asked.TRAIN, dict(job.settings)).result
    assert result["after"] < result["before"]
    app.run()
    assert not app.exception
    assert app.selectbox(key="lora_adapter").value == result["adapter"]
    app.button(key="lora_delete").click().run()
    assert not app.exception
    assert not list(adapters().glob("*/adapter.json"))
    assert jobs.find(asked.TRAIN, dict(job.settings)) is None
    assert words("en")("lora.none") in seen(app)


@pytest.mark.parametrize("lang", list(LANGUAGES))
def test_qlora_says_what_is_missing(open_page: OpenPage, tmp_path: Path, lang: str) -> None:
    if torch.cuda.is_available():
        pytest.skip("QLoRA can run here")
    settings = settings_of(tmp_path)
    app = open_page("lora", lang=lang, box=settings["box_id"])
    app.segmented_control(key="lora_kind").set_value("qlora").run()
    assert not app.exception
    assert any("bitsandbytes" in warning.value for warning in app.warning)
    assert not [button for button in app.button if button.key == "lora_train_start"]


WARN = {"warn.rate": ("rate", 1.0), "warn.scale": ("alpha", 128), "warn.wide": ("rank", 64)}


@pytest.mark.parametrize("what", WARN)
def test_settings_that_go_wrong_are_warned_of(open_page: OpenPage, tmp_path: Path, what: str) -> None:
    settings = settings_of(tmp_path)
    app = open_page("lora", lang="en", box=settings["box_id"])
    before = len(app.warning)
    app.select_slider(key=f"lora_{WARN[what][0]}").set_value(WARN[what][1]).run()
    assert not app.exception
    begins = words("en")(f"lora.{what}", rate="", usual="", scale="@", rank="64", target="").split("@")[0][:18]
    assert len(app.warning) == before + 1 if what != "warn.wide" else len(app.warning) > before
    assert any(begins in warning.value for warning in app.warning)


def test_an_adapter_of_another_box_is_an_error_and_the_page_goes_on(open_page: OpenPage, tmp_path: Path) -> None:
    one = trained(tmp_path)
    path = adapters() / one.id / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    app = open_page("lora", lang="en", box=one.box_id)
    assert not app.exception
    assert len(app.error) >= 1
    assert words("en")("lora.train.title") in [header.value for header in app.header]
    with pytest.raises(AdapterError):
        found.picture(one)
    remove(one)
    app.run()
    assert not app.error


def test_what_is_downloaded_is_pefts(tmp_path: Path) -> None:
    one = trained(tmp_path)
    with zipfile.ZipFile(io.BytesIO(found.packed(one))) as file:
        assert {CONFIG, WEIGHTS} < set(file.namelist())
        assert json.loads(file.read(CONFIG))["peft_type"] == "LORA"
        file.extract(WEIGHTS, tmp_path)
    with safe_open(tmp_path / WEIGHTS, framework="np") as tensors:
        assert "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight" in set(tensors.keys())


def upload(app: AppTest, files: dict[str, bytes]) -> AppTest:
    app.file_uploader(key="lora_files").set_value(
        [(name, content, "application/octet-stream") for name, content in files.items()]
    )
    return app.run()


def test_an_adapter_is_brought(open_page: OpenPage, tmp_path: Path) -> None:
    one = trained(tmp_path)
    packed = found.packed(one)
    remove(one)
    app = open_page("lora", lang="en", box=one.box_id, sentence=SENTENCE)
    upload(app, {"adapter_model.bin": b"\x80", CONFIG: b"{}"})
    assert "adapter" in app.error[0].value
    upload(app, {"adapter.zip": packed})
    assert not app.exception
    (brought,) = adapters_here(one.box_id)
    assert app.selectbox(key="lora_adapter").value == brought.id
    assert engine.fingerprint(one.box_id)
