"""Neurons switched off, one, some or a whole layer's: what it costs; then ask which of some costs most."""

from __future__ import annotations

import streamlit as st

from components import attention_changes, embeddings_engine, engine
from components import feed_forward_engine as found
from components.attention_changes import Change, compare
from components.engine import Made
from components.feed_forward_engine import Neuron
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.readings import draw_next, draw_turned

MOST = 256
"""Neurons that the slider of the strongest switches off at most."""

SUSPECTS = 4
"""Neurons that the check asks about."""

_OFF = "feed_forward_off"
_LAYERS = "feed_forward_layers"
_LOUDEST = "feed_forward_loudest"


def switched_off(box_id: str, text: str, neurons: tuple[Neuron, ...], layers: tuple[int, ...] = ()) -> Made[Change]:
    """Read the text with these neurons, and the whole feed-forward part of these layers, switched off.

    Raises:
        Exception: with a `.code`, where the box cannot be opened or the text cannot be read.
    """
    fingerprint = engine.fingerprint(box_id)
    return _switched_off(box_id, fingerprint, text, tuple(sorted(set(neurons))), tuple(sorted(set(layers))))


@section
def draw_off(page: Page, layer: int, neuron: int) -> None:
    """Switch neurons off, see what it costs; then ask which of some costs most."""
    bench = page.bench
    shown = found.machine(bench.box_id, bench.sentence).value
    st.header(page.say("feed_forward.off.title"))
    neurons, layers = _choose(page, layer, neuron)
    if neurons or layers:
        page.tick("do.switch_off")
    made = switched_off(bench.box_id, bench.sentence, neurons, layers)
    draw_note(_cost(page, made.value, neurons, layers))
    if neurons or layers:
        _draw_change(page, made, shown.labels)
    suspects = _suspects(page, layer, neuron)
    loudness = found.loudness(bench.box_id, bench.sentence, layer)
    page.check(
        "harm",
        question=page.say(
            "feed_forward.check.question", box=plain(bench.box_id), layer=layer, measure=_measure(page, made.value)
        ),
        options={
            str(one): page.say("feed_forward.check.option", neuron=one, adds=f"{loudness[one]:.1f}") for one in suspects
        },
        run=lambda: _verdict(page, layer, suspects),
    )


@engine.remembered(max_entries=64)
def _switched_off(
    box_id: str, fingerprint: str, text: str, neurons: tuple[Neuron, ...], layers: tuple[int, ...]
) -> Change:
    from llmkit.trace.intervene import chain, switch_off_feed_forward, switch_off_neurons
    from llmkit.trace.order import read_in_order

    whole = attention_changes.switched_off(box_id, text, ()).value.whole
    if not neurons and not layers:
        return compare(whole, whole)
    ids = embeddings_engine.encode(box_id, text).ids
    tap = chain(switch_off_neurons(neurons), switch_off_feed_forward(layers))
    return compare(whole, read_in_order(engine.open_box(box_id), ids, range(len(ids)), tap=tap))


