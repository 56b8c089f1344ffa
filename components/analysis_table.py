"""The table: where it comes from, what it looks like now, the steps taken so far, and how to take it away."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from components import analysis_engine as found
from components import data_given as given
from components.analysis_engine import Work
from components.analysis_picture import chart, named
from components.analysis_words import Show, described, shower
from components.figure import draw_note
from components.frame import Page, plain, short

KINDS = ("sample", "file", "paste")
PAGE_ROWS = 500
CELL = 200
"""Rows that are sent to the browser at a time, and characters of a cell: the server works on all of both."""

TOLD = 8
"""Bars that the picture in words names."""

_FILE, _PASTED = "_analysis_file", "_analysis_pasted"


def draw_source(page: Page) -> Work | None:
    """Let the learner choose a table; return the work on it, None as long as there is none."""
    from llmkit.tune.data.errors import DataError

    say = page.say
    with st.expander(say("analysis.source"), key="analysis_source"):
        kind = st.segmented_control(
            say("analysis.from"),
            KINDS,
            default="file" if st.session_state.get(_FILE) else "sample",
            format_func=lambda one: say(f"analysis.from.{one}"),
            required=True,
            key="analysis_kind",
            persist_state="session",
        )
        source = _draw_given(page, str(kind)) if kind != "sample" else None
        draw_note(say("analysis.sample.what" if kind == "sample" else "analysis.limits"))
    if kind == "sample":
        return found.work(found.sample(page.bench.lang).id)
    if source is None:
        st.info(say("analysis.none"))
        return None
    with page.guard(), st.spinner(say("analysis.wait")):
        try:
            return found.work(found.kept_file(source).id)
        except DataError:
            st.session_state.pop(_FILE if kind == "file" else _PASTED, None)
            raise
    return None


def _draw_given(page: Page, kind: str) -> str | None:
    say = page.say
    if kind == "file":
        label = say("analysis.file", mb=given.LIMIT_MB)
        return given.draw_upload(page, label, key="analysis_upload", place=_FILE)
    words = {"use": say("analysis.use"), "name": say("analysis.pasted")}
    return given.draw_paste(page, say("analysis.paste"), **words, key="analysis", place=_PASTED)


def draw_table(page: Page, kept: Work) -> None:
    """Draw the table as it is now: its picture, its rows, the steps that led here."""
    table, show = found.frame(kept), shower(page, kept)
    page.count("part.row", len(table))
    page.count("part.column", len(table.columns))
    page.count("part.step", len(kept.steps) + len(kept.readings))
    _draw_chart(page, kept, show)
    _draw_steps(page, kept, show)
    _draw_rows(page, table, show)
    _draw_downloads(page, kept, table)


def _draw_chart(page: Page, kept: Work, show: Show) -> None:
    made = found.chart(kept)
    say = page.say
    if made is None:
        alt = say("analysis.chart.none", rows=f"{len(found.frame(kept)):,}", columns=len(found.frame(kept).columns))
        draw_note(alt)
        return
    drawn = made.value
    y = say("analysis.rows") if drawn.picture == "histogram" else _axis(page, drawn.y, show)
    listed = say("common.comma").join(_told(page, drawn.data, drawn.picture))
    picture = say(f"analysis.picture.{drawn.picture}")
    alt = say("analysis.chart.alt", picture=picture, y=y, x=show(drawn.x), listed=listed)
    drawing = chart(drawn, lambda name: _axis(page, name, show), say("analysis.rows"))
    page.figure(drawing, key="chart", badge=made.badge, alt=alt, data=drawn.data)
    if drawn.left_out:
        draw_note(say("analysis.chart.left_out", n=f"{drawn.left_out:,}"))


def _axis(page: Page, name: str, show: Show) -> str:
    """What an axis is called: a mean that only the chart has reckoned is said in the page's words."""
    if name == "count" or name.startswith("count "):
        return page.say("analysis.rows")
    shown = show(name)
    if shown == short(name, 40) and name.startswith("mean "):
        return page.say("analysis.result", how=page.say("analysis.how.mean"), column=short(name[5:], 40))
    return shown


