"""The Generate page's settings: the prompt, and the sliders that choose the next token, moved in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from components import embeddings_engine
from components import generate_engine as found
from components.figure import draw_note
from components.frame import Page, section
from components.generate_engine import Task
from components.moving import Slider, draw_moving, moved, place
from components.source import draw_source
from components.theme import own_style
from components.workbench import SENTENCE_LIMIT
from llmkit.tokens.written import left_open

if TYPE_CHECKING:
    from llmkit.generate.sampling import Sampling

ROWS = 9
"""Likeliest tokens that have a bar of their own in each panel."""

BAND = (50, 100)
"""New tokens that a page can show well; beyond, the sign goes up."""

LENGTH = 60
MOST_LENGTH = 400

_PROMPT = "generate_prompt"
_SEED = "generate_seed"
_CUT = "_generate_cut"
_SEEDS = 2**31 - 1

_SLIDERS = {
    "temperature": (0, 200, 80, 5),
    "top_k": (0, 100, 40, 1),
    "top_p": (1, 100, 95, 1),
    "min_p": (0, 50, 0, 1),
    "penalty": (100, 200, 110, 5),
}
"""Name → least, most, usual and step: hundredths, but for the tokens that top-k keeps."""


def draw_prompt(page: Page) -> Task:
    """Let the learner write a prompt; without one, the workbench's sentence is gone on with.

    Raises:
        Exception: with a ``.code``, where there is nothing to go on from, or more than the box reads.
    """
    bench = page.bench
    st.html(own_style("generate"))
    typed = st.text_area(
        page.say("generate.prompt"),
        key=_PROMPT,
        bind="query-params",
        persist_state="session",
        placeholder=left_open(bench.sentence),
        height=90,
        on_change=_cut_prompt,
        help=page.say("generate.prompt.help", limit=SENTENCE_LIMIT),
    )
    if st.session_state.get(_CUT):
        st.warning(page.say("generate.prompt.cut", n=f"{st.session_state[_CUT]:,}", limit=f"{SENTENCE_LIMIT:,}"))
    with st.spinner(page.say("generate.opening")):
        task = found.task(bench.box_id, (typed or left_open(bench.sentence))[:SENTENCE_LIMIT])
    if task.box_id != bench.box_id:
        draw_note(page.say("generate.other", box=bench.box_id, other=task.box_id))
    page.count("part.token", len(task.ids))
    return task


@section
def draw_pipeline(page: Page, task: Task) -> None:
    """Draw the next token's odds before and after each filter; the sliders ask nothing of the server."""
    from llmkit.generate.sampling import STAGES, stages

    st.header(page.say("generate.pipeline.title"))
    logits = found.logits(task).value
    made = found.odds(task, sampling_now())
    rows = logits.order[:ROWS]
    labels = embeddings_engine.labels(task.box_id, [int(one) for one in rows])
    first, last = made.value[0], made.value[-1]
    best = int(last.probs.argmax())
    page.count("part.filter", len(made.value) - 1)
    page.count("part.candidate", last.kept)
    alt = page.say(
        "generate.pipeline.alt",
        token=embeddings_engine.label(task.box_id, best),
        before=f"{first.probs[best]:.1%}",
        after=f"{last.probs[best]:.1%}",
        kept=f"{last.kept:,}",
        all=f"{len(first.probs):,}",
    )
    table = pd.DataFrame({"id": rows, "token": labels})
    for one in made.value:
        table[f"logit_{one.name}"], table[f"p_{one.name}"] = one.logits[rows], one.probs[rows]
    placed = np.empty(len(logits.order), dtype=np.int64)
    placed[logits.order] = np.arange(len(logits.order))
    seen = sorted({int(placed[one]) for one in task.ids if one < len(placed)})
    sliders = _sliders(page)
    with page.shown(key="pipeline", badge=made.badge, alt=alt, data=table):
        draw_moving(
            "generate",
            "pipeline",
            key="generate_pipeline",
            name=page.say("generate.pipeline.title"),
            sliders=sliders,
            words={
                "told": page.say("generate.pipeline.told"),
                "kept": page.say("generate.pipeline.kept"),
                "other": page.say("generate.pipeline.other"),
            },
            stages=[page.say(f"generate.stage.{name}") for name in STAGES],
            names=[*labels, page.say("generate.pipeline.rest")],
            logits=logits.packed,
            seen=seen,
        )
    _keep_address(sliders)
    if any(moved(one) for one in sliders):
        page.tick("do.slide")
    draw_note(page.say("generate.pipeline.note"))
    draw_source(page, stages)


