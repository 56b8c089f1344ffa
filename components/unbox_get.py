"""Step 0: get boxes. Downloads belong to the app, not to the tab; here they are started, watched and cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from components.frame import Page, plain
from components.unbox_kit import megabytes, other_boxes

if TYPE_CHECKING:
    from llmkit.shelf import Download

POLL_S = 1.0


def get_boxes(page: Page) -> None:
    """Draw the buttons that fetch boxes, and below them the downloads of this app."""
    from llmkit import shelf

    missing = [box.id for box in shelf.catalogue().values() if shelf.locate(box.id) is None]
    kit = [box_id for box_id in shelf.standard_kit() if box_id in missing]
    if kit:
        size = megabytes(sum(shelf.entry(box_id).size_bytes for box_id in kit))
        if st.button(page.say("unbox.get.kit", n=len(kit), size=size), key="unbox_get_kit", type="primary"):
            _start(kit)
    else:
        page.tick("do.get")
        st.success(page.say("unbox.get.kit_here"))
    if shelf.downloads().all():
        _watch(page, shelf.downloads().all())
    with st.expander(page.say("unbox.get.other"), key="unbox_other"):
        other_boxes(page)
        _one_box(page, [box_id for box_id in missing if box_id not in kit])
        _own_box(page)


def get_missing(page: Page) -> None:
    """Draw how to fetch one box of the catalogue that is not here, and below it the downloads of this app."""
    from llmkit import shelf

    _one_box(page, [box.id for box in shelf.catalogue().values() if shelf.locate(box.id) is None])
    if shelf.downloads().all():
        _watch(page, shelf.downloads().all())


def _one_box(page: Page, missing: list[str]) -> None:
    """Choose one box of the catalogue and get it."""
    chosen = st.selectbox(page.say("unbox.get.choose"), missing, index=None, key="unbox_choose")
    if st.button(page.say("unbox.get.one"), key="unbox_get_one", disabled=chosen is None) and chosen:
        _start([chosen])


def _own_box(page: Page) -> None:
    """Type in a folder of one's own, or the name of a repository on the hub."""
    from llmkit import shelf

    name = st.text_input(page.say("unbox.own"), key="unbox_own", placeholder=page.say("unbox.own.example"))
    if not st.button(page.say("unbox.own.use"), key="unbox_use_own", disabled=not name) or not name:
        return
    with page.guard():
        box_id = box_name(name)
        if shelf.locate(box_id) is not None:
            _lay_on_the_workbench(page, box_id)
        elif box_id.startswith("folder:"):
            raise shelf.ShelfError("box_missing", box=box_id)
        else:
            _start([box_id])


def box_name(typed: str) -> str:
    """Return what was typed as a box's id: a path becomes ``folder:…``, anything else ``hub:…``.

    >>> box_name("/home/me/box"), box_name("owner/name"), box_name("hub:owner/name")
    ('folder:/home/me/box', 'hub:owner/name', 'hub:owner/name')
    """
    typed = typed.strip()
    if typed.startswith(("folder:", "hub:")):
        return typed
    is_path = typed.startswith(("/", "~", ".", "\\")) or typed[1:3] in (":\\", ":/")
    return f"folder:{typed}" if is_path else f"hub:{typed}"


def _lay_on_the_workbench(page: Page, box_id: str) -> None:
    st.session_state["_workbench_fill"] = {"box": box_id}
    st.rerun()


def _start(box_ids: list[str]) -> None:
    from llmkit import shelf

    for box_id in box_ids:
        shelf.entry(box_id)
        shelf.downloads().start(box_id)
    st.rerun()


def _watch(page: Page, seen: tuple[Download, ...]) -> None:
    """Draw every download; while one is going on, draw again each second, and the whole page when one ends."""
    from llmkit import shelf

    active = any(download.active for download in seen)

    @st.fragment(run_every=POLL_S if active else None)
    def watch() -> None:
        now = shelf.downloads().all()
        if [download.active for download in now] != [download.active for download in seen]:
            st.rerun()
        for download in now:
            _draw(page, download)

    watch()


def _draw(page: Page, download: Download) -> None:
    """One download: how many bytes, how fast, how long still, and a way to stop it; or how it ended."""
    from llmkit import shelf

    name = plain(download.box_id)
    if download.phase == "done":
        st.success(page.say("unbox.get.done", box=name))
        return
    if download.phase in ("failed", "cancelled"):
        with page.guard():
            error = download.error
            if error is not None and getattr(error, "code", None) is None:  # nothing that the shelf foresaw
                st.error(page.say("common.error.other", code=type(error).__name__))
            elif error is not None:
                raise error
        if st.button(page.say("unbox.get.again", box=name), key=f"unbox_again_{download.box_id}"):
            _start([download.box_id])
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        done, total, line = _progress(page, download)
        st.progress(min(done / total, 1.0) if total else 0.0, text=f"**{name}** · {line}")
        if st.button(page.say("unbox.get.cancel", box=name), key=f"unbox_cancel_{download.box_id}"):
            shelf.downloads().cancel(download.box_id)


def _progress(page: Page, download: Download) -> tuple[int, int, str]:
    """Return bytes done, bytes in all (0: not known) and the line that says so."""
    progress = download.progress
    if progress is None:
        return 0, 0, page.say("unbox.stage.queued")
    pieces = [page.say(f"unbox.stage.{progress.stage}")]
    if progress.bytes_total:
        pieces.append(f"{megabytes(progress.bytes_done)} / {megabytes(progress.bytes_total)}")
    elif progress.bytes_done:
        pieces.append(megabytes(progress.bytes_done))
    if progress.bytes_per_s:
        pieces.append(page.say("unbox.get.rate", rate=megabytes(progress.bytes_per_s)))
    if progress.seconds_left is not None:
        pieces.append(page.say("unbox.get.left", s=f"{progress.seconds_left:.0f}"))
    return progress.bytes_done, progress.bytes_total, " · ".join(pieces)
