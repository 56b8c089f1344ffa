"""Step 0: the five tools to have at hand, and what fits into today's thirty minutes."""

from __future__ import annotations

from html import escape

import streamlit as st

from components import pictograms
from components.frame import Page, done_steps
from lessons import registry

PLAN_MINUTES = 30


def tools(page: Page) -> None:
    """Draw the five tools with a box to tick on each; all five ticked completes the *do* step."""
    st.html(f"<h2>{escape(page.say('unbox.tools'))}</h2>")
    ticked = []
    with st.container(horizontal=True, key="unbox_tools", gap="medium"):
        for name in registry.TOOLS:
            with st.container(width="content", horizontal_alignment="center", gap="xsmall"):
                st.html(pictograms.picture(name, size="big"), width="content")
                key = f"unbox_tool_{name}"
                ticked.append(st.checkbox(page.say(f"common.tool.{name}"), key=key, persist_state="session"))
    if all(ticked):
        page.tick("do.tools")


def plan(page: Page) -> None:
    """Draw today's plan: the next steps that fit into half an hour, as wide as they are long."""
    chosen = registry.plan(PLAN_MINUTES, done_steps())
    st.html(f"<h2>{escape(page.say('unbox.plan', n=PLAN_MINUTES))}</h2>")
    if not chosen:
        st.success(page.say("unbox.plan.done"))
        return
    opened = registry.available()
    blocks = "".join(
        f'<li style="flex: {step.minutes} 1 9rem">{pictograms.picture(step.pictogram)}'
        f"<span><b>{step.number}</b> {escape(page.say(step.key('title')))}</span>"
        f"<span>{escape(page.say('common.minutes', n=step.minutes))}</span></li>"
        for step in chosen
        if step in opened
    )
    st.html(f'<ol class="plan">{blocks}</ol>')
