"""The window as a bar: each turn as wide as its tokens, what has fallen out grey before it, what is free behind."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from components import chatbot_engine as found
from components.badge import Badge
from components.chatbot_engine import Settings, Speaker, Talk
from components.figure import draw_note
from components.frame import Page, short
from llmkit.chat.conversation import Answer
from llmkit.chat.window import Window

_COLUMNS = ["turn", "part", "tokens"]

NAMED_SHARE = 0.06
"""A segment that is narrower than this share of the bar has no number in it."""


def draw_window(page: Page, talk: Talk, speaker: Speaker, settings: Settings) -> frozenset[int]:
    """Draw what the window holds now; return the turns that have fallen out of it."""
    conversation = talk.conversation
    said = found.said_until(conversation, conversation.end)
    made = found.window(speaker, said, settings, answers=False)
    if made is None:
        _draw_unknown(page, talk, speaker)
        return frozenset()
    window, first = made.value, 1 if conversation.system else 0
    fallen = frozenset(conversation.path[at - first] for at in window.fallen)
    rows = _rows(page, said, window)
    used = len(window.ids)
    told = page.say(
        "chatbot.window.told", used=f"{used:,}", limit=f"{window.limit:,}", share=f"{used / window.limit:.0%}"
    )
    alt = page.say("chatbot.window.alt", told=told, turns=len(said) - first, fallen=_pairs(said, window))
    with page.shown(
        key="window", badge=made.badge, alt=alt, data=pd.DataFrame(rows, columns=["turn", "part", "tokens"])
    ):
        st.html(_bar(page, said, window) + f'<p class="chat-told">{escape(told)}</p>{_legend(page)}')
    if window.fallen:
        page.tick("do.fall")
        _list_fallen(page, said, window)
    elif used > window.limit:
        draw_note(page.say("chatbot.window.over", limit=f"{window.limit:,}"))
    return fallen


def _pairs(said: found.Said, window: Window) -> int:
    """How many turns of the learner's have fallen out."""
    return sum(said[at][0] == "user" for at in window.fallen)


def _rows(page: Page, said: found.Said, window: Window) -> list[tuple[str, str, int]]:
    """Number, what it is, and tokens of everything in the bar, from left to right."""
    numbers = _numbers(said)
    rows = []
    for at, (role, _) in enumerate(said):
        state = page.say("chatbot.window.fallen") if at in window.fallen else page.say(f"chatbot.role.{role}")
        rows.append((numbers[at], state, window.tokens[at]))
    rows.append(("", page.say("chatbot.window.template"), window.template_tokens))
    rows.append(("", page.say("chatbot.window.free"), max(window.free, 0)))
    return rows


def _numbers(said: found.Said) -> list[str]:
    """What each message is called in the bar: the learner's turns and their answers are counted together."""
    numbers, count = [], 0
    for role, _ in said:
        count += role == "user"
        numbers.append("" if role == "system" else str(count))
    return numbers


def _bar(page: Page, said: found.Said, window: Window) -> str:
    numbers = _numbers(said)
    fallen = sum(window.tokens[at] for at in window.fallen)
    total = max(fallen + max(window.limit, len(window.ids)), 1)

    def segment(kind: str, tokens: int, label: str, name: str) -> str:
        shown = escape(label) if tokens / total >= NAMED_SHARE else ""
        return f'<span class="{kind}" style="--tokens:{tokens}" title="{escape(name)}: {tokens:,}">{shown}</span>'

    out = "".join(
        segment(f"fallen {said[at][0]}", window.tokens[at], numbers[at], page.say(f"chatbot.role.{said[at][0]}"))
        for at in window.fallen
    )
    inside = "".join(
        segment(role, window.tokens[at], numbers[at], page.say(f"chatbot.role.{role}"))
        for at, (role, _) in enumerate(said)
        if at not in window.fallen and window.tokens[at] and window.ids
    )
    inside += segment("template", window.template_tokens, "", page.say("chatbot.window.template"))
    inside += segment("free", max(window.free, 0), f"{max(window.free, 0):,}", page.say("chatbot.window.free"))
    before = f'<div class="chat-out" style="--tokens:{fallen}">{out}</div>' if out else ""
    frame = f'<div class="chat-in" style="--tokens:{total - fallen}">{inside}</div>'
    return f'<div class="chat-bar">{before}{frame}</div>'


def _legend(page: Page) -> str:
    kinds = ("system", "user", "assistant", "template", "free", "fallen")
    named = {kind: page.say(f"chatbot.window.{kind}") for kind in ("template", "free", "fallen")}
    named |= {kind: page.say(f"chatbot.role.{kind}") for kind in ("system", "user", "assistant")}
    return (
        '<p class="chat-legend">'
        + "".join(f'<span><i class="{k}"></i>{escape(named[k])}</span>' for k in kinds)
        + "</p>"
    )


def _list_fallen(page: Page, said: found.Said, window: Window) -> None:
    numbers = _numbers(said)
    with st.expander(page.say("chatbot.window.list", n=_pairs(said, window))):
        rows = "".join(
            f"<li><b>{numbers[at]} {escape(page.say(f'chatbot.role.{said[at][0]}'))}</b> "
            f"<bdi>{escape(short(said[at][1], 120))}</bdi> <small>{window.tokens[at]:,}</small></li>"
            for at in window.fallen
        )
        st.html(f'<ul class="chat-fallen">{rows}</ul>')


def _draw_unknown(page: Page, talk: Talk, speaker: Speaker) -> None:
    """A server whose tokens nobody here can count: what it has told of the last answer, or that it has not."""
    at = talk.last_answer
    last: Answer | None = talk.conversation.turns[at].answer if at is not None else None
    if last is None or last.prompt_tokens is None or last.new_tokens is None or last.limit is None:
        told = "?" if speaker.limit is None else f"{speaker.limit:,}"
        draw_note(page.say("chatbot.window.unknown", model=speaker.name, limit=told))
        return
    prompt, new, limit = last.prompt_tokens, last.new_tokens, last.limit
    window = Window(
        text="", ids=(0,) * (prompt + new), owners=(), tokens=(prompt, new), fallen=(), limit=limit, reserve=0
    )
    share = f"{(prompt + new) / limit:.0%}"
    told = page.say("chatbot.window.told", used=f"{prompt + new:,}", limit=f"{limit:,}", share=share)
    rows = [("", page.say("chatbot.fact.prompt"), prompt), ("", page.say("chatbot.fact.new"), new)]
    with page.shown(key="window", badge=Badge.cached(), alt=told, data=pd.DataFrame(rows, columns=_COLUMNS)):
        bar = _bar(page, (("user", ""), ("assistant", "")), window)
        st.html(f'{bar}<p class="chat-told">{escape(told)}</p>{_legend(page)}')
    if last.fallen:
        draw_note(page.say("chatbot.window.cut", n=last.fallen))
