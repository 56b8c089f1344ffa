"""Pictures with sliders of their own: numbers are sent once, the browser draws, the server hears where it settles.

A slider's name is its place in the session and in the address; pictures that share a name move together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

_HERE = Path(__file__).parent
_PLACES = "_moving"
"""Where this session has left each slider: name → number."""

_MOST_DIGITS = 6

Room = Literal["tokens", "embeddings", "positions", "families", "generate", "lora", "prune", "papers"]


@dataclass(frozen=True, kw_only=True)
class Slider:
    """A slider over whole numbers.

    Args:
        name: unique in the whole guide ("embeddings_stage"); also its name in the address.
        label: what stands above it.
        low, high, step: where it goes.
        start: where it stands as long as nobody has moved it.
        places: what each place is called, from low to high; none where the number says it.
        own: whether this picture draws it; else it stands at another picture, and this one only follows.
    """

    name: str
    label: str
    low: int
    high: int
    start: int
    step: int = 1
    places: tuple[str, ...] = ()
    own: bool = True

    def within(self, asked: object) -> int:
        """Return a place of this slider for whatever an address or a browser says."""
        text = str(asked)
        known = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
        place = min(max(int(text) if known else self.start, self.low), self.high)
        return place - (place - self.low) % self.step


def place(slider: Slider) -> int:
    """Return where a slider stands: as it was left in this session, else as the address asks, else its start."""
    left = st.session_state.get(_PLACES, {})
    return slider.within(left.get(slider.name, st.query_params.get(slider.name, slider.start)))


def moved(slider: Slider) -> bool:
    """Return whether the learner has moved it in this session."""
    return slider.name in st.session_state.get(_PLACES, {})


def draw_moving(
    room: Room,
    picture: str,
    *,
    key: str,
    name: str,
    sliders: Sequence[Slider],
    words: Mapping[str, str],
    **numbers: Any,
) -> None:
    """Draw a picture that its sliders move in the browser.

    Args:
        room: the script that draws it, `js/moving_<room>.js`.
        picture: which of its pictures; one that the script does not know is a slider alone.
        key: unique on the page.
        name: what it is, for whoever cannot see it.
        sliders: what moves it.
        words: templates of the line above it, in the page's language.
        numbers: all that it draws, for every place of its sliders; arrays as `attention_engine.encode` gives them.
    """
    data = {"picture": picture, "name": name, "words": dict(words), **numbers}
    bounds = [{**asdict(slider), "start": None} for slider in sliders]
    told = json.dumps([data, bounds], ensure_ascii=False, sort_keys=True)
    data["id"] = hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    starts = _starts(key, data["id"], sliders)
    data["sliders"] = [{**asdict(slider), "start": starts[slider.name]} for slider in sliders]
    _COMPONENTS[room](key=key, data=data, on_settled_change=lambda: _keep(key, sliders))


def _starts(key: str, numbers_id: str, sliders: Sequence[Slider]) -> dict[str, int]:
    """Where the sliders stood when these numbers were first sent: as long as that stays, nothing is sent again."""
    kept: tuple[str, dict[str, int]] | None = st.session_state.get(f"_{key}_starts")
    if kept is None or kept[0] != numbers_id:
        kept = st.session_state[f"_{key}_starts"] = (numbers_id, {one.name: place(one) for one in sliders})
    return kept[1]


def _keep(key: str, sliders: Sequence[Slider]) -> None:
    """Keep where the learner has settled."""
    settled = st.session_state[key].get("settled")
    if not isinstance(settled, Mapping):
        return
    places = st.session_state.setdefault(_PLACES, {})
    for slider in sliders:
        if slider.own and slider.name in settled:
            places[slider.name] = slider.within(settled[slider.name])


def _component(room: Room) -> Callable[..., Any]:
    """Register the pictures of one room: their script after those that all share."""
    more = {"papers": ("copying.js", "papers_drawing.js")}.get(room, ("moving_charts.js",))
    scripts = ("attention_common.js", "moving.js", *more, f"moving_{room}.js")
    own = ["tokens_style.css"] if room == "tokens" else [f"js/moving_{room}.css"]
    styles = ("js/attention.css", "js/moving.css", *(name for name in own if (_HERE / name).is_file()))
    return st.components.v2.component(
        f"llm_guide_moving_{room}",
        js="\n".join((_HERE / "js" / name).read_text(encoding="utf-8") for name in scripts),
        css="\n".join((_HERE / name).read_text(encoding="utf-8") for name in styles),
    )


_ROOMS: tuple[Room, ...] = ("tokens", "embeddings", "positions", "families", "generate", "lora", "prune", "papers")
_COMPONENTS = {room: _component(room) for room in _ROOMS}
