"""The feed-forward page's own picture: every layer, token and shown neuron, drawn in the browser from one message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import streamlit as st

from components.feed_forward_engine import BINS, CURVE_POINTS, Machine, Told
from lessons import Words

_FOLDER = Path(__file__).with_name("js")


def _read(*names: str) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


_machine = st.components.v2.component(
    "llm_guide_feed_forward_machine",
    js=_read("attention_common.js", "feed_forward_curve.js", "feed_forward_machine.js"),
    css=_read("attention.css", "feed_forward.css"),
)


def draw_machine(
    shown: Machine,
    told: Told,
    say: Words,
    *,
    start: tuple[int, int, int],
    on_chosen: Callable[[], None],
) -> Any:
    """Draw the machine and its activation curve; layer, token and neuron are changed without the server.

    Args:
        shown: all layers.
        told: what the columns of the layer at ``start`` write towards.
        say: the words of the page's language.
        start: layer, token and neuron to begin with, or to go to when ``shown`` is new.
        on_chosen: called when the learner has settled on a layer, token and neuron.

    Returns:
        the component's state: ``.chosen``, [layer, token, neuron] or None; ``.hovered``, true once one was pointed at.
    """
    return _machine(
        key="feed_forward_machine",
        data={
            "id": f"{shown.id} {say.lang}",
            "labels": list(shown.labels),
            "layers": shown.n_layers,
            "columns": shown.neurons.shape[1],
            "dModel": shown.d_model,
            "dMlp": shown.d_mlp,
            "gated": shown.gated,
            "bins": BINS,
            "points": CURVE_POINTS,
            "start": list(start),
            **shown.packed,
            "told": asdict(told),
            "words": _words(shown, told, say),
        },
        on_chosen_change=on_chosen,
        on_hovered_change=lambda: None,
    )


def _words(shown: Machine, told: Told, say: Words) -> dict[str, Any]:
    columns = ("neuron", "pre", *(("up",) if shown.gated else ()), "act", "adds")
    curve = say(f"feed_forward.curve.{shown.kind}")
    plain = ("name", "show", "silent", "keys", "table", "wide", "back", "shown", "points", "wait", "jump")
    return {
        **{name: say(f"feed_forward.machine.{name}") for name in plain},
        "layer": say("feed_forward.layer"),
        "token": say("feed_forward.token"),
        "neuron": say("feed_forward.neuron"),
        "curve": curve,
        "formula": say("feed_forward.formula.gated" if shown.gated else "feed_forward.formula.plain"),
        "gate": say("feed_forward.curve.gate"),
        "pre": say("feed_forward.column.gate" if shown.gated else "feed_forward.column.pre"),
        "up": say("feed_forward.column.up"),
        "act": say("feed_forward.column.act"),
        "pushes": say(f"feed_forward.pushes.{told.through}"),
        "pulls": say(f"feed_forward.pulls.{told.through}"),
        "numbers": say(f"feed_forward.numbers.{told.through}"),
        "turned": say("feed_forward.turned"),
        "columns": [
            say("feed_forward.column.gate" if name == "pre" and shown.gated else f"feed_forward.column.{name}")
            for name in columns
        ],
    }
