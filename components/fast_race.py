"""The fast-inference page: PyTorch, compiled PyTorch and ONNX Runtime in one race; TensorRT and CUDA, asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from components import fast_engine as found
from components.badge import Badge
from components.charts import bars
from components.fast_engine import Exported
from components.figure import draw_note
from components.frame import Page, section
from components.job_panel import draw_job

if TYPE_CHECKING:
    from llmkit.compress.providers import Provider

SPEEDS = ("decode", "prefill", "first")
Row = Mapping[str, Any]


@section
def draw_race(page: Page) -> None:
    """Measure the three ways beside each other on the bench, and draw how fast each reads and writes."""
    bench = page.bench
    st.header(page.say("fast.race.title"))
    able = []
    for form_id in found.RACERS:
        why = found.why_not(bench, form_id)
        if why is None:
            able.append(form_id)
        else:
            st.caption(f"**{form_id}** · {page.error_text(getattr(why, 'code', ''), getattr(why, 'values', {}))}")
    draw_note(page.say("fast.race.how"))
    settings = {**found.settings(bench), "forms": able, "prompt": bench.sentence, "quick": True}
    made = draw_job(page, "bench", settings, label=page.say("fast.race.run"), key="fast_race", partial=_partial)
    if made is None:
        return
    page.tick("do.race")
    rows = made.value["rows"]
    for row in rows:
        if row["missing"] is not None:
            told = page.error_text(row["missing"]["code"], row["missing"]["values"])
            st.caption(f"**{row['form']}** · {told}")
    _draw_speeds(page, [row for row in rows if row["missing"] is None], made.badge)


def speeds(row: Row) -> dict[str, float | None]:
    """Of one text: tokens a second written and read, milliseconds to the first token; None where there is none."""
    first = row["first_token_ms"]
    return {
        "decode": _median((row["decode_tokens_s"] or {}).get("1")),
        "prefill": _median((row["prefill_tokens_s"] or {}).get("1")),
        "first": _median(first),
    }


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """What was measured, one way a row."""
    return pd.DataFrame(
        [
            {
                "form": row["form"],
                "write_tokens_s": speeds(row)["decode"],
                "write_tokens_s_8": _median((row["decode_tokens_s"] or {}).get("8")),
                "read_tokens_s": speeds(row)["prefill"],
                "read_tokens_s_8": _median((row["prefill_tokens_s"] or {}).get("8")),
                "first_token_ms": speeds(row)["first"],
                "open_s": row["about"].get("open_s"),
                "compile_s": row["about"].get("compile_s"),
                "threads": row["about"].get("threads"),
                "noisy": row["noisy"],
            }
            for row in rows
        ]
    )


def _draw_speeds(page: Page, rows: Sequence[Row], badge: Badge) -> None:
    if not rows:
        return
    table = frame(rows)
    names = [row["form"] for row in rows]
    for what in SPEEDS:
        values = [speeds(row)[what] for row in rows]
        if any(value is None for value in values):
            continue
        best = (min if what == "first" else max)(range(len(rows)), key=lambda at: values[at] or 0.0)
        st.subheader(page.say(f"fast.race.{what}"))
        alt = page.say(f"fast.race.alt.{what}", form=names[best], value=f"{values[best]:.1f}")
        axis = page.say(f"fast.race.axis.{what}")
        drawing = bars([(axis, [value or 0.0 for value in values])], names, x=axis, digits=1)
        page.figure(drawing, key=f"race_{what}", badge=badge, alt=alt, data=table)
        draw_note(alt)
    for row in rows:
        if "compile_s" in row["about"]:
            draw_note(page.say("fast.race.compile", form=row["form"], s=f"{row['about']['compile_s']:.0f}"))
    if any(row["noisy"] for row in rows):
        draw_note(page.say("fast.race.noisy"))


def _partial(told: Any) -> None:
    """Draw the rows as far as they are."""
    table = frame([row for row in told["rows"] if row["missing"] is None])
    if len(table):
        st.dataframe(table, hide_index=True)


def _median(spread: Mapping[str, float] | None) -> float | None:
    return None if spread is None else float(spread["median"])


@section
def draw_providers(page: Page, shown: Exported | None) -> None:
    """Draw what TensorRT and CUDA want, the commands for them, and who takes the graph when they are asked for."""
    from llmkit.compress.providers import commands

    st.header(page.say("fast.provider.title"))
    made = found.providers()
    _draw_table(page, made.value, made.badge)
    fp16 = st.toggle(page.say("fast.provider.fp16"), key="fast_fp16", help=page.say("fast.provider.fp16.help"))
    with st.expander(page.say("fast.provider.commands"), expanded=not made.value[0].complete):
        st.code(commands(page.bench.box_id, fp16=fp16), language="bash", wrap_lines=True)
        draw_note(page.say("fast.provider.files"))
    if shown is None:
        draw_note(page.say("fast.provider.later"))
        return
    settings = {**found.settings(page.bench), "providers": ["tensorrt", "cuda"], "fp16": fp16}
    tried = draw_job(page, "provider", settings, label=page.say("fast.provider.run"), key="fast_provider")
    if tried is not None:
        page.tick("do.open")
        _draw_tried(page, tried.value, tried.badge)


def _draw_table(page: Page, providers: Sequence[Provider], badge: Badge) -> None:
    table = pd.DataFrame(
        [
            {
                "provider": one.full,
                "built_in": one.built_in,
                "gpu": one.gpu or "",
                "missing": " ".join(one.missing),
                "package": one.package,
            }
            for one in providers
        ]
    )
    ready = [one.full for one in providers if one.complete]
    alt = page.say("fast.provider.alt", ready=page.say("common.comma").join(ready))
    rows = "".join(
        f'<div class="{"here" if one.complete else "missing"}"><b>{escape(one.full)}</b>{_state(page, one)}</div>'
        for one in providers
    )
    with page.shown(key="providers", badge=badge, alt=alt, data=table):
        st.html(f'<div class="fast-providers">{rows}</div>')


def _state(page: Page, one: Provider) -> str:
    """What a provider has and what it lacks, line by line."""
    say, lines = page.say, []
    if one.complete:
        lines.append(say("fast.provider.here"))
    if not one.built_in:
        lines.append(say("fast.provider.package", package=one.package))
    if one.missing:
        lines.append(say("fast.provider.libraries", names=say("common.comma").join(one.missing)))
    if one.gpu is not None:
        lines.append(say("fast.provider.gpu", gpu=one.gpu) if one.gpu else say("fast.provider.no_gpu"))
    return "".join(f"<span>{escape(line)}</span>" for line in lines)


def _draw_tried(page: Page, told: Mapping[str, Any], badge: Badge) -> None:
    """Say which provider took how many operators."""
    nodes: Mapping[str, int] = told["nodes"]
    names = page.say("common.comma")
    alt = page.say(
        "fast.tried.alt",
        asked=names.join(told["asked"]),
        took=names.join(f"{name} {n}" for name, n in nodes.items()),
        ms=f"{told['run_ms']:.1f}",
        delta=f"{told['max_delta']:.1e}" if told["max_delta"] else "0",
    )
    table = pd.DataFrame({"provider": told["asked"], "operators": [nodes.get(name, 0) for name in told["asked"]]})
    axis = page.say("fast.tried.axis")
    labels = [name.removesuffix("ExecutionProvider") for name in told["asked"]]
    drawing = bars([(axis, table["operators"].tolist())], labels, x=axis, digits=0)
    page.figure(drawing, key="tried", badge=badge, alt=alt, data=table)
    draw_note(alt)
    if set(nodes) == {"CPUExecutionProvider"}:
        draw_note(page.say("fast.tried.fallback"))
    if told["said"]:
        with st.expander(page.say("fast.tried.said")):
            st.code("\n".join(told["said"]), language=None, wrap_lines=True)
