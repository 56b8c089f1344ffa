"""What can go wrong when a text is ordered or kept, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "brief_topic_empty",
    "brief_length",
    "brief_too_many_words",
    "brief_too_long",
    "brief_conflict",
    "kept_broken",
    "kept_full",
]


class WriteError(ValueError):
    """A brief asks for what cannot be, or texts cannot be kept.

    Args:
        code: ``brief_topic_empty``, ``brief_length`` (the least is above the most, or below one),
            ``brief_too_many_words``, ``brief_too_long`` (a field has more characters than fit), ``brief_conflict`` (one
            word must be there and must not), ``kept_broken`` (the file of kept texts cannot be read or written; nothing
            is overwritten), ``kept_full`` (no room for another; delete one).
        values: what exactly.
    """

    def __init__(self, code: Code, **values: object) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code: Code = code
        self.values = values
