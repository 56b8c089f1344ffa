"""The fine-tuning page's bench: which box learns from which data, the settings, three machines side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from components import engine
from components import finetune_more as more
from components import finetune_picture as picture
from components import finetune_plan as asked
from components import finetune_training as training
from components.figure import draw_note
from components.finetune_plan import METHODS, Plan
from components.frame import Page, plain, section, short
from components.material_choice import labelled_here, usual_data
from components.source import draw_source
from components.theme import own_style


def draw_choice(page: Page) -> tuple[str, str] | None:
    """Let the learner choose box and data; return them, or None where nothing can be learned from."""
    own = page.bench.box_id
    st.html(own_style("finetune"))
    with page.guard():
        engine.open_box(own)  # a broken box on the workbench is said, whichever is fine-tuned below
    boxes, sources = asked.boxes(own), labelled_here()
    if not sources:
        st.info(page.say("finetune.no_data"))
        for slug in ("unbox", "material"):
            page.lead(slug)
        return None
    with st.container(horizontal=True, gap="medium"):
        box_id = st.selectbox(
            page.say("finetune.box"),
            boxes,
            index=boxes.index(asked.usual_box(own, boxes)),
            key=f"finetune_box_{own}",
            persist_state="session",
            width=340,
        )
        at = usual_data(sources)
        data = st.selectbox(
            page.say("finetune.data"),
            sources,
            index=at,
            key=f"finetune_data_{sources[at]}",
            persist_state="session",
            width=340,
        )
    with page.guard():
        plan = asked.plan(box_id, data)
        _draw_data(page, plan)
        return box_id, data
    return None


def _draw_data(page: Page, plan: Plan) -> None:
    """Say what there is to learn from, and how well the box can read it."""
    from llmkit.tune.labelled import fingerprint

    say, rows = page.say, asked.taken(plan)
    labels = say("common.comma").join(short(label) for label in rows.labels[:6])
    more = "…" if len(rows.labels) > 6 else ""
    page.count("part.row", len(rows.train))
    page.count("part.label", len(rows.labels))
    draw_note(
        say(
            "finetune.data.note",
            train=f"{len(rows.train):,}",
            whole=f"{asked.whole_size(plan.data):,}",
            validation=f"{len(rows.validation):,}",
            test=f"{len(rows.test):,}",
            labels=labels + more,
            commonest=f"{rows.commonest(rows.test):.0%}",
        )
    )
    if rows.empty or rows.unlabelled:
        draw_note(say("finetune.data.left_out", empty=rows.empty, unlabelled=rows.unlabelled))
    made = asked.cost(plan.box_id, engine.fingerprint(plan.box_id), plan.data, fingerprint(plan.data))
    unknown = made.value.unknown / max(made.value.tokens, 1)
    if asked.is_foreign(plan) or unknown > 0.02:
        text = say("finetune.foreign" if asked.is_foreign(plan) else "finetune.unknown", box=plain(plan.box_id))
        tokens = f"{made.value.tokens_per_character:.2f}"
        st.warning(f"{text} {say('finetune.unknown.share', share=f'{unknown:.1%}', tokens=tokens)}")


@section
def draw_bench(page: Page, box_id: str, data: str) -> None:
    """Draw the settings, the three machines, the training, and what came of it: all that the settings decide."""
    from llmkit.tune.finetune import prepare

    _draw_sliders(page, box_id, data)
    _draw_machines(page, asked.plan(box_id, data))
    draw_source(page, prepare)
    training.draw_training(page, asked.plan(box_id, data))
    more.draw_examples(page, box_id, data)


def _draw_sliders(page: Page, box_id: str, data: str) -> None:
    """Draw what the three methods share."""
    say, whole = page.say, asked.whole_size(data)
    most = next((n for n in asked.ROWS if n >= whole), asked.ROWS[-1])
    rows = [n for n in asked.ROWS if n <= most]
    lengths = [n for n in asked.LENGTHS if n <= asked.context(box_id)] or [asked.context(box_id)]
    st.header(say("finetune.machines.title"))
    with st.container(horizontal=True, gap="medium"):
        _select(
            say("finetune.rows"),
            rows,
            "rows",
            lambda n: say("finetune.all", n=f"{whole:,}") if n >= whole else f"{n:,}",
        )
        st.slider(
            say("finetune.epochs"),
            1,
            asked.MOST_EPOCHS,
            asked.USUAL["epochs"],
            key=asked.key("epochs"),
            persist_state="session",
            width=222,
        )
        _select(say("finetune.batch"), asked.BATCHES, "batch", str)
        _select(say("finetune.tokens"), lengths, "tokens", str)
        patience = range(0, asked.MEASUREMENTS + 1)
        _select(
            say("finetune.patience"),
            patience,
            "patience",
            lambda n: say("finetune.patience.never") if n == 0 else str(n),
        )


def _select(label: str, options: Sequence[Any], name: str, text: Callable[[Any], str]) -> None:
    """Draw a slider over a few values; where the value it had is no longer among them, it takes the last."""
    key = asked.key(name)
    if key in st.session_state and st.session_state[key] not in options:
        st.session_state[key] = options[-1]
    usual = asked.USUAL[name] if asked.USUAL[name] in options else options[-1]
    st.select_slider(label, options, usual, format_func=text, key=key, persist_state="session", width=222)


def _draw_machines(page: Page, plan: Plan) -> None:
    """Draw the three machines with their frozen and learning parts, each with its own settings below."""
    import pandas as pd

    say, n_labels = page.say, len(asked.taken(plan).labels)
    made = {method: asked.learning(plan, method, n_labels) for method in METHODS}
    counted = {method: one.value for method, one in made.items()}
    page.count("part.adapter", len(plan.targets) * sum(part.name == "attention" for part in counted["lora"].parts))
    alt = say(
        "finetune.machines.alt",
        **{method: f"{one.learning:,}" for method, one in counted.items()},
        total=f"{counted['full'].total:,}",
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
        st.html(picture.legend(page.bench.say))
        for method, column in zip(METHODS, st.columns(3, gap="medium"), strict=True):
            with column:
                st.html(f'<h3 class="ft-title">{say(f"finetune.method.{method}")}</h3>')
                st.html(picture.machine(counted[method], picture.part_names(page.bench.say)))
                st.html(picture.counts(counted[method], page.bench.say))
                _draw_own(page, plan, method)
    _warn_of_memory(page, plan, n_labels)


def _draw_own(page: Page, plan: Plan, method: str) -> None:
    """Draw one method's own settings, and a warning where its rate is too high."""
    say = page.say
    _select(say("finetune.rate"), asked.RATES, f"rate_{method}", picture.rate_text)
    rate, usual = plan.rates[method], asked.USUAL_RATES[method]
    if rate > usual * asked.TOO_HIGH:
        st.warning(
            say(
                "finetune.rate.high",
                rate=picture.rate_text(rate),
                usual=picture.rate_text(usual),
                times=f"{rate / usual:,.0f}",
            )
        )
    if method != "lora":
        return
    _select(say("finetune.rank"), asked.RANKS, "rank", str)
    _select(say("finetune.alpha"), asked.ALPHAS, "alpha", lambda alpha: f"{alpha} (×{alpha / plan.rank:g})")
    linears = asked.learning(plan, "full", 2).value.linears
    st.pills(
        say("finetune.targets"),
        linears,
        selection_mode="multi",
        default=[one for one in asked.USUAL["targets"] if one in linears],
        key=asked.key("targets"),
        persist_state="session",
        wrap=True,
    )
    if not st.session_state.get(asked.key("targets")):
        st.warning(say("finetune.targets.none", target=plain(plan.targets[0])))
    changed = (plan.rank, plan.alpha, plan.targets)
    if changed != (asked.USUAL["rank"], asked.USUAL["alpha"], asked.USUAL["targets"]):
        page.tick("do.lora")


def _warn_of_memory(page: Page, plan: Plan, n_labels: int) -> None:
    """Warn where nothing is frozen and memory is scarce."""
    needed, free = asked.needed_bytes(plan, "full", n_labels), asked.free_bytes()
    if plan.device == "cpu" and needed * 2 > free:
        st.warning(page.say("finetune.memory.scarce", needed=f"{needed / 2**30:.1f}", free=f"{free / 2**30:.1f}"))
