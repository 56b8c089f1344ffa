"""The attention page's second half: heads switched off, three families side by side, bertviz's views."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd
import streamlit as st

from components import attention_canvas as canvas
from components import attention_changes as changes
from components import attention_engine as found
from components import bertviz_views as bertviz
from components.attention_changes import Change, Pair
from components.charts import heat
from components.engine import Made
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.moving import Slider, draw_moving, place
from components.readings import draw_next, draw_turned

_OFF = "attention_off"
_ROLES = "attention_off_roles"
_TRYING = "attention_trying"
SUSPECTS = 4
"""Heads that the check asks about."""


@section
def draw_off(page: Page, layer: int, head: int) -> None:
    """Switch heads off, see what it costs; try every head alone; then ask which of some costs most."""
    bench = page.bench
    heads = found.heads(bench.box_id, bench.sentence).value
    roles = found.roles(bench.box_id, bench.sentence).value.roles
    st.header(page.say("attention.off.title"))
    pairs = _choose(page, roles, (layer, head))
    if pairs:
        page.tick("do.switch_off")
    made = changes.switched_off(bench.box_id, bench.sentence, pairs)
    draw_note(_cost(page, made.value, len(pairs), heads.n_layers * heads.n_heads))
    if pairs:
        _draw_change(page, made, heads.labels)
    _draw_each(page)
    suspects = _suspects(page, (layer, head))
    page.check(
        "harm",
        question=page.say("attention.check.question", box=plain(bench.box_id), measure=_measure(page, made.value)),
        options={
            _key(pair): page.say("attention.check.option", head=_name(page, pair), role=_role(page, roles, pair))
            for pair in suspects
        },
        run=lambda: _verdict(page, suspects),
    )


@section
def draw_families(page: Page) -> None:
    """Draw one layer of a GPT-2, a BERT and a LLaMA box, on the same sentence; one slider says how deep."""
    st.header(page.say("attention.families.title"))
    label = page.say("attention.families.depth")
    places = tuple(f"{tenth}0%" if tenth else "0%" for tenth in range(11))
    depth = Slider(name="attention_depth", label=label, low=0, high=10, start=0, places=places)
    draw_moving("families", "slider", key="attention_depth_slider", name=label, sliders=[depth], words={})
    for family, box_id in found.family_boxes(page.bench.box_id).items():
        name = page.say(f"attention.family.{family}")
        if box_id is None:
            draw_note(page.say("attention.families.missing", family=name))
            page.lead("unbox")
            continue
        with page.guard():
            _draw_family(page, family, name, box_id, depth)


@section
def draw_views(page: Page, layer: int, head: int) -> None:
    """Draw one of bertviz's views, once the learner asks for it."""
    bench = page.bench
    st.header(page.say("attention.bertviz.title"))
    view = st.segmented_control(
        page.say("attention.bertviz.view"),
        bertviz.VIEWS,
        format_func=lambda one: page.say(f"attention.bertviz.{one}"),
        key="attention_view",
    )
    if view is None:
        draw_note(page.say("attention.bertviz.choose"))
        return
    made = found.heads(bench.box_id, bench.sentence)
    heads = made.value
    weights = heads.weights[layer]
    if view == "head":
        html = bertviz.head_page(heads.labels, weights, layer=layer, head=head)
    elif view == "model":
        html = bertviz.model_page(heads.labels, heads.weights)
    else:
        q, k = found.queries_and_keys(bench.box_id, bench.sentence, layer)
        html = bertviz.neuron_page(heads.labels, weights, q, k, head=head, causal=heads.causal)
    alt = page.say(f"attention.bertviz.{view}.alt", layer=layer, head=head, n=len(heads.labels))
    whole = view == "model"
    table = found.roles_frame(found.roles(bench.box_id, bench.sentence).value) if whole else None
    if table is None:
        table = found.pair_frame(heads.labels, {"weight": weights[head]}, causal=heads.causal)
    with page.shown(key=f"bertviz_{view}", badge=made.badge, alt=alt, data=table):
        bertviz.draw_bertviz(html, view=view, title=page.say(f"attention.bertviz.{view}"), key=f"attention_{view}")
    if whole and len(heads.labels) > bertviz.MODEL_VIEW_TOKENS:
        draw_note(page.say("attention.bertviz.cut", n=bertviz.MODEL_VIEW_TOKENS))


