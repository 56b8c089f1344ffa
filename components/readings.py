"""One reading of a sentence beside another: what comes next, or how far each token turned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from components.badge import Badge
from components.charts import bars
from components.embeddings_engine import label
from components.embeddings_engine import labels as labels_of
from components.figure import draw_note
from components.frame import Page

TOP = 8
"""Next tokens drawn: the likeliest of the first reading, and half as many of the second."""


def draw_next(
    page: Page, before: NDArray[np.float64], after: NDArray[np.float64], *, names: tuple[str, str], badge: Badge
) -> None:
    """Draw the next-token distribution of both readings.

    Args:
        page: the sheet. before, after: [V], probabilities. names: of the two readings. badge: where they come from.
    """
    box_id = page.bench.box_id
    ids = list(dict.fromkeys([*before.argsort()[::-1][:TOP].tolist(), *after.argsort()[::-1][: TOP // 2].tolist()]))
    labels = labels_of(box_id, ids)
    st.subheader(page.say("common.next_token.title"))
    alt = page.say(
        "common.next_token.alt",
        before=labels[0],
        p=f"{before[ids[0]]:.3f}",
        way=names[1],
        after=label(box_id, int(after.argmax())),
        r=f"{after.max():.3f}",
    )
    table = pd.DataFrame({"id": ids, "token": labels, "before": before[ids], "after": after[ids]})
    axis = page.say("common.next_token.axis")
    drawing = bars([(names[0], before[ids].tolist()), (names[1], after[ids].tolist())], labels, x=axis)
    page.figure(drawing, key="next", badge=badge, alt=alt, data=table)
    draw_note(alt)


def draw_turned(page: Page, labels: Sequence[str], turned: NDArray[np.float32], *, name: str, badge: Badge) -> None:
    """Draw how far each token's final state turned between two readings, for a box that predicts no next token.

    Args:
        page: the sheet. labels: T tokens. turned: [T], 1 minus the cosine. name: of the second reading.
        badge: where they come from.
    """
    most = int(turned.argmax())
    st.subheader(page.say("common.turned.title"))
    alt = page.say("common.turned.alt", token=labels[most], turn=f"{turned[most]:.3f}")
    table = pd.DataFrame({"token": labels, "turn": turned})
    drawing = bars([(name, turned.tolist())], labels, x=page.say("common.turned.axis"))
    page.figure(drawing, key="turned", badge=badge, alt=alt, data=table)
    draw_note(alt)
