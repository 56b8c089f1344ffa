"""The engine page's parts: the exploded machine, its parts list, the lens, what each part adds, and the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from components import engine, place
from components import exploded_canvas as canvas
from components import exploded_engine as found
from components.embeddings_engine import label
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.source import draw_source

if TYPE_CHECKING:
    from llmkit.parts import TransformerConfig

_OPENED = "engine_opened"
"""Which part was clicked, with layer and token, until its page is there."""


@section
def draw_machine(page: Page) -> None:
    """Draw the whole machine, the sentence flowing through it, and the parts list; a click opens a part's page."""
    from llmkit.parts import Block, Transformer

    bench = page.bench
    st.header(page.say("engine.machine.title"))
    with st.spinner(page.say("engine.opening")):
        made = found.stream(bench.box_id, bench.sentence)
    stream, config = made.value, engine.open_box(bench.box_id).config
    counted = found.counts(bench.box_id, len(stream.labels))
    drawn = canvas.plates(config, counted)
    norms = [part for part in counted.parts if part.name.startswith("norm")]
    page.count("part.block", config.n_layers)
    page.count("part.norm", sum(part.places for part in norms))
    page.count("part.parameter", counted.parameters)
    layer, token = _looked_at(stream)
    alt = page.say("engine.machine.alt", **_facts(stream, layer, token), n=len(drawn), layers=config.n_layers)
    with page.shown(key="machine", badge=made.badge, alt=alt, data=found.stream_frame(stream)):
        seen = canvas.draw_machine(stream, drawn, config, bench.say, on_place=_settle)
    draw_note(_family_note(page, config))
    draw_source(page, Transformer, Block)
    st.header(page.say("engine.parts.title"))
    total = page.say(
        "engine.parts.alt",
        n=len(drawn),
        parameters=f"{counted.parameters:,}",
        work=canvas.work(counted.flops),
        weights=canvas.memory(counted.weight_bytes),
        tokens=len(stream.labels),
    )
    with page.shown(key="parts", badge=made.badge, alt=total, data=found.counts_frame(counted)):
        listed = canvas.draw_parts(drawn, counted, config, bench.say, place=(layer, token), seed=stream.id)
    draw_note(page.say("engine.parts.note"))
    if seen.played:
        page.tick("do.play")
    _open(page, seen.open or listed.open, stream)


@section
def draw_lens(page: Page) -> None:
    """Draw what each layer would answer; for a box that ends in states, how near each is to the last."""
    bench = page.bench
    labels, id_ = _sentence(page)
    if engine.open_box(bench.box_id).config.unembedding:
        st.header(page.say("engine.lens.title"))
        with st.spinner(page.say("engine.lens.wait")):
            made = found.lens(bench.box_id, bench.sentence)
        lens, last = made.value, len(labels) - 1
        alt = page.say(
            "engine.lens.alt",
            token=labels[last],
            answer=label(bench.box_id, int(lens.answers[last])),
            when=_when(page, lens.first_layer(last)),
        )
        table = found.lens_frame(lens, labels, bench.box_id)
        with page.shown(key="lens", badge=made.badge, alt=alt, data=table):
            seen = canvas.draw_lens(lens, labels, bench.box_id, bench.say, id_=id_)
        draw_note(alt)
        causal = engine.open_box(bench.box_id).config.causal
        draw_note(page.say("engine.lens.note" if causal else "engine.lens.note_masked"))
    else:
        st.header(page.say("engine.near.title"))
        near = found.nearness(bench.box_id, bench.sentence)
        alt = page.say("engine.near.alt", first=f"{near.value[0].mean():.2f}", n=len(near.value) - 1)
        table = found.nearness_frame(near.value, labels)
        with page.shown(key="near", badge=near.badge, alt=alt, data=table):
            seen = canvas.draw_nearness(near.value, labels, bench.say, id_=id_)
        draw_note(page.say("engine.near.why", box=bench.box_id))
    if seen.looked:
        page.tick("do.lens")


@section
def draw_adds(page: Page) -> None:
    """Draw what each part adds to the answer; ask which kind of part adds most."""
    bench = page.bench
    labels, id_ = _sentence(page)
    config = engine.open_box(bench.box_id).config
    st.header(page.say("engine.adds.title"))
    with st.spinner(page.say("engine.adds.wait")):
        made = found.adds(bench.box_id, bench.sentence)
    last = len(labels) - 1
    sums = found.group_sums(made.value, last)
    most = max(sums, key=lambda name: sums[name])
    alt = page.say(
        "engine.adds.alt",
        token=labels[last],
        target=_target(page, made.value, last),
        group=page.say(f"engine.group.{most}"),
        value=_signed(sums[most]),
        whole=_signed(made.value.found.wholes[last, 0]),
        error=f"{made.value.found.error:.0e}".replace("-", "−"),
    )
    with page.shown(key="adds", badge=made.badge, alt=alt, data=found.adds_frame(made.value, last)):
        canvas.draw_adds(made.value, labels, config, bench.say, id_=id_)
    draw_note(page.say("engine.adds.note" if config.unembedding else "engine.adds.note_direction", box=bench.box_id))


