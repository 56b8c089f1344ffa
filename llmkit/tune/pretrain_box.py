"""The box of a model that was trained from nothing: weights, tokenizer, configuration, and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from llmkit.parts import Transformer
from llmkit.tune.box import write_gpt2
from llmkit.tune.machine import describe_machine
from llmkit.tune.recipe import Recipe


def write_pretrained(
    model: Transformer, recipe: Recipe, tokenizer: Tokenizer, folder: Path, *, name: str, facts: Mapping[str, Any]
) -> None:
    """Write a box that ``GPT2LMHeadModel.from_pretrained`` and ``llmkit.reference.open_folder`` open: a GPT-2, float32.

    Args:
        model: as it is to be kept. recipe, tokenizer: its own. folder: empty. name: of the box.
        facts: what the job tells of the run (`llmkit.tune.pretrain_job.run`).
    """
    tensors = {key: tensor.detach().cpu() for key, tensor in model.state_dict().items()}
    write_gpt2(tensors, recipe.parts, tokenizer, folder)
    machine = asdict(describe_machine())
    written = {"config": asdict(recipe), "machine": machine, **facts}
    (folder / "training.json").write_text(
        json.dumps(written, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(pretrain_card(recipe, name, written), encoding="utf-8")


def pretrain_card(recipe: Recipe, name: str, facts: Mapping[str, Any]) -> str:
    """The card of a box, told from its run's figures alone."""
    text, machine = facts["text"], facts["machine"]
    rows = {
        "architecture": "GPT-2 (`GPT2LMHeadModel`), exact GELU",
        "layers, heads, width": f"{recipe.n_layers}, {recipe.n_heads}, {recipe.d_model}",
        "parameters": f"{recipe.parameters:,}",
        "longest text": f"{recipe.max_seq_len} tokens",
        "vocabulary": f"{recipe.vocab_size:,} tokens ({facts['settings']['cut']})",
        "text": f"{_plain(text['name'])}: {text['characters']:,} characters, {text['tokens']:,} tokens",
        "held out": f"{text['held_out_tokens']:,} tokens: the last tenth",
        "steps": f"{facts['step']:,} of {facts['steps']:,} ({facts['ending']}); kept: step {facts['best_step']:,}",
        "loss on held-out text": f"{facts['best_loss']:.3f} nats a token at step {facts['best_step']:,}",
        "time": f"{facts['seconds']:.0f} s of training steps",
        "learning rate": f"{recipe.learning_rate:g}, down to {recipe.least_rate:g}",
        "seed": str(recipe.seed),
        "machine": f"{machine['cpu']}, {machine['cores']} cores; torch {machine['torch']}; {machine['date']}",
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    return f"""# {name}

A GPT-2 trained from nothing for learning how a language model works; not for anything else. Whatever its text
holds, it may repeat.

| part | value |
|---|---|
{table}
"""


def _plain(name: str) -> str:
    """A file's name as one cell of a table."""
    return " ".join(str(name).replace("|", "/").split())[:80]
