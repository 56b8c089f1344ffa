"""The Prompts page's first half: what is prompted, accuracy as shots are added, one review, and the check."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from components import engine
from components import prompts_engine as found
from components import prompts_picture as picture
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.job_panel import draw_job
from components.prompts_engine import Choice
from components.source import draw_source
from components.theme import own_style
from llmkit import jobs, shelf

_FORMS = ("plain", "chat")


def draw_choice(page: Page) -> Choice | None:
    """Let the learner choose box, reviews and form; return them, or None where nothing here can be prompted."""
    bench = page.bench
    st.html(own_style("prompts"))
    with st.spinner(page.say("prompts.opening")):
        own = engine.open_box(bench.box_id)  # a broken box on the workbench is said, whatever is prompted below
        boxes = found.promptable(bench.box_id)
    if not own.config.causal:
        draw_note(page.say("prompts.encoder", box=bench.box_id))
    if not boxes:
        _lead_to_kit(page, page.say("prompts.no_box"))
        return None
    usual = found.usual(bench.box_id, boxes)
    with st.container(horizontal=True, gap="medium"):
        box_id = st.selectbox(
            page.say("prompts.box"),
            boxes,
            index=boxes.index(usual),
            key=f"prompts_box_{bench.box_id}",
            persist_state="session",
            width=320,
        )
        langs = {one: page.say(f"prompts.reviews.{one}") for one in ("en", *found.DATA)}
        lang = _linked(page.say("prompts.reviews"), langs, key="prompts_lang")
        instruct = found.facts(box_id).instruct
        forms = {one: page.say(f"prompts.form.{one}") for one in _FORMS}
        form = _linked(page.say("prompts.form"), forms, key="prompts_form") if instruct else "plain"
    choice = Choice(box_id=box_id, lang=lang, form="chat" if form == "chat" else "plain")
    if not instruct:
        draw_note(page.say("prompts.base", box=box_id, limit=found.facts(box_id).limit))
    elif box_id != bench.box_id and own.config.causal:
        draw_note(page.say("prompts.other_box", own=bench.box_id, box=box_id))
    if choice.lang != "en":
        draw_note(page.say("prompts.english"))
    if shelf.locate(choice.data_id) is None:
        _lead_to_kit(page, page.say("prompts.no_data", data=choice.data_id))
        return None
    return choice


@section
def draw_accuracy(page: Page, choice: Choice) -> None:
    """Draw accuracy against the number of shots: every run a dot, once the job has run."""
    st.header(page.say("prompts.accuracy.title"))
    shown = st.container()
    with st.expander(page.say("prompts.settings")), st.container(horizontal=True):
        for key, label, options, usual in (
            (found.SAMPLE_KEY, page.say("prompts.sample"), found.SAMPLES, found.SAMPLE),
            (found.ORDERS_KEY, page.say("prompts.orders"), found.ORDERS, found.ORDER_COUNT),
        ):
            st.select_slider(label, options, usual, key=key, persist_state="session")
    choice = found.sized(choice)
    asked = found.settings(choice)
    with shown:
        _draw_experiment(page, choice, asked)


def _draw_experiment(page: Page, choice: Choice, asked: dict[str, Any]) -> None:
    """Draw the experiment: what ships with the guide, the job, its result."""
    if jobs.find("few_shot", asked) is None:
        _draw_recorded(page, choice)
    made = draw_job(
        page,
        "few_shot",
        asked,
        label=page.say("prompts.accuracy.run"),
        key="prompts_few_shot",
        partial=lambda so_far: _draw_runs(page, so_far, Badge.live(), key="accuracy_partial"),
    )
    if made is not None:
        page.tick("do.shots")
        _draw_runs(page, made.value, made.badge, key="accuracy")
        _draw_findings(page, made.value)
    draw_note(page.say("prompts.accuracy.what", **_sizes(asked)))


def draw_review(page: Page, choice: Choice) -> str | None:
    """Let the learner pick the review that the rest is about; None, and a message, where it cannot be sent."""
    st.header(page.say("prompts.review.title"))
    with page.guard():
        return _pick_review(page, choice)
    return None


def _pick_review(page: Page, choice: Choice) -> str:
    """A held-out review, the workbench's sentence, or the learner's own."""
    reviews = found.pool(choice).held_out
    sources = {one: page.say(f"prompts.review.{one}") for one in ("row", "sentence", "own")}
    source = _linked(page.say("prompts.review.source"), sources, key="prompts_source")
    if source == "sentence":
        return found.require_typed(page.bench.sentence, empty="review_empty")
    if source == "own":
        typed = st.text_area(
            page.say("prompts.review.typed"),
            reviews[0].text,
            key=f"prompts_own_{choice.lang}",
            persist_state="session",
            height=90,
        )
        return found.require_typed(typed or "", empty="review_empty")
    at = st.selectbox(
        page.say("prompts.review.which"),
        range(len(reviews)),
        format_func=lambda one: f"{one + 1} · {page.say(f'prompts.truth.{reviews[one].label}')} · {reviews[one].text}",
        key=f"prompts_row_{choice.lang}",
        persist_state="session",
    )
    return reviews[min(at or 0, len(reviews) - 1)].text


@section
def draw_one(page: Page, choice: Choice, text: str) -> None:
    """Draw one review's label probabilities as shots are added, one by one."""
    from llmkit.generate.score import label_logprobs

    st.subheader(page.say("prompts.one.title"))
    ways = found.wordings(choice.lang)
    at = st.segmented_control(
        page.say("prompts.wording"),
        range(len(ways)),
        default=0,
        required=True,
        format_func=lambda one: page.say(f"prompts.wording.{ways[one].id}"),
        key="prompts_wording",
        persist_state="session",
    )
    way = ways[at or 0]
    made = draw_job(
        page,
        "few_shot_one",
        found.one_settings(choice, way, text),
        label=page.say("prompts.one.run"),
        key="prompts_one",
        partial=lambda so_far: _draw_labels(page, so_far, way.labels, Badge.live(), key="one_partial"),
    )
    if made is None:
        draw_note(page.say("prompts.one.what"))
        return
    _draw_labels(page, made.value, way.labels, made.badge, key="one")
    draw_source(page, label_logprobs)