@section
def draw_checks(page: Page) -> None:
    """Ask which kind of part adds most, and where the answer comes to stay."""
    bench = page.bench
    labels, _ = _sentence(page)
    last = len(labels) - 1
    page.check(
        "adds",
        question=page.say("engine.check.adds", token=plain(labels[last])),
        options={name: page.say(f"engine.group.{name}") for name in ("rows", "attention", "feed_forward", "biases")},
        run=lambda: _most(page, last),
    )
    config = engine.open_box(bench.box_id).config
    if not config.unembedding or config.n_layers < len(_THIRDS):
        return
    page.check(
        "stays",
        question=page.say("engine.check.stays", token=plain(labels[last]), layers=config.n_layers),
        options={name: page.say(f"engine.check.{name}") for name in _THIRDS},
        run=lambda: _stays(page, last),
    )


_THIRDS = ("early", "middle", "late")


def _sentence(page: Page) -> tuple[tuple[str, ...], str]:
    """The sentence's tokens, and what changes with box and sentence."""
    stream = found.stream(page.bench.box_id, page.bench.sentence).value
    return stream.labels, stream.id


def _looked_at(stream: found.Stream) -> tuple[int, int]:
    """Layer and token that the learner looks at: the last token as long as nobody has chosen."""
    T = len(stream.labels)
    return place.at("layer", stream.n_layers), place.at("token", T, usual=T - 1)


def _settle() -> None:
    """Keep the place that the learner has settled on."""
    chosen = st.session_state["engine_machine"].get("place")
    if chosen:
        place.go(layer=int(chosen[0]), token=int(chosen[1]))


def _open(page: Page, asked: list[object] | None, stream: found.Stream) -> None:
    """Open the page of a part that was clicked, on the same layer and token."""
    if asked:
        st.session_state[_OPENED] = asked
    if _OPENED not in st.session_state:
        return
    page.tick("do.open")  # draws the whole page once more, the first time
    name, layer, token = st.session_state.pop(_OPENED)
    script = canvas.opens(str(name))
    if script is None:
        return
    layer = min(max(int(layer), 0), stream.n_layers - 1)
    token = min(max(int(token), 0), len(stream.labels) - 1)
    place.go(layer=layer, token=token)
    st.switch_page(script, query_params={"layer": str(layer), "token": str(token)})


def _facts(stream: found.Stream, layer: int, token: int) -> dict[str, object]:
    """What the drawing says of a layer and token, for the picture in words."""
    after = stream.norms[1 + 2 * layer : 3 + 2 * layer, token]
    added = stream.added_norms[2 * layer : 2 * layer + 2, token]
    enters = stream.before_norms[2 * layer, token]
    return {
        "token": stream.labels[token],
        "layer": layer,
        "enters": f"{enters:.1f}",
        "attention": f"{added[0]:.1f}",
        "feed_forward": f"{added[1]:.1f}",
        "leaves": f"{after[1]:.1f}",
    }


def _family_note(page: Page, config: TransformerConfig) -> str:
    """Where this family's machine differs from the others, in a line."""
    said = [
        page.say("engine.note.post" if config.norm_order == "post" else "engine.note.pre"),
        page.say("engine.note.causal" if config.causal else "engine.note.both"),
        page.say(f"engine.note.{config.positions}"),
    ]
    if not config.unembedding:
        said.append(page.say("engine.note.headless"))
    elif config.tied:
        said.append(page.say("engine.note.tied"))
    return " ".join(said)


def _when(page: Page, row: int) -> str:
    """From which layer on; row 0 is what enters layer 0."""
    return page.say("engine.lens.from_start") if row == 0 else page.say("engine.lens.from_layer", layer=row - 1)


def _target(page: Page, made: found.Adds, position: int) -> str:
    return made.targets[position][0] if made.targets else page.say("engine.adds.direction")


def _most(page: Page, position: int) -> Verdict:
    """Add up each kind of part's contributions and find the greatest."""
    made = found.adds(page.bench.box_id, page.bench.sentence).value
    sums = found.group_sums(made, position)
    listed = page.say("common.comma").join(
        f"{page.say(f'engine.group.{name}')} {_signed(value)}" for name, value in sums.items()
    )
    explanation = page.say(
        "engine.check.adds_because",
        target=plain(_target(page, made, position)),
        listed=listed,
        whole=_signed(made.found.wholes[position, 0]),
    )
    return Verdict(answer=max(sums, key=lambda name: sums[name]), explanation=explanation)


def _stays(page: Page, position: int) -> Verdict:
    """Look where the answer comes to stay in front."""
    bench = page.bench
    lens = found.lens(bench.box_id, bench.sentence).value
    row, layers = lens.first_layer(position), len(lens.ids) - 1
    answer = _THIRDS[min(max(row - 1, 0) * len(_THIRDS) // layers, len(_THIRDS) - 1)]
    token = label(bench.box_id, int(lens.answers[position]))
    return Verdict(
        answer=answer,
        explanation=page.say("engine.check.stays_because", answer=plain(token), when=_when(page, row), layers=layers),
    )


def _signed(value: float) -> str:
    """Two decimals with their sign; nothing has none."""
    return f"{round(float(value), 2) + 0.0:+.2f}".replace("-", "−")