def _choose(page: Page, roles: tuple[tuple[str, ...], ...], now: Pair) -> tuple[Pair, ...]:
    """Let the learner pick heads one by one or by what they do; return those that are off."""
    every = [(layer, head) for layer, row in enumerate(roles) for head in range(len(row))]
    box_id = page.bench.box_id
    one_by_one, by_role = f"{_OFF}_{box_id}", f"{_ROLES}_{box_id}"
    with st.container(horizontal=True):
        st.button(
            page.say("attention.off.this", layer=now[0], head=now[1]),
            key="attention_off_this",
            on_click=_add,
            args=(one_by_one, now),
        )
        st.button(page.say("attention.off.none"), key="attention_off_none", on_click=_clear, args=(one_by_one, by_role))
    names = canvas.role_names(page.bench.say)
    there = [role for role in names if role in set(chain.from_iterable(roles))]
    chosen_roles = st.pills(
        page.say("attention.off.roles"),
        there,
        selection_mode="multi",
        format_func=lambda role: names.get(role, role),
        key=by_role,
    )
    picked = st.multiselect(
        page.say("attention.off.heads"),
        every,
        format_func=lambda pair: _name(page, pair),
        placeholder=page.say("attention.off.placeholder"),
        key=one_by_one,
    )
    return tuple(pair for pair in every if pair in picked or roles[pair[0]][pair[1]] in chosen_roles)


def _add(key: str, pair: Pair) -> None:
    picked = st.session_state.get(key, [])
    if pair not in picked:
        st.session_state[key] = [*picked, pair]


def _clear(*keys: str) -> None:
    for key in keys:
        st.session_state[key] = []


def _draw_change(page: Page, made: Made[Change], labels: tuple[str, ...]) -> None:
    change = made.value
    before, after = change.whole.probs, change.without.probs
    name = page.say("attention.off.without")
    if before is not None and after is not None:
        draw_next(page, before, after, names=(page.say("attention.off.whole"), name), badge=made.badge)
    else:
        draw_turned(page, labels, change.turned, name=name, badge=made.badge)


@section
def _draw_each(page: Page) -> None:
    """Switch off every head alone, layer by layer, and draw what each costs."""
    bench = page.bench
    asked = (bench.box_id, bench.sentence)
    trying = st.session_state.get(_TRYING) == asked
    st.subheader(page.say("attention.each.title"))
    place, way_out = st.empty(), st.empty()
    if not trying:
        way_out.button(page.say("attention.each.run"), key="attention_each", on_click=_try, args=(asked,))
        return
    layers = found.heads(*asked).value.n_layers
    rows = []
    way_out.button(page.say("attention.each.stop"), key="attention_each_stop", on_click=_try, args=(None,))
    for layer in range(layers):
        place.progress(layer / layers, text=page.say("attention.each.progress", layer=layer, n=layers))
        rows.append(changes.each_alone(*asked, layer))
    place.empty()
    way_out.empty()
    harm = np.stack([made.value for made in rows])
    worst = tuple(int(at) for at in np.unravel_index(int(harm.argmax()), harm.shape))
    measure = _measure(page, changes.switched_off(*asked, ()).value)
    alt = page.say(
        "attention.each.alt", head=_name(page, (worst[0], worst[1])), harm=f"{harm.max():.3f}", measure=measure
    )
    drawing = heat(
        harm,
        x=page.say("attention.head"),
        y=page.say("attention.layer"),
        height=110 + 26 * max(layers, 6),
        scale="RdBu_r",
    )
    table = pd.DataFrame(harm).rename_axis("layer").reset_index()
    page.figure(drawing, key="each", badge=rows[-1].badge, alt=alt, data=table)
    draw_note(alt)


