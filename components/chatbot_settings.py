"""Who answers on the chatbot page, and how: a box of this machine or a server, system prompt, sampling, window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from components import chatbot_engine as found
from components import server_pick
from components.chatbot_engine import Settings, Speaker, Talk
from components.figure import draw_note
from components.frame import Page, plain
from components.socket_engine import Target
from llmkit.chat.window import Format

if TYPE_CHECKING:
    from llmkit.generate.sampling import Sampling

WHO = ("box", "server")
WINDOWS = (0, 4096, 2048, 1024, 512, 256, 192, 128)
"""Tokens of the window that are used; 0 for all."""

LENGTHS = (16, 32, 64, 96, 128, 256, 512)
SYSTEM_CHARACTERS = 4_000
_SEEDS = 2**31 - 1


def draw_who(page: Page) -> Speaker | None:
    """Let the learner choose who answers; None, and the way out, where nobody can.

    Raises:
        Exception: with a ``.code``, where the box cannot be opened.
    """
    who = st.segmented_control(
        page.say("chatbot.who"),
        WHO,
        default=WHO[0],
        required=True,
        format_func=lambda one: page.say(f"chatbot.who.{one}"),
        key="chatbot_who",
        persist_state="session",
    )
    return _box(page) if who == "box" else _server(page)


def _box(page: Page) -> Speaker | None:
    from llmkit.generate.errors import GenerateError

    box_id = page.bench.box_id
    try:
        with st.spinner(page.say("chatbot.who.opening", box=plain(box_id))):
            speaker = found.box_speaker(box_id)
    except GenerateError as error:
        if error.code != "no_next_token":
            raise
        st.warning(page.error_text(error.code, error.values))
        others = found.writers_here(box_id)
        with st.container(horizontal=True, gap="small"):
            for other in others[:6]:
                label = page.say("chatbot.who.instead", box=plain(other))
                st.button(label, key=f"chatbot_use_{other}", on_click=_lay_on_the_workbench, args=(other,))
        page.lead("unbox")
        return None
    kind = "plain" if speaker.form.template is None else "template"
    draw_note(page.say(f"chatbot.who.{kind}", box=box_id, limit=f"{speaker.limit:,}"))
    if speaker.form.template is None:
        _show_plain(page, speaker.form)
    return speaker


def _show_plain(page: Page, form: Format) -> None:
    """Show the plain format as it is sent."""
    with st.expander(page.say("chatbot.who.format")):
        example = [
            {"role": "system", "content": page.say("chatbot.role.system")},
            {"role": "user", "content": page.say("chatbot.role.user")},
        ]
        st.code(form.write(example), language=None)


def _lay_on_the_workbench(box_id: str) -> None:
    st.session_state["_workbench_fill"] = {"box": box_id}


def _server(page: Page) -> Speaker | None:
    label, other = page.say("chatbot.who.pick"), page.say("chatbot.who.other")
    target = server_pick.draw_pick(page, name="chatbot", label=label, other=other, confirms=True)
    if target is None:
        return None
    if target.protocol != "openai" or not {"chat", "completions"} & set(target.can):
        st.warning(page.say("chatbot.who.cannot", model=plain(target.model)))
        return None
    return found.server_speaker(_with_model(page, target))


def _with_model(page: Page, target: Target) -> Target:
    """Let the learner choose among the models that a server lists, or name another."""
    if target.identity != target.address:  # a deployment has one
        return target
    chosen = st.selectbox(
        page.say("chatbot.who.model"),
        target.models or (target.model,),
        key=f"chatbot_model_{target.identity}",
        accept_new_options=True,
    )
    draw_note(page.say("chatbot.who.sent"))
    return replace(target, model=str(chosen or target.model)[:200])


def draw_settings(page: Page, talk: Talk, speaker: Speaker | None) -> Settings:
    """Draw system prompt, sampling settings and window, folded; return them."""
    with st.expander(page.say("chatbot.settings"), key="chatbot_settings"):
        _draw_system(page, talk)
        left, right = st.columns(2)
        with left:
            length = st.select_slider(
                page.say("chatbot.settings.length"), LENGTHS, 96, key="chatbot_length", bind="query-params"
            )
            window = st.select_slider(
                page.say("chatbot.settings.window"),
                WINDOWS[::-1],
                0,
                format_func=lambda n: page.say("chatbot.settings.whole") if n == 0 else f"{n:,}",
                key="chatbot_window",
                bind="query-params",
                help=page.say("chatbot.settings.window.help"),
            )
            seed = st.number_input(
                page.say("generate.seed"),
                min_value=0,
                max_value=_SEEDS,
                value=0,
                key="chatbot_seed",
                bind="query-params",
                help=page.say("chatbot.settings.seed.help"),
            )
        with right:
            sampling = _draw_sampling(page, int(seed), served=speaker is not None and speaker.target is not None)
    return Settings(sampling=sampling, length=int(length), window=int(window) or None)


def _draw_system(page: Page, talk: Talk) -> None:
    """The system prompt; the conversation's own is what stands in the field."""
    key = "chatbot_system"
    if st.session_state.get(key) != talk.conversation.system:
        st.session_state[key] = talk.conversation.system
    st.text_area(
        page.say("chatbot.settings.system"),
        key=key,
        max_chars=SYSTEM_CHARACTERS,
        height=100,
        placeholder=page.say("chatbot.settings.system.example"),
        on_change=lambda: _keep_system(talk, key),
    )


def _keep_system(talk: Talk, key: str) -> None:
    talk.conversation = talk.conversation.with_system((st.session_state[key] or "").strip()[:SYSTEM_CHARACTERS])


def _draw_sampling(page: Page, seed: int, *, served: bool) -> Sampling:
    """The sampling settings; a server that speaks OpenAI's way knows the first two alone."""
    from llmkit.generate.sampling import Sampling

    def slider(name: str, low: float, high: float, usual: float, step: float, *, off: bool = False) -> float:
        label = page.say(f"generate.slider.{name}")
        return st.slider(label, low, high, usual, step, key=f"chatbot_{name}", bind="query-params", disabled=off)

    temperature = slider("temperature", 0.0, 2.0, 0.3, 0.05)
    top_p = slider("top_p", 0.05, 1.0, 0.9, 0.05)
    top_k = st.slider(
        page.say("generate.slider.top_k"), 0, 100, 40, 1, key="chatbot_top_k", bind="query-params", disabled=served
    )
    min_p = slider("min_p", 0.0, 0.5, 0.0, 0.01, off=served)
    penalty = slider("penalty", 1.0, 2.0, 1.0, 0.05, off=served)
    if served:
        draw_note(page.say("chatbot.settings.served"))
    return Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty, seed=seed
    )
