"""Tasks that answer at once what the real ones measure, for the page's tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.compress.prune_curve import keep_steps
from llmkit.compress.prune_ladder import make_ladder
from llmkit.compress.prune_order import ORDERS, sizes
from llmkit.jobs import Report
from llmkit.reference import open_box


def run_curve(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """A cliff that holds until 0.5 by size, and until 0.7 by importance."""
    box = open_box(settings["box"])
    ladder = make_ladder(settings["kind"], sizes(settings["kind"], box.model, box.config), box.config)
    keep_steps(dict.fromkeys(ORDERS, ladder), report.folder)
    points = {
        order: [
            {
                "loss": 4.0 if share <= bound else 4.0 + 2 * share,
                "perplexity": 50.0,
                "text": f"<b>{order} {step}</b>",
                "parameters": 1000,
                "zeros": share,
            }
            for step, share in enumerate(ladder.shares)
        ]
        for order, bound in (("size", 0.55), ("importance", 0.75))
    }
    return {"kind": settings["kind"], "shares": ladder.shares, "points": points, "paired": False, "tokens": 1024}
