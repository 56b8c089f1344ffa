"""Step 2-2, the split: by a seed into training, validation and test; kept on this machine for the steps that follow."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import material_engine as found
from components.figure import draw_note
from components.frame import Page, Verdict, plain
from components.material_choice import choose_data, current_data
from components.material_engine import Pile, Shares
from components.theme import ACCENT, QUIET, plot_text
from components.unbox_kit import megabytes

if TYPE_CHECKING:
    from llmkit.tune.data.prepared import About
    from llmkit.tune.data.split import Part

SHARES: dict[str, Shares] = {"80/10/10": (0.8, 0.1, 0.1), "70/15/15": (0.7, 0.15, 0.15), "60/20/20": (0.6, 0.2, 0.2)}
LARGEST_SEED = 9_999
SHOWN_SETS = 10
SMALL_BYTES = 100_000
"""A set below this has no size to speak of."""

SHOWN_CLASSES = 8
LEGIBLE = 0.1
"""Share of the longest bar that a stretch needs for its number to be read."""

MOVED = ("none", "fifth", "third", "most")
"""Answers to how many rows another seed moves: below 5 %, below 25 %, below 50 %, more."""


def draw_split(page: Page, pile: Pile) -> None:
    """Draw the split and the button that keeps it."""
    from llmkit.tune.data.split import PARTS

    say = page.say
    st.header(say("material.split.title"))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seed = int(
            st.number_input(say("material.split.seed"), 0, LARGEST_SEED, 1, key="m_seed", persist_state="session")
        )
        ratio = st.segmented_control(
            say("material.split.shares"),
            tuple(SHARES),
            default=next(iter(SHARES)),
            required=True,
            key="m_shares",
            persist_state="session",
        )
    shares = SHARES[ratio]
    with page.guard():
        made = found.split(pile, seed, shares)
        labels = found.labels(pile).value.fillna("").tolist()
        counts = Counter(zip(made.value, labels, strict=True))
        sizes = Counter(made.value)
        listed = say("common.comma").join(f"{say(f'material.part.{part}')} {sizes[part]:,}" for part in PARTS)
        alt = say("material.split.alt", listed=listed, seed=seed)
        data = pd.DataFrame(
            [(part, label, counts[part, label]) for part in PARTS for label in dict.fromkeys(labels)],
            columns=["part", "label", "rows"],
        )
        page.figure(_drawing(page, counts), key="split", badge=made.badge, alt=alt, data=data)
        draw_note(alt)
        if st.button(say("material.split.keep"), key="material_keep", type="primary"):
            about = _keep(pile, seed, shares)
            choose_data(about.id)
            page.tick("do.split")
        _ask_seed(page, pile, seed, shares)


def _drawing(page: Page, counts: Counter[tuple[Part, str]]) -> go.Figure:
    """Draw the parts as bars, a stretch a class."""
    from llmkit.tune.data.split import PARTS

    classes = Counter[str]()
    for (_, label), count in counts.items():
        classes[label] += count
    names = [label for label, _ in classes.most_common(SHOWN_CLASSES)]
    figure = go.Figure()
    top = max(sum(count for (part, _), count in counts.items() if part == one) for one in PARTS)
    for at, label in enumerate(names):
        values = [counts[part, label] for part in PARTS]
        figure.add_trace(
            go.Bar(
                x=np.asarray(values, dtype=np.float32),
                y=[page.say(f"material.part.{part}") for part in PARTS],
                orientation="h",
                name=_label(page, label),
                marker={"color": ACCENT if at % 2 else QUIET, "opacity": 1 - 0.6 * (at // 2) / max(len(names) // 2, 1)},
                text=[f"{value:,}" if value > LEGIBLE * top else "" for value in values],
                textangle=0,
                textposition="inside",
                insidetextanchor="middle",
                hovertemplate="%{y}: %{x:,}<extra></extra>",
            )
        )
    totals = [sum(count for (part, _), count in counts.items() if part == one) for one in PARTS]
    figure.add_trace(
        go.Scatter(
            x=np.asarray(totals, dtype=np.float32),
            y=[page.say(f"material.part.{part}") for part in PARTS],
            mode="text",
            text=[f" {total:,}" for total in totals],
            textposition="middle right",
            cliponaxis=False,
            showlegend=False,
            hoverinfo="skip",
        )
    )
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(title={"text": page.say("material.classes.rows")}, range=[0, top * 1.2 or 1.0])
    legend = {"orientation": "h", "y": 1.15}
    return figure.update_layout(height=300, barmode="stack", showlegend=len(names) > 1, legend=legend)


def _label(page: Page, label: str) -> str:
    """Return a class's name for a legend, where Plotly would read markup."""
    text = " ".join(label.split())
    return plot_text(text if len(text) <= 24 else text[:23] + "…") or page.say("material.column.none")


