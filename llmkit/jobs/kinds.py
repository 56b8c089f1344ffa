"""The kinds of jobs there are, each with its task: the only functions that a worker runs."""

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from llmkit.jobs.report import Report

Task = Callable[[Mapping[str, Any], Report], Any]

KINDS: dict[str, str] = {
    "adapter_memory": "llmkit.tune.adapter_job:run_memory",
    "adapter_strength": "llmkit.tune.adapter_job:run_strength",
    "adapter_train": "llmkit.tune.adapter_job:run_train",
    "ask_table": "llmkit.analyse.ask:run",
    "assemble": "llmkit.assembly.build:run",
    "bench": "llmkit.compress.bench_job:run",
    "classify": "llmkit.tune.ways.runner:run",
    "classify_one": "llmkit.tune.ways.runner:run_one",
    "data_lengths": "llmkit.tune.data.lengths:run",
    "exchange": "llmkit.trace.exchange:run",
    "few_shot": "llmkit.generate.few_shot:run",
    "few_shot_one": "llmkit.generate.few_shot:run_one",
    "finetune": "llmkit.tune.finetune_job:run",
    "finetune_pace": "llmkit.tune.finetune_job:run_pace",
    "firing": "llmkit.trace.firing:run",
    "fit_box": "llmkit.reference.fit:run",
    "form": "llmkit.compress.made:run",
    "head_cost": "llmkit.compress.head_cost:run",
    "kv_compare": "llmkit.generate.kv_compare:run",
    "load_test": "llmkit.serve.load:run",
    "nonsense": "llmkit.generate.nonsense:run",
    "onnx": "llmkit.compress.onnx_fusion:run",
    "onnx_zip": "llmkit.compress.onnx_folder:run",
    "parcel": "llmkit.sheet.parcel:run",
    "pretrain": "llmkit.tune.pretrain_job:run",
    "prompt_pair": "llmkit.generate.prompt_pair:run",
    "prompt_trial": "llmkit.generate.prompt_trial:run",
    "provider": "llmkit.compress.providers:run",
    "prune_cost": "llmkit.compress.prune_cost:run",
    "prune_curve": "llmkit.compress.prune_curve:run",
    "prune_recover": "llmkit.compress.prune_recover:run",
    "read_column": "llmkit.analyse.reading:run",
    "reasoning": "llmkit.generate.reasoning:run",
    "shelve_form": "llmkit.compress.shelve_job:run",
    "tritonserver": "llmkit.serve.nvidia.environment:run",
}
"""Kind → ``module:function`` of its task. What the reader calls it is ``kind.<kind>`` in ``lessons/text/jobs.toml``."""

TEST_KINDS = "LLMKIT_TEST_KINDS"
"""The environment variable by which tests add kinds: ``name=module:function``, comma between. No page can set it."""


def kinds() -> Mapping[str, str]:
    """Every kind with the address of its task."""
    added = (item.partition("=") for item in os.environ.get(TEST_KINDS, "").split(",") if item)
    return {**KINDS, **{name: address for name, _, address in added}}


def task(kind: str) -> Task:
    """The task of a kind; its module is imported now.

    Raises:
        KeyError: there is no such kind.
    """
    module, _, function = kinds()[kind].partition(":")
    found: Task = getattr(importlib.import_module(module), function)
    return found
