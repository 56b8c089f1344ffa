"""The feed-forward page's first half: the machine with its curve, and the strongest neurons of the place looked at."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from components import feed_forward_canvas as canvas
from components import feed_forward_engine as found
from components import place
from components.feed_forward_engine import Machine, Neuron, Strongest
from components.figure import draw_note
from components.frame import Page
from components.source import draw_source
from components.theme import own_style

_ASKED = "feed_forward_asked"
"""The neuron beyond the usual columns that this session asked for, with the box and sentence it was asked of."""

_LAYER = "feed_forward_layer"
"""The layer that the kept neuron belongs to: elsewhere its number means another neuron."""


def draw_machine(page: Page) -> tuple[int, int, int]:
    """Draw every layer as a machine with its curve; return layer, token and neuron that the learner looks at."""
    from llmkit.parts import FeedForward, SwiGLU

    bench = page.bench
    st.html(own_style("feed_forward"))
    st.header(page.say("feed_forward.machine.title"))
    with st.spinner(page.say("feed_forward.opening")):
        shown = found.machine(bench.box_id, bench.sentence).value
        layer, token, neuron = _looked_at(page, shown)
        asked = _asked(page, shown, layer, neuron)
        made = found.machine(bench.box_id, bench.sentence, asked)
        shown = made.value
        told = found.told(bench.box_id, layer, tuple(shown.neurons[layer].tolist())).value
    page.count("part.layer", shown.n_layers)
    page.count("part.neuron", shown.n_layers * shown.d_mlp)
    page.count("part.gate", shown.n_layers * shown.d_mlp if shown.gated else 0)
    strongest = found.strongest(bench.box_id, bench.sentence, layer, token).value
    alt = page.say(
        "feed_forward.machine.alt",
        layer=layer,
        width=shown.d_model,
        n=shown.d_mlp,
        token=shown.labels[token],
        neuron=int(strongest.neurons[0]),
        act=signed(float(strongest.act[0]), 2),
    )
    table = found.machine_frame(bench.box_id, bench.sentence, shown, layer)
    with page.shown(key="machine", badge=made.badge, alt=alt, data=table):
        seen = canvas.draw_machine(
            shown,
            told,
            bench.say,
            start=(layer, token, neuron),
            on_chosen=_settle,
        )
    draw_source(page, *((SwiGLU, FeedForward) if shown.gated else (FeedForward, SwiGLU)))
    if seen.hovered:
        page.tick("do.point")
    if seen.chosen:
        page.tick("do.neuron")
    return layer, token, neuron


def draw_strongest(page: Page, layer: int, token: int) -> None:
    """Draw the strongest neurons of a layer at a token, with what each pushes up and down."""
    bench = page.bench
    shown = found.machine(bench.box_id, bench.sentence).value
    made = found.strongest(bench.box_id, bench.sentence, layer, token)
    name = shown.labels[token]
    st.header(page.say("feed_forward.strongest.title"))
    rows = [_row(page, made.value, at) for at in range(len(made.value.neurons))]
    alt = page.say(
        "feed_forward.strongest.alt",
        layer=layer,
        token=name,
        neuron=rows[0]["neuron"],
        adds=f"{rows[0]['adds']:.2f}",
        up=rows[0]["up"],
    )
    data = pd.DataFrame(rows)
    with page.shown(key="strongest", badge=made.badge, alt=alt, data=data):
        st.html(_table(page, rows, gated=shown.gated, through=made.value.through))
    blind = made.value.through == "embedding"
    note = "feed_forward.strongest.blind" if blind else "feed_forward.strongest.note"
    draw_note(page.say(note, n=len(rows), all=shown.d_mlp, token=name, layer=layer))


def signed(value: float, decimals: int = 3) -> str:
    """A number with a true minus sign, and no minus before nothing."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _row(page: Page, strongest: Strongest, at: int) -> dict[str, object]:
    """One neuron as a row of the table: numbers, and its tokens as one text at either end."""
    comma = page.say("common.comma")
    return {
        "neuron": int(strongest.neurons[at]),
        "pre": float(strongest.pre[at]),
        **({} if strongest.up is None else {"branch": float(strongest.up[at])}),
        "act": float(strongest.act[at]),
        "norm": float(strongest.norms[at]),
        "adds": float(strongest.adds[at]),
        "up": comma.join(strongest.pushes[at]),
        "down": comma.join(strongest.pulls[at]),
    }


def _table(page: Page, rows: list[dict[str, object]], *, gated: bool, through: str) -> str:
    """One row a neuron: its numbers, then what it pushes up and down, one line each."""
    say = page.say
    columns = ("neuron", "gate" if gated else "pre", *(("up",) if gated else ()), "act", "adds")
    head = "".join(f"<th>{escape(say(f'feed_forward.column.{name}'))}</th>" for name in columns)
    up, down = escape(say(f"feed_forward.pushes.{through}")), escape(say(f"feed_forward.pulls.{through}"))
    body = ""
    for row in rows:
        numbers = [name for name in ("pre", "branch", "act", "adds") if name in row]
        cells = "".join(f"<td>{signed(float(str(row[name])), 2)}</td>" for name in numbers)
        body += (
            f'<tr><td>#{row["neuron"]}</td>{cells}<td class="words"><p><b>{up}</b> <bdi>{escape(str(row["up"]))}</bdi>'
            f"</p><p><b>{down}</b> <bdi>{escape(str(row['down']))}</bdi></p></td></tr>"
        )
    kind = "fit neurons" + (" gated" if gated else "")
    return f'<div class="{kind}"><table><thead><tr>{head}<td></td></tr></thead><tbody>{body}</tbody></table></div>'


def _settle() -> None:
    """Keep the place that the learner has settled on."""
    chosen = st.session_state["feed_forward_machine"].get("chosen")
    if chosen:
        layer, token, neuron = (int(at) for at in chosen)
        st.session_state[_LAYER] = layer
        place.go(layer=layer, token=token, neuron=neuron)


def _looked_at(page: Page, shown: Machine) -> tuple[int, int, int]:
    """Layer, token and neuron of this session, or of the address, or the last layer's strongest at the last token."""
    bench = page.bench
    layer = place.at("layer", shown.n_layers, usual=shown.n_layers - 1)
    token = place.at("token", len(shown.labels), usual=shown.last)
    first = int(found.strongest(bench.box_id, bench.sentence, layer, token).value.neurons[0])
    if st.session_state.get(_LAYER, layer) != layer:
        return layer, token, first
    return layer, token, place.at("neuron", shown.d_mlp, usual=first)


def _asked(page: Page, shown: Machine, layer: int, neuron: int) -> Neuron | None:
    """The neuron that needs a column of its own: the one looked at, or one that was looked at before."""
    bench = page.bench
    if neuron not in shown.neurons[layer]:
        st.session_state[_ASKED] = (bench.box_id, bench.sentence, (layer, neuron))
    box_id, sentence, asked = st.session_state.get(_ASKED, (None, None, None))
    return asked if (box_id, sentence) == (bench.box_id, bench.sentence) else None
