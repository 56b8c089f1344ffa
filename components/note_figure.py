"""A note's figure in the notebook: the picture in words, where its numbers come from, and the numbers as CSV."""

from __future__ import annotations

import csv
import io
from html import escape

import streamlit as st

from components.drawn import MOST_NAME
from components.frame import Page
from llmkit import journal
from llmkit.journal.text import quoted
from llmkit.tune.data.safe_cell import write_csv


def draw_figure(page: Page, profile: str, note: journal.Note) -> None:
    """Draw one line for the figure that is kept with a note, to be opened where its words are long."""
    if not note.figure_kind:
        return
    short = quoted(note.figure_name, most=MOST_NAME)
    told = f"<bdi>{escape(page.say('notebook.figure', name=short))}</bdi>"
    if short == note.figure_name:
        told = f"<span>{told}</span>"
    else:
        told = f"<details><summary>{told}</summary><p><bdi>{escape(note.figure_name)}</bdi></p></details>"
    badge = f'<span class="badge">{escape(note.figure_badge)}</span>' if note.figure_badge else ""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"notebook_figure_{note.id}"):
        st.html(f'<div class="small-print">{badge}{told}</div>', width="stretch")
        st.download_button(
            page.say("common.figure.csv" if note.figure_kind == "csv" else "notebook.figure.png"),
            lambda: _file(profile, note.id),
            file_name=f"{note.figure_key or note.id}.{note.figure_kind}",
            mime=f"{'text' if note.figure_kind == 'csv' else 'image'}/{note.figure_kind}",
            key=f"notebook_numbers_{note.id}",
            on_click="ignore",
            type="tertiary",
        )
    if note.figure_left_out:
        st.caption(page.say("notebook.figure.left_out", n=f"{note.figure_left_out:,}"))


def _file(profile: str, note_id: str) -> bytes:
    """Return a note's figure as a file; numbers that came with another's notebook run nothing in a spreadsheet."""
    figure = journal.figure(profile, note_id)
    if figure is None or figure.kind == "png":
        return figure.content if figure else b""
    head, *rows = csv.reader(io.StringIO(figure.content.decode("utf-8-sig"), newline=""))
    return write_csv(head, rows)
