"""What can be wrong with a form of a box, each with a code and the values of its sentence."""

from __future__ import annotations

from typing import Any, Literal

Code = Literal["form_unknown", "form_unsupported", "form_missing", "form_broken", "form_no_space"]


class FormError(Exception):
    """A form cannot be made, opened or run.

    Args:
        code: what is wrong, one of ``Code``; the sentence is ``error.<code>`` in ``lessons/text/common.toml``.
        values: what the sentence names (``form``, ``box``, ``detail``).
    """

    def __init__(self, code: Code, **values: Any) -> None:
        super().__init__(f"{code}: " + ", ".join(f"{name}={value}" for name, value in values.items()))
        self.code = code
        self.values = values
