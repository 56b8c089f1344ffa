"""Step 2-6, the run: start, watch it learn, stop, go on; curves and samples while they come."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import pretrain_engine as found
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, plain
from components.job_panel import POLL_S, draw_log, progress_line
from components.pretrain_engine import KIND, Plan
from components.theme import ACCENT, QUIET, own_style, plot_text
from llmkit import jobs

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from llmkit.jobs import Job

HEART_GAP = 0.2
"""Held-out loss over training loss by more than this share: the model learns by heart."""

RISEN = 0.02
"""Held-out loss over its best by more than this share: it has got worse again."""

SMALL_GAP = 0.03
_SEEN = "_pretrain_seen"


def dress() -> None:
    """Put the page's style sheet on it."""
    st.html(own_style("pretrain"))


def draw_run(page: Page, plan: Plan) -> dict[str, Any] | None:
    """Draw a run from its start to its end; return what came of it, None as long as it is not over.

    While it goes on it is drawn alone, once a second; when it ends, the whole page is.
    """
    st.header(page.say("pretrain.run.title"))
    job = jobs.find(KIND, plan.settings)
    if job is None:
        key = "pretrain.run.go_on" if found.is_kept(plan) else "pretrain.run.start"
        _button(page, key, "start", lambda: found.begin(plan))
        return None
    page.tick("do.text")  # what is trained on was chosen, be it the box that lay there
    if job.active:
        st.session_state.setdefault(_SEEN, set()).add(job.id)
        _watch(page, plan, job)
        return None
    with page.guard():
        _draw_over(page, plan, job)
    return job.result if isinstance(job.result, dict) else None


def _watch(page: Page, plan: Plan, seen: Job) -> None:
    @st.fragment(run_every=POLL_S)
    def watch() -> None:
        with page._section():
            job = jobs.find(KIND, plan.settings)
            if job is None or not job.active:
                st.rerun()
            stopping = found.stopping(plan, job)
            st.progress(job.share, text=progress_line(job, page.bench.say))
            with st.container(horizontal=True, vertical_alignment="center"):
                st.button(
                    page.say("pretrain.run.stop"),
                    key="pretrain_stop",
                    disabled=stopping,
                    on_click=found.stop,  # heard even where this redrawing is cut off by the next one
                    args=(plan, job),
                )
                draw_note(page.say("pretrain.run.stopping") if stopping else page.say("jobs.tab"))
            if job.partial is not None:
                draw_course(page, job.partial, plan, Badge.live())

    watch()


def _draw_over(page: Page, plan: Plan, job: Job) -> None:
    """Draw a run that does not go on now: its end, or how it can go on."""
    result = job.result if isinstance(job.result, dict) else None
    ending = result["ending"] if result else job.state
    if job.state == "failed":
        with page.guard():
            raise job.error or jobs.JobError("job_interrupted")
    elif result is None:
        step = (found.so_far(plan, job) or {}).get("step", 0)
        st.info(page.say("pretrain.run.kept" if found.is_kept(plan) else "pretrain.run.lost", step=step))
    elif ending == "diverged":
        st.warning(
            page.say(
                "pretrain.run.diverged",
                step=result["step"],
                rate=f"{plan.recipe.learning_rate:g}",
                usual=f"{_usual_rate(plan):.2g}",
                best=result["best_step"],
            )
        )
    elif ending == "stopped":
        st.info(page.say("pretrain.run.stopped", step=result["step"], steps=result["steps"]))
    with st.container(horizontal=True):
        if ending not in ("finished", "diverged"):
            _button(page, "pretrain.run.go_on", "go_on", lambda: found.begin(plan))
        if result is None or result.get("box"):
            _button(page, "pretrain.run.forget", "forget", lambda: found.forget(plan, job), kind="tertiary")
    course = result or found.so_far(plan, job)
    if course:
        draw_course(page, course, plan, _badge(job))
    draw_log(job, page.bench.say)


