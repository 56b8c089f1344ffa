"""torch-compiled against the reference's numbers, whole and from the cache; and where it cannot be compiled."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from llmkit.compress import FormError, compiled_engine, made
from llmkit.compress.form import form
from tests.llmkit.random_box import random_box

IDS = np.random.default_rng(0).integers(0, 256, (8, 20))
FORM = "torch-compiled"

needs_compiler = pytest.mark.skipif(
    compiled_engine.why_not(form(FORM)) is not None, reason="no C++ compiler, or no header files of Python's"
)


@needs_compiler
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert"])
def test_compiled_gives_the_references_numbers(family: str, tmp_path: Path, own_home: Path) -> None:
    box = f"folder:{random_box(tmp_path / family, family, seed=3)}"
    runner = made.open_form(box, FORM)
    assert runner.about["compile_s"] > 0  # type: ignore[attr-defined]
    auto = transformers.AutoModel if family == "bert" else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(tmp_path / family).eval()
    with torch.no_grad():
        given = model(torch.from_numpy(IDS))
    wanted = (given.last_hidden_state if family == "bert" else given.logits).numpy()
    compiled = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for ids, expected in ((IDS, wanted), (IDS[:1], wanted[:1])):
        np.testing.assert_allclose(runner.scores(ids), expected, atol=1e-4)
    if family != "bert":
        for rows in (1, 8):
            reading = runner.read(IDS[:rows, :9])
            for at in range(9, 20):
                np.testing.assert_allclose(reading.logits, wanted[:rows, at - 1], atol=1e-4)
                reading.step(IDS[:rows, at])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == compiled  # opening has met every shape


@needs_compiler
def test_many_boxes_are_compiled_in_one_process(
    tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    for seed in range(5):
        box = f"folder:{random_box(tmp_path / str(seed), 'gpt2', seed=seed)}"
        before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        made.open_form(box, FORM)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before


def test_it_is_opened_from_the_boxs_own_files(tmp_path: Path, own_home: Path) -> None:
    box = f"folder:{random_box(tmp_path / 'box', 'gpt2', seed=3)}"
    assert made.make(box, FORM, lambda *_, **__: None) == tmp_path / "box"
    assert made.size_bytes(box, FORM) == made.size_bytes(box, "torch-float32")


def test_without_a_compiler_it_is_said(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = f"folder:{random_box(tmp_path / 'box', 'gpt2', seed=3)}"
    monkeypatch.setenv("CXX", "no-such-compiler")
    why = made.why_not(FORM, box)
    assert why is not None
    assert (why.code, why.values["detail"]) == ("form_missing", "no C++ compiler (no-such-compiler)")
    with pytest.raises(FormError, match="form_missing"):
        made.open_form(box, FORM)
    monkeypatch.setenv("CXX", shutil.which("true") or "true")
    monkeypatch.setattr(compiled_engine.sysconfig, "get_path", lambda _: str(tmp_path))
    why = made.why_not(FORM, box)
    assert why is not None
    assert "Python.h" in why.values["detail"]
