"""The LoRA page's bench: what is frozen, the texts, the adapter's settings, and the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components import data_given as given
from components import engine
from components import finetune_picture as machines
from components import lora_plan as asked
from components.badge import Badge
from components.figure import draw_note
from components.finetune_picture import rate_text
from components.frame import Page, plain, section, short
from components.job_panel import draw_job
from components.lora_engine import Desk
from components.lora_memory import draw_memory
from components.lora_plan import Plan
from components.material_choice import current_data
from components.source import draw_source
from components.theme import ACCENT

_PASTED = "_lora_pasted"
FROM = ("data", "paste")
USUAL_LABEL = "positive"


@section
def draw_bench(page: Page, desk: Desk) -> None:
    """Draw the settings, the machines with what is frozen, the training, and the memory of a step."""
    from llmkit.tune.adapter_train import put_adapter

    st.header(page.say("lora.train.title"))
    _draw_settings(page, desk)
    plan = asked.plan(desk.box_id, "", None)
    _draw_machines(page, plan)
    _warn(page, plan)
    draw_source(page, put_adapter)
    source = _draw_texts(page)
    if source is None:
        return
    plan = asked.plan(desk.box_id, *source)
    _draw_training(page, desk, plan)
    draw_memory(page, plan, writes=desk.writes)


def _draw_training(page: Page, desk: Desk, plan: Plan) -> None:
    """Draw the training, or why there is none here."""
    from llmkit.tune.qlora import why_not

    missing = why_not() if plan.kind == "qlora" else None
    if not desk.writes:
        st.info(page.say("lora.train.encoder"))
        page.lead("finetune")
    elif missing is not None:
        st.warning(page.error_text(missing.code, missing.values))
    else:
        _draw_job(page, plan)


def _draw_texts(page: Page) -> tuple[str, str | None] | None:
    """Let the learner choose what it learns from; return source and label, None as long as there is none."""
    from llmkit.tune.adapter_job import HELD_OUT
    from llmkit.tune.adapter_texts import fingerprint, sources_here

    say, here = page.say, sources_here()
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        names = {one: say(f"lora.from.{one}") for one in FROM}
        way = st.segmented_control(
            say("lora.from"),
            FROM,
            default="data" if here else "paste",
            required=True,
            format_func=lambda one: names.get(one, one),
            key="lora_from",
            persist_state="session",
        )
        data: str | None = None
        if way == "data" and here:
            usual = (current_data(), given.REVIEWS[page.bench.lang])
            at = next((here.index(one) for one in usual if one in here), 0)
            data = st.selectbox(
                say("lora.data"), here, index=at, key=f"lora_data_{here[at]}", persist_state="session", width=300
            )
        labels = () if data is None else asked.texts(data, fingerprint(data), None).value.labels
        label = _draw_label(page, labels)
    if way == "data" and not here:
        st.info(say("lora.no_data"))
        page.lead("unbox")
    if way == "paste":
        words = {"use": say("lora.paste.use"), "name": "lines.txt"}
        data = given.draw_paste(page, say("lora.paste"), **words, key="lora", place=_PASTED)
    if not data:
        return None
    texts = asked.texts(data, fingerprint(data), label).value
    held_out = min(len(texts.held_out), HELD_OUT)
    draw_note(say("lora.data.note", train=f"{min(len(texts.train), asked.ROWS):,}", held=f"{held_out:,}"))
    with st.expander(say("lora.data.look"), key="lora_look"):
        st.code("\n".join(text[:200] for text in texts.train[:5]), language=None, wrap_lines=True)
    return data, label


def _draw_label(page: Page, labels: Sequence[str]) -> str | None:
    """Let the learner take the texts of one label alone; None for all."""
    if not labels:
        return None
    every = ""
    chosen = st.selectbox(
        page.say("lora.label"),
        (every, *labels),
        index=1 + labels.index(USUAL_LABEL) if USUAL_LABEL in labels else 0,
        format_func=lambda one: short(one) or page.say("lora.label.all"),
        key=f"lora_label_{'|'.join(labels)[:60]}",
        persist_state="session",
        width=200,
    )
    return chosen or None


def _draw_settings(page: Page, desk: Desk) -> None:
    """Draw the adapter's settings."""
    say, names = page.say, {kind: page.say(f"lora.kind.{kind}") for kind in asked.KINDS}
    st.segmented_control(
        say("lora.kind"),
        asked.KINDS,
        default=asked.USUAL["kind"],
        required=True,
        format_func=lambda one: names.get(one, one),
        key=asked.key("kind"),
        persist_state="session",
    )
    draw_note(say(f"lora.kind.{st.session_state[asked.key('kind')]}.what"))
    with st.container(horizontal=True, gap="medium"):
        _select(say("lora.rank"), asked.RANKS, "rank", str)
        _select(say("lora.alpha"), asked.ALPHAS, "alpha", str)
        _select(say("lora.rate"), asked.RATES, "rate", rate_text)
        _select(say("lora.steps"), asked.STEPS, "steps", str)
    linears = asked.learns(desk.box_id, engine.fingerprint(desk.box_id), "full", 1, ("q",)).value.linears
    st.pills(
        say("lora.targets"),
        linears,
        selection_mode="multi",
        default=[one for one in asked.USUAL["targets"] if one in linears],
        key=asked.key("targets"),
        persist_state="session",
        wrap=True,
    )


