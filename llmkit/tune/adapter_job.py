"""The jobs ``adapter_train``, ``adapter_memory``, ``adapter_strength``: make one, what a step takes, what it writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from llmkit import shelf
from llmkit.generate.decode import continue_ids, greedy, require_next_token, require_prompt
from llmkit.home import home
from llmkit.jobs import Report
from llmkit.reference import open_box
from llmkit.tune.adapter import AdapterError, adapted, adapter_tensors, read_adapter, write_adapter
from llmkit.tune.adapter_texts import open_texts
from llmkit.tune.adapter_train import AdapterConfig, encode_texts, train_adapter
from llmkit.tune.atomic import write_atomically
from llmkit.tune.curve import thin
from llmkit.tune.run_folder import run_id

NOTE = "adapter.json"
"""Beside PEFT's two files: how the adapter was made."""

HELD_OUT = 64
"""Texts that the loss is measured on before and after, at most."""

LIKELIEST = 8
"""Next tokens told at each strength, those of strength 1; and half as many of the box alone."""


def config_of(settings: Mapping[str, Any]) -> AdapterConfig:
    """The adapter's own settings among a job's.

    Raises:
        TuneError: ``setting_out_of_range``, ``no_targets``.
    """
    given = dict(settings["config"])
    return AdapterConfig(**{**given, "targets": tuple(given["targets"])})


def adapters() -> Path:
    """Where this machine's adapters lie, a folder each."""
    return home() / "adapters"


def adapters_of(box_id: str) -> tuple[dict[str, Any], ...]:
    """What is written down about each adapter of a box, the newest first; one that cannot be read is passed over."""
    found = []
    for path in adapters().glob(f"*/{NOTE}"):
        try:
            note = json.loads(path.read_text(encoding="utf-8"))
            if note["box_id"] == box_id:
                found.append({**note, "id": path.parent.name, "made_at": float(note["made_at"])})
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return tuple(sorted(found, key=lambda note: -note["made_at"]))


def adapter_folder(adapter_id: str) -> Path:
    """Where an adapter lies.

    Raises:
        AdapterError: ``adapter_broken`` when there can be no such one, or it is not here.
    """
    folder = adapters() / adapter_id
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", adapter_id) or not folder.is_dir():
        raise AdapterError("adapter_broken", folder=adapter_id, detail="not here")
    return folder


