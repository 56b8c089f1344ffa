"""An error as pages meet them, for tests of what they do about it."""

from __future__ import annotations


class CutError(Exception):
    """What a page cannot do.

    Args:
        values: for the message.
    """

    def __init__(self, **values: object) -> None:
        super().__init__("cut")
        self.code, self.values = "cut", values
