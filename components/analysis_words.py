"""Operations and columns in the page's words."""

from __future__ import annotations

from collections.abc import Callable

from components.analysis_engine import Work
from components.frame import Page, short
from llmkit.analyse.operation import (
    Aggregate,
    Chart,
    Filter,
    Group,
    Operation,
    Sort,
    Top,
    result_name,
)

NAME = 40
"""Characters of a column's name or a value that are shown in a sentence."""

Show = Callable[[str], str]


def shower(page: Page, kept: Work) -> Show:
    """Return what a column is called on the page: results in its language, all others as they are, on one line."""
    results: dict[str, str] = {}
    for step in kept.steps:
        if isinstance(step, Group | Aggregate):
            results[result_name(step)] = result(page, step, lambda name: results.get(name) or short(name, NAME))

    def show(name: str) -> str:
        return results.get(name) or short(name, NAME)

    return show


def result(page: Page, step: Group | Aggregate, show: Show) -> str:
    """Return what the results of a step are called."""
    if step.how == "count":
        return page.say("analysis.rows")
    return page.say("analysis.result", how=page.say(f"analysis.how.{step.how}"), column=show(step.column))


def described(page: Page, step: Operation, show: Show) -> str:
    """Return an operation as a sentence; plain text."""
    say = page.say
    match step:
        case Filter():
            told = say(f"analysis.test.{step.test}", value=short(step.value, NAME))
            return say("analysis.op.filter", column=show(step.column), told=told)
        case Group():
            return say("analysis.op.group", by=show(step.by), result=result(page, step, show))
        case Aggregate():
            return say("analysis.op.aggregate", result=result(page, step, show))
        case Sort():
            order = say("analysis.order.down" if step.descending else "analysis.order.up")
            return say("analysis.op.sort", column=show(step.column), order=order)
        case Top():
            end = say("analysis.end.least" if step.smallest else "analysis.end.most")
            return say("analysis.op.top", column=show(step.column), n=step.n, end=end)
        case Chart():
            picture = say(f"analysis.picture.{step.picture}")
            if step.picture == "histogram" or not step.y:
                return say("analysis.op.chart_one", picture=picture, x=show(step.x))
            return say("analysis.op.chart", picture=picture, x=show(step.x), y=show(step.y))
