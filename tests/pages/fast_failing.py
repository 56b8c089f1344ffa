"""An export for tests that finds the disk full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.compress.errors import FormError
from llmkit.jobs import Report


def run_full(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Fail as `made.make` does."""
    raise FormError("form_no_space", form="onnx-float32", detail="/full")
