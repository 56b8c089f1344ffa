"""What the page of data analysis works on: one kept table, columns that boxes have read, and the steps taken since."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from components import engine
from components.engine import Made
from llmkit import jobs

if TYPE_CHECKING:
    from llmkit.analyse.chart import Drawn
    from llmkit.analyse.columns import Kind
    from llmkit.analyse.operation import Chart, Operation
    from llmkit.analyse.table import About

READ, ASK = "read_column", "ask_table"
ENCODER = "minilm-l6"
QUERY = "steps"
MOST_QUERY = 1_500
"""Characters of steps that an address carries."""

MOST_STEPS = 20
_STATE = "_analysis"


@dataclass(frozen=True, kw_only=True)
class Added:
    """New columns that a job has read.

    Args:
        job_id, ended_at: which. column: that it has read. way: how. names: of the new columns: the answer, its
            confidence and, where it is asked, whether the answer stands in the text.
        labels, threshold: of tags.
    """

    job_id: str
    ended_at: float
    column: str
    way: str
    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    threshold: float = 0.0


@dataclass(kw_only=True)
class Work:
    """What this session does with a table; it ends with the table.

    Args:
        table: its id. readings: columns that were added. steps: operations, in order. seen: jobs whose columns were
            added once by themselves.
    """

    table: str
    readings: list[Added]
    steps: list[Operation]
    seen: set[str]

    @property
    def key(self) -> tuple[str, tuple[Added, ...], tuple[Operation, ...]]:
        """All that the table hangs on."""
        return self.table, tuple(self.readings), tuple(self.steps)


def work(table_id: str) -> Work:
    """Return this session's work on a table; steps of the address are taken over once, as far as they fit."""
    kept: Work | None = st.session_state.get(_STATE)
    if kept is None or kept.table != table_id:
        steps = _steps_asked() if kept is None else []
        kept = st.session_state[_STATE] = Work(table=table_id, readings=[], steps=[], seen=set())
        for step in steps:
            if fits(step, frame(kept)):
                kept.steps.append(step)
    return kept


def take(step: Operation) -> None:
    """Take a step, and write it into the address."""
    kept: Work = st.session_state[_STATE]
    if len(kept.steps) < MOST_STEPS:
        kept.steps.append(step)
    tell(kept)


def undo(at: int) -> None:
    """Take a step back; steps behind it that no longer fit go, too."""
    kept: Work = st.session_state[_STATE]
    if at < len(kept.steps):
        kept.steps.pop(at)
    _settle(kept)


def remove(at: int) -> None:
    """Take columns away that a box has read, and the steps that need them."""
    kept: Work = st.session_state[_STATE]
    if at < len(kept.readings):
        kept.readings.pop(at)
    _settle(kept)


def clear() -> None:
    """Take all steps back."""
    kept: Work = st.session_state[_STATE]
    kept.steps.clear()
    tell(kept)


def tell(kept: Work) -> None:
    """Write the steps into the address, where they are short enough."""
    from llmkit.analyse.operation import as_dict

    told = json.dumps([as_dict(step) for step in kept.steps], ensure_ascii=False, separators=(",", ":"))
    if kept.steps and len(told) <= MOST_QUERY:
        st.query_params[QUERY] = told
    else:
        st.query_params.pop(QUERY, None)


def fits(step: Operation, table: pd.DataFrame) -> bool:
    """Return whether a step can be taken on a table."""
    from llmkit.analyse.columns import kinds
    from llmkit.analyse.errors import AnalyseError
    from llmkit.analyse.operation import check

    try:
        check(step, kinds(table))
    except AnalyseError:
        return False
    return True


def frame(kept: Work) -> pd.DataFrame:
    """Return the table as it is now. Shared: never change it."""
    return _worked(*kept.key).value


def base(kept: Work) -> pd.DataFrame:
    """Return the table as it came."""
    return _table(kept.table).value


def whole(kept: Work) -> pd.DataFrame:
    """Return the table with all rows and the columns that boxes have read."""
    return _worked(kept.table, tuple(kept.readings), ()).value


def columns(table: pd.DataFrame) -> dict[str, Kind]:
    """Return each column's kind."""
    from llmkit.analyse.columns import kinds

    return kinds(table)


def chart(kept: Work) -> Made[Drawn] | None:
    """Return the picture of the table: as the last step asks, else as suits; None where there is nothing to draw."""
    wanted = chart_now(kept)
    return None if wanted is None else _drawn(*kept.key, wanted)


def chart_now(kept: Work) -> Chart | None:
    """Return how the table is drawn now."""
    from llmkit.analyse.chart import suggest
    from llmkit.analyse.operation import Chart

    asked = [step for step in kept.steps if isinstance(step, Chart)]
    if asked and fits(asked[-1], frame(kept)):
        return asked[-1]
    return suggest(frame(kept), tuple(kept.steps))


def sample(lang: str) -> About:
    """Return the sample, kept as a table."""
    return _sample(lang).value


def kept_file(source: str) -> About:
    """Return a learner's file as a kept table.

    Raises:
        DataError: it cannot be read as a table.
    """
    return _from_source(source).value