def _choose(page: Page, layer: int, neuron: int) -> tuple[tuple[Neuron, ...], tuple[int, ...]]:
    """Let the learner pick neurons, the strongest of this layer, or whole layers; return what is off."""
    bench = page.bench
    box = engine.open_box(bench.box_id).config
    single, whole, strongest = (f"{key}_{bench.box_id}" for key in (_OFF, _LAYERS, _LOUDEST))
    ranked = _ranked(page, layer)
    picked: list[Neuron] = st.session_state.get(single, [])
    with st.container(horizontal=True):
        st.button(
            page.say("feed_forward.off.this", layer=layer, neuron=neuron),
            key="feed_forward_off_this",
            on_click=_add,
            args=(single, (layer, neuron)),
        )
        st.button(
            page.say("feed_forward.off.layer", layer=layer),
            key="feed_forward_off_layer",
            on_click=_add,
            args=(whole, layer),
        )
        st.button(
            page.say("feed_forward.off.none"),
            key="feed_forward_off_none",
            on_click=_clear,
            args=(single, whole, strongest),
        )
    options = dict.fromkeys([(layer, neuron), *((layer, one) for one in ranked[: found.STRONGEST]), *picked])
    chosen = st.multiselect(
        page.say("feed_forward.off.neurons"),
        list(options),
        format_func=lambda one: page.say("feed_forward.name", layer=one[0], neuron=one[1]),
        placeholder=page.say("feed_forward.off.placeholder"),
        key=single,
    )
    most = min(MOST, box.d_mlp)
    count = st.slider(page.say("feed_forward.off.strongest", layer=layer), 0, most, key=strongest)
    layers = st.pills(page.say("feed_forward.off.layers"), list(range(box.n_layers)), selection_mode="multi", key=whole)
    return tuple(dict.fromkeys([*chosen, *((layer, one) for one in ranked[:count])])), tuple(layers)


def _add(key: str, one: Neuron | int) -> None:
    picked = st.session_state.get(key, [])
    if one not in picked:
        st.session_state[key] = [*picked, one]


def _clear(single: str, whole: str, strongest: str) -> None:
    st.session_state.update({single: [], whole: [], strongest: 0})


def _draw_change(page: Page, made: Made[Change], labels: tuple[str, ...]) -> None:
    change = made.value
    before, after = change.whole.probs, change.without.probs
    name = page.say("feed_forward.off.without")
    if before is not None and after is not None:
        draw_next(page, before, after, names=(page.say("feed_forward.off.whole"), name), badge=made.badge)
    else:
        draw_turned(page, labels, change.turned, name=name, badge=made.badge)


def _cost(page: Page, change: Change, neurons: tuple[Neuron, ...], layers: tuple[int, ...]) -> str:
    if not neurons and not layers:
        return page.say("feed_forward.off.start")
    values = {"n": len(neurons), "layers": len(layers)}
    if not change.predicts or change.whole.loss is None or change.without.loss is None:
        return page.say("feed_forward.off.turned", turn=f"{change.harm:.4f}", **values)
    before, after = f"{change.whole.loss:.4f}", f"{change.without.loss:.4f}"
    return page.say("feed_forward.off.loss", before=before, after=after, harm=_signed(change.harm), **values)


def _ranked(page: Page, layer: int) -> list[int]:
    """All neurons of a layer, the one that adds most over the sentence first."""
    ranked: list[int] = (-found.loudness(page.bench.box_id, page.bench.sentence, layer)).argsort(kind="stable").tolist()
    return ranked


def _suspects(page: Page, layer: int, neuron: int) -> tuple[int, ...]:
    """The neuron that is looked at, and the loudest others of its layer over the sentence."""
    ranked = _ranked(page, layer)
    return tuple(dict.fromkeys([neuron, *ranked[:SUSPECTS]]))[:SUSPECTS]


def _verdict(page: Page, layer: int, suspects: tuple[int, ...]) -> Verdict:
    """Switch each of them off alone and find which costs most."""
    bench = page.bench
    tried = {one: switched_off(bench.box_id, bench.sentence, ((layer, one),)).value for one in suspects}
    answer = max(suspects, key=lambda one: tried[one].harm)
    listed = page.say("common.comma").join(f"#{one} {_signed(change.harm)}" for one, change in tried.items())
    measure = _measure(page, tried[answer])
    order = _ranked(page, layer)
    return Verdict(
        answer=str(answer),
        explanation=page.say(
            "feed_forward.check.because", measure=measure, listed=plain(listed), rank=order.index(answer) + 1
        ),
    )


def _measure(page: Page, change: Change) -> str:
    return page.say("feed_forward.off.measure" if change.predicts else "common.turned.axis")


def _signed(harm: float) -> str:
    """Four decimals with their sign; nothing has none."""
    return f"{round(harm, 4) + 0.0:+.4f}".replace("-", "−")
