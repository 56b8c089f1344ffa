"""The workshop on every page: a guest's bar, the instructor's desk in the sidebar, the door to a room."""

from __future__ import annotations

import hashlib
import json

import streamlit as st

from components import audience, present, room_link, workshop_desk
from components.frame import plain
from components.workbench import Workbench
from lessons import registry
from llmkit import workshop

POLL_S = 10.0
"""How often a guest's device is heard of, and hears of the room."""

ROOM = "room"
"""The address's name for the room: ``?room=K7QM``."""

_member = st.components.v2.component("llm_guide_member", js=room_link.script("member"))


def take_part(bench: Workbench, slug: str) -> bool:
    """Draw the room's part of a page; return whether the page itself may be drawn.

    Args:
        bench: for the language.
        slug: the step that is opened.
    """
    code = _code()
    try:
        room = workshop.room()
        if code is None or room is None or room.code != code:
            _forget_role()
            _draw_door(bench, room, code)
            present.lay_out(bench)
            return True
        _recognise(code)
        if audience.teaches():
            workshop.teach_at(st.session_state[audience.KEY], slug)
            _draw_stage(bench, code)
            workshop_desk.draw_desk(bench, slug, leave=_leave)
            return True
        present.lay_out(bench)
        return _draw_bar(bench, slug, room)
    except workshop.WorkshopError as error:
        st.sidebar.error(workshop_desk.sentence(bench, error))
        present.lay_out(bench)
        return True


def _code() -> str | None:
    """Return the code of the room that this session is in, from its address at first; put it into the address."""
    state = st.session_state
    if audience.CODE not in state and (asked := st.query_params.get(ROOM)):
        state[audience.CODE] = asked.strip().upper()[:20]
    code: str | None = state.get(audience.CODE)
    if code is not None and st.query_params.get(ROOM) != code:
        st.query_params[ROOM] = code
    return code


def _recognise(code: str) -> None:
    """Learn from the browser who this device is, and join."""
    state = st.session_state
    result = _member(
        key="member",
        data={"code": code, "key": state.get(audience.KEY, ""), "told": state.get("member", {}).get("told", "")},
        on_told_change=lambda: None,
        height=1,
    )
    try:
        guest, key = json.loads(result.get("told") or "")
    except (ValueError, TypeError):
        return
    if audience.teaches():
        return
    if workshop.is_instructor(str(key)):
        state[audience.KEY] = str(key)
        state.pop(audience.GUEST, None)
    else:
        joined = workshop.join(code, str(guest))
        mark = hashlib.sha256(joined.id.encode()).hexdigest()[:6]  # a number is given again when the room is reset
        state[audience.GUEST], state[audience.LABEL] = joined.id, f"{code} {mark}"


def _leave() -> None:
    """Be in no room any more."""
    _forget_role()
    st.session_state.pop(audience.CODE, None)
    st.query_params.pop(ROOM, None)


def _forget_role() -> None:
    """Be neither guest nor instructor: the room is another, or none."""
    for name in (audience.KEY, audience.GUEST, audience.LABEL):
        st.session_state.pop(name, None)


def _draw_door(bench: Workbench, room: workshop.Room | None, asked: str | None) -> None:
    """Draw how to open a room, or to join the one that is open; say when the one that was asked for is not."""
    say = bench.say
    if asked is not None:
        st.sidebar.warning(say("common.error.room_unknown", room=plain(asked)))
        if st.sidebar.button(say("workshop.bar.leave"), key="room_leave", on_click=_leave):
            return
    with st.sidebar.expander(say("workshop.title"), key="room_door"):
        st.button(say("workshop.present"), key="room_present", on_click=lambda: present.turn(on=not present.is_on()))
        if room is not None:
            st.button(say("workshop.join", code=room.code), key="room_join", on_click=_enter, args=(room.code,))
            return
        st.caption(say("workshop.open.what"))
        st.button(say("workshop.open"), key="room_open", on_click=_open)  # a press is never lost in a callback


def _open() -> None:
    try:
        made, st.session_state[audience.KEY] = workshop.open_room()
    except workshop.WorkshopError:
        return  # what is wrong is said when the page is drawn: the file, or a room that can be joined
    _enter(made.code)


def _enter(code: str) -> None:
    st.session_state[audience.CODE] = st.query_params[ROOM] = code


def _draw_stage(bench: Workbench, code: str) -> None:
    """Draw the stage with the room's link; how many are there is asked again and again where it is on."""
    link, on = room_link.address(code), present.is_on()

    @st.fragment(run_every=workshop_desk.POLL_S if on else None)
    def stage() -> None:
        if present.is_on() != on:
            st.rerun()  # the whole page changes
        here = [guest for guest in workshop.guests() if guest.is_here()]
        hands = sum(guest.hand_at is not None for guest in here)
        present.lay_out(bench, link=link, picture=room_link.picture(link), here=len(here), hands=hands)

    stage()


def _draw_bar(bench: Workbench, slug: str, room: workshop.Room) -> bool:
    """Draw a guest's bar above the page; return whether the step is open."""
    say, guest = bench.say, audience.guest_id()
    if guest is not None:
        workshop.seen(guest, slug, moved=True)
    is_open = slug not in room.closed
    teacher = room.page

    @st.fragment(run_every=POLL_S)
    def bar() -> None:
        try:
            now = workshop.room()
            if now is None or now.code != room.code or (slug not in now.closed) != is_open or now.page != teacher:
                st.rerun()
            if guest is not None:
                workshop.seen(guest, slug, moved=False)
                _draw_hand(bench, guest, room, slug)
        except workshop.WorkshopError as error:
            st.error(workshop_desk.sentence(bench, error))

    with st.container(border=True, key="room_bar"):
        bar()
    if not is_open:
        st.info(say("workshop.step.closed"))
    return is_open


def _draw_hand(bench: Workbench, guest: str, room: workshop.Room, slug: str) -> None:
    """Draw where the instructor is, the hand, and the guest's name."""
    say = bench.say
    mine = next((one for one in workshop.guests() if one.id == guest), None)
    if mine is None:  # the room was reset: join again
        st.rerun()
    up = mine.hand_at is not None
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.html(f'<b class="room-code">{room.code}</b>')
        step = next((one for one in registry.available() if one.slug == room.page), None)
        if step is not None and step.slug != slug:
            title = say(step.key("title"))
            st.page_link(step.script, label=f"{say('workshop.bar.instructor')} {step.number} {title}")
        name = "hand.down" if up else "hand"
        st.button(say(f"workshop.bar.{name}"), key="room_hand", on_click=lambda: workshop.hand(guest, up=not up))
        with st.popover(mine.name or say("workshop.guest", number=mine.number), key="room_me"):
            st.text_input(
                say("workshop.bar.name"),
                mine.name,
                key="room_name",
                max_chars=workshop.NAME_CHARACTERS,
                help=say("workshop.bar.name.help"),
                on_change=lambda: workshop.rename(guest, st.session_state["room_name"] or ""),
            )
            st.button(say("workshop.bar.leave"), key="room_leave", on_click=_leave)
    if up:
        st.caption(say("workshop.bar.hand.up"))