def draw_course(page: Page, course: dict[str, Any], plan: Plan, badge: Badge) -> None:
    """Draw the losses, how fast it goes, and what the model wrote on its way."""
    say = page.say
    blind = math.log(course["vocab_size"])
    measured = course["measured"]
    if not measured:
        draw_note(say("pretrain.run.first"))
        return
    step, held_out, train = measured[-1]
    alt = say(
        "pretrain.curve.alt",
        step=step,
        held=_digits(held_out),
        train=_digits(train),
        blind=_digits(blind),
        vocab=f"{course['vocab_size']:,}",
    )
    rows = [{"step": at, "loss": loss, "kind": "step"} for at, loss in course["curve"]]
    for at, held, seen in measured:
        rows += [{"step": at, "loss": held, "kind": "held_out"}, {"step": at, "loss": seen, "kind": "training"}]
    page.figure(_losses(page, course, blind), key="curve", badge=badge, alt=alt, data=pd.DataFrame(rows))
    draw_note(alt)
    _draw_numbers(page, course)
    _draw_samples(page, course, badge)


def _losses(page: Page, course: dict[str, Any], blind: float) -> go.Figure:
    import plotly.graph_objects as go

    say = page.say
    steps, losses = _columns(course["curve"], 0, 1)
    at, held = _columns(course["measured"], 0, 1)
    _, seen = _columns(course["measured"], 0, 2)
    ends = np.array((0, course["steps"]), dtype=np.int32)
    drawing = go.Figure()
    for x, y, name, line in (
        (steps, losses, "step", {"color": QUIET, "width": 1.5}),
        (at, seen, "training", {"color": QUIET, "width": 4, "dash": "dot"}),
        (at, held, "held_out", {"color": ACCENT, "width": 4}),
        (ends, np.full(2, blind, dtype=np.float32), "blind", {"color": QUIET, "width": 2, "dash": "dash"}),
    ):
        drawing.add_trace(
            go.Scatter(
                x=x, y=y, name=plot_text(say(f"pretrain.curve.{name}")), mode="lines", line=line, connectgaps=False
            )
        )
    known = [float(value) for value in (*held, *seen, blind) if math.isfinite(value)]
    drawing.update_xaxes(title={"text": say("pretrain.axis.step")}, range=[0, course["steps"]], showgrid=False)
    drawing.update_yaxes(title={"text": say("pretrain.axis.loss")}, range=[0, min(max(known), 3 * blind) * 1.08])
    return drawing.update_layout(height=420, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def _draw_numbers(page: Page, course: dict[str, Any]) -> None:
    """Draw where the run stands, in large figures."""
    speed = course["tokens_per_second"]
    numbers = {
        "step": f"{course['step']:,} / {course['steps']:,}",
        "tokens": f"{course['step'] * course['tokens_a_step']:,}",
        "speed": "–" if speed is None else f"{speed:,.0f}",
        "rate": "–" if course["rate"] is None else f"{course['rate']:.2g}",
    }
    listed = "".join(
        f"<div><dt>{escape(page.say(f'pretrain.now.{name}'))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in numbers.items()
    )
    st.html(f'<dl class="pre-facts">{listed}</dl>')


def _draw_samples(page: Page, course: dict[str, Any], badge: Badge) -> None:
    """Draw what the model wrote, the newest on top: always the same beginning and the same seed."""
    samples = course["samples"]
    if not samples:
        return
    prompt = course["text"].get("prompt", "")
    st.subheader(page.say("pretrain.samples.title"))
    items = "".join(
        f"<li><b>{escape(page.say('pretrain.samples.step', n=f'{step:,}'))}</b>"
        f"<p><bdi><span>{escape(prompt)}</span>{escape(_visible(text))}</bdi></p></li>"
        for step, text in reversed(samples)
    )
    table = pd.DataFrame({"step": [step for step, _ in samples], "text": [prompt + text for _, text in samples]})
    alt = page.say("pretrain.samples.alt", n=len(samples), prompt=prompt)
    with page.shown(key="samples", badge=badge, alt=alt, data=table):
        st.html(f'<ol class="pre-samples" tabindex="0">{items}</ol>')


def draw_result(page: Page, plan: Plan, result: dict[str, Any]) -> None:
    """Draw what the gap says, and the box that is on the shelf now."""
    say = page.say
    page.tick("do.train")
    step, held_out, train = result["measured"][-1]
    if held_out is not None and train is not None:
        values = {
            "held": _digits(held_out),
            "train": _digits(train),
            "gap": _digits(held_out - train),
            "best": _digits(result["best_loss"]),
            "step": f"{result['best_step']:,}",
            "n": f"{result['text']['tokens']:,}",
            "times": f"{step * result['tokens_a_step'] / result['text']['tokens']:.1f}",
        }
        heart = held_out > train * (1 + HEART_GAP) or held_out > result["best_loss"] * (1 + RISEN)
        (st.warning if heart else st.success)(say("pretrain.gap.heart" if heart else "pretrain.gap.fine", **values))
    box = result["box"]
    st.subheader(say("pretrain.shelf.title"))
    st.markdown(say("pretrain.shelf.box", box=plain(box), step=f"{result['best_step']:,}"))
    if st.button(say("pretrain.shelf.use"), key="pretrain_use_box", type="primary"):
        st.session_state["_workbench_fill"] = {"box": box}
        st.rerun()
    card = _card(box)
    if card:
        with st.expander(say("pretrain.shelf.card"), key="pretrain_card"):
            st.code(card, language=None, wrap_lines=True)


def draw_check(page: Page, result: dict[str, Any] | None) -> None:
    """Ask how much better the model guesses what it has read than what it has not."""
    say = page.say
    page.check(
        "gap",
        question=say("pretrain.check.question"),
        options={name: say(f"pretrain.check.{name}") for name in ("same", "little", "much")},
        run=lambda: _verdict(page, result),
    )


def _verdict(page: Page, result: dict[str, Any] | None) -> Verdict:
    from llmkit.tune.pretrain_errors import PretrainError

    step, held_out, train = result["measured"][-1] if result else (0, None, None)
    if not result or held_out is None or train is None:
        raise PretrainError("pretrain_not_run")
    share = (held_out - train) / train
    answer = "same" if share <= SMALL_GAP else "little" if share <= HEART_GAP else "much"
    explanation = page.say(
        "pretrain.check.because", step=f"{step:,}", train=_digits(train), held=_digits(held_out), share=f"{share:.1%}"
    )
    return Verdict(answer=answer, explanation=explanation)


def _card(box: str) -> str:
    from llmkit import shelf

    folder = shelf.locate(box)
    path = folder / "README.md" if folder else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else ""


def _usual_rate(plan: Plan) -> float:
    from llmkit.tune.recipe import from_depth

    return from_depth(plan.depth, vocab_size=plan.recipe.vocab_size).learning_rate


def _button(page: Page, key: str, name: str, act: Any, *, kind: str = "primary") -> None:
    if st.button(page.say(key), key=f"pretrain_{name}", type=kind):  # type: ignore[arg-type]
        act()
        st.rerun()


def _badge(job: Job) -> Badge:
    """Live where this session has seen the run, else found again; with the device, date and versions of its process."""
    return Badge.of_process(job.made_with, live=job.id in st.session_state.get(_SEEN, ()))


def _columns(rows: list[list[Any]], x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    """Two columns of rows as arrays; what was no number stays none."""
    values = [np.nan if row[y] is None else row[y] for row in rows]
    return np.array([row[x] for row in rows], dtype=np.int32), np.array(values, dtype=np.float32)


def _visible(text: str) -> str:
    """Text without characters that nobody sees; line ends stay."""
    return "".join(char if char.isprintable() or char in "\n\t " else "·" for char in text)


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
