"""The numbers of a chart, few enough to draw whatever the table's size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from llmkit.analyse.columns import kinds
from llmkit.analyse.operation import Chart, Group, Operation, Picture, apply, check, result_name

MOST_BARS = 20
MOST_POINTS = 4_000
BINS = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """What is drawn.

    Args:
        picture: how. x, y: what the axes are called. data: two columns, in that order; histograms: from, to, rows.
        left_out: bars or points that are not drawn.
    """

    picture: Picture
    x: str
    y: str
    data: pd.DataFrame
    left_out: int = 0


def suggest(frame: pd.DataFrame, operations: tuple[Operation, ...] = ()) -> Chart | None:
    """The chart that is drawn as long as nobody has asked for another; None where no column can be drawn."""
    found = kinds(frame)
    last = next((one for one in reversed(operations) if not isinstance(one, Chart)), None)
    if isinstance(last, Group) and last.by in found:
        return Chart(picture="line" if found[last.by] == "date" else "bar", x=last.by, y=result_name(last))
    first = {kind: next((name for name, one in found.items() if one == kind), "") for kind in found.values()}
    category, date, number = first.get("category"), first.get("date"), first.get("number")
    if category:
        return Chart(picture="bar", x=category, y=number or "")
    if date:
        return Chart(picture="line", x=date, y=number or "")
    return Chart(picture="histogram", x=number) if number and len(frame) > 1 else None


def drawn(frame: pd.DataFrame, chart: Chart) -> Drawn:
    """Reckon what a chart shows: means (or counts) for bars and lines, the rows themselves where each x is there once.

    Raises:
        AnalyseError: as `llmkit.analyse.operation.check`.
    """
    check(chart, kinds(frame))
    if chart.picture == "histogram":
        return _histogram(frame, chart)
    if chart.picture == "scatter":
        points = frame[[chart.x, chart.y]].dropna()
        shown = points.iloc[:: max(-(-len(points) // MOST_POINTS), 1)].reset_index(drop=True)
        return Drawn(picture="scatter", x=chart.x, y=chart.y, data=shown, left_out=len(points) - len(shown))
    once = bool(chart.y) and chart.x != chart.y and frame[chart.x].is_unique
    if once:
        data, y = frame[[chart.x, chart.y]].dropna(), chart.y
    else:
        group = Group(by=chart.x, how="mean" if chart.y else "count", column=chart.y)
        data, y = apply(frame, group), result_name(group)
    if chart.picture == "line":
        data = data.sort_values(chart.x, kind="stable")
    most = MOST_POINTS if chart.picture == "line" else MOST_BARS
    left_out = max(len(data) - most, 0)
    return Drawn(picture=chart.picture, x=chart.x, y=y, data=data.head(most).reset_index(drop=True), left_out=left_out)


def _histogram(frame: pd.DataFrame, chart: Chart) -> Drawn:
    values = frame[chart.x].dropna().to_numpy(dtype=np.float64)
    different = np.unique(values)
    edges: np.ndarray[tuple[int], np.dtype[np.float64]] | int = BINS
    if 1 <= len(different) <= BINS and np.array_equal(different, different.round()) and np.ptp(different) <= BINS:
        edges = np.arange(different[0], different[-1] + 2) - 0.5  # a bar for each whole number
    counts, found = np.histogram(values, bins=edges)
    data = pd.DataFrame({"from": found[:-1], "to": found[1:], "rows": counts.astype(np.int64)})
    return Drawn(picture="histogram", x=chart.x, y="", data=data)
