"""From tokens to text as it is sent: characters whole, and never a piece of what ends the text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmkit.tokens import Tokenizer

Finish = Literal["stop", "length"]


class Text:
    """A text that grows token by token.

    Args:
        tokenizer: of the box that writes. stops: texts that end it; they are not part of it.
        stop_ids: tokens that end it.
    """

    def __init__(self, tokenizer: Tokenizer, *, stops: Sequence[str] = (), stop_ids: frozenset[int] = frozenset()):
        self._tokenizer, self._stops, self._stop_ids = tokenizer, tuple(filter(None, stops)), stop_ids
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._specials = frozenset(token.token_id for token in tokenizer.added if token.special)
        self._ids: list[int] = []
        self._decoded = ""
        self._held = ""
        self.finish: Finish | None = None

    @property
    def count(self) -> int:
        """Tokens so far, with the one that ended it."""
        return len(self._ids)

    @property
    def holds(self) -> bool:
        """Whether characters are held back that may be the beginning of a stop."""
        return bool(self._held)

    def add(self, token_id: int) -> str:
        """Take one token; return what can be sent now: nothing that may still turn out to be half a character, or
        the beginning of a stop."""
        self._ids.append(token_id)
        if token_id in self._stop_ids:
            self.finish = "stop"
        self._held += self._new_characters(token_id)
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.finish = "stop"
            said, self._held = self._held[: min(found)], ""
            return said
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        said, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        return said

    def end(self) -> str:
        """No token comes any more: return what was held back."""
        if self.finish is None:
            self.finish = "length"
        rest = self._held + (self._bytes.decode(b"", final=True) if not self.stopped_by_text else "")
        self._held = ""
        return rest

    @property
    def stopped_by_text(self) -> bool:
        """Whether a stop that is a text has ended it: its last tokens are then no part of it."""
        return self.finish == "stop" and not (self._ids and self._ids[-1] in self._stop_ids)

    def _new_characters(self, token_id: int) -> str:
        if self._tokenizer.kind != "byte_level_bpe":  # a piece's text depends on the one before it
            before, self._decoded = self._decoded, self._tokenizer.decode(self._ids)
            return self._decoded[len(before) :]
        if token_id in self._specials:
            return ""
        try:
            return self._bytes.decode(self._tokenizer.token_bytes(token_id))
        except KeyError:  # the vocabulary is rounded up: a token that stands for nothing
            return ""


def _overlap(text: str, stop: str) -> int:
    """How many characters at the text's end are how the stop begins.

    >>> _overlap("one\\nUs", "\\nUser:")
    3
    """
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
