"""The KV cache on and off: both ways really run, and write what the reference writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmkit import jobs, shelf
from llmkit.generate.errors import GenerateError
from llmkit.generate.kv_compare import run
from llmkit.jobs.kinds import task
from tests.llmkit.random_box import random_box

PROMPT = list(b"The movie was")


def settings(folder: Path, **changed: Any) -> dict[str, Any]:
    asked = {
        "box_id": f"folder:{folder}",
        "fingerprint": shelf.fingerprint(f"folder:{folder}"),
        "ids": PROMPT,
        "max_new_tokens": 12,
        "device": "cpu",
    }
    return {**asked, **changed}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("use_cache", [True, False])
def test_both_ways_write_what_the_reference_writes(tmp_path: Path, family: str, use_cache: bool) -> None:
    folder = random_box(tmp_path / family, family, seed=5)
    report = jobs.DirectReport(tmp_path)
    found = run(settings(folder), report)
    theirs = (
        AutoModelForCausalLM.from_pretrained(folder)
        .eval()
        .generate(torch.tensor([PROMPT]), max_new_tokens=12, do_sample=False, use_cache=use_cache, pad_token_id=0)
    )
    name = "with_ids" if use_cache else "without_ids"
    assert found[name] == theirs[0, len(PROMPT) :].tolist()
    assert found["tokens"] == list(range(len(PROMPT), len(PROMPT) + 12))
    assert all(seconds > 0 for way in ("with", "without") for seconds in found[way])
    assert [done for done, _, _ in report.said] == list(range(1, 13))
    assert [len(partial["with"]) for partial in report.partials] == [4, 8, 12]


def test_the_cache_holds_what_the_formula_says(tmp_path: Path) -> None:
    found = run(settings(random_box(tmp_path / "llama", "llama", seed=5)), jobs.DirectReport(tmp_path))
    per_token = 2 * 2 * 2 * (24 // 4) * 4  # keys and values, layers, kv heads, head_dim, bytes
    assert found["cache_bytes"] == [tokens * per_token for tokens in found["tokens"]]


def test_no_more_is_written_than_there_is_room_for(tmp_path: Path) -> None:
    folder = random_box(tmp_path / "gpt2", "gpt2", seed=5)
    found = run(settings(folder, ids=[1] * 62), jobs.DirectReport(tmp_path))
    assert len(found["with_ids"]) == 3
    for ids, code in (([1] * 65, "prompt_too_long"), ([], "prompt_empty")):
        with pytest.raises(GenerateError) as error:
            run(settings(folder, ids=ids), jobs.DirectReport(tmp_path))
        assert error.value.code == code


def test_the_job_is_known() -> None:
    assert task("kv_compare") is run