def _told(page: Page, data: pd.DataFrame, picture: str) -> Sequence[str]:
    rows = data.head(TOLD).itertuples(index=False, name=None)
    if picture == "histogram":
        return [page.say("analysis.chart.bin", low=f"{a:g}", high=f"{b:g}", n=n) for a, b, n in rows]
    return [page.say("analysis.chart.one", name=short(named(x), 40), value=f"{y:,.4g}") for x, y in rows]


def _draw_steps(page: Page, kept: Work, show: Show) -> None:
    """Draw what was done so far, each with a way back."""
    say = page.say
    if not kept.steps and not kept.readings:
        draw_note(say("analysis.steps.none"))
        return
    with st.container(border=True, key="analysis_steps", gap="xsmall"):
        st.markdown(f"**{plain(say('analysis.steps'))}**")
        for at, added in enumerate(kept.readings):
            told = say("analysis.steps.read", column=short(added.column), names=say("common.comma").join(added.names))
            _draw_step(page, told, key=f"analysis_remove_{at}", on_click=found.remove, at=at)
        for at, step in enumerate(kept.steps):
            _draw_step(page, described(page, step, show), key=f"analysis_undo_{at}", on_click=found.undo, at=at)
        if len(kept.steps) > 1:
            st.button(say("analysis.steps.clear"), key="analysis_clear", type="tertiary", on_click=found.clear)


def _draw_step(page: Page, told: str, *, key: str, on_click: object, at: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        draw_note(told)
        label = page.say("analysis.steps.undo")
        st.button(label, key=key, type="tertiary", help=plain(told), on_click=on_click, args=(at,))  # type: ignore[arg-type]


def _draw_rows(page: Page, table: pd.DataFrame, show: Show) -> None:
    """Draw a window of the rows."""
    pages = max(-(-len(table) // PAGE_ROWS), 1)
    at = 1
    if pages > 1:
        label = page.say("analysis.window", n=f"{len(table):,}", each=PAGE_ROWS, pages=pages)
        at = int(st.number_input(label, 1, pages, key="analysis_window", width=320))
    view = shown_rows(table.iloc[(at - 1) * PAGE_ROWS : at * PAGE_ROWS], show)
    st.html("<style>.st-key-analysis_rows [data-testid=stElementToolbar] { display: none; }</style>")
    with st.container(key="analysis_rows"):
        alt = page.say("analysis.rows.alt", rows=f"{len(table):,}", columns=len(table.columns))
        st.dataframe(view, hide_index=True, height=min(40 + 35 * max(len(view), 1), 320), key="analysis_view", alt=alt)


def shown_rows(part: pd.DataFrame, show: Show) -> pd.DataFrame:
    """Return rows as the browser gets them: texts cut, days without hours, each name once."""
    made = {}
    for name in part.columns:
        column = part[name]
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            column = column.dt.strftime("%Y-%m-%d")
        elif not pd.api.types.is_numeric_dtype(column.dtype):
            column = column.astype(object).map(lambda cell: short(str(cell), CELL), na_action="ignore")
        label = show(name)
        made[label if label not in made else name] = column
    return pd.DataFrame(made)


def _draw_downloads(page: Page, kept: Work, table: pd.DataFrame) -> None:
    """Offer the table as it is now; a file is written when it is asked for."""
    from llmkit.analyse.export import FORMATS, MOST_EXCEL_ROWS, write

    mime = {
        "csv": "text/csv",
        "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "parquet": "application/vnd.apache.parquet",
    }
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for form in FORMATS:
            st.download_button(
                page.say(f"analysis.save.{form}"),
                data=functools.partial(write, table, form),
                file_name=f"table.{form}",
                mime=mime[form],
                key=f"analysis_save_{form}",
                on_click=_saved,
                type="tertiary",
                disabled=form == "xlsx" and len(table) > MOST_EXCEL_ROWS,
            )
    if st.session_state.get("_analysis_saved"):
        page.tick("do.save")


def _saved() -> None:
    st.session_state["_analysis_saved"] = True
