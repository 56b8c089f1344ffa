"""The conversation itself: what was said, the answer while it comes, and what can be done with each turn."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

import streamlit as st

from components import chatbot_engine as found
from components import chatbot_text as text
from components.chatbot_engine import Settings, Speaker, Talk
from components.figure import draw_note
from components.frame import Page, plain
from components.socket_engine import error_words
from llmkit.chat.conversation import MOST_CHARACTERS, ROOT, Answer, Turn

TICK_S = 0.2
"""A reader sees at most a fifth of a second later what has been said."""

EARLIER = 24


def begin(page: Page, talk: Talk, speaker: Speaker | None, settings: Settings) -> None:
    """Do what the learner has asked for, before anything of it is drawn: say something, or have a turn answered."""
    saying, asked = talk.saying, talk.ask
    talk.saying = talk.ask = None
    if saying is not None or asked is not None:
        talk.refused = None
    if speaker is None or (saying is None and asked is None):
        return
    try:
        if saying is not None:
            asked = _say(talk, saying)
        assert asked is not None
        found.answer(talk, speaker, settings, asked)
        page.tick("do.say")
    except Exception as error:
        if not isinstance(getattr(error, "code", None), str):
            raise
        talk.refused = error


def draw_talk(page: Page, talk: Talk, speaker: Speaker | None, fallen: frozenset[int]) -> None:
    """Draw the conversation, and the field for the next turn.

    Args:
        speaker: who answers; None where nobody can: then what was said is shown, and nothing can be asked.
        fallen: turns that have fallen out of the window.
    """
    st.header(page.say("chatbot.talk.title"))
    conversation, writing = talk.conversation, talk.run is not None
    path = conversation.until(talk.run.parent) if talk.run is not None else conversation.path
    counted = found.facts(conversation)
    page.count("part.turn", counted["turns"])
    page.count("part.branch", counted["branches"])
    if counted["branches"] > 1:
        page.tick("do.branch")
    if not path:
        draw_note(page.say("chatbot.talk.empty"))
    if len(path) > talk.shown:
        label = page.say("chatbot.talk.earlier", n=len(path) - talk.shown)
        st.button(label, key="chatbot_earlier", on_click=_show_more, args=(talk,))
    for at in path[-talk.shown :]:
        _draw_turn(page, talk, at, fallen=at in fallen, speaker=speaker)
    if talk.run is not None:
        _watch(page, talk)
    _draw_failed(page, talk)
    unanswered = bool(path) and conversation.turns[path[-1]].role == "user"
    if unanswered and not writing and speaker is not None:
        _button(page, "answer", "chatbot_answer", lambda: _again(talk, path[-1]))
    with st.container(key="chatbot_say"):  # in its place, not at the window's lower edge
        st.chat_input(
            page.say("chatbot.talk.placeholder"),
            key="chatbot_input",
            max_chars=MOST_CHARACTERS,
            disabled=speaker is None or writing,
            on_submit=_said,
            args=(talk,),
        )


def _said(talk: Talk) -> None:
    talk.saying = st.session_state["chatbot_input"]


def _say(talk: Talk, said: str) -> int:
    """Add what the learner says to the path; a turn that nobody has answered is said otherwise instead."""
    talk.stop()
    conversation = talk.conversation
    end = conversation.end
    if end != ROOT and conversation.turns[end].role == "user":
        talk.change(conversation.edit(end, said))
    else:
        talk.change(conversation.say(end, "user", said))
    return talk.conversation.end


def _draw_turn(page: Page, talk: Talk, at: int, *, fallen: bool, speaker: Speaker | None) -> None:
    turn, can_ask = talk.conversation.turns[at], speaker is not None and talk.run is None
    with (
        st.container(key=f"chat_{'out' if fallen else 'in'}_{at}"),
        st.chat_message(turn.role, avatar=turn.role),
    ):
        if fallen:
            st.html(f'<p class="chat-mark">{escape(page.say("chatbot.talk.fallen"))}</p>')
        if talk.editing == at:
            _draw_editor(page, talk, at)
            return
        here = speaker is not None and turn.answer is not None and turn.answer.by == speaker.name
        if turn.answer is None:
            st.html(text.said(turn.text))
        else:
            st.html(text.answered(turn.answer.tokens, turn.text) + _facts(page, turn.answer, here=here))
            _draw_end(page, turn.answer)
        _draw_tools(page, talk, at, turn, can_ask=can_ask)


def _draw_tools(page: Page, talk: Talk, at: int, turn: Turn, *, can_ask: bool) -> None:
    siblings = talk.conversation.siblings(at)
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key=f"chat_tools_{at}"):
        if len(siblings) > 1:
            _step(page, talk, at, "previous", -1)
            st.html(f'<span class="chat-place">{siblings.index(at) + 1}/{len(siblings)}</span>', width="content")
            _step(page, talk, at, "next", 1)
        if can_ask:
            _button(page, "edit", f"chatbot_edit_{at}", lambda: _edit(talk, at))
        if turn.role == "assistant":
            if can_ask:
                _button(page, "again", f"chatbot_again_{at}", lambda: _again(talk, turn.parent))
            if turn.answer is not None and turn.answer.tokens:
                _button(page, "look", f"chatbot_look_{at}", lambda: _look(talk, at))


def _step(page: Page, talk: Talk, at: int, name: str, step: int) -> None:
    """A button to the branch beside this one."""
    st.button(
        {"previous": "‹", "next": "›"}[name],
        key=f"chatbot_{name}_{at}",
        help=page.say(f"chatbot.talk.{name}"),
        type="tertiary",
        disabled=talk.run is not None,
        on_click=_beside,
        args=(talk, at, step),
    )


def _button(page: Page, name: str, key: str, press: Callable[[], None]) -> None:
    st.button(page.say(f"chatbot.talk.{name}"), key=key, type="tertiary", on_click=press)


def _draw_editor(page: Page, talk: Talk, at: int) -> None:
    """Say a turn otherwise: beside it, on a branch of its own."""
    turn = talk.conversation.turns[at]
    edited = st.text_area(
        page.say("chatbot.talk.edit_label"), turn.text, key=f"chatbot_editor_{at}", max_chars=MOST_CHARACTERS
    )
    with st.container(horizontal=True, gap="small"):
        if st.button(page.say("chatbot.talk.save"), key=f"chatbot_save_{at}", type="primary"):
            with page.guard():
                talk.change(talk.conversation.edit(at, edited or ""))
                if turn.role == "user":
                    talk.ask = talk.conversation.end
                st.rerun()
        if st.button(page.say("chatbot.talk.cancel"), key=f"chatbot_cancel_{at}"):
            talk.editing = None
            st.rerun()


def _watch(page: Page, talk: Talk) -> None:
    """Draw the answer on its way, again and again; when it has ended, the whole page once."""

    @st.fragment(run_every=TICK_S)
    def watch() -> None:
        run = talk.run
        if run is None:
            st.rerun()
        with page._section(), st.chat_message("assistant", avatar="assistant"):
            heard = run.speaking.read()
            # on_click is heard even where this redrawing is cut off by the next one
            stop = page.say("chatbot.talk.stop")
            st.button(stop, key="chatbot_stop", type="primary", on_click=run.speaking.stop)
            st.html(text.answered(heard.answer.tokens, heard.text, waiting=True) + _facts(page, heard.answer))
        if not heard.writing:
            st.rerun()

    watch()


def _draw_failed(page: Page, talk: Talk) -> None:
    """Say why nothing was asked, or why the last answer failed: an error of a server has a name, others a sentence."""
    with page.guard():
        if talk.refused is not None:
            raise talk.refused
    heard = talk.failed
    if heard is None:
        return
    if heard.error is not None:
        st.error(page.error_text(heard.answer.error, getattr(heard.error, "values", {})))
        return
    told = plain(error_words(page, heard.answer.error))
    st.error(page.say("chatbot.end.server", error=told) + (f"  \n{plain(heard.message)}" if heard.message else ""))


def _draw_end(page: Page, answer: Answer) -> None:
    """Say why an answer is over, where it did not end by itself."""
    if answer.end != "ended":
        draw_note(page.say(f"chatbot.end.{answer.end}"))


def _facts(page: Page, answer: Answer, *, here: bool = True) -> str:
    """What an answer took, as HTML; and whose it is, where that is not who answers now."""
    rows: list[tuple[str, str]] = []
    if answer.prompt_tokens is not None:
        rows.append(("prompt", f"{answer.prompt_tokens:,}"))
    if answer.new_tokens is not None:
        rows.append(("new", f"{answer.new_tokens:,}"))
    if answer.first_s is not None:
        rows.append(("first", f"{1000 * answer.first_s:,.0f} ms"))
    if answer.per_second is not None:
        rows.append(("speed", f"{answer.per_second:,.1f}"))
    if answer.seconds is not None:
        rows.append(("seconds", f"{answer.seconds:.1f} s"))
    if answer.limit and answer.prompt_tokens is not None and answer.new_tokens is not None:
        rows.append(("window", f"{(answer.prompt_tokens + answer.new_tokens) / answer.limit:.0%}"))
    bits = text.mean_bits(answer)
    if bits is not None:
        rows.append(("bits", f"{bits:.1f}"))
    if not here:
        rows.append(("by", answer.by))
    return text.facts_html([(page.say(f"chatbot.fact.{name}"), value) for name, value in rows])


def _beside(talk: Talk, at: int, step: int) -> None:
    talk.change(talk.conversation.beside(at, step))


def _edit(talk: Talk, at: int) -> None:
    talk.editing = at


def _again(talk: Talk, parent: int) -> None:
    talk.ask = parent


def _look(talk: Talk, at: int) -> None:
    talk.looked, talk.picked = at, None


def _show_more(talk: Talk) -> None:
    talk.shown += EARLIER