def readers(own: str) -> tuple[str, ...]:
    """Return the boxes that can read texts as vectors, the one that was made for it first."""
    from components.workbench import DEFAULT_BOX

    here = engine.boxes_here(DEFAULT_BOX, own)
    return tuple(sorted(here, key=lambda one: (one != ENCODER, one != own)))


def does(box_id: str) -> tuple[str, ...]:
    """Return what a box of the catalogue was made for; nothing where that is not known."""
    from llmkit import shelf

    box = shelf.catalogue().get(box_id)
    return tuple(box.does) if box is not None else ()


def different(kept: Work, column: str) -> int:
    """Return how many different texts a column has."""
    return _different(kept.table, tuple(kept.readings), column).value


def pace(settings: dict[str, Any]) -> float | None:
    """Return how long one text took when this was last asked on this machine, in seconds; None where it never was."""
    from llmkit.analyse.store import Store
    from llmkit.analyse.ways import asked_of

    return Store(asked_of(settings)).pace()


def answers(added: Added) -> pd.DataFrame:
    """Return new columns, a row for each row of the table."""
    return _answers(added).value


@engine.remembered(max_entries=4)
def _sample(lang: str) -> About:
    from llmkit.analyse.sample import keep_sample

    return keep_sample(lang)


@engine.remembered(max_entries=8)
def _from_source(source: str) -> About:
    from llmkit.analyse.table import keep_table
    from llmkit.tune.data.source import open_source

    return keep_table(open_source(source))


@engine.remembered(max_entries=6)
def _table(table_id: str) -> pd.DataFrame:
    from llmkit.analyse.table import open_table

    made = open_table(table_id)
    engine.settle()
    return made


@engine.remembered(max_entries=12)
def _worked(table_id: str, readings: tuple[Added, ...], steps: tuple[Operation, ...]) -> pd.DataFrame:
    from llmkit.analyse.operation import apply

    if steps:
        return apply(_worked(table_id, readings, steps[:-1]).value, steps[-1])
    table = _table(table_id).value
    new = [answers(one) for one in readings]
    return pd.concat([table, *new], axis=1) if new else table


@engine.remembered(max_entries=24)
def _drawn(table_id: str, readings: tuple[Added, ...], steps: tuple[Operation, ...], wanted: Chart) -> Drawn:
    from llmkit.analyse.chart import drawn

    return drawn(_worked(table_id, readings, steps).value, wanted)


@engine.remembered(max_entries=24)
def _different(table_id: str, readings: tuple[Added, ...], column: str) -> int:
    return int(_worked(table_id, readings, ()).value[column].nunique())


@engine.remembered(max_entries=12)
def _answers(added: Added) -> pd.DataFrame:
    from llmkit.analyse.columns import as_categories
    from llmkit.analyse.reading import ROWS, SCORES, tags

    folder = jobs.folder(added.job_id)
    read = pd.read_parquet(folder / ROWS)
    said = read["answer"].astype(object).where(read["answer"].notna() & (read["answer"] != ""), None)
    if added.way == "tag":
        with np.load(folder / SCORES, allow_pickle=False) as file:
            listed = tags(file["scores"], added.labels, added.threshold)
            said = pd.Series([listed[at] or None if at >= 0 else None for at in file["places"]], dtype=object)
    made = {added.names[0]: as_numbers(said) if added.way == "number" else as_categories(said)}
    if added.way == "date":
        made[added.names[0]] = pd.to_datetime(said, errors="coerce")
    if len(added.names) > 1:
        made[added.names[1]] = read["confidence"].astype("float64").round(4)
    if len(added.names) > 2:
        given = read["in_text"].map({True: "✓", False: "✗"}).astype(object)
        made[added.names[2]] = given.where(read["in_text"].notna(), None).astype("category")
    return pd.DataFrame(made)


def as_numbers(said: pd.Series) -> pd.Series:
    """Return texts as numbers, empty where they are none."""
    return pd.to_numeric(said, errors="coerce").astype("float64")


def free_names(taken: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return names for new columns that no other column has."""
    names: list[str] = []
    for name in wanted:
        made, at = name, 2
        while made in taken or made in names:
            made, at = f"{name} {at}", at + 1
        names.append(made)
    return tuple(names)


def _settle(kept: Work) -> None:
    """Let go of the steps that no longer fit; the others stay."""
    steps, kept.steps = kept.steps, []
    for step in steps:
        if fits(step, frame(kept)):
            kept.steps.append(step)
    tell(kept)


def _steps_asked() -> list[Operation]:
    """The steps that the address names; those that are none are passed over."""
    from llmkit.analyse.errors import AnalyseError
    from llmkit.analyse.operation import from_dict

    try:
        listed = json.loads(st.query_params.get(QUERY, "[]")[: 4 * MOST_QUERY])
    except (ValueError, RecursionError):
        return []
    steps: list[Operation] = []
    for one in listed[:MOST_STEPS] if isinstance(listed, list) else ():
        try:
            steps.append(from_dict(one))
        except AnalyseError:
            continue
    return steps