def draw_length(page: Page, task: Task) -> None:
    """Draw how many tokens are asked for, and what they cost; too many wear the manual's sign."""
    speed, slider = found.speed(task), _length(page.say("generate.length"))
    costs = ("count", "time", "bytes", "left", "unmeasured", "good", "long", "brief", "full")
    draw_moving(
        "generate",
        "length",
        key="generate_length",
        name=page.say("generate.length"),
        sliders=[slider],
        words={name: page.say(f"generate.length.{name}") for name in costs},
        prompt=len(task.ids),
        limit=task.limit,
        kv=task.kv_per_token,
        band=list(BAND),
        most=MOST_LENGTH,
        speed=None if speed is None else [round(one, 4) for one in speed],
    )
    _keep_address([slider])


def draw_seed(page: Page) -> int:
    """Draw the number from which all draws follow; return it."""
    return int(
        st.number_input(
            page.say("generate.seed"),
            min_value=0,
            max_value=_SEEDS,
            value=0,
            step=1,
            key=_SEED,
            bind="query-params",
            persist_state="session",
            width=180,
            help=page.say("generate.seed.help"),
        )
    )


def seed_now() -> int:
    """Return the seed, once `draw_seed` has been called in this run or before."""
    return int(st.session_state.get(_SEED) or 0)


def next_seed() -> None:
    """Take the next seed; called before anything is drawn."""
    st.session_state[_SEED] = (seed_now() + 1) % _SEEDS


def sampling_now(*, seed: int = 0) -> Sampling:
    """Return what the sliders say now."""
    from llmkit.generate.sampling import Sampling

    at = {name: place(_slider(name, "")) for name in _SLIDERS}
    return Sampling(
        temperature=at["temperature"] / 100,
        top_k=at["top_k"],
        top_p=at["top_p"] / 100,
        min_p=at["min_p"] / 100,
        repetition_penalty=at["penalty"] / 100,
        seed=seed,
    )


def greedy() -> Sampling:
    """Return the settings that take the likeliest token every time."""
    from llmkit.generate.sampling import Sampling

    return Sampling(temperature=0.0)


def length_now() -> int:
    """Return how many tokens are asked for."""
    return place(_length(""))


def prompt_bytes(task: Task) -> bytes:
    """Return the prompt as it stands before what is written."""
    return b"".join(found.bytes_of(task.box_id, task.ids))


def _sliders(page: Page) -> list[Slider]:
    return [
        _slider(name, page.say(f"generate.slider.{name}"), off=page.say("generate.slider.off")) for name in _SLIDERS
    ]


def _slider(name: str, label: str, *, off: str = "") -> Slider:
    low, high, start, step = _SLIDERS[name]
    nothing = {"top_k": 0, "top_p": 100, "min_p": 0, "penalty": 100}.get(name)
    shown = [off if at == nothing else str(at) if name == "top_k" else f"{at / 100:.2f}" for at in range(low, high + 1)]
    return Slider(name=f"generate_{name}", label=label, low=low, high=high, start=start, step=step, places=tuple(shown))


def _length(label: str) -> Slider:
    return Slider(name="generate_length", label=label, low=10, high=MOST_LENGTH, start=LENGTH, step=10)


def _keep_address(sliders: Sequence[Slider]) -> None:
    """Keep where the learner has settled in the address; the browser's own note of it goes with the next change."""
    for one in sliders:
        if moved(one) and st.query_params.get(one.name) != str(place(one)):
            st.query_params[one.name] = str(place(one))


def _cut_prompt() -> None:
    """Keep the prompt within what an address can hold, and know that it was cut."""
    typed = st.session_state[_PROMPT] or ""
    st.session_state[_CUT] = len(typed) if len(typed) > SENTENCE_LIMIT else 0
    st.session_state[_PROMPT] = typed[:SENTENCE_LIMIT]
