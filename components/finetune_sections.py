"""The fine-tuning page's first half: what is tuned on what, three machines side by side, training, what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import streamlit as st

from components import engine
from components import finetune_engine as found
from components import finetune_picture as picture
from components.badge import Badge
from components.figure import draw_note
from components.finetune_engine import METHODS, Plan, Run
from components.frame import Page, plain, section
from components.job_panel import draw_job, draw_log, duration, progress_line
from components.source import draw_source
from lessons import registry
from llmkit import jobs

POLL_S = 1.0
"""How often a page looks how far its runs are; only this part is drawn again."""

_ACTED = "_finetune_acted"
"""Set by a button: the whole page is to be drawn again."""


def draw_choice(page: Page) -> tuple[str, str] | None:
    """Let the learner choose box and data; return them, or None where nothing can be learned from."""
    own = page.bench.box_id
    st.html(picture.style())
    boxes, sources = found.boxes(own), found.sources()
    if not sources:
        st.info(page.say("finetune.no_data"))
        for slug in ("unbox", "material"):
            step = registry.step(slug)
            st.page_link(step.script, label=f"{step.number} {page.say(step.key('title'))}")
        return None
    with st.container(horizontal=True, gap="medium"):
        box_id = st.selectbox(
            page.say("finetune.box"),
            boxes,
            index=boxes.index(found.usual_box(own, boxes)),
            key=f"finetune_box_{own}",
            persist_state="session",
            width=340,
        )
        at = found.usual_source(sources)
        data = st.selectbox(
            page.say("finetune.data"),
            sources,
            index=at,
            key=f"finetune_data_{sources[at]}",
            persist_state="session",
            width=340,
        )
    with page.guard():
        plan = found.plan(box_id, data)
        _draw_data(page, plan)
        return box_id, data
    return None


def _draw_data(page: Page, plan: Plan) -> None:
    """Say what there is to learn from, and how well the box can read it."""
    from llmkit.tune.labelled import fingerprint

    say, rows = page.say, found.taken(plan)
    labels = say("common.comma").join(picture.short(label) for label in rows.labels[:6])
    more = "…" if len(rows.labels) > 6 else ""
    page.count("part.row", len(rows.train))
    page.count("part.label", len(rows.labels))
    draw_note(
        say(
            "finetune.data.note",
            train=f"{len(rows.train):,}",
            whole=f"{found.whole_size(plan.data):,}",
            validation=f"{len(rows.validation):,}",
            test=f"{len(rows.test):,}",
            labels=labels + more,
            commonest=f"{rows.commonest(rows.test):.0%}",
        )
    )
    if rows.empty or rows.unlabelled:
        draw_note(say("finetune.data.left_out", empty=rows.empty, unlabelled=rows.unlabelled))
    made = found.cost(plan.box_id, engine.fingerprint(plan.box_id), plan.data, fingerprint(plan.data))
    unknown = made.value.unknown / max(made.value.tokens, 1)
    if found.is_foreign(plan) or unknown > 0.02:
        text = say("finetune.foreign" if found.is_foreign(plan) else "finetune.unknown", box=plain(plan.box_id))
        st.warning(f"{text} {say('finetune.unknown.share', share=f'{unknown:.1%}', tokens=_per_character(plan))}")


def _per_character(plan: Plan) -> str:
    from llmkit.tune.labelled import fingerprint

    made = found.cost(plan.box_id, engine.fingerprint(plan.box_id), plan.data, fingerprint(plan.data))
    return f"{made.value.tokens_per_character:.2f}"


@section
def draw_bench(page: Page, box_id: str, data: str) -> None:
    """Draw the settings, the three machines, the training, and what came of it: all that the settings decide."""
    from components import finetune_more as more
    from llmkit.tune.finetune import Finetuning, learn, prepare

    _draw_sliders(page, box_id, data)
    _draw_machines(page, found.plan(box_id, data))
    draw_source(page, prepare)
    plan = found.plan(box_id, data)
    st.header(page.say("finetune.train.title"))
    _draw_estimate(page, plan)
    _draw_training(page, plan)
    draw_source(page, learn, Finetuning)
    runs = found.runs(plan)
    if any(run.result is not None for run in runs.values()):
        _draw_results(page, runs)
    more.draw_examples(page, box_id, data)


def _draw_sliders(page: Page, box_id: str, data: str) -> None:
    """Draw what the three methods share."""
    say, whole = page.say, found.whole_size(data)
    most = next((n for n in found.ROWS if n >= whole), found.ROWS[-1])
    rows = [n for n in found.ROWS if n <= most]
    lengths = [n for n in found.LENGTHS if n <= found.context(box_id)] or [found.context(box_id)]
    st.header(say("finetune.machines.title"))
    with st.container(horizontal=True, gap="medium"):
        _select(
            say("finetune.rows"),
            rows,
            "rows",
            lambda n: say("finetune.all", n=f"{whole:,}") if n >= whole else f"{n:,}",
        )
        st.slider(
            say("finetune.epochs"),
            1,
            found.MOST_EPOCHS,
            found.USUAL["epochs"],
            key=found.key("epochs"),
            persist_state="session",
            width=222,
        )
        _select(say("finetune.batch"), found.BATCHES, "batch", str)
        _select(say("finetune.tokens"), lengths, "tokens", str)
        patience = range(0, found.MEASUREMENTS + 1)
        _select(
            say("finetune.patience"),
            patience,
            "patience",
            lambda n: say("finetune.patience.never") if n == 0 else str(n),
        )


def _select(label: str, options: Sequence[Any], name: str, text: Callable[[Any], str]) -> None:
    """Draw a slider over a few values; where the value it had is no longer among them, it takes the last."""
    key = found.key(name)
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[-1]
    usual = found.USUAL[name] if found.USUAL[name] in options else options[-1]
    st.select_slider(label, options, usual, format_func=text, key=key, persist_state="session", width=222)


def _draw_machines(page: Page, plan: Plan) -> None:
    """Draw the three machines with their frozen and learning parts, each with its own settings below."""
    import pandas as pd

    say, n_labels = page.say, len(found.taken(plan).labels)
    made = {method: found.learning(plan, method, n_labels) for method in METHODS}
    counted = {method: one.value for method, one in made.items()}
    page.count("part.adapter", len(plan.targets) * sum(part.name == "attention" for part in counted["lora"].parts))
    alt = say(
        "finetune.machines.alt",
        **{method: f"{one.learning:,}" for method, one in counted.items()},
        total=f"{counted['full'].total:,}",
    )
    table = pd.DataFrame(
        [
            {"method": method, "part": part.name, "layer": part.layer, "parameters": part.parameters,
             "learning": part.learning, "adapters": part.adapters}
            for method, one in counted.items()
            for part in one.parts
        ]
    )  # fmt: skip
    with page.shown(key="machines", badge=made["lora"].badge, alt=alt, data=table):
        st.html(picture.legend(page.bench.say))
        for method, column in zip(METHODS, st.columns(3, gap="medium"), strict=True):
            with column:
                st.html(f'<h3 class="ft-title">{say(f"finetune.method.{method}")}</h3>')
                st.html(picture.machine(counted[method], page.bench.say))
                st.html(picture.counts(counted[method], page.bench.say))
                _draw_own(page, plan, method)
    _warn_of_memory(page, plan, n_labels)


def _draw_own(page: Page, plan: Plan, method: str) -> None:
    """Draw one method's own settings, and a warning where its rate is too high."""
    say = page.say
    _select(say("finetune.rate"), found.RATES, f"rate_{method}", _rate)
    rate, usual = plan.rates[method], found.USUAL_RATES[method]
    if rate > usual * found.TOO_HIGH:
        st.warning(say("finetune.rate.high", rate=_rate(rate), usual=_rate(usual), times=f"{rate / usual:,.0f}"))
    if method != "lora":
        return
    _select(say("finetune.rank"), found.RANKS, "rank", str)
    _select(say("finetune.alpha"), found.ALPHAS, "alpha", lambda alpha: f"{alpha} (×{alpha / plan.rank:g})")
    linears = found.learning(plan, "full", 2).value.linears
    st.pills(
        say("finetune.targets"),
        linears,
        selection_mode="multi",
        default=[one for one in found.USUAL["targets"] if one in linears],
        key=found.key("targets"),
        persist_state="session",
        wrap=True,
    )
    if not st.session_state.get(found.key("targets")):
        st.warning(say("finetune.targets.none", target=plain(plan.targets[0])))
    changed = (plan.rank, plan.alpha, plan.targets)
    if changed != (found.USUAL["rank"], found.USUAL["alpha"], found.USUAL["targets"]):
        page.tick("do.lora")


