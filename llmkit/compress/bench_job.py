"""The job ``bench``: forms of a box measured beside each other, rows as they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.compress.row import Row
    from llmkit.jobs import Report


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Measure; the rows are ``Row`` as plain data.

    Args:
        settings: ``box``, ``forms`` (ids); ``fingerprint`` of the box, ``prompt`` and ``quick`` where they are given.

    Raises:
        FormError, BoxError, ShelfError: see ``llmkit.compress.bench.bench``.
    """
    from llmkit import shelf
    from llmkit.compress.bench import QUICK, Plan, bench

    if settings.get("fingerprint"):
        shelf.require_unchanged(settings["box"], settings["fingerprint"])

    def on_rows(done: float, total: float, note: str, rows: Sequence[Row]) -> None:
        report(done, total, note, partial={"rows": [asdict(row) for row in rows]})

    plan = QUICK if settings.get("quick") else Plan()
    rows = bench(settings["box"], settings["forms"], prompt=settings.get("prompt"), plan=plan, on_rows=on_rows)
    return {"rows": [asdict(row) for row in rows]}
