"""Pictures: each with its provenance, a text alternative, and its numbers to take away as CSV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

import streamlit as st

from components.badge import Badge
from components.theme import plotly_layout
from lessons import Words
from llmkit.tune.data.safe_cell import safe_cell

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


def draw_plotly(figure: go.Figure, *, key: str, alt: str) -> None:
    """Draw a Plotly figure in the guide's look: large type, thick lines, the page's own colours."""
    figure.update_layout(plotly_layout())
    if (figure.layout.legend.y or 0) > 1:  # upwards from its foot: on a phone its lines stand below each other
        figure.update_layout(legend={"y": 1.02, "yanchor": "bottom"})
    st.plotly_chart(figure, key=f"figure_{key}", alt=alt, config={"displaylogo": False, "responsive": True})


@contextmanager
def shown(*, key: str, badge: Badge, alt: str, data: pd.DataFrame | None, say: Words) -> Iterator[None]:
    """Frame any picture: what is drawn inside the `with` block gets its small print below.

    Args:
        key: unique on the page; also the name of the CSV file.
        badge: where the numbers come from.
        alt: the picture in words, for whoever cannot see it.
        data: the numbers drawn; None only where the picture shows no numbers.
        say: the words of the page's language.
    """
    with st.container(key=f"picture_{key}", gap="xsmall"):
        yield
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.html(
                f'<div class="small-print">{badge.html(say)}'
                f"<details><summary>{escape(say('common.figure.alt'))}</summary><p>{escape(alt)}</p></details></div>",
                width="stretch",
            )
            if data is not None:
                st.download_button(
                    say("common.figure.csv"),
                    data=lambda: as_csv(data),
                    file_name=f"{key}.csv",
                    mime="text/csv",
                    key=f"csv_{key}",
                    on_click="ignore",
                    type="tertiary",
                )


def as_csv(data: pd.DataFrame) -> bytes:
    """Return a picture's numbers as CSV; a text that a spreadsheet would run as a formula stays text."""
    safe = data.copy()
    for at, kind in enumerate(data.dtypes):
        if kind.kind not in "biufc":
            safe.isetitem(at, [safe_cell(cell) for cell in data.iloc[:, at]])
    return safe.rename(columns=safe_cell).to_csv(index=False).encode("utf-8-sig", errors="replace")


def draw_note(text: str) -> None:
    """Draw one line beside a picture. The text may hold anything: it is escaped, and keeps its own direction."""
    st.html(f'<p class="note"><bdi>{escape(text)}</bdi></p>')
