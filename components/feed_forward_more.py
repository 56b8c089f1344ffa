"""How much of the box sits in its feed-forward parts: parameters and floating-point work, all parts side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import feed_forward_engine as found
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, section

if TYPE_CHECKING:
    from llmkit.parts.count import Counts

GROUPS = {
    "embedding": ("embedding",),
    "positions": ("positions", "segments"),
    "attention": ("attention",),
    "feed_forward": ("feed_forward",),
    "norm": ("norm_embeddings", "norm_1", "norm_2", "norm_final"),
    "unembedding": ("unembedding",),
}
"""Parts as the picture names them, with the parts of the count that each one takes together."""


@section
def draw_share(page: Page) -> None:
    """Draw each part's share of the parameters and of the floating-point work for this sentence."""
    bench = page.bench
    shown = found.machine(bench.box_id, bench.sentence).value
    T = len(shown.labels)
    made = found.counts(bench.box_id, T)
    st.header(page.say("feed_forward.share.title"))
    table = share_frame(made.value)
    own = next(row for row in table.to_dict("records") if row["part"] == "feed_forward")
    names = [page.say(f"common.fit.{name}") for name in table["part"]]
    alt = page.say(
        "feed_forward.share.alt",
        parameters=_large(float(own["parameters"])),
        share=f"{own['parameter_percent']:.0f}",
        work=_large(float(own["flops"])),
        part=f"{own['flop_percent']:.0f}",
        n=T,
    )
    groups = [
        (page.say("feed_forward.share.parameters"), table["parameter_percent"].tolist()),
        (page.say("feed_forward.share.work", n=T), table["flop_percent"].tolist()),
    ]
    drawing = bars(groups, names, x="%", digits=1)
    page.figure(drawing, key="share", badge=made.badge, alt=alt, data=table)
    draw_note(alt)
    tied = "unembedding" in made.value and bool(made.value["unembedding"].shared)
    draw_note(page.say("feed_forward.share.tied" if tied else "feed_forward.share.note"))


def share_frame(counts: Counts) -> pd.DataFrame:
    """Return parameters and floating-point work of each group of parts, in numbers and per cent."""
    rows = []
    for name, members in GROUPS.items():
        parts = [part for part in counts.parts if part.name in members]
        if parts:
            parameters = sum(part.places * part.parameters for part in parts)
            flops = sum(part.places * part.flops for part in parts)
            rows.append({"part": name, "parameters": parameters, "flops": flops})
    table = pd.DataFrame(rows)
    table["parameter_percent"] = 100 * table["parameters"] / table["parameters"].sum()
    table["flop_percent"] = 100 * table["flops"] / table["flops"].sum()
    return table


def _large(number: float) -> str:
    """A large number as people say it: 1.8 M, 4.2 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"
