"""The attention page's first half: who looks at whom, what each head does, and one head step by step."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import streamlit as st

from components import attention_canvas as canvas
from components import attention_engine as found
from components import place
from components.attention_engine import Heads
from components.figure import draw_note
from components.frame import Page
from components.source import draw_source

_CHOSEN = "attention_head"
"""Where this session keeps the layer and head that were chosen here; the address keeps them, too."""


def draw_explorer(page: Page) -> tuple[int, int]:
    """Draw arcs and table of every head; return the layer and head that the learner looks at."""
    bench = page.bench
    st.header(page.say("attention.explorer.title"))
    with st.spinner(page.say("attention.opening")):
        made = found.heads(bench.box_id, bench.sentence)
        roles = found.roles(bench.box_id, bench.sentence).value
    heads = made.value
    page.count("part.layer", heads.n_layers)
    page.count("part.head", heads.n_layers * heads.n_heads)
    page.count("part.kv_head", heads.n_layers * heads.n_kv_heads)
    picture = st.container()
    layer, head = _looked_at(heads, _clearest(roles.scores["previous"]))
    weights = heads.weights[layer, head]
    alt = page.say("attention.explorer.alt", layer=layer, head=head, **_strongest(heads, weights))
    table = found.pair_frame(heads.labels, {"weight": weights}, causal=heads.causal)
    with picture, page.shown(key="explorer", badge=made.badge, alt=alt, data=table):
        seen = canvas.draw_explorer(heads, roles, bench.say, on_chosen=_settle)
    if seen.hovered:
        page.tick("do.hover")
    if seen.chosen:
        page.tick("do.head")
    return layer, head


def draw_gallery(page: Page) -> None:
    """Draw every head small, with what it does."""
    bench = page.bench
    heads = found.heads(bench.box_id, bench.sentence).value
    made = found.roles(bench.box_id, bench.sentence)
    st.header(page.say("attention.gallery.title"))
    names = canvas.role_names(bench.say)
    counts = Counter(role for layer in made.value.roles for role in layer)
    listed = page.say("common.comma").join(f"{names[role]} {count}" for role, count in counts.most_common())
    alt = page.say("attention.gallery.alt", n=heads.n_layers * heads.n_heads, listed=listed)
    with page.shown(key="gallery", badge=made.badge, alt=alt, data=found.roles_frame(made.value)):
        canvas.draw_gallery(heads, made.value, bench.say)
    draw_note(page.say("attention.gallery.note"))


def draw_steps(page: Page, layer: int, head: int) -> None:
    """Draw one head from query, key and value to its answer."""
    from llmkit.parts import Attention

    bench = page.bench
    heads = found.heads(bench.box_id, bench.sentence).value
    made = found.one_head(bench.box_id, bench.sentence, layer, head)
    one = made.value
    st.header(page.say("attention.steps.title", layer=layer, head=head))
    alt = page.say("attention.steps.alt", layer=layer, head=head, dims=heads.head_dim, **_strongest(heads, one.weights))
    table = found.pair_frame(heads.labels, {"score": one.scores, "weight": one.weights}, causal=heads.causal)
    with page.shown(key="steps", badge=made.badge, alt=alt, data=table):
        T = len(heads.labels)
        token = place.at("token", T, usual=T - 1)
        canvas.draw_steps(heads, one, bench.say, layer=layer, head=head, token=token)
    if heads.n_kv_heads < heads.n_heads:
        draw_note(page.say("attention.steps.shared", head=head, kv=one.kv_head, n=heads.n_heads // heads.n_kv_heads))
    draw_source(page, Attention)


def _settle() -> None:
    """Keep the head, and the token, that the learner has settled on."""
    state = st.session_state["attention_explorer"]
    chosen, token = state.get("chosen"), state.get("token")
    if chosen:
        st.session_state[_CHOSEN] = ".".join(str(int(at)) for at in chosen)
        st.query_params["head"] = st.session_state[_CHOSEN]  # with the layer, or the one would undo the other
        place.go(layer=int(chosen[0]))
    if token is not None:
        place.go(token=int(token))


def _looked_at(heads: Heads, usual: tuple[int, int]) -> tuple[int, int]:
    """The layer and head of this session, or the address's ("2.3"), or the usual ones; within what the box has.

    A layer that was chosen on another page since then goes before: the learner comes from there.
    """
    asked = st.session_state.get(_CHOSEN) or st.query_params.get("head") or ""
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", str(asked), re.ASCII)
    layer, head = (int(match[1]), int(match[2])) if match else usual
    return place.at("layer", heads.n_layers, usual=layer), min(head, heads.n_heads - 1)


def _clearest(scores: np.ndarray) -> tuple[int, int]:
    """Layer and head of the greatest score."""
    layer, head = np.unravel_index(int(scores.argmax()), scores.shape)
    return int(layer), int(head)


def _strongest(heads: Heads, weights: np.ndarray) -> dict[str, str]:
    """The last token, and what it looks at most: for a picture in words."""
    key = int(weights[-1].argmax())
    return {"query": heads.labels[-1], "key": heads.labels[key], "weight": f"{weights[-1, key]:.2f}"}
