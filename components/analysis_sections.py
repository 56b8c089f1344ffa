"""What a reading shows: answers counted, groups on a map, agreement with labels; and the page's checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components import analysis_engine as found
from components import engine
from components.analysis_engine import Added, Work
from components.analysis_picture import cloud, counts, matrix
from components.analysis_reading import map_of
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section, short
from components.job_panel import ended_just_now
from llmkit import jobs

MOST_SHOWN = 20
MOST_OPTIONS = 6
WANTED = 0.8
"""The check asks whether a box agrees with the labels more often than this."""


@section
def draw_found(page: Page, kept: Work, settings: Mapping[str, Any], added: Added) -> None:
    """Draw the answers of a reading."""
    job = jobs.get(added.job_id)
    if job is None or job.result is None:
        return
    badge = Badge.of_process(job.made_with, live=ended_just_now(job))
    if added.way == "cluster":
        _draw_clusters(page, kept, settings, added, job.result, badge)
        return
    answers = found.answers(added)[added.names[0]]
    if added.way in ("classify", "tag"):
        _draw_counts(page, answers, badge)
    else:
        _draw_examples(page, kept, settings, added)
    truth = _truth(kept)
    if added.way == "classify" and truth:
        _draw_agreement(page, kept, answers, truth, badge)


def _draw_counts(page: Page, answers: pd.Series, badge: Badge) -> None:
    found_counts = answers.astype(object).value_counts().head(MOST_SHOWN)
    labels, values = [str(one) for one in found_counts.index], found_counts.to_numpy().astype(np.float32)
    say = page.say
    listed = [
        say("analysis.chart.one", name=short(a, 40), value=f"{b:,.0f}") for a, b in zip(labels, values, strict=True)
    ]
    alt = say("analysis.counts.alt", listed=say("common.comma").join(listed))
    data = pd.DataFrame({"answer": labels, "rows": values})
    page.figure(counts(labels, values, say("analysis.rows")), key="counts", badge=badge, alt=alt, data=data)


def _draw_examples(page: Page, kept: Work, settings: Mapping[str, Any], added: Added) -> None:
    """Show some texts with what was read in them."""
    table = found.whole(kept)
    answers = found.answers(added)
    rows = answers[answers[added.names[0]].notna()].index[:8]
    if not len(rows):
        st.info(page.say("analysis.read.nothing"))
        return
    view = answers.loc[rows].copy()
    view.insert(0, short(str(settings["column"])), table[settings["column"]].loc[rows].astype(str).str.slice(0, 200))
    st.html("<style>.st-key-analysis_examples [data-testid=stElementToolbar] { display: none; }</style>")
    with st.container(key="analysis_examples"):
        st.dataframe(view, hide_index=True, alt=page.say("analysis.examples.alt", n=len(view)))
    if added.way == "answer":
        given = answers[added.names[2]].value_counts()
        draw_note(page.say("analysis.in_text", yes=int(given.get("✓", 0)), no=int(given.get("✗", 0))))


def _draw_clusters(
    page: Page, kept: Work, settings: Mapping[str, Any], added: Added, result: Mapping[str, Any], badge: Badge
) -> None:
    """Draw the groups: the map, how many, and the words that set each apart."""
    from llmkit.analyse.cells import cells_of

    say = page.say
    xy, text, group = map_of(added.job_id)
    cells = cells_of(found.base(kept)[settings["column"]], most=int(settings["most"]))
    texts = [cells.texts[at] for at in text.tolist()]
    names = []
    for at, words in enumerate(result["terms"]):
        names.append(say("analysis.cluster.name", n=at + 1, words=" ".join(words) or "–"))
    sizes = [result["counts"].get(str(at + 1), 0) for at in range(len(names))]
    listed = [say("analysis.chart.one", name=name, value=f"{n:,}") for name, n in zip(names, sizes, strict=True)]
    alt = say("analysis.cluster.alt", n=len(texts), listed=say("common.comma").join(listed))
    data = pd.DataFrame({"text": texts, "x": xy[:, 0], "y": xy[:, 1], "group": group + 1})
    page.figure(cloud(xy, group, texts, names), key="map", badge=badge, alt=alt, data=data)
    for line in listed:
        draw_note(line)
    draw_note(say("analysis.cluster.what"))


def _truth(kept: Work) -> str:
    return str(st.session_state.get(f"analysis_truth_{kept.table}") or "")


def _draw_agreement(page: Page, kept: Work, answers: pd.Series, truth: str, badge: Badge) -> None:
    """Compare a reading with a column of labels, in all and in parts of the table."""
    from llmkit.analyse.agree import by_part

    say, table = page.say, found.base(kept)
    both = agreed(kept, answers, truth)
    if both is None:
        draw_note(say("analysis.agree.none", column=short(truth)))
        return
    page.tick("do.compare")
    st.subheader(say("analysis.agree.title", column=plain(short(truth))), anchor=False)
    told = {"share": f"{both.share:.0%}", "low": f"{both.low:.0%}", "high": f"{both.high:.0%}"}
    line = say("analysis.agree", right=f"{both.right:,}", n=f"{both.n:,}", **told)
    draw_note(line)
    labels = [short(one, 40) for one in both.labels]
    data = pd.DataFrame(both.table, columns=list(both.labels))
    data.insert(0, "label", list(both.labels))
    if len(labels) <= MOST_SHOWN:
        drawing = matrix(both.table, labels, truth=short(truth, 30), judged=say("analysis.agree.judged"))
        page.figure(drawing, key="agree", badge=badge, alt=line, data=data)
    parts = [name for name, kind in found.columns(table).items() if kind == "category" and name != truth]
    if not parts:
        return
    usual = say("analysis.sample.part")
    part = st.selectbox(
        say("analysis.agree.by"),
        parts,
        index=parts.index(usual) if usual in parts else 0,
        format_func=short,
        key=f"analysis_part_{kept.table}",
        width=260,
    )
    for name, one in by_part(answers, table[truth], table[part]).items():
        share = {"share": f"{one.share:.0%}", "low": f"{one.low:.0%}", "high": f"{one.high:.0%}"}
        draw_note(say("analysis.agree.part", part=short(name, 40), right=one.right, n=one.n, **share))


def agreed(kept: Work, answers: pd.Series, truth: str) -> Any:
    """Return how often a reading agrees with a column of labels; None where no row has both."""
    from llmkit.analyse.agree import agreement

    table = found.base(kept)
    return agreement(answers, table[truth]) if truth in table.columns else None


def draw_checks(page: Page, kept: Work, read: tuple[dict[str, Any], Added] | None) -> None:
    """Ask about the table, and about the reading where there is one that can be compared."""
    if read is not None and read[1].way == "classify" and _truth(kept):
        page.check(
            "agree",
            question=page.say("analysis.check.agree", column=plain(short(_truth(kept))), share=f"{WANTED:.0%}"),
            options={"yes": page.say("analysis.check.yes"), "no": page.say("analysis.check.no")},
            run=lambda: _agree_verdict(page, kept, read[1]),
        )
    table = found.base(kept)
    kinds = found.columns(table)
    number = next((name for name, kind in kinds.items() if kind == "number"), None)
    groups = [name for name, kind in kinds.items() if kind == "category" and table[name].nunique() > 1]
    by = next(iter(groups[1:] or groups), None)  # the first one is what the picture shows
    if number and by:
        _draw_group_check(page, kept, by, number)
    else:
        first = next(iter(kinds))
        page.check(
            "half",
            question=page.say("analysis.check.half", column=plain(short(first))),
            options={"yes": page.say("analysis.check.yes"), "no": page.say("analysis.check.no")},
            run=lambda: _half_verdict(page, table[first]),
        )


def _draw_group_check(page: Page, kept: Work, by: str, number: str) -> None:
    table = found.base(kept)
    values = [str(one) for one in table[by].value_counts().index[:MOST_OPTIONS]]
    page.check(
        "group",
        question=page.say("analysis.check.group", by=plain(short(by)), number=plain(short(number))),
        options={value: plain(short(value, 40)) for value in values},
        run=lambda: _group_verdict(page, table, by, number, values),
    )


def _group_verdict(page: Page, table: pd.DataFrame, by: str, number: str, values: list[str]) -> Verdict:
    from llmkit.analyse.operation import Group, apply

    made = apply(table, Group(by=by, how="mean", column=number))
    means = dict(zip(made[by].astype(str), made.iloc[:, 1].tolist(), strict=True))
    known = {value: means[value] for value in values if means.get(value) == means.get(value)}
    best = max(known, key=lambda value: known[value])
    guess = st.session_state.get("guess_analysis_group")
    answer = guess if guess in known and known[guess] == known[best] else best
    listed = page.say("common.comma").join(
        page.say("analysis.chart.one", name=plain(short(name, 40)), value=f"{value:,.4g}")
        for name, value in sorted(known.items(), key=lambda item: -item[1])
    )
    return Verdict(answer=str(answer), explanation=page.say("analysis.check.group.because", listed=listed))


def _agree_verdict(page: Page, kept: Work, added: Added) -> Verdict:
    both = agreed(kept, found.answers(added)[added.names[0]], _truth(kept))
    if both is None:
        return Verdict(answer="no", explanation=page.say("analysis.agree.none", column=plain(short(_truth(kept)))))
    told = {"share": f"{both.share:.0%}", "low": f"{both.low:.0%}", "high": f"{both.high:.0%}"}
    line = page.say("analysis.agree", right=f"{both.right:,}", n=f"{both.n:,}", **told)
    unsure = both.low <= WANTED <= both.high
    return Verdict(
        answer="yes" if both.share > WANTED else "no",
        explanation=f"{line} {page.say('analysis.check.unsure')}" if unsure else line,
    )


def _half_verdict(page: Page, column: pd.Series) -> Verdict:
    commonest = column.value_counts()
    n = int(commonest.iloc[0]) if len(commonest) else 0
    told = {"n": f"{n:,}", "rows": f"{len(column):,}"}
    return Verdict(
        answer="yes" if 2 * n > len(column) else "no", explanation=page.say("analysis.check.half.because", **told)
    )


def open_bench(page: Page) -> None:
    """Open the workbench's box, so that a broken one is said whatever is asked below."""
    with page.guard(), st.spinner(page.say("analysis.wait")):
        engine.open_box(page.bench.box_id)
