"""The look: black line on white, one accent colour; large enough for the back of a room, narrow enough for a phone."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import streamlit as st

from components import pictograms

_STYLE = Path(__file__).with_name("sheet.css")
ACCENT = "#d9523c"
QUIET = "#8a8580"
"""Colours of plots: both can be told from the ground, white or dark; letters take the theme's own colour."""

ICON = str(Path(__file__).with_name("icon.svg"))


def dress() -> None:
    """Put the guide's style sheet on the page; call it once, from app.py."""
    st.html(f"<style>{_STYLE.read_text(encoding='utf-8')}\n{pictograms.style()}</style>")


def own_style(slug: str) -> str:
    """Return a page's own style sheet, `components/<slug>_style.css`, as HTML; put it on the page once."""
    return f"<style>{Path(__file__).with_name(f'{slug}_style.css').read_text(encoding='utf-8')}</style>"


def plot_text(text: str) -> str:
    """Return a text for a Plotly figure, whose labels know three entities of HTML and no quotes'.

    >>> plot_text('<b> & "c"')
    '&lt;b&gt; &amp; "c"'
    """
    return escape(text, quote=False)


def plotly_layout() -> dict[str, Any]:
    """Return the layout that every Plotly figure takes: type size and margins; colours follow the page's theme."""
    return {
        "font": {"size": 16},
        "margin": {"l": 8, "r": 8, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "dragmode": False,
    }