def draw_check(page: Page, choice: Choice) -> None:
    """Ask whether the most shots beat none, answered from the experiment that ran here."""
    page.check(
        "more_shots",
        question=page.say("prompts.check.question", box=plain(choice.box_id)),
        options={name: page.say(f"prompts.check.{name}") for name in ("more", "same", "fewer")},
        run=lambda: _verdict(page, found.sized(choice)),
    )


def _verdict(page: Page, choice: Choice) -> Verdict:
    job = jobs.find("few_shot", found.settings(choice))
    if job is None or job.state != "done":
        raise found.PromptError("few_shot_not_run")
    medians = found.medians(job.result["runs"])
    most = max(medians)
    spread = [run["right"] / run["n"] for run in job.result["runs"] if run["shots"] == most]
    first, last = medians[0], medians[most]
    answer = "same" if abs(last - first) < 1e-9 else "more" if last > first else "fewer"
    explanation = page.say(
        "prompts.check.because",
        first=f"{first:.0%}",
        most=most,
        last=f"{last:.0%}",
        low=f"{min(spread):.0%}",
        high=f"{max(spread):.0%}",
        n=job.result["n"],
    )
    return Verdict(answer=answer, explanation=explanation)


def _draw_runs(page: Page, result: Mapping[str, Any], badge: Badge, *, key: str) -> None:
    runs = result["runs"]
    if not runs:
        return
    medians = found.medians(runs)
    best, worst = (pick(runs, key=lambda run: run["right"] / run["n"]) for pick in (max, min))
    alt = page.say(
        "prompts.accuracy.alt",
        listed=page.say("common.comma").join(
            page.say("prompts.accuracy.one", shots=k, share=f"{value:.0%}") for k, value in medians.items()
        ),
        low=f"{worst['right'] / worst['n']:.0%}",
        high=f"{best['right'] / best['n']:.0%}",
    )
    chance = result.get("baseline", 0.5)  # the sample is half negative, half positive
    drawing = picture.accuracy(runs, medians, found.shot_counts(), chance, page.bench.say)
    page.figure(drawing, key=key, badge=badge, alt=alt, data=_frame(runs))
    draw_note(alt)


def _draw_recorded(page: Page, choice: Choice) -> None:
    """Draw the run that ships with the guide, where it is about this very choice: a picture before anything ran."""
    shipped = found.recorded(choice)
    if shipped is None:
        return
    badge = Badge.recorded(device=shipped.device, date=shipped.date, versions=shipped.versions)
    _draw_runs(page, shipped.result, badge, key="accuracy_recorded")
    sizes = _sizes(shipped.settings)
    draw_note(page.say("prompts.accuracy.recorded", n=sizes["n"], orders=sizes["orders"]))
    _draw_findings(page, shipped.result)


def _sizes(asked: Mapping[str, Any]) -> dict[str, int]:
    """How large an experiment with these settings is."""
    ways, orders = len(asked["wordings"]), asked["orders"]
    runs = ways * (1 + (len(asked["shots"]) - 1) * orders)
    return {"n": asked["sample"], "wordings": ways, "orders": orders, "runs": runs}


