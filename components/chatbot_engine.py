"""What the chatbot page knows and keeps: who answers, what was said in this session, the answer on its way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from components import engine, tokens_engine
from components.engine import Made
from components.socket_engine import Target
from llmkit.chat.conversation import ROOT, Conversation, messages
from llmkit.chat.window import TEMPLATE, Format, Window, fit

if TYPE_CHECKING:
    from llmkit.chat.hearing import Heard, Speaking
    from llmkit.generate.live import Steps
    from llmkit.generate.sampling import Sampling
    from llmkit.reference import Assembled
    from llmkit.tokens import Tokenizer

Ids = tuple[int, ...]
Said = tuple[tuple[str, str], ...]
"""Messages as role and content: what a cache can be keyed by."""

_TALK = "_chatbot"


class ChatbotError(Exception):
    """The page cannot do what was asked.

    Args:
        code: ``chat_first`` (nothing was answered yet), ``chat_elsewhere`` (the answer was not written by a box of this
            machine in this session, so nobody can look inside).
    """

    def __init__(self, code: Literal["chat_first", "chat_elsewhere"]) -> None:
        super().__init__(code)
        self.code, self.values = code, dict[str, object]()


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """Who answers.

    Args:
        name: the box, or the model's name at a server. box_id: whose tokenizer counts; None where nobody here knows it.
        form: how a conversation is written for it. limit: tokens of its window; None where it does not say.
        target: the server; None for a box that this app opens itself.
    """

    name: str
    box_id: str | None
    form: Format
    limit: int | None
    target: Target | None = None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Of its box; shared by all sessions."""
        return None if self.box_id is None else tokens_engine.open_tokenizer(self.box_id)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How it is to answer.

    Args:
        sampling: how each token is chosen. length: tokens of an answer at most. window: tokens of the window that are
            used; None for all.
    """

    sampling: Sampling
    length: int
    window: int | None

    def limit(self, speaker: Speaker) -> int | None:
        """Tokens of the speaker's window that are used; None where nobody knows how many it has."""
        known = [one for one in (speaker.limit, self.window) if one is not None]
        return min(known) if speaker.limit is not None and known else None


@dataclass(kw_only=True)
class Run:
    """An answer on its way.

    Args:
        parent: the turn that it answers. speaking: what is being said.
    """

    parent: int
    speaking: Speaking


@dataclass(kw_only=True)
class Talk:
    """What this session has on this page.

    Args:
        conversation: all that was said. before: what there was before it was cleared or replaced.
        run: the answer on its way. failed: the last one, where it went wrong. refused: why nothing was asked.
        saying: what the learner has just said. ask: the turn that is to be answered.
        editing: the turn that is being edited.
        looked: the answer whose tokens are shown; None for the last. picked: the token of it that is looked into.
        fresh: the answer that has just come. shown: how many of the turns are drawn.
    """

    conversation: Conversation = field(default_factory=Conversation)
    before: Conversation | None = None
    run: Run | None = None
    failed: Heard | None = None
    refused: Exception | None = None
    saying: str | None = None
    ask: int | None = None
    editing: int | None = None
    looked: int | None = None
    picked: int | None = None
    fresh: int | None = None
    shown: int = 24

    def change(self, conversation: Conversation) -> None:
        """Go on with another state of the conversation."""
        self.conversation = conversation
        self.failed = self.refused = self.editing = self.looked = self.picked = None

    def replace(self, conversation: Conversation) -> None:
        """Begin anew; what there was can be had back."""
        self.stop()
        self.before = self.conversation if self.conversation.turns else self.before
        self.change(conversation)

    def stop(self) -> None:
        """Stop the answer on its way and keep what there is of it."""
        if self.run is not None:
            self.run.speaking.stop()
            self.settle()

    def settle(self) -> None:
        """Where the answer on its way has ended, make it a turn; one that never began is no turn."""
        if self.run is None:
            return
        heard = self.run.speaking.read()
        if heard.writing:
            return
        parent, self.run = self.run.parent, None
        self.failed = heard if heard.answer.end == "failed" else None
        if heard.answer.tokens:
            self.conversation = self.conversation.say(parent, "assistant", heard.text, answer=heard.answer)
            self.looked = self.picked = None
            self.fresh = self.conversation.end

    @property
    def last_answer(self) -> int | None:
        """The answer whose tokens are shown; None where there is none."""
        path = self.conversation.path
        answers = [at for at in path if self.conversation.turns[at].answer is not None]
        if self.looked in answers:
            return self.looked
        return answers[-1] if answers else None


def talk() -> Talk:
    """Return this session's conversation."""
    found: Talk = st.session_state.setdefault(_TALK, Talk())
    return found


def box_speaker(box_id: str) -> Speaker:
    """Return a box of this machine that answers here.

    Raises:
        GenerateError: ``no_next_token``. Exception: with a ``.code``, where it cannot be opened.
    """
    from llmkit.generate.decode import require_next_token

    box = engine.open_box(box_id)
    require_next_token(box)
    return Speaker(name=box_id, box_id=box_id, form=form_of(box_id), limit=box.config.max_seq_len)


def server_speaker(target: Target) -> Speaker:
    """Return a server that answers; where its box lies here, its tokens can be counted here, too."""
    from llmkit import shelf
    from llmkit.tokens import TokenizerError

    box_id: str | None = None
    form = Format(template=None)
    if target.identity != target.address:  # a deployment of this machine
        try:
            tokens_engine.open_tokenizer(target.model)
            form, box_id = form_of(target.model), target.model
        except (TokenizerError, shelf.ShelfError):
            box_id = None
    return Speaker(name=target.model, box_id=box_id, form=form, limit=target.limit, target=target)


