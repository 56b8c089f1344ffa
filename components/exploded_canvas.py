"""The engine page's own pictures: drawn in the browser from numbers that are sent once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from components import engine
from components.attention_engine import encode
from components.embeddings_engine import labels as labels_of
from components.exploded_engine import Adds, Stream
from lessons import Words, registry

if TYPE_CHECKING:
    from llmkit.parts import TransformerConfig
    from llmkit.parts.count import Counts, PartCount
    from llmkit.trace.lens import Lens

_FOLDER = Path(__file__).with_name("js")

PAGES: Mapping[str, str] = {
    "tokens": "tokens",
    "embedding": "embeddings",
    "segments": "embeddings",
    "positions": "positions",
    "turned": "positions",
    "biased": "positions",
    "attention": "attention",
    "feed_forward": "feed_forward",
    "unembedding": "embeddings",
    "softmax": "how",
}
"""Which step is about which part; a part that is not here has no page of its own."""

MEASURES = ("prob", "entropy", "rank")


@dataclass(frozen=True, kw_only=True)
class Plate:
    """One plate of the drawing and one row of the parts list.

    Args:
        name: the part (`llmkit.parts.count.PartName`), or "tokens", "turned", "biased".
        number: in its balloon. block: whether it stands once for each layer.
        count: what was counted; None for what has nothing of its own.
        inside: whether it is drawn inside the plate before it.
    """

    name: str
    number: int
    block: bool
    count: PartCount | None
    inside: bool = False


def _component(name: str, *more: str) -> Callable[..., Any]:
    """Register one picture: its script after what pictures share, its style too."""
    scripts = ("attention_common.js", "exploded_place.js", *more, f"exploded_{name}.js")
    return st.components.v2.component(
        f"llm_guide_engine_{name}",
        js="\n".join((_FOLDER / one).read_text(encoding="utf-8") for one in scripts),
        css="\n".join((_FOLDER / one).read_text(encoding="utf-8") for one in ("attention.css", "exploded.css")),
    )


_machine = _component("machine", "exploded_drawing.js")
_parts = _component("parts")
_lens = _component("lens")
_adds = _component("adds")


def plates(config: TransformerConfig, counted: Counts) -> tuple[Plate, ...]:
    """Return what is drawn, in the order in which a text passes it."""
    from llmkit.parts.count import IN_BLOCK

    inside = {"rotary": "turned", "alibi": "biased"}.get(config.positions)
    rows: list[tuple[str, PartCount | None, bool]] = [("tokens", None, False)]
    for part in counted.parts:
        rows.append((part.name, part, part.name in IN_BLOCK))
        if part.name == "attention" and inside:
            rows.append((inside, None, True))
    return tuple(
        Plate(name=name, number=at + 1, block=block, count=count, inside=name == inside)
        for at, (name, count, block) in enumerate(rows)
    )


def draw_machine(
    made: Stream, drawn: tuple[Plate, ...], config: TransformerConfig, say: Words, *, on_place: Callable[[], None]
) -> Any:
    """Draw the exploded machine with the sentence flowing through it.

    Args:
        made: the stream's numbers. drawn: the plates. config: the parts list.
        say: the words of the page's language.
        on_place: called when the learner has settled on a layer and token.

    Returns:
        the component's state: ``.place``, [layer, token] or None; ``.played``, true once anything moved; ``.open``,
        [part, layer, token] when a part was clicked.
    """
    return _machine(
        key="engine_machine",
        data={
            "id": f"{made.id} {say.lang}",
            "labels": list(made.labels),
            "layers": made.n_layers,
            "stages": made.n_states,
            "dims": -(-made.d_model // made.every),
            "every": made.every,
            "width": made.d_model,
            "heads": config.n_heads,
            "states": made.states,
            "added": made.added,
            "tops": made.tops,
            "addedTops": made.added_tops,
            "norms": encode(made.norms),
            "addedNorms": encode(made.added_norms),
            "before": encode(made.before_norms),
            "answers": [[token, prob] for token, prob in made.answers],
            "strips": strips(config, drawn),
            "plates": [_plate(plate, drawn, config, len(made.labels), say) for plate in drawn],
            "turns": next(
                (_plate(plate, drawn, config, len(made.labels), say) for plate in drawn if plate.inside), None
            ),
            "words": _machine_words(say),
        },
        on_place_change=on_place,
        on_played_change=lambda: None,
        on_open_change=lambda: None,
    )


def draw_parts(
    drawn: tuple[Plate, ...],
    counted: Counts,
    config: TransformerConfig,
    say: Words,
    *,
    place: tuple[int, int],
    seed: str,
) -> Any:
    """Draw the parts list, and tell the other pictures where the learner looks.

    Args:
        drawn: the plates. counted: all parts. config: the parts list. say: the page's words.
        place: layer and token. seed: changes whenever a number does.

    Returns:
        the component's state: ``.open``, [part, layer, token] when a part was clicked.
    """
    columns = ("number", "part", "places", "shape", "parameters", "work", "weights", "activations", "cache")
    return _parts(
        key="engine_parts",
        data={
            "id": f"{seed} {say.lang}",
            "place": list(place),
            "columns": [say(f"engine.column.{name}") for name in columns],
            "plates": [
                {
                    "name": plate.name,
                    "number": plate.number,
                    "title": _title(plate, config, say),
                    "block": plate.block,
                    "opens": opens(plate.name) is not None,
                    "cells": _cells(plate, counted.seq_len, say),
                }
                for plate in drawn
            ],
            "total": {
                "title": say("engine.total"),
                "cells": [
                    "",
                    "",
                    f"{counted.parameters:,}",
                    work(counted.flops),
                    memory(counted.weight_bytes),
                    memory(counted.activation_bytes),
                    memory(counted.kv_cache_bytes),
                ],
            },
        },
        on_open_change=lambda: None,
    )


def draw_lens(found: Lens, labels: tuple[str, ...], box_id: str, say: Words, *, id_: str) -> Any:
    """Draw what every layer would answer at every position; hovering shows the likeliest tokens.

    Returns:
        the component's state: ``.looked``, true once a cell was pointed at.
    """
    unique, index = np.unique(found.ids, return_inverse=True)
    return _lens(
        key="engine_lens",
        data={
            "id": f"{id_} {say.lang}",
            "mode": "lens",
            "labels": list(labels),
            "rows": len(found.ids),
            "k": found.ids.shape[-1],
            "vocabulary": int(engine.open_box(box_id).config.vocab_size),
            "tokens": labels_of(box_id, unique.tolist()),
            "ids": encode(index.astype(np.uint16)),
            "probs": encode(found.probs),
            "entropy": encode(found.entropy_bits),
            "ranks": encode(found.ranks.astype(np.float32)),
            "answerProbs": encode(found.answer_probs),
            "words": {
                **{name: say(f"engine.lens.{name}") for name in ("name", "start", "keys", "cell", "cell_start")},
                "measures": [[name, say(f"engine.lens.{name}")] for name in MEASURES],
            },
        },
        on_looked_change=lambda: None,
    )


def draw_nearness(near: NDArray[np.float32], labels: tuple[str, ...], say: Words, *, id_: str) -> Any:
    """Draw how near each layer's state is to the final one; the component's state is that of `draw_lens`."""
    return _lens(
        key="engine_lens",
        data={
            "id": f"{id_} {say.lang}",
            "mode": "near",
            "labels": list(labels),
            "rows": len(near),
            "near": encode(near),
            "words": {
                "name": say("engine.near.name"),
                "near": say("engine.near.cell"),
                "near_start": say("engine.near.cell_start"),
                "start": say("engine.lens.start"),
                "keys": say("engine.near.keys"),
            },
        },
        on_looked_change=lambda: None,
    )


def draw_adds(made: Adds, labels: tuple[str, ...], config: TransformerConfig, say: Words, *, id_: str) -> None:
    """Draw what each part adds to an answer that the learner chooses; everything answers in the browser."""
    found = made.found
    words = ("name", "token", "target", "rival", "nobody", "sum", "sum_against", "sum_direction", "point", "keys")
    more = ("one", "head", "heads", "attention", "mlp", "layer_attention", "layer_mlp")
    kinds = ("token", "position", "segment", "norm_bias", "norms", "unembedding_bias")
    _adds(
        key="engine_adds",
        data={
            "id": f"{id_} {say.lang}",
            "labels": list(labels),
            "layers": config.n_layers,
            "heads": config.n_heads,
            "k": found.wholes.shape[1],
            "pieces": [
                [piece.kind, -1 if piece.layer is None else piece.layer, -1 if piece.head is None else piece.head]
                for piece in found.pieces
            ],
            "values": encode(found.values.astype(np.float32)),
            "wholes": encode(found.wholes.astype(np.float32)),
            "targets": [list(row) for row in made.targets],
            "error": f"{found.error:.0e}".replace("-", "−"),
            "words": {
                **{name: say(f"engine.adds.{name}") for name in (*words, *more)},
                "kinds": {kind: say(f"engine.kind.{kind}") for kind in kinds},
            },
        },
    )


def opens(name: str) -> str | None:
    """Return the script of the page that is about a part; None where there is none."""
    slug = PAGES.get(name)
    step = registry.step(slug) if slug else None
    return step.script if step and registry.can_open(step) else None


def work(flops: int) -> str:
    """Return floating-point operations in a unit that fits: "3.5 MFLOP"."""
    if not flops:
        return "0"
    power = min((len(str(flops)) - 1) // 3, 5)
    return f"{_three(flops / 1000**power)}\u00a0{('', 'k', 'M', 'G', 'T', 'P')[power]}FLOP"


def memory(size_bytes: int) -> str:
    """Return bytes in a unit that fits: "1.5 MiB"."""
    power = min(max(size_bytes.bit_length() - 1, 0) // 10, 4)
    return f"{_three(size_bytes / 1024**power)}\u00a0{('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}" if size_bytes else "0"


def _three(value: float) -> str:
    """Three digits, or all of those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _shape(shape: tuple[int, ...]) -> str:
    apart = ",\u00a0"  # a line may break between shapes alone
    return f"[{apart.join(map(str, shape))}]"