def run_train(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``adapter_train``: train a text adapter and keep it.

    Args:
        settings: box_id, fingerprint; data, data_fingerprint; label (only its texts; None for all); rows (at most);
            device; config (`AdapterConfig` as plain data).
        report: told after every step; partial: curve so far.

    Returns:
        adapter (its id), curve [[step, loss]], before, after (nats, on held-out texts), learning, total, step_s,
        rows, size_bytes.

    Raises:
        GenerateError: ``no_next_token``. TuneError, BoxError, ShelfError, DataError: as they are.
    """
    config = config_of(settings)
    report(0, config.steps)
    data = open_texts(settings["data"], label=settings["label"], expected=settings["data_fingerprint"])
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    box = open_box(settings["box_id"], device=settings["device"])
    require_next_token(box)
    train, held_out = (
        encode_texts(box, texts[:most], max_tokens=config.max_tokens)
        for texts, most in ((data.train, settings["rows"]), (data.held_out, HELD_OUT))
    )
    curve: list[tuple[int, float]] = []

    def on_step(step: int, loss: float) -> None:
        curve.append((step, loss))
        report(step, config.steps, "learning", {"curve": thin(curve)})

    made = train_adapter(box, train, held_out, config, on_step=on_step)
    adapter_id = run_id(settings)
    to = adapters() / adapter_id
    write_adapter(adapter_tensors(made.model), config.peft().to_dict(), to)  # type: ignore[no-untyped-call]
    result = {
        "adapter": adapter_id,
        "curve": thin(curve),
        "before": made.before,
        "after": made.after,
        "learning": made.learning,
        "total": made.total,
        "step_s": made.step_s,
        "rows": len(train),
        "size_bytes": read_adapter(to, box).size_bytes,
    }
    write_atomically(json.dumps({**settings, **result, "made_at": time.time()}, ensure_ascii=False), to / NOTE)
    return result


def run_strength(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``adapter_strength``: what a box writes after one prompt, its adapter at several strengths.

    Args:
        settings: box_id, fingerprint; adapter; made_at (of the adapter); prompt; max_new_tokens; strengths; device.
        report: told after each strength; partial: the answers so far.

    Returns:
        answers: for each strength its text (greedy; bytes that are no character as \\\\x..), and next: the likeliest
        tokens [text, probability] after the prompt, over all strengths the same ones: those of strength 1, then of 0.

    Raises:
        AdapterError, BoxError: as they are. GenerateError: ``no_next_token``, ``prompt_empty``, ``prompt_too_long``.
    """
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    box = open_box(settings["box_id"], device=settings["device"])
    require_next_token(box)
    ids = tuple(box.tokenizer.encode(settings["prompt"]).ids)
    require_prompt(box, ids)
    adapter = read_adapter(adapter_folder(settings["adapter"]), box)
    stops = frozenset(token.token_id for token in box.tokenizer.added if token.special)
    given = torch.tensor([ids], device=box.device)
    with torch.inference_mode():
        tops = [
            model(given)[0, -1].float().topk(LIKELIEST).indices.tolist() for model in (adapted(box, adapter), box.model)
        ]
    likely = list(dict.fromkeys([*tops[0], *tops[1][: LIKELIEST // 2]]))
    answers: list[dict[str, Any]] = []
    for at, strength in enumerate(settings["strengths"]):
        model = adapted(box, adapter, strength)
        with torch.inference_mode():
            probs = model(given)[0, -1].float().softmax(-1)
        chosen = [
            step.token_id
            for step in continue_ids(
                model, ids, max_new_tokens=settings["max_new_tokens"], stop_ids=stops, choose=greedy
            )
        ]
        text = b"".join(box.tokenizer.token_bytes(one) for one in chosen if one not in stops)
        tokens = [box.tokenizer.token_bytes(one).decode(errors="backslashreplace") for one in likely]
        following = [[token, float(probs[one])] for token, one in zip(tokens, likely, strict=True)]
        answers.append({"strength": strength, "text": text.decode(errors="backslashreplace"), "next": following})
        report(at + 1, len(settings["strengths"]), "", {"answers": answers})
    return {"answers": answers}


def run_memory(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``adapter_memory``: one step on the same batch by each method, each in a process of its own.

    Args:
        settings: as of ``adapter_train``, rows left out; methods: which of `llmkit.tune.adapter_learning.METHODS`.
        report: told after each method; partial: the rows so far.

    Returns:
        methods: method → what `llmkit.tune.adapter_step.measure` says.

    Raises:
        TuneError: ``out_of_memory`` when a process was killed.
    """
    measured: dict[str, Any] = {}
    methods = settings["methods"]
    for at, method in enumerate(methods):
        report(at, len(methods), method, {"methods": dict(measured)})
        measured[method] = _measure_apart({**settings, "method": method}, partial(report, at, len(methods)))
    return {"methods": measured}


def _measure_apart(settings: Mapping[str, Any], still_wanted: Callable[[], None]) -> dict[str, Any]:
    """Run `llmkit.tune.adapter_step` in a process of its own; ended with the job when nobody wants it any more."""
    from llmkit.tune.errors import TuneError

    with tempfile.TemporaryDirectory() as folder:
        asked, told = Path(folder) / "asked.json", Path(folder) / "told.json"
        asked.write_text(json.dumps(dict(settings)), encoding="utf-8")
        process = subprocess.Popen([sys.executable, "-m", "llmkit.tune.adapter_step", str(asked), str(told)])
        try:
            while process.poll() is None:
                time.sleep(0.1)
                still_wanted()
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            config = settings["config"]
            if process.returncode in (-9, 137):
                raise TuneError(
                    "out_of_memory", method=settings["method"], batch=config["batch_size"], tokens=config["max_tokens"]
                )
            raise RuntimeError(f"{settings['method']}: the process ended with {process.returncode}")
        found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
        return found
