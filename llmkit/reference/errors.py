"""What can go wrong when a box is opened, each with a code that a page can say in its reader's language."""

from typing import Literal

Code = Literal["box_missing", "box_broken", "box_unsupported"]


class BoxError(ValueError):
    """A box cannot be opened.

    Args:
        code: ``box_missing`` (not on this machine), ``box_broken`` (a file is missing or cannot be read),
            ``box_unsupported`` (a kind of model that the parts do not make).
        box: the box's id or folder.
        detail: what exactly, in English: the file, the tensor or the kind. Both also in ``values``.
    """

    def __init__(self, code: Code, *, box: str, detail: str = "") -> None:
        super().__init__(f"{code}: {box}: {detail}" if detail else f"{code}: {box}")
        self.code: Code = code
        self.values = {"box": box, "detail": detail}