def _keep(pile: Pile, seed: int, shares: Shares) -> About:
    """Write the prepared set, rows and how they were made."""
    from llmkit.tune.data.prepared import PreparedRow, keep

    rows = found.frame(pile).value
    parts, labels = found.split(pile, seed, shares).value, found.labels(pile).value
    return keep(
        [
            PreparedRow(text=text or "", label=label, part=part, row=int(number))
            for text, label, part, number in zip(rows[pile.columns.text], labels, parts, rows.index, strict=True)
        ],
        name=found.pile_table(pile).name,
        text=pile.columns.text,
        label=pile.columns.label,
        threshold=pile.columns.threshold,
        mendings=pile.mendings,
        seed=seed,
        shares=shares,
    )


def draw_kept(page: Page) -> None:
    """List the prepared sets on this machine; one of them is what later steps work with."""
    from llmkit.tune.data.prepared import prepared, remove

    say = page.say
    sets = prepared()
    st.header(say("material.kept.title"))
    if not sets:
        draw_note(say("material.kept.none"))
        return
    current = current_data()
    for about in sets[:SHOWN_SETS]:
        with st.container(border=True, key=f"material_set_{about.id}"):
            mark = ":material/check_circle: " if about.id == current else ""
            st.markdown(f"{mark}**{plain(about.id)}** · {_about(page, about)}")
            with st.container(horizontal=True):
                if about.id != current and st.button(say("material.kept.use"), key=f"material_use_{about.id}"):
                    choose_data(about.id)
                    st.rerun()
                st.download_button(
                    say("material.kept.csv"),
                    data=partial(_csv, about.id),
                    file_name=f"{about.id}.csv",
                    mime="text/csv",
                    key=f"material_csv_{about.id}",
                    on_click="ignore",
                )
                if st.button(say("material.kept.remove"), key=f"material_remove_{about.id}", type="tertiary"):
                    remove(about.id)
                    if about.id == current:
                        choose_data(None)
                    st.rerun()
    if len(sets) > SHOWN_SETS:
        draw_note(say("material.kept.more", n=len(sets) - SHOWN_SETS))


def _about(page: Page, about: About) -> str:
    """Return what a prepared set is, in one line of Markdown."""
    say = page.say
    labels = say("common.comma").join(plain(label[:24]) for label in about.labels[:6]) or say("material.column.none")
    sizes = "/".join(f"{sum(classes.values()):,}" for classes in about.counts.values())
    pieces = [
        plain(about.name[:60]),
        say("material.kept.rows", n=f"{about.rows:,}", sizes=sizes),
        labels,
        say("material.kept.seed", seed=about.seed),
        *([megabytes(about.size_bytes)] if about.size_bytes >= SMALL_BYTES else []),
        plain(about.created[:10]),
    ]
    return " · ".join(pieces)


def _csv(set_id: str) -> bytes:
    """Return a prepared set as CSV, every cell safe for a spreadsheet."""
    from llmkit.tune.data.prepared import open_prepared
    from llmkit.tune.data.safe_cell import write_csv

    rows = open_prepared(set_id).rows
    return write_csv(("text", "label", "part", "row"), ((one.text, one.label, one.part, one.row) for one in rows))


def _ask_seed(page: Page, pile: Pile, seed: int, shares: Shares) -> None:
    """Ask how many rows another seed moves to another part."""
    say, other = page.say, (seed + 1) % (LARGEST_SEED + 1)

    def run() -> Verdict:
        first, second = found.split(pile, seed, shares).value, found.split(pile, other, shares).value
        moved = sum(one != two for one, two in zip(first, second, strict=True))
        share = moved / len(first)
        answer = "none" if share < 0.05 else "fifth" if share < 0.25 else "third" if share < 0.5 else "most"
        because = say("material.moved.because", seed=seed, other=other, moved=f"{moved:,}", share=f"{share:.1%}")
        return Verdict(answer=answer, explanation=because)

    page.check(
        "seed",
        question=say("material.moved.question", seed=seed, other=other),
        options={name: say(f"material.moved.{name}") for name in MOVED},
        run=run,
    )
