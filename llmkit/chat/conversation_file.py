"""A conversation as a file and back: JSON keeps every branch, Markdown the path that is followed, for reading."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from llmkit.chat.conversation import (
    MOST_CHARACTERS,
    MOST_TURNS,
    ROOT,
    Answer,
    Conversation,
    End,
    Role,
    Token,
    Turn,
)
from llmkit.chat.errors import ChatError

FORMAT = "llm-guide-conversation"
VERSION = 1
MOST_BYTES = 4_000_000
MOST_TOKENS = 20_000
"""Of one answer."""

_NUMBERS = ("prompt_tokens", "new_tokens", "limit", "fallen")
_SECONDS = ("first_s", "seconds")


def to_json(talk: Conversation) -> str:
    """Return all branches as JSON. It holds what was said and what it took; no address and no key."""
    turns = [
        {"parent": turn.parent, "role": turn.role, "text": turn.text}
        | ({"answer": _answer(turn.answer)} if turn.answer is not None else {})
        for turn in talk.turns
    ]
    told = {"format": FORMAT, "version": VERSION, "system": talk.system, "turns": turns, "picked": list(talk.picked)}
    return json.dumps(told, indent=1)


def from_json(data: bytes) -> Conversation:
    """Read back what ``to_json`` has written.

    Raises:
        ChatError: ``chat_file_too_big``; ``chat_file_bad``, with where.
    """
    if len(data) > MOST_BYTES:
        raise ChatError("chat_file_too_big", size=len(data), limit=MOST_BYTES)
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        raise _bad("JSON") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT or told.get("version") != VERSION:
        raise _bad("format")
    system, listed, picked = _text(told.get("system"), "system"), told.get("turns"), told.get("picked")
    if not isinstance(listed, list) or len(listed) > MOST_TURNS:
        raise _bad("turns")
    turns: list[Turn] = []
    for at, one in enumerate(listed):
        turns.append(_read_turn(one, turns, at))
    if not isinstance(picked, list) or len(picked) != len(turns) + 1:
        raise _bad("picked")
    for at, chosen in enumerate(picked):
        follows = [number for number, turn in enumerate(turns) if turn.parent == at - 1]
        if type(chosen) is not int or chosen not in (follows or [ROOT]):
            raise _bad(f"picked {at}")
    return Conversation(system=system, turns=tuple(turns), picked=tuple(picked))


def to_markdown(talk: Conversation, names: Mapping[str, str]) -> str:
    """Return the path as Markdown. What was said stands in fences, so that no link, picture or HTML in it comes alive.

    Args:
        names: what ``system``, ``user`` and ``assistant`` are called.

    >>> talk = Conversation().say(ROOT, "user", "![x](http://x)")
    >>> print(to_markdown(talk, {"user": "You"}), end="")
    ## You
    <BLANKLINE>
    ```text
    ![x](http://x)
    ```
    """
    said = [("system", talk.system)] if talk.system else []
    said += [(talk.turns[at].role, talk.turns[at].text) for at in talk.path]
    return "\n".join(f"## {names[role]}\n\n{_fenced(text)}" for role, text in said)


def _fenced(text: str) -> str:
    """A text inside a fence that is longer than any in it."""
    lines = re.sub(r"\r\n?|[\u0085\u2028\u2029\v\f]", "\n", text)
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", lines)), 3)
    return f"{fence}text\n{lines}\n{fence}\n"


def _answer(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"by": answer.by, "end": answer.end, "error": answer.error}
    told |= {name: getattr(answer, name) for name in (*_NUMBERS, *_SECONDS)} | {"sampling": dict(answer.sampling)}
    return told | {"tokens": [_written(token) for token in answer.tokens]}


def _written(token: Token) -> list[Any]:
    logprob = token.logprob
    return [token.data.hex(), None if logprob is None or not math.isfinite(logprob) else logprob, token.token_id]


def _read_turn(one: Any, before: list[Turn], at: int) -> Turn:
    where = f"turn {at}"
    if not isinstance(one, dict):
        raise _bad(where)
    parent, role = one.get("parent"), one.get("role")
    if type(parent) is not int or not ROOT <= parent < at or role not in get_args(Role):
        raise _bad(where)
    if (before[parent].role if parent != ROOT else "assistant") == role:
        raise _bad(where)
    text = _text(one.get("text"), where)
    if role == "user" and not text.strip():
        raise _bad(where)
    answer = None
    if one.get("answer") is not None:
        if role != "assistant" or not isinstance(one["answer"], dict):
            raise _bad(where)
        answer = _read_answer(one["answer"], where)
    return Turn(parent=parent, role=cast(Role, role), text=text, answer=answer)


def _read_answer(told: dict[str, Any], where: str) -> Answer:
    listed, sampling = told.get("tokens", []), told.get("sampling", {})
    if not isinstance(sampling, dict) or len(sampling) > 20 or not all(map(_is_number, sampling.values())):
        raise _bad(where)
    if not isinstance(listed, list) or len(listed) > MOST_TOKENS or told.get("end") not in get_args(End):
        raise _bad(where)
    return Answer(
        by=_text(told.get("by"), where)[:200],
        error=_text(told.get("error"), where)[:200],
        end=told["end"],
        tokens=tuple(_read_token(one, where) for one in listed),
        prompt_tokens=_count(told, "prompt_tokens", where),
        new_tokens=_count(told, "new_tokens", where),
        limit=_count(told, "limit", where),
        fallen=_count(told, "fallen", where) or 0,
        first_s=_seconds(told, "first_s", where),
        seconds=_seconds(told, "seconds", where),
        sampling=sampling,
    )


def _count(told: dict[str, Any], name: str, where: str) -> int | None:
    value = told.get(name)
    if value is not None and (type(value) is not int or not 0 <= value < 2**31):
        raise _bad(where)
    return value


def _seconds(told: dict[str, Any], name: str, where: str) -> float | None:
    value = told.get(name)
    if value is not None and not (_is_number(value) and value >= 0):
        raise _bad(where)
    return value


def _read_token(one: Any, where: str) -> Token:
    if not isinstance(one, list) or len(one) != 3:
        raise _bad(where)
    data, logprob, token_id = one
    if not isinstance(data, str) or not (logprob is None or _is_number(logprob)):
        raise _bad(where)
    if token_id is not None and (type(token_id) is not int or not 0 <= token_id < 2**31):
        raise _bad(where)
    try:
        return Token(data=bytes.fromhex(data), logprob=logprob, token_id=token_id)
    except ValueError:
        raise _bad(where) from None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e9


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS * 4:
        raise _bad(where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _bad(where) from None
    return value


def _bad(detail: str) -> ChatError:
    return ChatError("chat_file_bad", detail=detail)
