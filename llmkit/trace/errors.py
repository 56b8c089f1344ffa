"""What can go wrong when a text is read, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal["text_empty", "text_short", "text_too_long"]


class TraceError(ValueError):
    """A text cannot be read by a box.

    Args:
        code: ``text_empty`` (no token at all), ``text_short`` (one token, where a next one is asked for) or
            ``text_too_long``.
        tokens: how many tokens the text has. limit: how many fit. Both also in ``values``.
    """

    def __init__(self, code: Code, *, tokens: int, limit: int) -> None:
        super().__init__(f"{code}: {tokens} tokens, {limit} fit")
        self.code: Code = code
        self.values = {"tokens": tokens, "limit": limit}
