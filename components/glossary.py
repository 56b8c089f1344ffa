"""The glossary on every page: terms are explained where they stand, and the key ? opens all of them.

Its entries are part of the component's script. In one language that message is the same for every page and every run,
so Streamlit sends it to a browser once; from then on nothing of the glossary asks the server.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import streamlit as st

from lessons import glossary, registry
from lessons.language import Words

_FOLDER = Path(__file__).with_name("js")


def _script() -> str:
    """Return the component's script with the entries in front of it."""
    entries = json.dumps([dataclasses.asdict(term) for term in glossary.terms()], ensure_ascii=False)
    return f"const GLOSSARY = {entries};\n{(_FOLDER / 'glossary.js').read_text(encoding='utf-8')}"


_glossary = st.components.v2.component(
    "llm_guide_glossary", js=_script(), css=(_FOLDER / "glossary.css").read_text(encoding="utf-8")
)


def lay_out(say: Words) -> None:
    """Give the page its glossary, in the language of `say`: marks, popover, dialog and the button that opens it."""
    steps = registry.available()
    front = steps[0].slug
    _glossary(
        key="glossary",
        data={
            "lang": say.lang,
            "families": dict(glossary.FAMILIES),
            "words": {
                "title": say("glossary.title"),
                "search": say("glossary.search"),
                "here": say("glossary.here"),
                "all": say("glossary.all"),
                "found": say("glossary.found"),
                "none": say("glossary.none"),
                "parts": say("glossary.parts"),
                "names": say("glossary.names"),
                "close": say("glossary.close"),
                "open": say("glossary.open"),
                "more": say("glossary.more"),
            },
            "steps": {
                step.slug: {
                    "path": "" if step.slug == front else step.slug,
                    "label": say("glossary.step", number=step.number, title=say(step.key("title"))),
                }
                for step in steps
            },
        },
        height=1,
    )
