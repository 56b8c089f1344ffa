"""The chatbot page's end: clear and have it back, take it along and bring it in, and the check."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from components import engine
from components.chatbot_engine import ChatbotError, Ids, Talk
from components.frame import Page, Verdict
from llmkit.chat.conversation import Conversation
from llmkit.chat.conversation_file import MOST_BYTES, from_json, to_json, to_markdown

if TYPE_CHECKING:
    from llmkit.trace.surprise import Surprise

_READ = "_chatbot_file"


def draw_keep(page: Page, talk: Talk) -> None:
    """Clear the conversation, have it back, take it along, bring one in."""
    conversation = talk.conversation
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="chatbot_keep"):
        st.button(
            page.say("chatbot.keep.clear"),
            key="chatbot_clear",
            disabled=not conversation.turns,
            on_click=lambda: talk.replace(Conversation(system=conversation.system)),
        )
        if talk.before is not None:
            st.button(page.say("chatbot.keep.undo"), key="chatbot_undo", on_click=lambda: _undo(talk))
        names = {role: page.say(f"chatbot.role.{role}") for role in ("system", "user", "assistant")}
        st.download_button(
            page.say("chatbot.keep.json"),
            data=lambda: to_json(conversation).encode(),
            file_name="conversation.json",
            mime="application/json",
            key="chatbot_json",
            on_click="ignore",
            disabled=not conversation.turns,
        )
        st.download_button(
            page.say("chatbot.keep.markdown"),
            data=lambda: to_markdown(conversation, names).encode("utf-8", "replace"),
            file_name="conversation.md",
            mime="text/markdown",
            key="chatbot_markdown",
            on_click="ignore",
            disabled=not conversation.turns,
        )
    with st.expander(page.say("chatbot.keep.load")):
        file = st.file_uploader(
            page.say("chatbot.keep.file"), type=["json"], key="chatbot_file", max_upload_size=MOST_BYTES // 1_000_000
        )
        if file is None:
            st.session_state.pop(_READ, None)
        else:
            with page.guard():
                _bring_in(talk, file.getvalue())


def _bring_in(talk: Talk, data: bytes) -> None:
    """Go on with the conversation of a file; once, not each time the page is drawn.

    Raises:
        ChatError: ``chat_file_too_big``, ``chat_file_bad``.
    """
    mark = blake2b(data, digest_size=16).hexdigest()
    if st.session_state.get(_READ) == mark:
        return
    read = from_json(data)
    st.session_state[_READ] = mark
    talk.replace(read)
    st.rerun()


def _undo(talk: Talk) -> None:
    """What there was before, and what is there now for the next undo."""
    before = talk.before
    if before is not None:
        talk.stop()
        talk.before = talk.conversation if talk.conversation.turns else None
        talk.change(before)


def draw_check(page: Page, talk: Talk) -> None:
    """Whose words surprise the box more: the learner's, or its own?"""
    page.check(
        "surprise",
        question=page.say("chatbot.check.surprise"),
        options={
            "user": page.say("chatbot.check.user"),
            "own": page.say("chatbot.check.own"),
        },
        run=lambda: _judge(page, talk),
    )


def _judge(page: Page, talk: Talk) -> Verdict:
    """Read the last answer with all that stood before it once, and compare.

    Raises:
        ChatbotError: ``chat_first``, ``chat_elsewhere``.
    """
    user, own, user_n, own_n = compare(talk)
    explanation = page.say("chatbot.check.because", user=f"{user:.2f}", own=f"{own:.2f}", n=user_n, m=own_n)
    return Verdict(answer="user" if user > own else "own", explanation=explanation)


def compare(talk: Talk) -> tuple[float, float, int, int]:
    """Return bits a token of the learner's words and of the box's in what was last read, and how many of each.

    Raises:
        ChatbotError: ``chat_first``, ``chat_elsewhere``.
    """
    at = talk.last_answer
    if at is None:
        raise ChatbotError("chat_first")
    answer = talk.conversation.turns[at].answer
    if answer is None or not answer.prompt_ids or answer.limit is None:
        raise ChatbotError("chat_elsewhere")
    ids = answer.prompt_ids + tuple(token.token_id or 0 for token in answer.tokens)
    read = _surprise(answer.by, engine.fingerprint(answer.by), engine.DTYPE, engine.device(), ids[: answer.limit]).value
    whose = [*answer.prompt_roles, *("assistant" for _ in answer.tokens)]
    spoken = np.array(whose[1 : answer.limit])  # row t is about token t + 1
    user, own = read.bits[spoken == "user"], read.bits[spoken == "assistant"]
    if not len(user) or not len(own):
        raise ChatbotError("chat_first")
    return float(user.mean()), float(own.mean()), len(user), len(own)


@engine.remembered(max_entries=8)
def _surprise(box_id: str, fingerprint: str, dtype: str, device: str, ids: Ids) -> Surprise:
    from llmkit.trace.surprise import surprise

    return surprise(engine.open_box(box_id), ids)
