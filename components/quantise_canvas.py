"""The quantise page's own picture: a corner of a matrix, rounded and drawn in the browser from one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from components.quantise_engine import START, Matrix
from lessons import Words
from llmkit.compress.matrix import BITS, Kind, Per

_FOLDER = Path(__file__).with_name("js")
KEY = "quantise_matrix"
_SCHEME = "quantise_scheme"

_picture = st.components.v2.component(
    "llm_guide_quantise",
    js="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("attention_common.js", "quantise.js")),
    css="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("attention.css", "quantise.css")),
)

_WORDS = (
    *("name", "bits", "per", "symmetric", "asymmetric", "facts", "bars", "legend", "after", "error"),
    *("errorScale", "cell", "cellZero", "keys"),
)


def scheme(shown: Matrix) -> tuple[int, Per, Kind]:
    """The rounding that this session has settled on, as far as the matrix has it."""
    bits, per, kind = st.session_state.get(_SCHEME, START)
    return bits, per if per in shown.pers else "channel", kind


def per_name(per: Per, say: Words) -> str:
    """What shares a scale, in words."""
    return say("quantise.per.group", n=per) if isinstance(per, int) else say(f"quantise.per.{per}")


def draw_matrix(shown: Matrix, say: Words) -> Any:
    """Draw histogram, weights and error; bits, group and kind are changed without the server.

    Returns:
        the component's state: ``.settled``, [bits, per, kind] or None; ``.pointed``, true once a weight was pointed at.
    """
    told = f"{shown.id} {say.lang}"
    kept: tuple[str, tuple[int, Per, Kind]] | None = st.session_state.get(f"_{KEY}_start")
    if kept is None or kept[0] != told:  # as long as the picture stays, nothing is sent again
        kept = st.session_state[f"_{KEY}_start"] = (told, scheme(shown))
    return _picture(
        key=KEY,
        data={
            "id": told,
            **shown.sent(),
            "start": list(kept[1]),
            "perNames": [per_name(per, say) for per in shown.pers],
            "words": {name: say(f"quantise.matrix.{name}") for name in _WORDS},
        },
        on_settled_change=_keep,
        on_pointed_change=lambda: None,
    )


def _keep() -> None:
    """Keep the rounding that the learner has settled on."""
    settled = st.session_state[KEY].get("settled")
    if isinstance(settled, list) and len(settled) == len(START):
        bits, per, kind = settled
        if bits in BITS:
            st.session_state[_SCHEME] = (bits, per, kind)
