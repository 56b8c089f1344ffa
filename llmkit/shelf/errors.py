"""What can go wrong with a box on the shelf, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal[
    "bad_name",
    "box_unknown",
    "box_missing",
    "box_changed",
    "offline",
    "no_source",
    "no_space",
    "tampered",
    "unsafe_file",
    "broken_source",
    "cancelled",
]


class ShelfError(Exception):
    """A box cannot be fetched, found or trusted.

    Args:
        code: ``bad_name`` (no box can be called so), ``box_unknown`` (not in the catalogue), ``box_missing`` (not
            on this machine), ``box_changed`` (its files are not those that were chosen), ``offline`` (the network is
            forbidden), ``no_source`` (none answered), ``no_space`` (the disk is too full), ``tampered`` (a file is not
            what it should be), ``unsafe_file`` (a file that could run code), ``broken_source`` (it holds something
            else than the catalogue says), ``cancelled``.
        box: the box's id.
        detail: what exactly, in English: the file, the source, the bytes. Both also in ``values``.
    """

    def __init__(self, code: Code, *, box: str, detail: str = "") -> None:
        super().__init__(f"{code}: {box}: {detail}" if detail else f"{code}: {box}")
        self.code: Code = code
        self.values = {"box": box, "detail": detail}
