"""The fine-tuning page's training: how long it will take, three runs while they go on, what came of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import streamlit as st

from components import finetune_picture as picture
from components import finetune_plan as asked
from components import finetune_runs as ran
from components.badge import Badge
from components.figure import draw_note
from components.finetune_plan import METHODS, Plan
from components.finetune_runs import Run
from components.frame import Page
from components.job_panel import POLL_S, draw_job, draw_log, duration, progress_line
from components.source import draw_source
from llmkit import jobs

_ACTED = "_finetune_acted"
"""Set by a button: the whole page is to be drawn again."""


def draw_training(page: Page, plan: Plan) -> None:
    """Draw how long the plan will take, its runs, and the methods side by side as soon as one has ended."""
    from llmkit.tune.finetune import Finetuning, learn

    st.header(page.say("finetune.train.title"))
    _draw_estimate(page, plan)
    _draw_runs(page, plan)
    draw_source(page, learn, Finetuning)
    runs = ran.runs(plan)
    if any(run.result is not None for run in runs.values()):
        _draw_results(page, runs)


def _draw_estimate(page: Page, plan: Plan) -> None:
    """Say how long the three will take, from steps that were timed on this machine; offer to time them."""
    say = page.say
    draw_note(
        say(
            "finetune.plan",
            steps=f"{plan.steps:,}",
            rows=f"{plan.train:,}",
            epochs=plan.epochs,
            batch=plan.batch,
            held_out=asked.HELD_OUT,
            device=plan.device,
        )
    )
    made = draw_job(page, asked.PACE, plan.pace_settings(), label=say("finetune.pace.run"), key="finetune_pace")
    if made is None:
        return
    times = {method: asked.estimate(plan, made.value, method) for method in METHODS}
    words = page.bench.say
    listed = say("common.comma").join(
        f"{say(f'finetune.method.{method}')} {duration(seconds, words)}" for method, seconds in times.items()
    )
    draw_note(say("finetune.pace.said", listed=listed, all=duration(sum(times.values()), words)))
    st.html(f'<div class="small-print">{made.badge.html(words)}</div>')


def _draw_runs(page: Page, plan: Plan) -> None:
    """Draw the runs: start, progress, stop, go on, and the curves; alone and once a second while any goes on."""
    seen = ran.runs(plan)
    active = {method for method, run in seen.items() if run.active}

    @st.fragment(run_every=POLL_S if active else None)
    def watch() -> None:
        with page._section():
            runs = ran.runs(plan)
            _draw_start(page, runs)
            for (method, run), column in zip(runs.items(), st.columns(3, gap="medium"), strict=True):
                with column, st.container(border=True, key=f"finetune_run_{method}"):
                    _draw_run(page, run)
            if any(run.course for run in runs.values()):
                _draw_curves(page, runs)
            if st.session_state.pop(_ACTED, False) or active != {one.method for one in runs.values() if one.active}:
                st.rerun()

    watch()


def _draw_start(page: Page, runs: dict[str, Run]) -> None:
    """Offer to start whatever has not begun."""
    waiting = [run for run in runs.values() if run.job is None]
    if not waiting:
        return
    st.button(
        page.say("finetune.start", n=len(waiting)),
        key="finetune_start",
        type="primary",
        on_click=_act,
        args=tuple(partial(ran.start, run) for run in waiting),
    )


def _draw_run(page: Page, run: Run) -> None:
    """Draw one method's run: where it stands and what can be done with it."""
    say, key = page.say, f"finetune_{run.method}"
    st.markdown(f"**{say(f'finetune.method.{run.method}')}**")
    if run.job is None:
        draw_note(say("finetune.run.none"))
        _button(page, "start", f"{key}_start", lambda: ran.start(run))
        return
    if run.active:
        st.progress(run.job.share, text=progress_line(run.job, page.bench.say))
        _draw_now(page, run)
        from llmkit.tune.resumable import stopping as is_stopping

        stopping = is_stopping(run.job, run.settings)
        _button(page, "stop", f"{key}_stop", lambda: ran.stop(run), disabled=stopping)
        draw_note(say("finetune.run.stopping") if stopping else say("jobs.tab"))
        return
    failed = run.job.state == "failed"
    if failed:
        with page.guard():
            raise run.job.error or jobs.JobError("job_interrupted")
    elif run.result is not None:
        _draw_end(page, run)
    else:
        st.info(say(f"finetune.run.{run.job.state}" if run.kept else "finetune.run.lost"))
        _draw_now(page, run)
    if run.stopped or failed:
        name = "go_on" if run.kept else "again"
        _button(page, name, f"{key}_go_on", lambda: ran.start(run), primary=True)
    _button(page, "forget", f"{key}_forget", lambda: ran.forget(run))
    draw_log(run.job, page.bench.say)


