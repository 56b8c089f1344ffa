"""See the code: a part's real source beside its picture, opened at its line. Never a copy."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from components.frame import Page
from lessons import registry

_FOLDER = Path(__file__).with_name("js")
_CITED = re.compile(r"^Source: (.+?)(?:\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a class or function is written.

    Args:
        name: its own name.
        path: the file, from the project's root, with forward slashes.
        text: the whole file.
        line, end: its first and last line, counted from 1.
        paper: what its docstring names as its source; empty where it names none.
    """

    name: str
    path: str
    text: str
    line: int
    end: int
    paper: str


@cache
def locate(thing: type | Callable[..., Any]) -> Source:
    """Return where `thing` is written.

    Raises:
        TypeError, OSError: it has no Python source.
        ValueError: its source is not the project's.
    """
    thing = inspect.unwrap(thing)
    lines, start = inspect.getsourcelines(thing)
    file = Path(inspect.getsourcefile(thing) or "")
    cited = _CITED.search(inspect.getdoc(thing) or "")
    return Source(
        name=thing.__name__,
        path=file.resolve().relative_to(registry.ROOT.resolve()).as_posix(),
        text=file.read_text(encoding="utf-8"),
        line=start,
        end=start + len(lines) - 1,
        paper=" ".join(cited[1].replace("``", "").split()) if cited else "",
    )


_source = st.components.v2.component(
    "llm_guide_source",
    js="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("copying.js", "source.js")),
    css=(_FOLDER / "source.css").read_text(encoding="utf-8"),
)


def draw_source(page: Page, *things: type | Callable[..., Any]) -> None:
    """Show the source of parts, folded: each with its file and line, alone or in its whole file.

    Put it directly after the picture it belongs to: `draw_source(page, Attention)`.

    Args:
        page: the sheet.
        things: classes and functions of the project; the first is shown when the learner unfolds it.
    """
    found = [locate(thing) for thing in things]
    _source(
        key=f"source_{page.step.slug}_{'_'.join(source.name for source in found)}",
        data={
            "files": {source.path: source.text for source in found},
            "parts": [
                {"name": one.name, "path": one.path, "line": one.line, "end": one.end, "paper": one.paper}
                for one in found
            ],
            "words": {
                "title": page.say("source.title"),
                "whole": page.say("source.whole"),
                "copy": page.say("source.copy"),
                "where": page.say("source.where"),
                "copied": page.say("source.copied"),
                "place": page.say("source.place"),
                "paper": page.say("source.paper"),
            },
        },
        height="content",
    )
