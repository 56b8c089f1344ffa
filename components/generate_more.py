"""The Generate page's second half: the KV cache on and off, and the check."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components import generate_engine as found
from components import generate_settings as settings
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.generate_engine import Task
from components.job_panel import draw_job
from components.source import draw_source
from components.theme import ACCENT, QUIET
from llmkit.tokens import visible

KIND = "kv_compare"
KV_TOKENS = 80
"""Tokens that are written both ways: long enough for the two curves to part."""

SMOOTH = 9
"""Tokens whose median the line shows; each alone is a dot."""

SEEDS = 5
FIRST_TOKENS = 4
"""The check draws so many beginnings, each so many tokens long."""


@section
def draw_cache(page: Page, task: Task) -> None:
    """Draw what a token costs as the text grows, with keys and values kept and without."""
    from llmkit.parts import KVCache

    st.header(page.say("generate.kv.title"))
    asked = found.plain_settings(task, min(KV_TOKENS, task.room))

    def partial(so_far: dict[str, Any]) -> None:
        _draw_curve(page, so_far, Badge.live(), key="kv_partial")

    made = draw_job(page, KIND, asked, label=page.say("generate.kv.run"), key="generate_kv", partial=partial)
    if made is None:
        draw_note(page.say("generate.kv.note", n=asked["max_new_tokens"]))
        return
    _draw_curve(page, made.value, made.badge, key="kv")
    same = made.value["with_ids"] == made.value["without_ids"]
    text = visible(b"".join(found.bytes_of(task.box_id, tuple(made.value["with_ids"]))))
    draw_note(page.say("generate.kv.same" if same else "generate.kv.differ", text=text))
    page.tick("do.cache")
    draw_source(page, KVCache)


def _draw_curve(page: Page, result: dict[str, Any], badge: Badge, *, key: str) -> None:
    """Draw the time of each token both ways: a dot each, and the median of its neighbours as a line."""
    import plotly.graph_objects as go

    tokens = np.asarray(result["tokens"], dtype=np.float32)
    times = {name: 1000 * np.asarray(result[name], dtype=np.float32) for name in ("without", "with")}
    drawing = go.Figure()
    for name, colour in (("without", QUIET), ("with", ACCENT)):
        steady = pd.Series(times[name]).rolling(SMOOTH, center=True, min_periods=1).median().to_numpy(np.float32)
        drawing.add_scatter(
            x=tokens, y=times[name], mode="markers", marker={"size": 5, "color": colour}, opacity=0.5, showlegend=False
        )
        drawing.add_scatter(
            x=tokens,
            y=steady,
            mode="lines",
            name=page.say(f"generate.kv.{name}"),
            line={"width": 4, "color": colour},
        )
    drawing.update_traces(hovertemplate="%{x} · %{y:.1f}<extra></extra>")
    drawing.update_xaxes(title={"text": page.say("generate.kv.x")})
    most = max(float(np.percentile(one, 95)) for one in times.values())
    drawing.update_yaxes(title={"text": page.say("generate.kv.y")}, range=[0, 1.25 * most])
    drawing.update_layout(height=380, legend={"orientation": "h", "y": 1.12})
    total = {name: float(one.sum()) / 1000 for name, one in times.items()}
    last = max(len(tokens) // 4, 1)
    ends = {name: float(np.median(one[-last:])) for name, one in times.items()}
    alt = page.say(
        "generate.kv.alt",
        n=len(tokens),
        on=f"{total['with']:.2f}",
        off=f"{total['without']:.2f}",
        times=f"{total['without'] / max(total['with'], 1e-9):.1f}",
        last_on=f"{ends['with']:.0f}",
        last_off=f"{ends['without']:.0f}",
        bytes=f"{result['cache_bytes'][-1] / 1e6:.1f}",
    )
    table = pd.DataFrame({name: result[name] for name in ("tokens", "with", "without", "cache_bytes")})
    page.figure(drawing, key=key, badge=badge, alt=alt, data=table)
    draw_note(alt)


def draw_check(page: Page, task: Task) -> None:
    """Ask how many beginnings differ when only the seed does."""
    sampling = settings.sampling_now()
    options = {name: page.say(f"generate.check.{name}") for name in ("one", "some", "all")}
    question = page.say(
        "generate.check.question", seeds=SEEDS, n=FIRST_TOKENS, temperature=f"{sampling.temperature:.2f}"
    )
    page.check("seeds", question=question, options=options, run=lambda: _seeds(page, task))


def _seeds(page: Page, task: Task) -> Verdict:
    """Draw the beginnings, each with a seed of its own."""
    length = min(FIRST_TOKENS, task.room)
    texts = [found.at_once(task, settings.sampling_now(seed=seed), length).value for seed in range(SEEDS)]
    ids = [tuple(step.token_id for step in one.steps) for one in texts]
    different = list(dict.fromkeys(ids))
    answer = "one" if len(different) == 1 else "all" if len(different) == SEEDS else "some"
    shown = [plain(visible(b"".join(found.bytes_of(task.box_id, one)))) for one in different]
    kept = found.odds(task, settings.sampling_now()).value[-1].kept
    explanation = page.say(
        "generate.check.because",
        n=len(different),
        seeds=SEEDS,
        kept=f"{kept:,}",
        listed=" / ".join(shown),
    )
    return Verdict(answer=answer, explanation=explanation)
