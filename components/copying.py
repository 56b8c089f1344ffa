"""A text to take away: shown as it is, and copied at a press."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from lessons import Words

_FOLDER = Path(__file__).with_name("js")
_SCRIPTS = ("attention_common.js", "copying.js", "copying_text.js")

_copying = st.components.v2.component(
    "llm_guide_copying",
    js="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS),
    css=(_FOLDER / "copying.css").read_text(encoding="utf-8"),
)


def draw_copying(text: str, say: Words, *, name: str, label: str, key: str) -> bool:
    """Draw a text with a button that copies it; return whether it was ever pressed.

    Args:
        name: what the text is, for whoever cannot see it. label: of the button. key: unique on the page.
    """
    words = {"name": name, "copy": label, "copied": say("source.copied")}
    pressed = _copying(key=key, data={"text": text, "words": words}, on_copied_change=lambda: None, height="content")
    return bool(pressed.copied)
