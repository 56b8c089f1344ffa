"""A bench for tests: rows at once, in place of a minute of measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from llmkit.compress.row import Row, Spread
from llmkit.jobs import Report


def spread(value: float) -> Spread:
    """A quantity measured once."""
    return Spread(median=value, low=value, high=value, n=1)


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """One row a form; every next one is half as big and half as fast."""
    rows = [
        Row(
            box=settings["box"],
            form=form,
            size_bytes=2**24 >> at,
            decode_tokens_s={"1": spread(64 / 2**at)},
            perplexity=spread(20 + at),
            prompt=settings["prompt"],
            text=f" <b>{form}</b>",
            about={},
        )
        for at, form in enumerate(settings["forms"])
    ]
    return {"rows": [asdict(row) for row in rows]}
