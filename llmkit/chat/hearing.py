"""An answer as it is heard: how far it is now, whoever gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from llmkit.chat.conversation import Answer

LEFT_S = 15.0
"""An answer that nobody has read for so long has been left: its reader has turned the page or closed the tab."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """How far an answer is.

    Args:
        answer: what it took so far. text: what it says so far.
        writing: whether more may come. error: what went wrong, where that is an exception. message: what a server has
            said of it.
    """

    answer: Answer
    text: str
    writing: bool
    error: Exception | None = None
    message: str = ""


class Speaking(Protocol):
    """An answer on its way; any thread may read and stop it."""

    def read(self) -> Heard:
        """Return how far it is; it also says that somebody still listens."""
        ...

    def stop(self) -> None:
        """Add nothing from now on."""
        ...

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until nothing works on it any more."""
        ...
