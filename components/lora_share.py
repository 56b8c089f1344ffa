"""The LoRA page: an adapter to take away, one to bring, one to throw away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from components import engine
from components import lora_engine as found
from components import lora_plan as asked
from components.figure import draw_note
from components.frame import Page, section
from components.lora_engine import Desk
from components.lora_sections import adapter_name
from llmkit import jobs

if TYPE_CHECKING:
    from llmkit.tune.adapter_shelf import Here

_BROUGHT = "_lora_brought"


@section
def draw_share(page: Page, desk: Desk) -> None:
    """Draw the ways to take an adapter away, to bring one, and to throw one away."""
    st.header(page.say("lora.share.title"))
    if desk.chosen is not None:
        _draw_take(page, desk.chosen)
    with st.expander(page.say("lora.share.bring"), key="lora_bring_more"):
        _draw_bring(page, desk)


def _draw_take(page: Page, one: Here) -> None:
    """Draw the download, the lines that open it, and the way to delete it."""
    from llmkit.tune.adapter_pack import snippet

    say = page.say
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            say("lora.share.take"),
            data=lambda: found.packed(one),
            file_name="adapter.zip",
            mime="application/zip",
            key="lora_take",
            on_click="ignore",
        )
        if one.origin != "classifier":
            with st.popover(say("lora.share.delete")):
                st.write(say("lora.share.delete.sure", name=adapter_name(page, one)))
                if st.button(say("lora.share.delete.yes"), key="lora_delete", type="primary"):
                    _delete(one)
                    st.rerun()
    draw_note(say("lora.share.what"))
    st.code(snippet(engine.open_box(one.box_id), "adapter"), language="python", wrap_lines=True)


def _delete(one: Here) -> None:
    """Throw an adapter away, and the job that made it, so that it can be made again."""
    from llmkit.tune.adapter_shelf import remove
    from llmkit.tune.run_folder import run_id

    remove(one)
    for job in jobs.all_jobs():
        if job.kind == asked.TRAIN and not job.active and run_id(job.settings) == one.id:
            jobs.forget(job.id)


def _draw_bring(page: Page, desk: Desk) -> None:
    """Take PEFT's two files, or a ZIP of them, and keep the adapter where it belongs to this box."""
    from llmkit.tune.adapter_shelf import LIMIT_MB, bring

    given = st.file_uploader(
        page.say("lora.share.files", box=desk.box_id, mb=LIMIT_MB),
        accept_multiple_files=True,
        max_upload_size=LIMIT_MB,
        key="lora_files",
    )
    ids = tuple(one.file_id for one in given)
    if not given or st.session_state.get(_BROUGHT) == (desk.box_id, ids):
        return
    with page.guard():
        bring({one.name: one.getvalue() for one in given}, engine.open_box(desk.box_id))
        st.session_state[_BROUGHT] = (desk.box_id, ids)
        st.rerun()
