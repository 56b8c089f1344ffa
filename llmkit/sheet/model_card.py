"""A model card as the Hugging Face hub reads it: a head in YAML, then what was done, in tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from llmkit.sheet.paper import Line

PIPELINES: Mapping[str, str] = {"gpt2": "text-generation", "llama": "text-generation", "bert": "feature-extraction"}
"""A family → the hub's name of what its boxes do."""


def model_card(
    name: str, lines: Sequence[Line], *, licence: str, languages: Sequence[str], family: str, base: str, about: str
) -> str:
    """Return the card: README.md of a repository of models.

    Args:
        name: of the box. lines: of the assembly sheet. licence: its SPDX id. languages: as the catalogue says.
        family: gpt2, llama or bert. base: the box that it was made from; empty where it was made from nothing.
        about: what it is, in a sentence or two.
    """
    head = {
        "license": licence.lower() or "other",
        "language": [one.partition("-")[0] for one in languages] or ["en"],
        "library_name": "transformers",
        "pipeline_tag": PIPELINES.get(family, "text-generation"),
        "tags": [family, "teaching"],
        **({"base_model": base} if base else {}),
    }
    # JSON is YAML, and leaves nothing to a name that looks like markup
    yaml = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    return "\n".join(["---", yaml, "---", "", f"# {_plain(name)}", "", _plain(about), "", *map(_section, lines)])


def _section(line: Line) -> str:
    rows = "".join(f"| {_plain(key)} | {_plain(value)} |\n" for key, value in line.facts)
    when = f"\n{_plain(line.when)}\n" if line.when else ""
    return f"## {_plain(line.number)} {_plain(line.title)}\n{when}\n| | |\n|---|---|\n{rows}"


def _plain(text: str) -> str:
    """Return a text that Markdown and HTML leave as it is, on one line."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", line).replace("&", "&amp;")
