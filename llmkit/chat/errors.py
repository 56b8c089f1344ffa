"""What can go wrong with a conversation, each with a code."""

from __future__ import annotations

from typing import Any, Literal

Code = Literal[
    "chat_file_too_big",
    "chat_file_bad",
    "chat_full",
    "chat_turn_too_long",
    "chat_turn_empty",
    "chat_no_room",
]


class ChatError(ValueError):
    """A conversation cannot go on so.

    Args:
        code: ``chat_file_too_big``, ``chat_file_bad`` (no such conversation; ``detail`` says where), ``chat_full``
            (as many turns as one holds), ``chat_turn_too_long``, ``chat_turn_empty``, ``chat_no_room`` (the last turn
            and the system prompt alone are longer than the window).
        values: what the sentence names.
    """

    def __init__(self, code: Code, **values: Any) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code: Code = code
        self.values = values