def _try(asked: tuple[str, str] | None) -> None:
    st.session_state[_TRYING] = asked


def _draw_family(page: Page, family: str, name: str, box_id: str, depth: Slider) -> None:
    sentence = page.bench.sentence
    with st.spinner(page.say("attention.opening")):
        made = found.heads(box_id, sentence)
        roles = found.roles(box_id, sentence).value
    heads = made.value
    layer_at = [round(tenth / depth.high * (heads.n_layers - 1)) for tenth in range(depth.high + 1)]
    layer = layer_at[place(depth)]
    st.subheader(f"{name} · {plain(box_id)}")
    told = page.say(
        "attention.families.facts",
        direction=page.say("attention.families.causal" if heads.causal else "attention.families.both"),
        layer="{layer}",
        layers=heads.n_layers,
        heads=heads.n_heads,
        kv=heads.n_kv_heads,
    )
    table = found.roles_frame(roles)
    alt = f"{name}: {told.format(layer=layer)}"
    with page.shown(key=f"family_{family}", badge=made.badge, alt=alt, data=table[table.layer == layer]):
        canvas.draw_family(
            heads,
            roles,
            page.bench.say,
            key=f"attention_family_{family}",
            told=told,
            depth=replace(depth, own=False),
            layer_at=layer_at,
        )


def _suspects(page: Page, now: Pair) -> tuple[Pair, ...]:
    """The head that is looked at, and the clearest of the other roles: what the check asks about."""
    scores = found.roles(page.bench.box_id, page.bench.sentence).value.scores
    clearest = [np.unravel_index(int(score.argmax()), score.shape) for score in scores.values()]
    return tuple(dict.fromkeys([now, *((int(layer), int(head)) for layer, head in clearest)]))[:SUSPECTS]


def _verdict(page: Page, suspects: tuple[Pair, ...]) -> Verdict:
    """Switch each of them off alone and find which costs most."""
    bench = page.bench
    found_out = {pair: changes.switched_off(bench.box_id, bench.sentence, (pair,)).value for pair in suspects}
    answer = max(suspects, key=lambda pair: found_out[pair].harm)
    listed = page.say("common.comma").join(
        f"{_name(page, pair)} {_signed(one.harm)}" for pair, one in found_out.items()
    )
    measure = _measure(page, found_out[answer])
    return Verdict(answer=_key(answer), explanation=page.say("attention.check.because", measure=measure, listed=listed))


def _cost(page: Page, change: Change, n: int, of: int) -> str:
    if not n:
        return page.say("attention.off.start")
    if not change.predicts or change.whole.loss is None or change.without.loss is None:
        return page.say("attention.off.turned", n=n, of=of, turn=f"{change.harm:.3f}")
    before, after = f"{change.whole.loss:.3f}", f"{change.without.loss:.3f}"
    return page.say("attention.off.loss", n=n, of=of, before=before, after=after, harm=_signed(change.harm))


def _measure(page: Page, change: Change) -> str:
    return page.say("attention.off.measure" if change.predicts else "common.turned.axis")


def _name(page: Page, pair: Pair) -> str:
    return page.say("attention.name", layer=pair[0], head=pair[1])


def _role(page: Page, roles: tuple[tuple[str, ...], ...], pair: Pair) -> str:
    return page.say(f"attention.role.{roles[pair[0]][pair[1]]}")


def _signed(harm: float) -> str:
    """Three decimals with their sign; nothing has none."""
    return f"{round(harm, 3) + 0.0:+.3f}".replace("-", "−")


def _key(pair: Pair) -> str:
    return f"{pair[0]}.{pair[1]}"
