"""The fine-tuning page's second half: texts before and after, the checks, and what lies on the shelf now."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st
from numpy.typing import NDArray

from components import engine
from components import finetune_picture as picture
from components import finetune_plan as asked
from components import finetune_runs as ran
from components.badge import Badge
from components.figure import draw_note
from components.finetune_plan import METHODS, Plan
from components.finetune_runs import Run
from components.frame import Page, Verdict, plain, section, short
from llmkit import shelf

Probs = Mapping[str, NDArray[np.float32]]
"""Probabilities of the test rows, [N, n_labels], before and after a run."""

CHANGES = ("all", "fixed", "broken", "wrong")
SHOWN_ROWS = 60
TEXT_LIMIT = 2_000
Readings = list[tuple[str, NDArray[np.float32]]]


class FinetuneError(ValueError):
    """Something that the page is asked for is not there yet, or is too long.

    Args:
        code: ``finetune_not_run``, ``finetune_text_empty`` or ``typed_too_long``. values: what the message names.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code, self.values = code, values


@section
def draw_examples(page: Page, box_id: str, data: str) -> None:
    """Draw what the classifiers make of a test row, or of a text that the learner types, before and after."""
    plan = asked.plan(box_id, data)
    runs = {method: run for method, run in ran.runs(plan).items() if (run.result or {}).get("box") is not None}
    probs = {method: ran.test_probs(run) for method, run in runs.items()}
    probs = {method: one for method, one in probs.items() if "after" in one}
    st.header(page.say("finetune.examples.title"))
    if not probs:
        draw_note(page.say("finetune.examples.none"))
        return
    sources = {name: page.say(f"finetune.examples.{name}") for name in ("row", "typed", "sentence")}
    source = st.segmented_control(
        page.say("finetune.examples.source"),
        tuple(sources),
        default="row",
        required=True,
        format_func=lambda one: sources.get(one, one),
        key="finetune_source",
        persist_state="session",
    )
    if source == "row":
        _draw_row(page, plan, probs, runs)
    else:
        _draw_typed(page, plan, runs, typed=source == "typed")


def _draw_row(page: Page, plan: Plan, probs: Mapping[str, Probs], runs: dict[str, Run]) -> None:
    """Draw one test row of the learner's choice."""
    say, rows = page.say, asked.taken(plan)
    truth = np.asarray([rows.labels.index(row.label) for row in rows.test])
    best = max(probs, key=lambda method: float((probs[method]["after"].argmax(1) == truth).mean()))
    before, after = (probs[best][when].argmax(1) == truth for when in ("before", "after"))
    masks = {"all": before | True, "fixed": ~before & after, "broken": before & ~after, "wrong": ~after}
    name = say(f"finetune.method.{best}")
    change = st.segmented_control(
        say("finetune.examples.change", method=name),
        CHANGES,
        default="all",
        required=True,
        format_func=lambda one: f"{say(f'finetune.examples.change.{one}')} {int(masks[one].sum())}",
        key="finetune_change",
        persist_state="session",
    )
    places = np.flatnonzero(masks[change or "all"])[:SHOWN_ROWS].tolist()
    if not places:
        draw_note(say("finetune.examples.empty"))
        return
    at = st.selectbox(
        say("finetune.examples.which"),
        places,
        format_func=lambda one: f"{one + 1} · {short(rows.test[one].label)} · {rows.test[one].text[:90]}",
        key=f"finetune_row_{change}",
    )
    at = at if at in places else places[0]
    if at != places[0]:
        page.tick("do.ask")
    readings: Readings = [(say("finetune.before"), probs[best]["before"][at])]
    readings += [(say(f"finetune.method.{method}"), one["after"][at]) for method, one in probs.items()]
    job = runs[best].job
    badge = Badge.of_process({} if job is None else job.made_with)
    _draw_says(page, rows.test[at].text, readings, rows.labels, int(truth[at]), badge)


def _draw_typed(page: Page, plan: Plan, runs: dict[str, Run], *, typed: bool) -> None:
    """Draw a text of the learner's own, read now by the classifiers on the shelf."""
    say, labels = page.say, asked.taken(plan).labels
    text = page.bench.sentence
    if typed:
        usual = asked.taken(plan).test[0].text
        text = st.text_area(
            say("finetune.examples.type"), usual, key="finetune_typed", persist_state="session", height=110
        )
        if text != usual:
            page.tick("do.ask")
    text = (text or "").strip()
    if not text:
        raise FinetuneError("finetune_text_empty")
    if len(text) > TEXT_LIMIT:
        raise FinetuneError("typed_too_long", n=len(text), limit=TEXT_LIMIT)
    n, tokens = len(labels), plan.tokens
    with st.spinner(say("finetune.examples.wait")):
        fresh = ran.fresh_probs(plan.box_id, engine.fingerprint(plan.box_id), text, tokens, n)
        readings: Readings = [(say("finetune.before"), fresh.value)]
        badge = fresh.badge
        for method, run in runs.items():
            box_id = (run.result or {})["box"]
            if shelf.locate(box_id) is None:
                draw_note(say("finetune.examples.gone", method=say(f"finetune.method.{method}")))
                continue
            made = ran.typed_probs(box_id, engine.fingerprint(box_id), text, tokens)
            readings.append((say(f"finetune.method.{method}"), made.value))
            badge = made.badge
    _draw_says(page, text, readings, labels, None, badge)