def _button(
    page: Page, name: str, key: str, act: Callable[[], None], *, primary: bool = False, disabled: bool = False
) -> None:
    """Draw a button that does something to a run, and then the page again."""
    label = page.say(f"finetune.run.do.{name}")
    kind: Literal["primary", "secondary"] = "primary" if primary else "secondary"
    st.button(label, key=key, type=kind, disabled=disabled, on_click=_act, args=(act,))


def _act(*acts: Callable[[], None]) -> None:
    """Do what a button says before anything is drawn: what is drawn once a second may be cut off by the next time."""
    for act in acts:
        act()
    st.session_state[_ACTED] = True


def _draw_now(page: Page, run: Run) -> None:
    """Say what a run has reached so far."""
    if run.course is None or not run.course["validation"]:
        return
    step, _, accuracy = run.course["validation"][-1]
    best = run.course.get("best")
    speed = run.course.get("steps_per_second")
    draw_note(
        page.say(
            "finetune.run.now",
            step=step,
            accuracy=f"{accuracy:.1%}",
            best="–" if best is None else f"{best[2]:.1%}",
            speed="–" if speed is None else f"{speed:.2f}",
        )
    )


def _draw_end(page: Page, run: Run) -> None:
    """Say how a run ended, and where its best lies."""
    result = run.result or {}
    say, ending = page.say, result["ending"]
    best = result["best"]
    where = {"step": result["step"], "steps": result["steps"], "best": 0 if best is None else best[0]}
    if ending == "diverged":
        kept = say("finetune.end.kept", **where) if best is not None else say("finetune.end.nothing")
        st.warning(f"{say('finetune.end.diverged', **where)} {kept}")
    elif best is None:
        draw_note(say("finetune.end.unmeasured", **where))
    else:
        draw_note(say(f"finetune.end.{ending}", **where))
    if result["box"] is not None:
        draw_note(say("finetune.end.box", box=result["box"]))


def _draw_curves(page: Page, runs: dict[str, Run]) -> None:
    """Draw loss and accuracy of every method that has begun."""
    say = page.say
    badge = _badge(runs)
    table = picture.curve_table(runs)
    ends = [
        say(
            "finetune.curve.one",
            method=say(f"finetune.method.{method}"),
            first=f"{run.course['validation'][0][2]:.0%}",
            last=f"{run.course['validation'][-1][2]:.0%}",
        )
        for method, run in runs.items()
        if run.course is not None and run.course["validation"]
    ]
    listed = say("common.comma").join(ends)
    for which, column in zip(("loss", "accuracy"), st.columns(2, gap="medium"), strict=True):
        with column:
            st.subheader(say(f"finetune.curve.{which}"))
            drawing = picture.curves(runs, which, page.bench.say)
            alt = say(f"finetune.curve.{which}.alt", listed=listed)
            page.figure(drawing, key=f"curve_{which}", badge=badge, alt=alt, data=table)


def _badge(runs: dict[str, Run]) -> Badge:
    """Return where the numbers of the runs come from: live as long as one goes on, else with their device and day."""
    if any(run.active for run in runs.values()):
        return Badge.live()
    made = next((run.job.made_with for run in runs.values() if run.job is not None and run.result is not None), {})
    return Badge.of_process(made)


def _draw_results(page: Page, runs: dict[str, Run]) -> None:
    """Draw the methods side by side, and what their memory was made of."""
    say, badge = page.say, _badge(runs)
    done = {method: run.result for method, run in runs.items() if run.result is not None}
    st.header(say("finetune.results.title"))
    table = picture.results_table(runs)
    listed = say("common.comma").join(
        say(
            "finetune.results.one",
            method=say(f"finetune.method.{method}"),
            accuracy="–" if result["test"]["after"] is None else f"{result['test']['after']['accuracy']:.1%}",
            mib=f"{result['memory']['peak'] / picture.MIB:,.0f}",
        )
        for method, result in done.items()
    )
    first = next(iter(done.values()))["test"]
    values = {"n": first["n"], "before": f"{first['before']['accuracy']:.0%}", "commonest": f"{first['commonest']:.0%}"}
    with page.shown(key="results", badge=badge, alt=listed, data=table):
        st.html(picture.results(runs, page.bench.say))
    draw_note(say("finetune.results.note", **values))
    st.subheader(say("finetune.memory.title"))
    page.figure(picture.memory(runs, page.bench.say), key="memory", badge=badge, alt=listed, data=table)
    draw_note(say("finetune.memory.note"))
    if "full" in done and "frozen" in done and "lora" in done:
        page.tick("do.train")
