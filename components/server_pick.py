"""Choose a server that speaks OpenAI's way: a deployment of this machine, or any address that is entered.

A key is held in the session alone, in a field that shows none of it. An address that leads into the own network is
asked for nothing before the learner has confirmed it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import streamlit as st

from components import deploy_engine
from components import socket_engine as found
from components.figure import draw_note
from components.frame import Page, plain
from components.socket_engine import Target
from llmkit.serve.client import base_address
from llmkit.serve.deployment import Deployment

if TYPE_CHECKING:
    from llmkit.serve.destination import Destination
    from llmkit.serve.reply import Reply

POLL_S = 1.0
KNOWN_S = 60.0
"""So long what another's server said of itself is not asked for again."""

_CONFIRMED, _KNOWN = "_server_confirmed", "_server_known"


def draw_pick(page: Page, *, name: str, label: str, other: str, confirms: bool = False) -> Target | None:
    """Let the learner choose a server; None, and the way out, while none answers.

    Args:
        name: what the widgets' keys begin with. label: what stands above the list. other: above the address.
        confirms: an address is looked up first, and one that leads into the own network has to be confirmed.
    """
    running = {one.id: one for one in found.running()}
    chosen: Deployment | None = None
    if running:
        picked = st.selectbox(
            label,
            tuple(running),
            format_func=lambda one: _named(running.get(one), one),
            key=f"{name}_pick",
            persist_state="session",
        )
        chosen = running.get(picked)
    with st.expander(other):
        typed = st.text_input(
            page.say("socket.pick.address"), key=f"{name}_address", max_chars=300, persist_state="session"
        )
        draw_note(page.say("socket.pick.other.what"))
    if typed:
        return _other(page, typed, name=name, confirms=confirms)
    if chosen is None:
        _offer_start(page, name)
        return None
    if chosen.has_key:
        _ask_key(page, chosen, name)
    target, reply = found.deployed(chosen)
    if target is None:
        if chosen.state in ("starting", "loading") or reply.error == "not_ready":
            _wait(page, chosen)
        else:
            _silent(page, chosen.address, reply)
        return None
    _about(page, target)
    return target


def _named(one: Deployment | None, name: str) -> str:
    return name if one is None else f"{one.box} · {one.form} · {one.address}"


def _other(page: Page, typed: str, *, name: str, confirms: bool) -> Target | None:
    """A server that the learner has named."""
    with page.guard():
        address = base_address(typed)
        ip = None
        if confirms:
            destination = _look_up(page, address, name)
            if destination is None:
                return None
            ip = destination.ip
        key = st.text_input(
            page.say("socket.pick.key"),
            found.other_key(address) or "",
            key=f"{name}_key_{address}",
            type="password",
            max_chars=500,
            autocomplete="off",
        )
        found.keep_other_key(address, (key or "").strip())
        target, reply = _known(address, ip) if confirms else found.other(address, found.other_key(address) or None)
        if target is None:
            _silent(page, address, reply)
            return None
        _about(page, target)
        return target
    return None


def _look_up(page: Page, address: str, name: str) -> Destination | None:
    """Where an address leads; None while it leads into the own network and the learner has not said that it may.

    Raises:
        SocketError: ``address_unresolved``.
    """
    from llmkit.serve.destination import look_up

    found_there = look_up(address)
    confirmed: set[tuple[str, str]] = st.session_state.setdefault(_CONFIRMED, set())
    mark = (address, found_there.ip)
    if found_there.reach == "public":
        if address.startswith("http:"):
            st.warning(page.say("socket.pick.open"))
        return found_there
    if mark in confirmed:
        return found_there
    st.warning(page.say(f"socket.pick.reach.{found_there.reach}", host=plain(found_there.host), ip=found_there.ip))
    st.button(
        page.say("socket.pick.confirm", ip=found_there.ip),
        key=f"{name}_confirm",
        on_click=lambda: confirmed.add(mark),
    )
    return None


def _known(address: str, ip: str | None) -> tuple[Target | None, Reply]:
    """What a server has said of itself lately; asked again after a while, and when the key is another one."""
    key = found.other_key(address) or None
    kept: dict[object, tuple[float, tuple[Target, Reply]]] = st.session_state.setdefault(_KNOWN, {})
    mark = (address, ip, key)
    if mark in kept and time.monotonic() - kept[mark][0] < KNOWN_S:
        return kept[mark][1]
    target, reply = found.other(address, key, ip=ip)
    if target is not None and reply.ok:
        kept.clear()
        kept[mark] = (time.monotonic(), (target, reply))
    return target, reply


def _silent(page: Page, address: str, reply: Reply) -> None:
    error = found.error_words(page, reply.error or "")
    st.error(page.say("socket.pick.silent", address=plain(address), error=plain(error)))


def _offer_start(page: Page, name: str) -> None:
    """No server runs: say so, and start the workbench's box at a press."""
    st.info(page.say("socket.pick.none"))
    page.lead("deploy")
    with page.guard():
        deploy_engine.require_whole(page.bench)
        if st.button(page.say("socket.pick.start", box=plain(page.bench.box_id)), key=f"{name}_start", type="primary"):
            with st.spinner(page.say("socket.pick.starting")):
                deploy_engine.start(page.bench, deploy_engine.FLOAT32, port=None, key="", stays=False, everyone=False)
            st.rerun()


def _ask_key(page: Page, chosen: Deployment, name: str) -> None:
    key = st.text_input(
        page.say("socket.pick.key"),
        deploy_engine.key_of(chosen) or "",
        key=f"{name}_key_{chosen.id}",
        type="password",
        max_chars=500,
        autocomplete="off",
    )
    deploy_engine.keep_key(chosen, (key or "").strip())
    if not key:
        draw_note(page.say("socket.pick.key.wants"))


def _wait(page: Page, chosen: Deployment) -> None:
    """Say that it is loading, and draw the page again when it is there."""
    seen = chosen.state

    @st.fragment(run_every=POLL_S)
    def watch() -> None:
        st.info(page.say("socket.pick.loading", address=chosen.address))
        now = [one for one in found.running() if one.id == chosen.id]
        if not now or now[0].state not in (seen, "starting", "loading"):
            st.rerun()

    watch()


def _about(page: Page, target: Target) -> None:
    can = page.say("common.comma").join(page.say(f"socket.ask.{ask}") for ask in target.asks)
    draw_note(page.say("socket.pick.about", model=target.model, address=target.address, can=can))
