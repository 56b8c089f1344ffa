"""The assembly sheet in words: each stage as a line of the sheet, in the language of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from components.job_panel import duration
from lessons import Words, registry
from llmkit.sheet.history import Number, Stage
from llmkit.sheet.paper import Line

STEPS: Mapping[str, str] = {
    "box": "material",
    "fit": "build",
    "pretrain": "pretrain",
    "data": "material",
    "classify": "classify",
    "finetune": "finetune",
    "adapter": "lora",
    "prune": "prune",
    "quantise": "quantise",
    "form": "fast",
    "bench": "quantise",
    "deploy": "deploy",
}
"""Kind of stage → the step that it is done in."""

PICTURES: Mapping[str, str] = {
    "box": "box",
    "fit": "check",
    "pretrain": "bulb",
    "data": "data",
    "classify": "label",
    "finetune": "sliders",
    "adapter": "wheel",
    "prune": "scissors",
    "quantise": "pinch",
    "form": "engine",
    "bench": "clock",
    "deploy": "network",
}


def _share(value: Number, _: Words) -> str:
    return f"{float(value):.1%}".replace("%", " %")


def _megabytes(value: Number, _: Words) -> str:
    return f"{float(value) / 1e6:,.1f} MB"


def _count(value: Number, _: Words) -> str:
    return f"{float(value):,.0f}"


def _seconds(value: Number, say: Words) -> str:
    return duration(float(value), say)


def _small(value: Number, _: Words) -> str:
    return f"{float(value):.1e}"


def _measured(value: Number, _: Words) -> str:
    return f"{float(value):,.4g}"


WRITTEN: Mapping[str, Callable[[Number, Words], str]] = {
    **dict.fromkeys(("accuracy", "accuracy_before", "share"), _share),
    **dict.fromkeys(("size_bytes", "smallest_bytes"), _megabytes),
    **dict.fromkeys(("delta", "limit"), _small),
    **dict.fromkeys(("loss", "loss_before", "loss_whole", "perplexity", "tokens_s", "quickest_tokens_s"), _measured),
    "seconds": _seconds,
}
"""How a figure is written; any other number is a count."""


def figures(stage: Stage, say: Words) -> list[tuple[str, str]]:
    """Return name and value of each figure of a stage, in words."""
    told = []
    for name, value in stage.figures.items():
        key = f"done.figure.{name}"
        if key not in say:
            continue
        written = value if isinstance(value, str) else WRITTEN.get(name, _count)(value, say)
        told.append((say(key), written))
    return told


def step_of(stage: Stage) -> registry.Step | None:
    """Return the step that a stage is done in, where it can be opened."""
    return next((step for step in registry.available() if step.slug == STEPS[stage.kind]), None)


def line(stage: Stage, say: Words) -> Line:
    """Return a stage as a line of the sheet."""
    step = step_of(stage)
    day = f"{datetime.fromtimestamp(stage.at):%Y-%m-%d}" if stage.at else ""
    where = stage.made_with.get("device", "")
    facts = figures(stage, say)
    made = [(say("done.figure.makes"), stage.makes)] if stage.makes else []
    return Line(
        number=step.number if step else "",
        title=f"{say(f'done.stage.{stage.kind}')}{say('common.colon')}{stage.box}",
        facts=[*facts, *made],
        when=" · ".join(piece for piece in (day, where) if piece),
    )


def lines(stages: Sequence[Stage], say: Words) -> list[Line]:
    """Return all stages as lines."""
    return [line(stage, say) for stage in stages]
