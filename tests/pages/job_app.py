"""A tiny app for the tests of the job panel: one sheet with one job, whose kind and settings the address names."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import streamlit as st

sys.path.insert(0, str(Path(__file__).parents[2]))  # streamlit looks beside the script alone

from components import door, job_list, theme, workbench
from components.frame import Page, section
from components.job_panel import draw_job
from lessons import registry

st.set_page_config(layout="wide")
theme.dress()
bench = workbench.lay_out()
job_list.draw_jobs(bench)
door.open_door(bench, "")

kind = st.query_params.get("kind", "test_add")
settings = json.loads(st.query_params.get("settings", "{}"))


def show(value: Any) -> None:
    """Draw what the task has shown so far."""
    st.caption(f"so far: {value}")


def draw(page: Page) -> None:
    """Draw the job and, when it is there, its result."""
    made = draw_job(page, kind, settings, label="Start it", key="it", partial=show)
    if made is not None:
        st.caption(f"result: {str(made.value).replace(chr(39), '')} {made.badge.text(page.bench.say)}")


page = Page(step=registry.step("tokens"), bench=workbench.current())
page.draw_head()
with page.guard():
    (section(draw) if st.query_params.get("section") else draw)(page)
page.close()