def _draw_says(
    page: Page, text: str, readings: Readings, labels: tuple[str, ...], truth: int | None, badge: Badge
) -> None:
    say = page.say
    said = say("common.comma").join(
        say("finetune.examples.one", name=name, label=short(labels[int(p.argmax())]), p=f"{p.max():.0%}")
        for name, p in readings
    )
    right = "" if truth is None else say("finetune.examples.truth", label=short(labels[truth], 60))
    table = pd.DataFrame(
        [{"reading": name, "label": label, "prob": float(p)} for name, probs in readings
         for label, p in zip(labels, probs, strict=True)]
    )  # fmt: skip
    with page.shown(key="examples", badge=badge, alt=f"{said} {right}", data=table):
        st.html(picture.text_box(text))
        if right:
            draw_note(right)
        st.html(picture.says(readings, labels, truth, page.bench.say))


def draw_checks(page: Page, box_id: str, data: str) -> None:
    """Ask which method will be best, and which takes least memory; answered by what ran."""
    for name in ("best", "memory"):
        page.check(
            name,
            question=page.say(f"finetune.check.{name}", box=plain(box_id), data=plain(data)),
            options={method: page.say(f"finetune.method.{method}") for method in METHODS},
            run=lambda name=name: _verdict(page, asked.plan(box_id, data), name),  # type: ignore[misc]
        )


def _verdict(page: Page, plan: Plan, name: str) -> Verdict:
    done = {method: run.result for method, run in ran.runs(plan).items()}
    whole = {method: result for method, result in done.items() if result is not None and result["test"]["after"]}
    if len(whole) < len(METHODS):
        raise FinetuneError("finetune_not_run", n=len(whole), all=len(METHODS))
    say = page.say
    if name == "memory":
        peaks = {method: result["memory"]["peak"] for method, result in whole.items()}
        listed = _listed(page, {method: f"{peak / picture.MIB:,.0f} MiB" for method, peak in peaks.items()})
        least = min(peaks, key=lambda method: peaks[method])
        return Verdict(answer=least, explanation=say("finetune.check.memory.because", listed=listed))
    tests = {method: result["test"] for method, result in whole.items()}
    shares = {method: test["after"]["accuracy"] for method, test in tests.items()}
    order = sorted(shares, key=lambda method: (-shares[method], tests[method]["after"]["loss"]))
    listed = _listed(page, {method: f"{share:.1%}" for method, share in shares.items()})
    first, second = order[:2]
    n = tests[first]["n"]
    overlap = ran.interval(shares[first], n)[0] <= ran.interval(shares[second], n)[1]
    close = say("finetune.check.best.close", n=n) if overlap else say("finetune.check.best.clear", n=n)
    because = say("finetune.check.best.because", listed=listed)
    return Verdict(answer=first, explanation=f"{because} {close}")


def _listed(page: Page, values: dict[str, str]) -> str:
    return page.say("common.comma").join(
        f"{page.say(f'finetune.method.{method}')} {value}" for method, value in values.items()
    )


@section
def draw_shelf(page: Page) -> None:
    """List the tuned boxes on this machine: every page can open them, and they can be thrown away."""
    from llmkit.tune.tuned import tuned_boxes

    say, tuned = page.say, tuned_boxes()
    st.header(say("finetune.shelf.title"))
    draw_note(say("finetune.shelf.note") if tuned else say("finetune.shelf.none"))
    for one in tuned:
        with st.container(border=True, key=f"finetune_made_{one.box_id.replace(':', '_').replace('.', '_')}"):
            labels = say("common.comma").join(plain(short(label)) for label in one.labels[:6])
            accuracy = "–" if one.accuracy is None else f"{one.accuracy:.1%}"
            facts = say(
                "finetune.shelf.one",
                data=plain(one.data),
                labels=labels,
                accuracy=accuracy,
                mib=f"{one.size_bytes / picture.MIB:,.0f}",
                date=plain(one.date),
            )
            st.markdown(f"**{plain(one.box_id)}** · {facts}")
            if st.button(say("finetune.shelf.remove"), key=f"finetune_remove_{one.box_id}", type="tertiary"):
                shelf.remove(one.box_id)
                st.rerun()