def _rate(rate: float) -> str:
    """Return a learning rate as papers write it: 5e-5."""
    if rate >= 0.01:
        return f"{rate:g}"
    mantissa, _, exponent = f"{rate:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _warn_of_memory(page: Page, plan: Plan, n_labels: int) -> None:
    """Warn where nothing is frozen and memory is scarce."""
    needed, free = found.needed_bytes(plan, "full", n_labels), found.free_bytes()
    if plan.device == "cpu" and needed * 2 > free:
        st.warning(page.say("finetune.memory.scarce", needed=f"{needed / 2**30:.1f}", free=f"{free / 2**30:.1f}"))


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
            held_out=found.HELD_OUT,
            device=plan.device,
        )
    )
    made = draw_job(page, found.PACE, plan.pace_settings(), label=say("finetune.pace.run"), key="finetune_pace")
    if made is None:
        return
    times = {method: found.estimate(plan, made.value, method) for method in METHODS}
    words = page.bench.say
    listed = say("common.comma").join(
        f"{say(f'finetune.method.{method}')} {duration(seconds, words)}" for method, seconds in times.items()
    )
    draw_note(say("finetune.pace.said", listed=listed, all=duration(sum(times.values()), words)))
    st.html(f'<div class="small-print">{made.badge.html(words)}</div>')


def _draw_training(page: Page, plan: Plan) -> None:
    """Draw the runs: start, progress, stop, go on, and the curves; alone and once a second while any goes on."""
    seen = found.runs(plan)
    active = {method for method, run in seen.items() if run.active}

    @st.fragment(run_every=POLL_S if active else None)
    def watch() -> None:
        with page._section():
            runs = found.runs(plan)
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
        args=tuple(partial(found.start, run) for run in waiting),
    )


def _draw_run(page: Page, run: Run) -> None:
    """Draw one method's run: where it stands and what can be done with it."""
    say, key = page.say, f"finetune_{run.method}"
    st.markdown(f"**{say(f'finetune.method.{run.method}')}**")
    if run.job is None:
        draw_note(say("finetune.run.none"))
        _button(page, "start", f"{key}_start", lambda: found.start(run))
        return
    if run.active:
        st.progress(run.job.share, text=progress_line(run.job, page.bench.say))
        _draw_now(page, run)
        from llmkit.tune.run_folder import asked_to_stop, run_folder

        stopping = run.job.cancelling or asked_to_stop(run_folder(run.settings))
        _button(page, "stop", f"{key}_stop", lambda: found.stop(run), disabled=stopping)
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
        _button(page, name, f"{key}_go_on", lambda: found.start(run), primary=True)
    _button(page, "forget", f"{key}_forget", lambda: found.forget(run))
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
    return Badge(kind="cached", **{name: made.get(name, "") for name in ("device", "date", "versions")})


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
