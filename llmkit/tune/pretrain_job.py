"""The job ``pretrain``: a small GPT from nothing on a text, told of while it learns, on the shelf when it is done.

Its state lies in a folder of its own (`llmkit.tune.run_folder`): a run that was stopped, cancelled or interrupted goes
on from there when it is asked for again with the same settings.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from tokenizers import Tokenizer

from llmkit import shelf
from llmkit.jobs import Cancelled, Report
from llmkit.parts import Transformer
from llmkit.tune import own_text
from llmkit.tune.atomic import write_atomically
from llmkit.tune.curve import thin
from llmkit.tune.from_nothing import Ending, FromNothing, Row, memory_bytes, no_memory, read_log, require_text
from llmkit.tune.pretrain_box import write_pretrained
from llmkit.tune.pretrain_errors import PretrainError
from llmkit.tune.recipe import Recipe, from_depth
from llmkit.tune.run_folder import STOP, asked_to_stop, forget_run, run_folder, run_id, tidy
from llmkit.tune.sample import continue_text
from llmkit.tune.shards import keep_memory, usual_shards

PARTIAL_S = 0.5
SAMPLE_TOKENS = 100
SAMPLE_SEED = 0
TOKENIZER = "tokenizer.json"


def recipe_of(settings: Mapping[str, Any], vocab_size: int) -> Recipe:
    """A job's recipe: its depth, and what was asked to be otherwise.

    Raises:
        PretrainError: ``pretrain_setting``.
    """
    return from_depth(settings["depth"], vocab_size=vocab_size, seed=settings["seed"], **settings["asked"])


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Read, cut, train, put on the shelf.

    Args:
        settings: source, fingerprint; encoding (or None); cut (``characters`` or ``bpe``), vocab_size (of ``bpe``);
            depth, seed, asked (fields of `Recipe` that shall be otherwise); prompt (what each sample begins with).
        report: told after every step; partial: what the result has so far.

    Returns:
        what `told` says, with ending, box (its id on the shelf), run, best_step, best_loss, untrained_loss.

    Raises:
        PretrainError, DataError, ShelfError: as they are. Cancelled: after the state was kept.
    """
    report(0, 0, "reading")
    keep_memory()
    text = own_text.open_text(settings["source"], settings["encoding"])
    folder = run_folder(settings)
    tidy(keep=folder)
    tokenizer = _tokenizer(text, settings, folder)
    recipe = recipe_of(settings, tokenizer.get_vocab_size())
    train, held_out = (own_text.one_row(text, pieces, tokenizer) for pieces in (text.train, text.held_out))
    require_text(recipe, len(train), len(held_out))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shards = usual_shards(recipe.batch_size, device)
    if memory_bytes(recipe, shards) > psutil.virtual_memory().available:
        raise no_memory(recipe)
    prompt = fitting_prompt(settings["prompt"] or text.opening, tokenizer, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(tokenizer.to_str(), folder / TOKENIZER)
    course = FromNothing(
        recipe,
        train,
        held_out,
        folder=folder,
        sample=lambda model: _write(model, tokenizer, prompt),
        shards=shards,
        device=device,
    )
    about = {**own_text.facts(text), "tokens": len(train), "held_out_tokens": len(held_out), "prompt": prompt}
    try:
        teller = _Teller(course, recipe, about, report)
        ending = course.run(on_step=teller, cancelled=lambda: teller.cancelled or asked_to_stop(folder))
        if teller.cancelled:
            raise Cancelled
        result = {**told(course.rows, recipe, about), "ending": ending, "run": run_id(settings)}
        result |= {"best_step": course.best_step, "best_loss": course.best_loss}
        result |= {"box": _put(course, tokenizer, settings, result, ending)}
    finally:
        course.close()
        (folder / STOP).unlink(missing_ok=True)  # it was meant for this sitting
    if ending != "stopped":
        forget_run(settings)
    return result


def told(rows: Sequence[Row], recipe: Recipe, about: Mapping[str, Any]) -> dict[str, Any]:
    """A run so far as plain data.

    Returns:
        step, steps, seconds; tokens_per_second over the last steps, None before there are two; curve [[step, loss]];
        measured [[step, held_out, train]]; samples [[step, text]]; rate (of the last step); parameters, vocab_size,
        tokens_a_step; text (about).
    """
    last = rows[-1] if rows else None
    lately = rows[-50:]
    span = lately[-1].seconds - lately[0].seconds if lately else 0.0
    steps = lately[-1].step - lately[0].step if lately else 0
    return {
        "step": last.step if last else 0,
        "steps": recipe.max_steps,
        "seconds": last.seconds if last else 0.0,
        "tokens_per_second": steps * recipe.tokens_a_step / span if span > 0 else None,
        "curve": thin([(row.step, row.loss) for row in rows if row.step]),
        "measured": [[row.step, row.held_out, row.train] for row in rows if row.train is not None],
        "samples": [[row.step, row.sample] for row in rows if row.sample is not None],
        "rate": last.rate if last else None,
        "parameters": recipe.parameters,
        "vocab_size": recipe.vocab_size,
        "tokens_a_step": recipe.tokens_a_step,
        "text": dict(about),
    }


def kept(settings: Mapping[str, Any]) -> list[Row]:
    """The log of a run that is over for now; empty where it never began."""
    return list(read_log(run_folder(settings)))


def fitting_prompt(prompt: str, tokenizer: Tokenizer, recipe: Recipe) -> str:
    """The prompt, cut where it would leave a sample less than half of the context.

    Raises:
        PretrainError: ``pretrain_prompt`` when there is no token in it.
    """
    room = max(1, recipe.max_seq_len // 2)
    while len(tokenizer.encode(prompt, add_special_tokens=False).ids) > room:
        prompt = prompt[: max(len(prompt) * 3 // 4, 1)] if len(prompt) > 1 else ""
    if not tokenizer.encode(prompt, add_special_tokens=False).ids:
        raise PretrainError("pretrain_prompt", room=room)
    return prompt


def seconds_a_step(recipe: Recipe, *, times: int = 3) -> float:
    """How long a step takes here, measured on a few with a fresh model and made-up tokens; the least of them."""
    row = (np.arange(4 * recipe.max_seq_len * 4) % recipe.vocab_size).astype(np.int32)
    course = FromNothing(recipe, row, row, shards=1)
    took = []
    try:
        for _ in range(times):
            began = time.perf_counter()
            course._learn(recipe.rate(0))
            took.append(time.perf_counter() - began)
    finally:
        course.close()
    return min(took)


class _Teller:
    """Tells a report of a run's steps; a cancel of the job becomes a stop that keeps the state."""

    def __init__(self, course: FromNothing, recipe: Recipe, about: Mapping[str, Any], report: Report) -> None:
        self.course, self.recipe, self.about, self.report = course, recipe, about, report
        self.cancelled = False
        self._at = -math.inf

    def __call__(self, row: Row) -> None:
        now = time.monotonic()
        partial = None
        if now - self._at >= PARTIAL_S or row.sample is not None:
            self._at, partial = now, told(self.course.rows, self.recipe, self.about)
        try:
            self.report(row.step, self.recipe.max_steps, "learning", partial)
        except Cancelled:
            self.cancelled = True


def _tokenizer(text: own_text.OwnText, settings: Mapping[str, Any], folder: Path) -> Tokenizer:
    path = folder / TOKENIZER
    if path.exists():
        return Tokenizer.from_file(str(path))
    return own_text.make_tokenizer(text, settings["cut"], settings["vocab_size"])


def _write(model: Transformer, tokenizer: Tokenizer, prompt: str) -> str:
    return continue_text(model, tokenizer, prompt, seed=SAMPLE_SEED, max_new_tokens=SAMPLE_TOKENS).text


def box_name(name: str, cut: str, depth: int, run: str) -> str:
    """What a box is called on the shelf: after its text, its tokens, its depth, and which run.

    >>> box_name("Mein Text.txt", "characters", 4, "0123456789abcdef")
    'mein-text.characters.depth4.012345'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower().rpartition(".")[0] or name.lower()).strip("-")[:36].strip("-")
    return ".".join([plain or "text", cut, f"depth{depth}", run[:6]])


def _put(
    course: FromNothing, tokenizer: Tokenizer, settings: Mapping[str, Any], result: Mapping[str, Any], ending: Ending
) -> str:
    """Put the best weights on the shelf; a later state of the same run takes its place."""
    facts = {**result, "settings": dict(settings), "ending": ending, "date": time.strftime("%F")}
    name = box_name(result["text"]["name"], settings["cut"], settings["depth"], result["run"])
    model = course.lay_best_in()
    return shelf.put(
        name,
        lambda to: write_pretrained(model, course.recipe, tokenizer, to, name=name, facts=facts),
        trained_on=settings["source"],
        steps=course.best_step,
    )
