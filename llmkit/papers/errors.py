"""What can go wrong when papers are asked for."""

from typing import Any, Literal

Code = Literal["papers_offline", "papers_unreachable", "papers_refused", "papers_garbled", "papers_query"]


class PapersError(Exception):
    """No new list of papers could be had.

    Args:
        code: ``papers_offline`` (``LLMKIT_OFFLINE`` forbids the network), ``papers_unreachable`` (no answer),
            ``papers_refused`` (an answer that says no), ``papers_garbled`` (an answer that is no list of papers, or far
            too long), ``papers_query`` (nothing to search for).
        values: what the sentence names.
    """

    def __init__(self, code: Code, **values: Any) -> None:
        listed = ", ".join(f"{name}={value}" for name, value in values.items())
        super().__init__(f"{code}: {listed}" if listed else code)
        self.code = code
        self.values = values