def _draw_findings(page: Page, result: Mapping[str, Any]) -> None:
    """Say how much order and wording alone change, how often any label follows, and what did not fit."""
    runs = result["runs"]
    medians = found.medians(runs)
    by_count = {k: [run["right"] / run["n"] for run in runs if run["shots"] == k] for k in medians}
    with_shots = [k for k in by_count if k] or list(by_count)  # no shots have no order
    widest = max(with_shots, key=lambda k: max(by_count[k]) - min(by_count[k]))
    draw_note(
        page.say(
            "prompts.accuracy.spread",
            shots=widest,
            low=f"{min(by_count[widest]):.0%}",
            high=f"{max(by_count[widest]):.0%}",
        )
    )
    mass = {k: sum(r["mass"] for r in runs if r["shots"] == k) / len(by_count[k]) for k in medians}
    draw_note(
        page.say("prompts.accuracy.mass", none=f"{mass[min(mass)]:.0%}", most=max(mass), all=f"{mass[max(mass)]:.0%}")
    )
    for k in sorted({one["shots"] for one in result["skipped"]}):
        left = [one for one in result["skipped"] if one["shots"] == k]
        tokens = max(one["tokens"] for one in left)
        st.warning(page.say("prompts.skipped", shots=k, n=len(left), tokens=tokens, limit=left[0]["limit"]))
    with st.expander(page.say("prompts.accuracy.rows", n=len(runs))):
        st.dataframe(_named(page, runs), hide_index=True)


def _draw_labels(page: Page, result: Mapping[str, Any], labels: tuple[str, ...], badge: Badge, *, key: str) -> None:
    rows = result["rows"]
    for skipped in result["skipped"][:1]:
        st.warning(page.say("prompts.one.skipped", **{name: skipped[name] for name in ("shots", "tokens", "limit")}))
    if not rows:
        return
    first, last = rows[0], rows[-1]
    alt = page.say(
        "prompts.one.alt",
        first=first["shots"],
        last=last["shots"],
        negative=labels[0],
        positive=labels[1],
        **{f"{end}_{at}": f"{row['probs'][at]:.0%}" for end, row in (("a", first), ("b", last)) for at in (0, 1)},
    )
    table = pd.DataFrame(
        [
            {"shots": r["shots"], "p_negative": r["probs"][0], "p_positive": r["probs"][1], "tokens": r["tokens"]}
            for r in rows
        ]
    )
    page.figure(picture.one(rows, labels, page.bench.say), key=key, badge=badge, alt=alt, data=table)
    draw_note(alt)


def _frame(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """The runs as a table, one column a number."""
    return pd.DataFrame(
        [
            {
                **{name: run[name] for name in ("wording", "order", "shots", "right", "n", "low", "high")},
                "accuracy": run["right"] / run["n"],
                "negative_right": run["confusion"][0][0],
                "negative_wrong": run["confusion"][0][1],
                "positive_wrong": run["confusion"][1][0],
                "positive_right": run["confusion"][1][1],
                "mass": run["mass"],
                "tokens": run["tokens"],
            }
            for run in runs
        ]
    )


def _named(page: Page, runs: list[dict[str, Any]]) -> pd.DataFrame:
    """The runs as a reader's table."""
    say = page.say
    rows = [
        {
            say("prompts.column.wording"): say(f"prompts.wording.{run['wording']}"),
            say("prompts.column.order"): run["order"] + 1,
            say("prompts.shots"): run["shots"],
            say("prompts.column.accuracy"): f"{run['right'] / run['n']:.0%}",
            say("prompts.column.interval"): f"{run['low']:.0%} – {run['high']:.0%}",
            say("prompts.column.negative"): f"{run['confusion'][0][0]} / {sum(run['confusion'][0])}",
            say("prompts.column.positive"): f"{run['confusion'][1][1]} / {sum(run['confusion'][1])}",
            say("prompts.column.mass"): f"{run['mass']:.0%}",
            say("prompts.cost.tokens"): round(run["tokens"]),
        }
        for run in runs
    ]
    return pd.DataFrame(rows)


def _linked(label: str, names: Mapping[str, str], *, key: str) -> str:
    """Draw a choice that the address keeps by its own name; the first is usual, and the address leaves it out.

    A widget that is bound to the address writes what the reader sees, which is another word in the other language.
    """
    options = tuple(names)
    asked = st.query_params.get(key)
    chosen = st.segmented_control(
        label,
        options,
        default=asked if asked in options else options[0],
        required=True,
        format_func=lambda one: names.get(one, one),
        key=key,
        persist_state="session",
    )
    chosen = chosen if chosen in options else options[0]
    if chosen != options[0]:
        st.query_params[key] = chosen
    elif asked is not None:
        del st.query_params[key]
    return chosen


def _lead_to_kit(page: Page, text: str) -> None:
    st.info(text)
    page.lead("unbox")
