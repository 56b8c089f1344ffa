"""The Prompt tuning page's third part: versions tried on the same rows, who wins by the numbers, and the check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from components import prompt_tuning_engine as found
from components import prompt_tuning_picture as picture
from components import prompt_tuning_versions as versions
from components.figure import draw_note
from components.frame import Page, Verdict, plain, short
from components.job_panel import draw_job
from components.prompt_tuning_engine import Tried, TuningError, Version
from llmkit import jobs
from llmkit.generate.trial_errors import TrialError

if TYPE_CHECKING:
    from llmkit.generate.trial_rows import TrialSet

KEPT_SHOWN = 6
"""Kept versions that stand on the board beside A and B."""


def draw_trial(page: Page, box_id: str, trial: TrialSet, pair: tuple[Version, Version]) -> None:
    """Draw the trial of both versions, each a job of its own, and the board of all that were tried on these rows."""
    st.header(page.say("prompt_tuning.trial.title"))
    with page.guard():
        asked = [(one, found.trial_settings(box_id, trial, one.template)) for one in pair]
        _draw_start(page, trial, [settings for _, settings in asked])
        done: list[Tried] = []
        for side, (version, settings) in zip(versions.SIDES, asked, strict=True):
            if jobs.find(found.TRIAL, settings) is None:
                continue
            made = draw_job(page, found.TRIAL, settings, label="", key=f"prompt_tuning_trial_{side}")
            if made is not None:
                done.append(Tried(version=version, result=made.value, badge=made.badge))
        done += _others(box_id, trial, pair)
        if not done:
            return
        _draw_board(page, done)
        if len(done) > 1:
            page.tick("do.try")
        _draw_answers(page, done)


def draw_check(page: Page, box_id: str | None, trial: TrialSet | None, pair: tuple[Version, Version] | None) -> None:
    """Ask what the numbers would say with half of the rows, answered from the trial that ran here."""
    page.check(
        "half",
        question=page.say("prompt_tuning.check.question"),
        options={name: page.say(f"prompt_tuning.check.{name}") for name in ("first", "second", "none")},
        run=lambda: _verdict(page, box_id, trial, pair),
    )


def _draw_start(page: Page, trial: TrialSet, asked: Sequence[Mapping[str, Any]]) -> None:
    """Draw the button that tries what was not tried yet, and what that will take."""
    missing = [one for one in asked if jobs.find(found.TRIAL, one) is None]
    if asked[0] == asked[1]:
        draw_note(page.say("prompt_tuning.same"))
    if missing:
        if st.button(page.say("prompt_tuning.try"), key="prompt_tuning_try", type="primary"):
            for one in missing:
                jobs.submit(found.TRIAL, one)
            st.rerun()
        draw_note(page.say("prompt_tuning.try.what", n=len(trial.rows), tokens=trial.tokens))


def _others(box_id: str, trial: TrialSet, pair: Sequence[Version]) -> list[Tried]:
    """Kept versions that were tried on these very rows, without those that stand in A or B."""
    made: list[Tried] = []
    names = [one.name for one in pair]
    for version in versions.versions_kept(trial):
        if version.template in [one.template for one in pair] or len(made) == KEPT_SHOWN:
            continue
        name = version.name if version.name not in names else f"{version.name} ({len(names)})"
        try:
            settings = found.trial_settings(box_id, trial, version.template)
        except TrialError:
            continue  # it was kept for rows with other variables
        one = found.tried(Version(name=name, template=version.template), settings)
        if one is not None:
            names.append(name)
            made.append(one)
    return made


def _draw_board(page: Page, done: Sequence[Tried]) -> None:
    """Draw all versions with their intervals, and who wins, where the numbers say so."""
    alt = page.say("common.comma").join(
        page.say(
            "prompt_tuning.board.one",
            name=one.version.name,
            right=one.result["right"],
            n=one.result["n"],
            low=f"{one.result['low']:.0%}",
            high=f"{one.result['high']:.0%}",
        )
        for one in done
    )
    table = pd.DataFrame(
        [
            {
                "version": one.version.name,
                "prompt": one.version.template,
                **{name: one.result[name] for name in ("right", "n", "low", "high", "seconds")},
            }
            for one in done
        ]
    )
    page.figure(picture.board(done, page.bench.say), key="board", badge=done[0].badge, alt=alt, data=table)
    draw_note(alt)
    if len({one.version.template for one in done}) > 1:
        st.markdown(f"#### {_winner(page, done)}")
        draw_note(page.say("prompt_tuning.test"))


def _winner(page: Page, done: Sequence[Tried]) -> str:
    """Say who wins, or that no difference is shown, in Markdown."""
    ranking = found.rank(done)
    unclear = list(dict.fromkeys((*ranking.tied, *ranking.unclear)))
    if not unclear:
        p = max(ranking.p.values())
        return page.say("prompt_tuning.wins", name=plain(ranking.winner), p=f"{p:.3f}")
    rival = unclear[0]
    duel = ranking.duels[rival]
    return page.say(
        "prompt_tuning.unclear",
        first=plain(ranking.winner),
        second=plain(rival),
        only_first=duel.only_first,
        only_second=duel.only_second,
        p=f"{ranking.p[rival]:.2f}",
    )


def _draw_answers(page: Page, done: Sequence[Tried]) -> None:
    """Draw every answer of one version, to be read and filtered."""
    with st.expander(page.say("prompt_tuning.answers")):
        at = st.selectbox(
            page.say("prompt_tuning.answers.of"),
            range(len(done)),
            format_func=lambda one: done[one].version.name,
            key=f"prompt_tuning_answers_{len(done)}",
        )
        wrong = st.toggle(page.say("prompt_tuning.answers.wrong"), key="prompt_tuning_wrong")
        rows = [row for row in done[at or 0].result["rows"] if not (wrong and row["right"])]
        say = page.say
        table = [
            {
                say("prompt_tuning.column.right"): "✓" if row["right"] else "✗",
                say("prompt_tuning.column.wrote"): row["text"] or "–",
                say("prompt_tuning.column.read"): row["read"] or "–",
                say("prompt_tuning.expected"): row["expected"],
                say("prompt_tuning.column.question"): short(row["question"], 120),
            }
            for row in rows
        ]
        st.dataframe(pd.DataFrame(table), hide_index=True, row_height=48)


def _verdict(page: Page, box_id: str | None, trial: TrialSet | None, pair: tuple[Version, Version] | None) -> Verdict:
    """Compare A and B on every second row."""
    from llmkit.tune.ways.measure import duel

    if box_id is None or trial is None or pair is None:
        raise TuningError("trial_not_run")
    done = [found.tried(one, found.trial_settings(box_id, trial, one.template)) for one in pair]
    first, second = done
    if first is None or second is None:
        raise TuningError("trial_not_run")
    half, whole = found.half_duel(first, second), duel(first.right, second.right)
    explanation = page.say(
        "prompt_tuning.check.because",
        n=len(first.right[::2]),
        a=half.only_first,
        b=half.only_second,
        p=f"{half.p:.2f}",
        all=len(first.right),
        all_a=whole.only_first,
        all_b=whole.only_second,
        all_p=f"{whole.p:.3f}",
    )
    return Verdict(answer=found.decided(half), explanation=explanation)
