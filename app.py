"""The door of the LLM Assembly Guide: look, language, workbench, navigation. Start: streamlit run app.py"""

import streamlit as st

from components import door, job_list, theme, workbench, workshop
from lessons import registry

st.set_page_config(page_icon=theme.ICON, layout="wide", initial_sidebar_state="auto")
theme.dress()
say = workbench.words_now()
page = st.navigation(  # before the workbench: what it lacks is laid in a second run, which must find the page
    [
        st.Page(
            step.script,
            title=f"{step.number} {say(step.key('title'))}",
            url_path=step.slug,
            default=step is registry.STEPS[0],
        )
        for step in registry.available()
    ],
    expanded=True,
)
bench = workbench.lay_out()
job_list.draw_jobs(bench)
door.open_door(bench, page.url_path)
if workshop.take_part(bench, page.url_path or registry.STEPS[0].slug):
    page.run()
