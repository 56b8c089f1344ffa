"""The Generate page's first half: the text while it is being written, and several settings side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from components import embeddings_engine
from components import generate_engine as found
from components import generate_settings as settings
from components import generate_text as text
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, section
from components.generate_engine import Asked, Task, Told
from components.source import draw_source

if TYPE_CHECKING:
    from llmkit.generate.live import Live, Written
    from llmkit.generate.sampling import Sampling

TICK_S = 0.2
"""A reader sees at most a fifth of a second later what has been written."""

_RUNS = "_generate_runs"


@dataclass(kw_only=True)
class Run:
    """What this session is having written, or has had written, in one place of the page.

    Args:
        asked: what was asked for. live: the writing; None where it was found. told: what was found.
    """

    asked: Asked
    live: Live | None
    told: Told | None

    def read(self) -> Written:
        """Return how far it is."""
        if self.live is not None:
            return self.live.read()
        if self.told is None:
            raise ValueError("a run that neither writes nor has found anything")
        return self.told.written

    @property
    def cached(self) -> bool:
        return self.live is None


@section
def draw_writing(page: Page, task: Task) -> None:
    """Write with the settings of the sliders; the text appears while it is written, and stop stops it."""
    from llmkit.generate.decode import stream

    st.header(page.say("generate.write.title"))
    settings.draw_length(page, task)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        seed = settings.draw_seed(page)
        start = st.button(page.say("generate.write.start"), key="generate_start", type="primary")
        if st.button(page.say("generate.write.other_seed"), key="generate_reseed", on_click=settings.next_seed):
            start = True
    asked = found.asked(task, settings.sampling_now(seed=seed), settings.length_now())
    run = _settle("write", asked, start=start)
    if run is None:
        draw_note(page.say("generate.write.ready", box=task.box_id))
        return
    if run.asked != asked:
        draw_note(page.say("generate.write.older"))
    _watch(page, run, lambda: _draw_run(page, run, key="write"), key="write")
    draw_note(page.say("generate.write.tint"))
    draw_source(page, stream)


def _settle(place: str, asked: Asked, *, start: bool) -> Run | None:
    """Return the run that this place of the page shows.

    One of another box or prompt is stopped and goes; one of other settings stays, until the learner starts anew or the
    app remembers what is asked now.
    """
    runs: dict[str, Run] = st.session_state.setdefault(_RUNS, {})
    run = runs.get(place)
    known = found.finished(asked)
    if run is not None and (start or run.asked.task != asked.task or (known and run.asked != asked)):
        if run.live is not None:
            run.live.stop()
        run = None
        runs.pop(place)
    if run is None and (start or known):
        made = found.write(asked)
        told = made if isinstance(made, Told) else None
        run = runs[place] = Run(asked=asked, live=None if isinstance(made, Told) else made, told=told)
    return run


def _watch(page: Page, run: Run, draw: Callable[[], None], *, key: str) -> None:
    """Draw what is written: again and again while it is being written, else once."""
    if run.live is None or run.read().state != "writing":
        draw()
        return
    live = run.live

    @st.fragment(run_every=TICK_S)
    def watch() -> None:
        with page._section():
            # on_click is heard even where this redrawing is cut off by the next one
            st.button(page.say("generate.write.stop"), key=f"generate_{key}_stop", type="primary", on_click=live.stop)
            draw()
            if live.read().state != "writing":
                st.rerun()

    watch()


def _draw_run(page: Page, run: Run, *, key: str, small: bool = False) -> None:
    """Draw one text with what it took; when it has ended, with its numbers."""
    written = run.read()
    if written.error is not None:
        raise written.error
    task = run.asked.task
    ids = tuple(step.token_id for step in written.steps)
    data = found.bytes_of(task.box_id, ids)
    logprobs = [step.logprob for step in written.steps]
    ended = bool(ids) and ids[-1] in task.stop_ids
    writing = written.state == "writing"
    html = text.written(
        settings.prompt_bytes(task),
        data,
        logprobs,
        waiting=writing,
        end=_why(page, run, written, ended=ended),
        small=small,
    )
    if writing:
        st.html(html + _facts(page, run, written, small=small))
        return
    alt = page.say("generate.write.alt", n=len(ids), text=_plain(data))
    table = pd.DataFrame(
        {
            "id": ids,
            "token": embeddings_engine.labels(task.box_id, ids),
            "logprob": logprobs,
            "p": [math.exp(one) for one in logprobs],
            "seconds": written.seconds,
        }
    )
    badge = Badge.cached() if run.cached else Badge.live()
    with page.shown(key=key, badge=badge, alt=alt, data=table):
        st.html(html + _facts(page, run, written, small=small))
    if len(ids) > 0:
        page.tick("do.write")


def _why(page: Page, run: Run, written: Written, *, ended: bool) -> str:
    """Why a text is over: said where it is not simply as long as was asked for."""
    if written.state == "stopped":
        return page.say("generate.write.stopped")
    if ended:
        return page.say("generate.write.ended")
    if written.state == "done" and len(run.asked.task.ids) + len(written.steps) > run.asked.task.limit:
        return page.say("generate.write.full", limit=run.asked.task.limit)
    return ""


def _facts(page: Page, run: Run, written: Written, *, small: bool) -> str:
    """What a text has taken, as HTML: tokens, seconds, speed, first token, cache, context left."""
    task, count = run.asked.task, len(written.steps)
    said: list[tuple[str, str]] = [("tokens", f"{count:,}")]
    if written.first_s is not None and written.seconds:
        said.append(("first", f"{1000 * written.first_s:,.0f} ms"))
        if written.per_second is not None:
            said.append(("speed", f"{written.per_second:,.1f}"))
        said.append(("seconds", f"{written.seconds[-1]:.2f} s"))
    if not small:
        held = (len(task.ids) + max(count - 1, 0)) * task.kv_per_token
        said.append(("kv", f"{held / 1e6:.2f} MB"))
        said.append(("left", f"{max(task.limit - len(task.ids) - count, 0):,}"))
    rows = "".join(
        f"<div><dt>{escape(page.say(f'generate.fact.{name}'))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in said
    )
    return f'<dl class="gen-facts{" small" if small else ""}">{rows}</dl>'


def _plain(data: Sequence[bytes]) -> str:
    from llmkit.tokens import visible

    return visible(b"".join(data))


# ---- several settings side by side

COLUMNS = (2, 3, 4)
_USUAL = ((0.0, 0, 1.0), (0.7, 40, 1.0), (1.0, 0, 0.9), (1.6, 0, 1.0))
"""Temperature, top-k and top-p that the columns begin with: from the most careful to the boldest."""


@section
def draw_columns(page: Page, task: Task) -> None:
    """Write the same prompt with two to four settings at once."""
    st.header(page.say("generate.columns.title"))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        count = st.segmented_control(
            page.say("generate.columns.count"),
            COLUMNS,
            default=COLUMNS[1],
            required=True,
            key="generate_columns",
            bind="query-params",
            persist_state="session",
        )
        start = st.button(page.say("generate.columns.start"), key="generate_columns_start", type="primary")
    columns = st.columns(int(count or COLUMNS[1]))
    runs: list[Run | None] = []
    for at, column in enumerate(columns):
        with column:
            asked = found.asked(task, _column(page, at), min(settings.length_now(), settings.LENGTH))
            runs.append(_settle(f"column {at}", asked, start=start))
            _draw_column(page, runs[at], asked, at)
    if not any(runs):
        draw_note(page.say("generate.columns.ready", n=len(columns)))
    elif all(runs):
        page.tick("do.compare")


def _draw_column(page: Page, run: Run | None, asked: Asked, at: int) -> None:
    """Draw what one column writes; nothing where it has written nothing."""
    if run is None:
        return
    if run.asked != asked:
        draw_note(page.say("generate.write.older"))
    _watch(page, run, lambda: _draw_run(page, run, key=f"column_{at}", small=True), key=f"column_{at}")


def _column(page: Page, at: int) -> Sampling:
    """Draw one column's own settings and return them."""
    from llmkit.generate.sampling import Sampling

    usual_temperature, usual_k, usual_p = _USUAL[at]
    temperature = st.slider(
        page.say("generate.slider.temperature"),
        0.0,
        2.0,
        usual_temperature,
        0.1,
        key=f"generate_t{at}",
        bind="query-params",
        persist_state="session",
    )
    top_k = st.slider(
        page.say("generate.slider.top_k"),
        0,
        100,
        usual_k,
        1,
        key=f"generate_k{at}",
        bind="query-params",
        persist_state="session",
    )
    top_p = st.slider(
        page.say("generate.slider.top_p"),
        0.05,
        1.0,
        usual_p,
        0.05,
        key=f"generate_p{at}",
        bind="query-params",
        persist_state="session",
    )
    return Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=settings.seed_now())
