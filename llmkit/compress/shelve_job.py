"""The job ``shelve_form``: a quantised form of a box, put on the shelf as a box of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.jobs import Report


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Put it there.

    Args:
        settings: ``box`` and its ``fingerprint``, ``form``.

    Returns:
        ``box``: the new box's id.

    Raises:
        FormError, BoxError, ShelfError: see ``llmkit.compress.shelved.put_on_shelf``.
    """
    from llmkit import shelf
    from llmkit.compress.shelved import put_on_shelf

    if settings.get("fingerprint"):
        shelf.require_unchanged(settings["box"], settings["fingerprint"])
    return {"box": put_on_shelf(settings["box"], settings["form"], report)}
