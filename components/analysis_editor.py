"""A step put together by hand: an operation, its columns, its values; or a proposal, changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pandas as pd
import streamlit as st

from components import analysis_engine as found
from components.analysis_engine import Work
from components.analysis_words import Show, described, shower
from components.figure import draw_note
from components.frame import Page, section, short
from llmkit.analyse.columns import Kind
from llmkit.analyse.operation import (
    HOWS,
    MOST_ROWS,
    OPERATIONS,
    PERIODS,
    PICTURES,
    TESTS,
    Aggregate,
    Chart,
    Filter,
    Group,
    Operation,
    Sort,
    Top,
    as_dict,
    fitting,
)

_KEY = "analysis_edit"
_FIELDS = {"op", *(field.name for kind in OPERATIONS.values() for field in fields(kind))}


def fill(step: Operation) -> None:
    """Lay a proposal into the editor; call it before the editor is drawn, such as in a button's callback."""
    for name in _FIELDS:
        st.session_state.pop(f"{_KEY}_{name}", None)
    for name, value in as_dict(step).items():
        st.session_state[f"{_KEY}_{name}"] = value
    st.session_state["_analysis_editing"] = True


@section
def draw_editor(page: Page, kept: Work) -> None:
    """Draw the editor; its button takes the step."""
    say = page.say
    table, show = found.frame(kept), shower(page, kept)
    with st.expander(
        say("analysis.hand"), expanded=bool(st.session_state.get("_analysis_editing")), key="analysis_hand"
    ):
        op = _choose(say("analysis.hand.op"), list(OPERATIONS), "op", lambda one: say(f"analysis.kind.{one}"))
        if op is None:
            return
        with st.container(horizontal=True, vertical_alignment="bottom"):
            step = _DRAW[op](page, table, found.columns(table), show)
        if step is None:
            draw_note(say("analysis.hand.none"))
            return
        draw_note(described(page, step, show))
        fits, room = found.fits(step, table), len(kept.steps) < found.MOST_STEPS
        if not fits:
            draw_note(say("analysis.hand.unfit"))
        if not room:
            draw_note(say("analysis.steps.full", n=found.MOST_STEPS))
        if st.button(say("analysis.hand.take"), key=f"{_KEY}_take", type="primary", disabled=not (fits and room)):
            found.take(step)
            st.rerun()


def _choose(label: str, options: Sequence[str], name: str, shown: Any) -> str | None:
    """A list of choices whose state may have been laid there; what is no longer among them is forgotten."""
    key = f"{_KEY}_{name}"
    if not options:
        return None
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    return str(st.selectbox(label, options, format_func=shown, key=key, width=220))


def _of(columns: dict[str, Kind], *wanted: Kind) -> list[str]:
    return [name for name, kind in columns.items() if not wanted or kind in wanted]


def _filter(page: Page, table: pd.DataFrame, columns: dict[str, Kind], show: Show) -> Operation | None:
    say = page.say
    column = _choose(say("analysis.hand.column"), _of(columns), "column", show)
    if column is None:
        return None
    tests = [test for test in TESTS if fitting(test, columns[column])]
    test = _choose(say("analysis.hand.test"), tests, "test", lambda one: say(f"analysis.test.{one}", value="…"))
    value = ""
    if test not in ("empty", "filled"):
        label = say("analysis.hand.value")
        if columns[column] == "category" and test in ("is", "is_not"):
            value = _choose(label, [str(one) for one in table[column].cat.categories], "value", short) or ""
        else:
            if not isinstance(st.session_state.get(f"{_KEY}_value"), str):
                st.session_state[f"{_KEY}_value"] = ""
            hint = say("analysis.hand.date") if columns[column] == "date" else None
            value = st.text_input(label, key=f"{_KEY}_value", placeholder=hint, max_chars=200, width=220)
    return Filter(column=column, test=test, value=value)  # type: ignore[arg-type]


def _how(page: Page, columns: dict[str, Kind], show: Show) -> tuple[str, str]:
    """What is told, and of which column of numbers."""
    say, numbers = page.say, _of(columns, "number")
    how = _choose(
        say("analysis.hand.how"), HOWS if numbers else HOWS[:1], "how", lambda one: say(f"analysis.how.{one}")
    )
    if how == "count" or how is None:
        return "count", ""
    return how, _choose(say("analysis.hand.of"), numbers, "column", show) or ""


def _group(page: Page, table: pd.DataFrame, columns: dict[str, Kind], show: Show) -> Operation | None:
    by = _choose(page.say("analysis.hand.by"), _of(columns, "category", "date", "number", "text"), "by", show)
    if by is None:
        return None
    period = "month"
    if columns[by] == "date":
        said = page.say
        period = (
            _choose(said("analysis.hand.period"), PERIODS, "period", lambda one: said(f"analysis.period.{one}"))
            or period
        )
    how, column = _how(page, columns, show)
    return Group(by=by, how=how, column=column, period=period)  # type: ignore[arg-type]


def _aggregate(page: Page, table: pd.DataFrame, columns: dict[str, Kind], show: Show) -> Operation | None:
    how, column = _how(page, columns, show)
    return Aggregate(how=how, column=column)  # type: ignore[arg-type]


def _sort(page: Page, table: pd.DataFrame, columns: dict[str, Kind], show: Show) -> Operation | None:
    column = _choose(page.say("analysis.hand.column"), _of(columns), "column", show)
    down = st.checkbox(page.say("analysis.hand.down"), key=f"{_KEY}_descending")
    return Sort(column=column, descending=down) if column else None


def _top(page: Page, table: pd.DataFrame, columns: dict[str, Kind], show: Show) -> Operation | None:
    column = _choose(page.say("analysis.hand.column"), _of(columns, "number", "date"), "column", show)
    if column is None:
        return None
    if not isinstance(st.session_state.get(f"{_KEY}_n"), int):
        st.session_state[f"{_KEY}_n"] = 10
    n = st.number_input(page.say("analysis.hand.n"), 1, MOST_ROWS, key=f"{_KEY}_n", width=160)
    least = st.checkbox(page.say("analysis.hand.least"), key=f"{_KEY}_smallest")
    return Top(column=column, n=int(n), smallest=least)


def _chart(page: Page, table: pd.DataFrame, columns: dict[str, Kind], show: Show) -> Operation | None:
    say, numbers = page.say, _of(columns, "number")
    picture = _choose(say("analysis.hand.picture"), PICTURES, "picture", lambda one: say(f"analysis.picture.{one}"))
    across = {"histogram": numbers, "bar": _of(columns)}.get(picture or "", _of(columns, "number", "date"))
    x = _choose(say("analysis.hand.x"), across, "x", show)
    if x is None or picture is None:
        return None
    if picture == "histogram":
        return Chart(picture="histogram", x=x)
    up = [name for name in numbers if name != x]
    y = _choose(
        say("analysis.hand.y"),
        up if picture == "scatter" else ["", *up],
        "y",
        lambda name: show(name) if name else say("analysis.rows"),
    )
    return Chart(picture=picture, x=x, y=y or "") if y or picture != "scatter" else None  # type: ignore[arg-type]


_DRAW = {
    "filter": _filter,
    "group": _group,
    "aggregate": _aggregate,
    "sort": _sort,
    "top": _top,
    "chart": _chart,
}
