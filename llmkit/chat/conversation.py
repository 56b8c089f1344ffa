"""A conversation as a tree: an edited turn and an answer asked for again stand beside the first, none is lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from llmkit.chat.errors import ChatError

Role = Literal["user", "assistant"]
End = Literal["ended", "full", "stopped", "failed"]

ROOT = -1
"""The parent of a first turn."""

MOST_TURNS = 400
MOST_CHARACTERS = 20_000
"""Of one turn, and of the system prompt."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """A token of an answer, or a piece of it where a server tells no tokens.

    Args:
        data: its bytes; a part of a character, maybe. logprob: natural logarithm of the probability that the model
            itself gave it; None where nobody says. token_id: None where nobody says.
    """

    data: bytes
    logprob: float | None = None
    token_id: int | None = None

    @property
    def bits(self) -> float | None:
        """How surprising it was: ``−log2 p``."""
        return None if self.logprob is None else max(-self.logprob / math.log(2), 0.0)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How an answer came about.

    Args:
        by: the box, or the model's name at a server. tokens: in order.
        prompt_tokens, new_tokens: None where nobody has counted. limit: tokens of the window; None where unknown.
        first_s: until the first token. seconds: until the last.
        end: ``ended`` by itself, ``full`` (as long as was asked for, or as there was room), ``stopped``, ``failed``.
        error: what went wrong, by name, where it failed.
        fallen: how many of the turns before it were not sent.
        sampling: the settings, by name; empty where nobody says.
        prompt_ids: what was read, where a box of this machine has read it. prompt_roles: for each of them whose words
            it is; "" for nobody's. Both are in no file.
    """

    by: str
    tokens: tuple[Token, ...] = ()
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    limit: int | None = None
    first_s: float | None = None
    seconds: float | None = None
    end: End = "ended"
    error: str = ""
    fallen: int = 0
    sampling: Mapping[str, float] = field(default_factory=dict)
    prompt_ids: tuple[int, ...] = ()
    prompt_roles: tuple[str, ...] = ()

    @property
    def per_second(self) -> float | None:
        """Tokens a second after the first one; None before the second."""
        if self.new_tokens is None or self.new_tokens < 2 or self.first_s is None or self.seconds is None:
            return None
        return (self.new_tokens - 1) / max(self.seconds - self.first_s, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one side said.

    Args:
        parent: the number of the turn that it follows; ROOT for none. role: who. text: what.
        answer: how it came about; None for what a person wrote.
    """

    parent: int
    role: Role
    text: str
    answer: Answer | None = None


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """All that was said, and the path that is being followed. Every change gives a new one.

    Args:
        system: the system prompt; empty for none. turns: in the order in which they were said.
        picked: for ROOT and then each turn, which turn follows it on the path; ROOT where none does.
    """

    system: str = ""
    turns: tuple[Turn, ...] = ()
    picked: tuple[int, ...] = (ROOT,)

    @property
    def path(self) -> tuple[int, ...]:
        """The numbers of the turns that are followed now, from the first to the last."""
        found: list[int] = []
        at = self.picked[0]
        while at != ROOT:
            found.append(at)
            at = self.picked[at + 1]
        return tuple(found)

    @property
    def end(self) -> int:
        """The last turn of the path; ROOT where nothing was said."""
        path = self.path
        return path[-1] if path else ROOT

    def until(self, turn: int) -> tuple[int, ...]:
        """The numbers of the turns from the first to this one; none for ROOT."""
        found: list[int] = []
        while turn != ROOT:
            found.append(turn)
            turn = self.turns[turn].parent
        return tuple(found[::-1])

    def siblings(self, turn: int) -> tuple[int, ...]:
        """What stands in this turn's place on other branches, with it, in the order in which it was said.

        >>> talk = Conversation().say(ROOT, "user", "Hi").say(0, "assistant", "Yes?").say(0, "assistant", "No.")
        >>> talk.siblings(1), talk.path
        ((1, 2), (0, 2))
        """
        parent = self.turns[turn].parent
        return tuple(at for at, one in enumerate(self.turns) if one.parent == parent)

    def say(self, parent: int, role: Role, text: str, *, answer: Answer | None = None) -> Conversation:
        """Add a turn behind another one; it is on the path from then on.

        Args:
            parent: what it follows: ROOT or an answer for a user's turn, a user's turn for an answer.

        Raises:
            ChatError: ``chat_full``, ``chat_turn_empty`` (a user who says nothing), ``chat_turn_too_long``.
        """
        follows = "assistant" if parent == ROOT else self.turns[parent].role
        if follows == role:
            raise ValueError(f"a turn of {role} behind one of {follows}")
        if len(self.turns) >= MOST_TURNS:
            raise ChatError("chat_full", limit=MOST_TURNS)
        if role == "user":
            require_text(text)
        turn = Turn(parent=parent, role=role, text=text, answer=answer)
        number = len(self.turns)
        grown = replace(self, turns=(*self.turns, turn), picked=(*self.picked, ROOT))
        return grown.choose(number)

    def edit(self, turn: int, text: str) -> Conversation:
        """Say a turn otherwise: a branch of its own beside it.

        Raises:
            ChatError: as for ``say``.
        """
        one = self.turns[turn]
        require_text(text)
        return self.say(one.parent, one.role, text)

    def choose(self, turn: int) -> Conversation:
        """Follow this turn, and behind it what was followed there last."""
        picked = list(self.picked)
        while turn != ROOT:
            picked[self.turns[turn].parent + 1] = turn
            turn = self.turns[turn].parent
        return replace(self, picked=tuple(picked))

    def beside(self, turn: int, step: int) -> Conversation:
        """Follow the branch so many places further; at the ends it stays."""
        siblings = self.siblings(turn)
        at = min(max(siblings.index(turn) + step, 0), len(siblings) - 1)
        return self.choose(siblings[at])

    def with_system(self, text: str) -> Conversation:
        """Have another system prompt.

        Raises:
            ChatError: ``chat_turn_too_long``.
        """
        if len(text) > MOST_CHARACTERS:
            raise ChatError("chat_turn_too_long", characters=len(text), limit=MOST_CHARACTERS)
        return replace(self, system=text)


def require_text(text: str) -> None:
    """Refuse what nobody can answer.

    Raises:
        ChatError: ``chat_turn_empty``, ``chat_turn_too_long``.
    """
    if not text.strip():
        raise ChatError("chat_turn_empty")
    if len(text) > MOST_CHARACTERS:
        raise ChatError("chat_turn_too_long", characters=len(text), limit=MOST_CHARACTERS)


def messages(system: str, turns: Sequence[Turn]) -> list[dict[str, str]]:
    """A conversation as chat templates and servers read it; without a system prompt where that is empty.

    >>> messages("", [Turn(parent=-1, role="user", text="Hi")])
    [{'role': 'user', 'content': 'Hi'}]
    """
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *({"role": turn.role, "content": turn.text} for turn in turns)]