def _select(label: str, options: Sequence[Any], name: str, text: Callable[[Any], str]) -> None:
    st.select_slider(
        label,
        options,
        asked.USUAL[name],
        format_func=text,
        key=asked.key(name),
        persist_state="session",
        width=222,
    )


def _draw_machines(page: Page, plan: Plan) -> None:
    """Draw three machines: nothing frozen, a frozen body, an adapter beside frozen matrices."""
    say = page.say
    kind = "lora" if plan.kind == "qlora" else plan.kind
    made = {method: asked.counted(plan, kind if method == "lora" else method) for method in asked.DRAWN}
    counted = {method: one.value for method, one in made.items()}
    page.count("part.frozen", counted["lora"].frozen)
    names = {name: say(f"lora.part.{name}") for name in ("embedding", "attention", "feed_forward", "head")}
    alt = say(
        "lora.machines.alt",
        total=f"{counted['full'].total:,}",
        **{method: f"{one.learning:,}" for method, one in counted.items()},
    )
    table = pd.DataFrame(
        [
            {"method": method, "part": part.name, "layer": part.layer, "parameters": part.parameters,
             "learning": part.learning, "adapters": part.adapters}
            for method, one in counted.items()
            for part in one.parts
        ]
    )  # fmt: skip
    with page.shown(key="machines", badge=made["lora"].badge, alt=alt, data=table):
        st.html(machines.legend(page.bench.say))
        for method, column in zip(asked.DRAWN, st.columns(3, gap="medium"), strict=True):
            with column:
                sign = '<i class="lora-no"></i> ' if method == "full" else machines.FROZEN
                st.html(f'<h3 class="ft-title lora-method">{sign}{say(f"lora.method.{method}")}</h3>')
                st.html(machines.machine(counted[method], names))
                st.html(machines.counts(counted[method], page.bench.say))
    if any(part.name == "embedding" and part.learning for part in counted["frozen"].parts):
        draw_note(say("lora.tied"))
    full, lora = counted["full"], counted["lora"]
    told = say(
        "lora.nothing_frozen",
        full=f"{(full.gradient_bytes + full.optimizer_bytes) / machines.MIB:,.0f}",
        lora=f"{(lora.gradient_bytes + lora.optimizer_bytes) / machines.MIB:,.1f}",
        weights=f"{full.total * 4 / machines.MIB:,.0f}",
    )
    st.html(f'<div class="lora-aside"><i class="lora-no"></i><p>{told}</p></div>')


def _warn(page: Page, plan: Plan) -> None:
    """Warn of settings that mostly go wrong."""
    say = page.say
    if not st.session_state.get(asked.key("targets")):
        st.warning(say("lora.warn.targets", target=plain(plan.targets[0])))
    if plan.rate >= asked.TOO_HIGH:
        st.warning(say("lora.warn.rate", rate=rate_text(plan.rate), usual=rate_text(asked.USUAL["rate"])))
    if plan.scale > asked.STRONG_SCALE:
        st.warning(say("lora.warn.scale", scale=f"{plan.scale:.1f}"))
    wide = asked.too_wide(plan, asked.shapes(plan.box_id))
    if wide is not None:
        st.warning(say("lora.warn.wide", rank=plan.rank, target=plain(wide)))


def _draw_job(page: Page, plan: Plan) -> None:
    """Train, and draw how it went."""
    from llmkit import jobs
    from llmkit.tune.adapter_job import adapters

    settings = plan.settings()
    job = jobs.find(asked.TRAIN, settings)
    if job is not None and job.state == "done" and not (adapters() / str(job.result["adapter"])).is_dir():
        jobs.forget(job.id)  # the adapter was thrown away: it can be trained again
    made = draw_job(
        page,
        asked.TRAIN,
        settings,
        label=page.say("lora.train.run", kind=page.say(f"lora.kind.{plan.kind}")),
        key="lora_train",
        partial=lambda told: draw_note(page.say("lora.curve.now", loss=f"{told['curve'][-1][1]:.3f}")),
    )
    if made is not None:
        _draw_curve(page, made.value, made.badge)


def _draw_curve(page: Page, told: Any, badge: Badge) -> None:
    """Draw the loss of each step, and what it is on texts that were not learned from."""
    import plotly.graph_objects as go

    table = pd.DataFrame(told["curve"], columns=["step", "loss"])
    before, after = (f"{told[when]:.3f}" for when in ("before", "after"))
    alt = page.say("lora.curve.alt", steps=len(table), before=before, after=after)
    points = table.to_numpy(dtype=np.float32)
    drawing = go.Figure(go.Scatter(x=points[:, 0], y=points[:, 1], mode="lines", line={"color": ACCENT, "width": 3}))
    drawing.update_xaxes(title={"text": page.say("lora.curve.step")}, showgrid=False)
    drawing.update_yaxes(title={"text": page.say("lora.curve.loss")})
    drawing.update_layout(height=280)
    page.figure(drawing, key="curve", badge=badge, alt=alt, data=table)
    draw_note(
        page.say(
            "lora.curve.note",
            before=before,
            after=after,
            seconds=f"{told['step_s']:.2f}",
            size=f"{told['size_bytes'] / 1024:,.0f}",
            rows=f"{told['rows']:,}",
        )
    )
    if told["after"] > told["before"]:
        st.warning(page.say("lora.curve.worse"))
