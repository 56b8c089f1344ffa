"""What can be wrong with a form of a box, each with a code and the values of its sentence."""

from __future__ import annotations

from typing import Any, Literal

Code = Literal[
    "form_unknown",
    "form_unsupported",
    "form_missing",
    "form_broken",
    "form_no_space",
    "folder_taken",
    "graph_no_onnx",
    "graph_missing",
    "graph_too_big",
    "graph_broken",
    "graph_foreign",
    "graph_data_missing",
    "graph_unsafe",
]


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


class GraphError(FormError):
    """An ONNX file is not taken.

    Args:
        code: ``graph_no_onnx`` (the library is not installed), ``graph_missing`` (no such file), ``graph_too_big``,
            ``graph_broken`` (no ONNX, or not whole), ``graph_foreign`` (operators that ONNX Runtime does not know),
            ``graph_data_missing`` (its weights are not beside it), ``graph_unsafe`` (it wants files from elsewhere).
        values: ``file``, its name; ``detail``.
    """