def strips(config: TransformerConfig, drawn: tuple[Plate, ...]) -> dict[str, dict[str, Any]]:
    """Behind which plate which state is drawn."""
    entry = next(at for at, plate in enumerate(drawn) if plate.block) - 1
    post = config.norm_order == "post"
    found: dict[str, dict[str, Any]] = {
        drawn[entry].name: {"what": "pre", "block": True, "added": False},
        "attention": {"what": "attention", "block": True, "added": True},
        "norm_1" if post else "add_1": {"what": "mid", "block": True, "added": False},
        "feed_forward": {"what": "mlp", "block": True, "added": True},
        "norm_2" if post else "add_2": {"what": "post", "block": True, "added": False},
    }
    if config.norm_final:
        found["norm_final"] = {"what": "final", "block": False, "added": False}
    return found


def _plate(
    plate: Plate, drawn: tuple[Plate, ...], config: TransformerConfig, seq_len: int, say: Words
) -> dict[str, Any]:
    """A plate as its picture wants it: names, one short line, and all it takes and costs in another."""
    at = drawn.index(plate)
    cells = _cells(plate, seq_len, say)
    names = ("places", "shape", "parameters", "work", "weights", "activations", "cache")
    facts = " · ".join(
        f"{say(f'engine.column.{name}')} {cell}" for name, cell in zip(names, cells, strict=True) if cell
    )
    norm = plate.name.startswith("norm")
    line = [say(f"engine.norm.{config.norm}")] if norm else []
    line += [f"{plate.count.parameters:,}"] if plate.count and plate.count.parameters else []
    line += [_shape(plate.count.gives)] if line and plate.count else [cells[1]]
    return {
        "name": plate.name,
        "number": plate.number,
        "title": say(f"engine.part.{plate.name}") if norm else _title(plate, config, say),
        "kind": "norm" if norm else plate.name,
        "block": plate.block,
        "inside": plate.inside,
        "turns": at + 1 < len(drawn) and drawn[at + 1].inside,
        "opens": opens(plate.name) is not None,
        "line": " · ".join(line),
        "facts": say(f"engine.inside.{plate.name}") if plate.inside else facts,
    }


