"""Step 2-6, the plan: characters or pairs, one dial for depth, what follows from it, the learning rate's way."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components import pretrain_engine as found
from components.badge import Badge
from components.figure import draw_note
from components.frame import Page
from components.job_panel import duration
from components.pretrain_engine import Plan, Source
from components.theme import ACCENT

USUAL_DEPTH = 4
VOCABS = (300, 512, 1_024, 2_048, 4_096, 8_192)
USUAL_VOCAB = 1_024
POINTS = 200
PROMPT_LIMIT = 200


def draw_plan(page: Page, source: Source) -> Plan | None:
    """Draw how the text is cut, the dial and what follows; return the plan, None where it cannot be carried out."""
    st.header(page.say("pretrain.plan.title"))
    with page.guard():
        return _draw(page, source)
    return None


def _draw(page: Page, source: Source) -> Plan:
    from llmkit.tune.own_text import CUTS
    from llmkit.tune.recipe import LEAST_DEPTH, MOST_DEPTH, from_depth

    say = page.say
    cut = st.segmented_control(
        say("pretrain.cut"),
        CUTS,
        default="characters",
        format_func=lambda name: say(f"pretrain.cut.{name}"),
        required=True,
        key="pretrain_cut",
        bind="query-params",
    )
    vocab_size = USUAL_VOCAB
    if cut == "bpe":
        vocab_size = st.select_slider(say("pretrain.vocab"), VOCABS, value=USUAL_VOCAB, key="pretrain_vocab")
    depth = st.slider(
        say("pretrain.depth"), LEAST_DEPTH, MOST_DEPTH, USUAL_DEPTH, key="pretrain_depth", bind="query-params"
    )
    if depth != USUAL_DEPTH:
        page.tick("do.depth")
    place = st.container()
    asked, seed, prompt = _draw_more(page)
    tokens = found.character_vocab(source) if cut == "characters" else vocab_size
    recipe = from_depth(depth, vocab_size=tokens, seed=seed, **asked)
    plan = Plan(
        source=source,
        cut=cut,
        vocab_size=vocab_size,
        depth=depth,
        seed=seed,
        prompt=prompt,
        asked=tuple(sorted(asked.items())),
        recipe=recipe,
    )
    with place:
        _draw_follows(page, plan)
    if cut == "characters":
        from llmkit.tune.from_nothing import require_text

        text = found.text(source)
        require_text(recipe, text.characters, text.held_out_characters)
    page.count("part.layer", depth)
    page.count("part.parameter", recipe.parameters)
    page.count("part.token", recipe.tokens_a_step * recipe.max_steps)
    return plan


def _draw_follows(page: Page, plan: Plan) -> None:
    """Draw the tower to scale, and the numbers that follow from its depth."""
    say, recipe = page.say, plan.recipe
    made = found.seconds(recipe)
    numbers = {
        "layers": f"{recipe.n_layers}",
        "width": f"{recipe.d_model}",
        "heads": f"{recipe.n_heads}",
        "vocab": f"{recipe.vocab_size:,}",
        "context": f"{recipe.max_seq_len}",
        "parameters": f"{recipe.parameters:,}",
        "steps": f"{recipe.max_steps:,}",
        "tokens": f"{recipe.tokens_a_step * recipe.max_steps:,}",
        "rate": f"{recipe.learning_rate:.2g}",
        "time": duration(made.value, page.bench.say),
    }
    alt = say("pretrain.follows.alt", **numbers)
    listed = "".join(
        f"<div><dt>{escape(say(f'pretrain.follows.{name}'))}</dt><dd>{escape(value)}</dd></div>"
        for name, value in numbers.items()
    )
    width = 100 * recipe.d_model / 384
    storeys = "".join(f'<i style="width:{width:.1f}%"></i>' for _ in range(recipe.n_layers))
    table = pd.DataFrame({"name": list(numbers), "value": list(numbers.values())})
    with page.shown(key="follows", badge=made.badge, alt=alt, data=table):
        st.html(
            f'<div class="pre-plan"><div class="pre-tower">{storeys}</div><dl class="pre-facts">{listed}</dl></div>'
        )
    draw_note(say("pretrain.follows.note", ratio=f"{recipe.tokens_a_step * recipe.max_steps / recipe.parameters:.1f}"))
    with st.expander(say("pretrain.rate.title"), key="pretrain_rate"):
        _draw_rate(page, plan)


def _draw_rate(page: Page, plan: Plan) -> None:
    """Draw the learning rate over the steps: the schedule's own formula."""
    import plotly.graph_objects as go

    recipe = plan.recipe
    steps = np.unique(np.linspace(0, recipe.max_steps, POINTS).astype(np.int32))
    rates = np.array([recipe.rate(int(step)) for step in steps], dtype=np.float32)
    drawing = go.Figure(go.Scatter(x=steps, y=rates, mode="lines", line={"color": ACCENT, "width": 4}))
    drawing.update_xaxes(title={"text": page.say("pretrain.axis.step")}, showgrid=False)
    drawing.update_yaxes(title={"text": page.say("pretrain.follows.rate")}, rangemode="tozero")
    alt = page.say(
        "pretrain.rate.alt",
        warmup=recipe.warmup_steps,
        high=f"{recipe.learning_rate:.2g}",
        low=f"{recipe.least_rate:.2g}",
    )
    data = pd.DataFrame({"step": steps, "learning_rate": rates})
    page.figure(drawing.update_layout(height=260), key="rate", badge=Badge.live(), alt=alt, data=data)
    draw_note(alt)


def _draw_more(page: Page) -> tuple[dict[str, Any], int, str]:
    """Draw what may be set by hand, folded; an empty field follows from the depth."""
    say = page.say
    with st.expander(say("pretrain.more.title"), key="pretrain_more"):
        draw_note(say("pretrain.more.note"))
        with st.container(horizontal=True):
            steps = _number(page, "max_steps", 1)
            batch = _number(page, "batch_size", 1)
            context = _number(page, "max_seq_len", 4)
            rate = st.number_input(
                say("pretrain.more.learning_rate"),
                min_value=1e-9,
                max_value=1e6,
                value=None,
                format="%.6g",
                key="pretrain_learning_rate",
            )
            seed = st.number_input(say("pretrain.more.seed"), 0, 2**31 - 1, 0, key="pretrain_seed")
        prompt = st.text_input(say("pretrain.more.prompt"), key="pretrain_prompt", max_chars=PROMPT_LIMIT)
    given = {"max_steps": steps, "batch_size": batch, "max_seq_len": context, "learning_rate": rate}
    return {name: value for name, value in given.items() if value is not None}, int(seed), str(prompt or "")


def _number(page: Page, name: str, least: int) -> int | None:
    value = st.number_input(
        page.say(f"pretrain.more.{name}"), min_value=least, value=None, step=1, key=f"pretrain_{name}"
    )
    return None if value is None else int(value)
