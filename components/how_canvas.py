"""The How it works page's own pictures: drawn in the browser from numbers that are sent once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from components import how_engine as found
from components.how_engine import Group, Read
from components.theme import own_style
from lessons import Words

_FOLDER = Path(__file__).with_name("js")

FIRST_TOLD = 5
"""After so many turns the game first tells the server how it stands."""


def _component(name: str) -> Callable[..., Any]:
    """Register one picture: its script after the shared ones."""
    scripts = ("attention_common.js", "how_common.js", f"how_{name}.js")
    return st.components.v2.component(
        f"llm_guide_how_{name}",
        js="\n".join((_FOLDER / script).read_text(encoding="utf-8") for script in scripts),
        css=(_FOLDER / "how.css").read_text(encoding="utf-8"),
    )


_strip = _component("strip")
_game = _component("game")


def dress() -> None:
    """Put the page's own style sheet on it."""
    st.html(own_style("how"))


def draw_game(read: Read, say: Words, *, key: str) -> Any:
    """Draw the game on a text.

    Returns:
        the component's state: ``.played``, [right, the model's hits, turns], after five turns and at the end.
    """
    most = math.log2(read.vocab_size)
    bits = read.found.bits
    turns = [
        {**turn, "each": [round(float(b), 3) for b in bits[turn["start"] - 1 : turn["end"] - 1]]}
        for turn in found.turns(read)
    ]
    words = ("name", "start", "mine", "model", "right", "wrong", "hit", "miss", "won", "lost", "tie", "again", "rest")
    return _game(
        key=key,
        data={
            "id": f"{read.id} {say.lang}",
            "first": read.groups[0].shown,
            "turns": turns,
            "most": most,
            "firstTold": FIRST_TOLD,
            "words": {
                **{name: say(f"how.game.{name}") for name in words},
                "keys": say("how.game.keys"),
                "total": total(read, say),
                **_scale(most, say),
            },
        },
        on_played_change=lambda: None,
    )


def draw_strip(
    labels: Sequence[str],
    groups: Sequence[Group],
    rows: Sequence[Mapping[str, Any]],
    say: Words,
    *,
    key: str,
    vocab_size: int,
) -> Any:
    """Draw a text once for each reader; pointing at a token asks nothing of the server.

    Args:
        labels: T tokens, made visible. groups: what shares a character.
        rows: of `how_engine.strip_rows`, with ``name`` and ``note`` for the line above each; both empty for none.
        say: the words of the page's language.
        key: unique on the page. vocab_size: among how many tokens was guessed.

    Returns:
        the component's state: ``.looked``, true once a token was pointed at.
    """
    most = math.log2(vocab_size)
    data = {
        "tokens": list(labels),
        "groups": [[group.start, group.end, group.shown] for group in groups],
        "rows": list(rows),
        "vocab": f"{vocab_size:,}",
        "most": most,
        "words": {
            "name": say("how.strip.name"),
            "point": say("how.strip.point"),
            "given": say("how.strip.given"),
            "token": say("how.strip.token"),
            **_scale(most, say),
        },
    }
    return _strip(key=key, data={**data, "id": found.digest(data)}, on_looked_change=lambda: None)


def total(read: Read, say: Words) -> str:
    """Return the whole text's surprise in one line."""
    bits = read.found.bits
    return say(
        "how.strip.total",
        total=f"{bits.sum():.0f}",
        mean=f"{read.found.mean_bits:.1f}",
        byte=f"{read.bits_per_byte:.2f}",
        char=f"{read.bits_per_char:.2f}",
    )


def _scale(most: float, say: Words) -> dict[str, str]:
    return {"low": say("how.strip.low"), "high": say("how.strip.high", bits=f"{most:.0f}")}