def _title(plate: Plate, config: TransformerConfig, say: Words) -> str:
    """A part's name, as this family makes it."""
    if plate.name.startswith("norm"):
        kind = say(f"engine.norm.{config.norm}")
        return f"{say(f'engine.part.{plate.name}')} · {kind}"
    if plate.name == "attention":
        return say("engine.part.attention.causal" if config.causal else "engine.part.attention.both")
    if plate.name == "feed_forward":
        return say(f"engine.part.feed_forward.{config.feed_forward}")
    if plate.name == "positions":
        return say(f"engine.part.positions.{config.positions}")
    if plate.name == "unembedding":
        return say("engine.part.unembedding.tied" if config.tied else "engine.part.unembedding.own")
    return say(f"engine.part.{plate.name}")


def _cells(plate: Plate, seq_len: int, say: Words) -> list[str]:
    """The parts list's cells: places, shape, parameters, work, weights, activations, cache; of one place."""
    count = plate.count
    if count is None:
        shape = _shape((seq_len,)) if plate.name == "tokens" else ""
        return ["" if plate.inside else "1×", shape, "0", "0", "0", "", ""]
    parameters = f"{count.parameters:,}"
    if count.shared:
        borrowed = sum(prod(shape) for _, shape in count.shared)
        parameters = say("engine.borrowed", own=parameters, n=f"{borrowed:,}")
    return [
        f"{count.places}×",
        f"{_shape(count.takes)} → {_shape(count.gives)}",
        parameters,
        work(count.flops),
        memory(count.weight_bytes),
        memory(count.activation_bytes),
        memory(count.kv_cache_bytes),
    ]


def _machine_words(say: Words) -> dict[str, Any]:
    controls = ("play", "pause", "back", "next", "stage", "token", "layer", "speed")
    plain = ("name", *controls, "map", "bars", "keys", "point")
    told = ("enters", "attends", "thinks", "answers", "ends", "cell", "cell_enters", "dimension")
    strips = ("pre", "attention", "mid", "mlp", "post", "final")
    return {
        **{name: say(f"engine.machine.{name}") for name in (*plain, *told)},
        "strip": {name: say(f"engine.strip.{name}") for name in strips},
    }
