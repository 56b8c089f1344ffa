"""The glossary: every part, symbol and term of the guide in both languages, and what other libraries call it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

FILE = Path(__file__).with_name("glossary.toml")

FAMILIES: Mapping[str, str] = MappingProxyType({"gpt2": "GPT-2", "bert": "BERT", "llama": "LLaMA"})
"""The families whose configurations name things differently, each as it is written."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One entry.

    Args:
        key: its name in the address (`?term=attention`).
        zh, en: the term.
        zh_means, en_means: what it means, for a newcomer.
        step: the slug of the step that teaches it.
        symbol: its name in code or in a formula; empty where there is none.
        marks: the words of the sheets that mean it; empty where none is marked.
        pages: slugs of the steps on whose sheets `marks` mean it; empty where they do everywhere.
        parts: its classes in `llmkit.parts`.
        names: fields of `TransformerConfig` → the same setting's name in Hugging Face's configs, by family.

    Raises:
        TypeError: a field is missing, or unknown.
    """

    key: str
    zh: str
    en: str
    zh_means: str
    en_means: str
    step: str
    symbol: str = ""
    marks: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def terms() -> tuple[Term, ...]:
    """Return all entries in the order in which the guide teaches them; an edit of the file shows at once."""
    return _read(FILE.stat().st_mtime_ns)


def term(key: str) -> Term:
    """Return the entry called `key`.

    Raises:
        KeyError: the glossary has no such entry.
    """
    for entry in terms():
        if entry.key == key:
            return entry
    raise KeyError(key)


@cache
def _read(_changed: int) -> tuple[Term, ...]:
    with FILE.open("rb") as file:
        entries = tomllib.load(file)
    return tuple(_term(key, entry) for key, entry in entries.items())


def _term(key: str, entry: Mapping[str, Any]) -> Term:
    """Turn a table of the file into an entry; words to mark are the term and its symbol unless it says which."""
    usual = [word for word in (entry["zh"], entry["en"], entry.get("symbol", "")) if word]
    marks = tuple(dict.fromkeys(entry.get("marks", usual)))
    lists = {name: tuple(entry.get(name, ())) for name in ("pages", "parts")}
    return Term(key=key, **{**entry, **lists, "marks": marks})