def form_of(box_id: str) -> Format:
    """Return how a conversation is written for a box.

    Raises:
        Exception: with a ``.code``, where its template cannot be read.
    """
    return _form(box_id, engine.fingerprint(box_id)).value


def window(speaker: Speaker, said: Said, settings: Settings, *, answers: bool) -> Made[Window] | None:
    """Return what the speaker's window holds; None where nobody here knows its tokens.

    Raises:
        ChatError: ``chat_no_room``. TokenizerError: a text cannot be cut, or the template refuses the turns.
    """
    limit = settings.limit(speaker)
    if speaker.box_id is None or limit is None:
        return None
    return _window(speaker.box_id, engine.fingerprint(speaker.box_id), said, limit, settings.length, answers)


def said_until(conversation: Conversation, turn: int) -> Said:
    """Return what was said up to a turn, the system prompt first."""
    turns = [conversation.turns[at] for at in conversation.until(turn)]
    return tuple((one["role"], one["content"]) for one in messages(conversation.system, turns))


def answer(talk: Talk, speaker: Speaker, settings: Settings, parent: int) -> None:
    """Begin an answer to a turn; one that is on its way is stopped first.

    Raises:
        ChatError: ``chat_no_room``. SocketError: ``address_…``, ``key_bad``. GenerateError, TokenizerError.
    """
    talk.stop()
    said = said_until(talk.conversation, parent)
    again = sum(one.parent == parent for one in talk.conversation.turns)
    sampling = replace(settings.sampling, seed=(settings.sampling.seed + again) % 2**31)  # each time another draw
    made = window(speaker, said, settings, answers=True)
    if speaker.target is not None:
        speaking = _ask_server(speaker, said, settings, sampling, made.value if made is not None else None)
    else:
        assert made is not None  # a box of this machine has a tokenizer
        speaking = _ask_box(speaker, said, settings, sampling, made.value)
    talk.change(talk.conversation)
    talk.run = Run(parent=parent, speaking=speaking)


def plain_settings(sampling: Sampling) -> dict[str, float]:
    """Return sampling settings as plain data."""
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")
    return {name: getattr(sampling, name) for name in names}


def _ask_box(speaker: Speaker, said: Said, settings: Settings, sampling: Sampling, window: Window) -> Speaking:
    from llmkit.generate.answering import Asked, LocalAnswer

    box = engine.open_box(speaker.name)  # here: the thread that writes belongs to no session
    asked = Asked(
        by=speaker.name,
        prompt_ids=window.ids,
        prompt_roles=tuple("" if owner == TEMPLATE else said[owner][0] for owner in window.owners),
        tokenizer=box.tokenizer,
        stop_ids=frozenset(token.token_id for token in box.tokenizer.added if token.special),
        stops=speaker.form.stops,
        limit=window.limit,
        fallen=len(window.fallen),
        sampling=plain_settings(sampling),
    )
    room = min(settings.length, window.free + 1)
    return LocalAnswer(asked, lambda: _steps(box, asked.prompt_ids, room, asked.stop_ids, sampling))


def _steps(box: Assembled, ids: Ids, length: int, stop_ids: frozenset[int], sampling: Sampling) -> Steps:
    """Begin to write, in the batch that all sessions share."""
    from llmkit.generate.together import together

    return together(box).stream(ids, max_new_tokens=length, stop_ids=stop_ids, sampling=sampling)


def _ask_server(
    speaker: Speaker, said: Said, settings: Settings, sampling: Sampling, window: Window | None
) -> Speaking:
    from llmkit.serve.speaking import Asked, ServedAnswer

    target = speaker.target
    assert target is not None
    fallen = window.fallen if window is not None else ()
    kept = tuple({"role": role, "content": text} for at, (role, text) in enumerate(said) if at not in fallen)
    asked = Asked(
        address=target.address,
        ip=target.ip,
        key=target.key,
        model=target.model,
        ask="chat" if "chat" in target.can else "completion",
        messages=kept,
        fallen=len(fallen),
        limit=settings.limit(speaker),
        max_tokens=settings.length if window is None else max(1, min(settings.length, window.free)),
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=sampling.seed,
    )
    return ServedAnswer(asked)


@engine.remembered(max_entries=16)
def _form(box_id: str, fingerprint: str) -> Format:
    from llmkit import shelf
    from llmkit.tokens import ChatTemplate

    return Format(template=ChatTemplate.from_folder(shelf.locate(box_id) or shelf.folder_of(box_id)))


@engine.remembered(max_entries=128)
def _window(box_id: str, fingerprint: str, said: Said, limit: int, reserve: int, answers: bool) -> Window:
    return fit(
        [{"role": role, "content": text} for role, text in said],
        form=form_of(box_id),
        tokenizer=tokens_engine.open_tokenizer(box_id),
        limit=limit,
        reserve=reserve,
        answers=answers,
    )


def writers_here(bench_box: str) -> tuple[str, ...]:
    """Return the other boxes of this machine that write, as far as their configuration tells."""
    from llmkit import shelf
    from llmkit.compress.made import family

    return tuple(one for one in shelf.boxes_here("model") if one != bench_box and family(one) in ("gpt2", "llama"))


def facts(conversation: Conversation) -> dict[str, Any]:
    """Return how many turns and branches there are: turns on the path, all turns, branches."""
    leaves = len(conversation.turns) - len({one.parent for one in conversation.turns if one.parent != ROOT})
    return {"path": len(conversation.path), "turns": len(conversation.turns), "branches": leaves}
