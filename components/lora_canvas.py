"""The LoRA page's own picture: ΔW = B·A of each matrix, where the box changed most, and what a rank keeps.

All matrices' corners are sent once; layer, matrix and rank are changed in the browser.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from components.lora_engine import Picture
from lessons import Words

_FOLDER = Path(__file__).with_name("js")
KEY = "lora_inside"
_PLACE = "_lora_place"
"""Where this session looks: picture's id → which matrix, and at which rank."""

_picture = st.components.v2.component(
    "llm_guide_lora",
    js="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("attention_common.js", "lora.js")),
    css="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("attention.css", "lora.css")),
)

_WORDS = (
    *("name", "layer", "matrix", "rank", "map", "mapKeys", "facts", "dora", "delta", "b", "a", "kept"),
    *("singular", "bars", "colours"),
)


def place(shown: Picture) -> tuple[int, int]:
    """Which matrix this session looks at, and at which rank: at first the one that changed most, half its rank."""
    kept: dict[str, tuple[int, int]] = st.session_state.get(_PLACE, {})
    at, rank = kept.get(shown.id, (shown.most_changed, max(shown.rank // 2, 1)))
    return at, min(rank, shown.directions(at))


def draw_inside(shown: Picture, say: Words) -> Any:
    """Draw map, B·A, what a rank keeps and the singular values.

    Returns:
        the component's state: ``.settled``, [matrix, rank]; ``.picked``, true once a matrix was chosen; ``.slid``,
        true once the rank was moved.
    """
    told = f"{shown.id} {say.lang}"
    kept: tuple[str, tuple[int, int]] | None = st.session_state.get(f"_{KEY}_start")
    if kept is None or kept[0] != told:  # as long as the picture stays, nothing is sent again
        kept = st.session_state[f"_{KEY}_start"] = (told, place(shown))
    return _picture(
        key=KEY,
        data={
            "id": told,
            **shown.sent(),
            "start": list(kept[1]),
            "words": {name: say(f"lora.inside.{name}") for name in _WORDS},
        },
        on_settled_change=lambda: _keep(shown),
        on_picked_change=lambda: None,
        on_slid_change=lambda: None,
    )


def _keep(shown: Picture) -> None:
    """Keep where the learner has settled."""
    settled = st.session_state[KEY].get("settled")
    if not isinstance(settled, list) or len(settled) != 2 or not all(isinstance(one, int) for one in settled):
        return
    at, rank = settled
    if 0 <= at < len(shown.changed) and 1 <= rank <= shown.directions(at):
        st.session_state.setdefault(_PLACE, {})[shown.id] = (at, rank)
