"""The place in the machine that the learner looks at: layer, token, head, neuron; kept from page to page.

A page that draws a place reads it from here, and says here when the learner has gone elsewhere, so that a part that
is opened from the engine's drawing opens on the same layer and token. The address keeps it, too.
"""

from __future__ import annotations

from typing import Literal

import streamlit as st

Axis = Literal["layer", "token", "head", "neuron"]

_PLACE = "_place"
_MOST_DIGITS = 6


def at(axis: Axis, size: int, *, usual: int = 0) -> int:
    """Return where the learner looks along `axis`: in this session, else in the address, else `usual`.

    Args:
        axis: "layer", "token", "head" or "neuron".
        size: how many there are; the answer is from 0 to size - 1.
        usual: where to look as long as nobody has chosen.
    """
    place = _place()
    text = st.query_params.get(axis, "")
    if axis not in place and text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        place[axis] = int(text)  # whoever comes by a link keeps its place on the next page, too
    return min(max(place.get(axis, usual), 0), max(size - 1, 0))


def chosen() -> dict[str, int]:
    """Return every axis along which the learner has chosen a place in this session, with the place."""
    return dict(_place())


def go(**places: int) -> None:
    """Keep where the learner looks now: `go(layer=3, token=5)`. It is in the address from then on."""
    place = _place()
    for axis, index in places.items():
        place[axis] = int(index)
        if st.query_params.get(axis) != str(int(index)):
            st.query_params[axis] = str(int(index))


def _place() -> dict[str, int]:
    place: dict[str, int] = st.session_state.setdefault(_PLACE, {})
    return place
