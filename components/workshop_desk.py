"""The instructor's desk in the sidebar: the link, where people are, who is stuck, which steps are open."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape

import pandas as pd
import streamlit as st

from components import audience, present, room_link
from components.frame import plain
from components.workbench import Workbench
from lessons import registry
from llmkit import workshop
from llmkit.workshop import Guest

POLL_S = 3.0
QUIET_S = 180.0
"""Who has done nothing for so long may be stuck."""

_FAILED = "_room_failed"


def draw_desk(bench: Workbench, slug: str, *, leave: Callable[[], None]) -> None:
    """Draw the desk; people and hands are asked again every few seconds.

    Args:
        bench: for the language.
        slug: the step that the instructor shows.
        leave: what makes this session be in no room.
    """
    say = bench.say
    key: str = st.session_state[audience.KEY]
    room = workshop.room()
    if room is None:
        leave()
        return
    with st.sidebar.container(border=True, key="room_desk"):
        if (failed := st.session_state.pop(_FAILED, None)) is not None:
            st.error(sentence(bench, failed))
        st.html(f"<b>{escape(say('workshop.room', code=room.code))}</b>")
        st.button(say("workshop.present"), key="room_present", on_click=lambda: present.turn(on=not present.is_on()))
        _draw_link(bench, room.code)
        _draw_people(bench, key)
        _draw_steps(bench, slug, key, room.closed)
        with st.popover(say("workshop.reset"), key="room_reset_sure"):
            st.caption(say("workshop.reset.what"))
            st.button(say("workshop.reset"), key="room_reset", on_click=_do, args=(workshop.reset, key))
        with st.popover(say("workshop.leave"), key="room_close_sure"):
            st.caption(say("workshop.leave.what"))
            st.button(say("workshop.leave"), key="room_close", on_click=_close, args=(key, leave))


def sentence(bench: Workbench, error: workshop.WorkshopError) -> str:
    """Return what went wrong with the room, in the page's language."""
    return bench.say(f"common.error.{error.code}", **{name: plain(value) for name, value in error.values.items()})


def _close(key: str, leave: Callable[[], None]) -> None:
    _do(workshop.close_room, key)
    if _FAILED not in st.session_state:  # else it is open still, and so is this desk
        leave()


def _do(act: Callable[..., None], *args: object, **kwargs: object) -> None:
    """Do something in the room; where another window has closed it, the page says so when it is drawn."""
    try:
        act(*args, **kwargs)
    except workshop.WorkshopError as error:
        if error.code == "room_database":
            st.session_state[_FAILED] = error


def _draw_link(bench: Workbench, code: str) -> None:
    say, link = bench.say, room_link.address(code)
    with st.expander(say("workshop.link"), expanded=True, key="room_link"):
        if not room_link.is_reachable():
            st.caption(say("workshop.link.closed"))
        drawn = base64.b64encode(room_link.picture(link).encode()).decode()
        alt = escape(say("workshop.qr.alt"))
        st.html(f'<img class="qr" alt="{alt}" src="data:image/svg+xml;base64,{drawn}">')
        st.code(link, language=None, wrap_lines=True)
        st.text_input(
            say("workshop.link"),
            key="room_address",
            max_chars=200,
            help=say("workshop.link.help"),
            label_visibility="collapsed",
            on_change=lambda: room_link.give(st.session_state["room_address"] or ""),
        )


def _draw_people(bench: Workbench, key: str) -> None:
    """Draw who is where and who may be stuck, again every few seconds."""
    say = bench.say

    @st.fragment(run_every=POLL_S)
    def people() -> None:
        try:
            here = [guest for guest in workshop.guests() if guest.is_here()]
        except workshop.WorkshopError as error:
            st.error(sentence(bench, error))
            return
        st.html(f"<b>{escape(say('workshop.here', n=len(here)))}</b>")
        if not here:
            st.caption(say("workshop.nobody"))
            return
        st.dataframe(_where(bench, here), hide_index=True, height="content")
        _draw_stuck(bench, here)

    people()


def _where(bench: Workbench, here: Sequence[Guest]) -> pd.DataFrame:
    """How many guests are on each step, in the guide's order."""
    say, counts = bench.say, Counter(guest.page for guest in here)
    rows = [(f"{one.number} {say(one.key('title'))}", counts[one.slug]) for one in registry.STEPS if counts[one.slug]]
    return pd.DataFrame(rows, columns=[say("workshop.where"), say("workshop.here", n="").strip()])


def _draw_stuck(bench: Workbench, here: Sequence[Guest]) -> None:
    """List raised hands, the longest first, then those that have been quiet for long."""
    say, now = bench.say, time.time()
    hands = [guest for guest in here if guest.hand_at is not None]
    quiet = [guest for guest in here if guest.hand_at is None and now - guest.moved_at > QUIET_S]
    if not hands and not quiet:
        return
    st.html(f"<b>{escape(say('workshop.stuck'))}</b>")
    for guest in hands:
        minutes = int(now - (guest.hand_at or now)) // 60
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(_line(bench, guest, say("workshop.hand.since", n=minutes)))
            st.button(
                say("workshop.hand.lower"),
                key=f"room_helped_{guest.number}",
                on_click=_do,
                args=(workshop.hand, guest.id),
                kwargs={"up": False},
            )
    for guest in quiet:
        st.caption(_line(bench, guest, say("workshop.quiet", n=int(now - guest.moved_at) // 60)))


def _line(bench: Workbench, guest: Guest, state: str) -> str:
    number = next((one.number for one in registry.STEPS if one.slug == guest.page), "")
    name = guest.name or bench.say("workshop.guest", number=guest.number)
    return " · ".join(piece for piece in (plain(name), number, state) if piece)


def _draw_steps(bench: Workbench, slug: str, key: str, closed: frozenset[str]) -> None:
    """Choose which steps guests may not open yet."""
    say = bench.say
    slugs = [one.slug for one in registry.available()]
    titles = {one.slug: f"{one.number} {say(one.key('title'))}" for one in registry.available()}
    chosen = st.multiselect(
        say("workshop.closed"),
        slugs,
        [one for one in slugs if one in closed],
        format_func=lambda one: titles[one],
        key=f"room_closed_{'-'.join(sorted(closed))}",
    )
    if set(chosen) != set(closed) & set(slugs):
        workshop.set_closed(key, chosen)
        st.rerun()
    with st.container(horizontal=True):
        others = [one for one in slugs if one != slug]
        st.button(say("workshop.close.others"), key="room_only", on_click=_do, args=(workshop.set_closed, key, others))
        st.button(say("workshop.close.none"), key="room_all", on_click=_do, args=(workshop.set_closed, key, ()))
