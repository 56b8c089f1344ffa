"""The stage: big type, a clean frame, keys for next, back, blank, reveal; a timer and the room's link.

The bar lives in the browser: timer, blank and link ask nothing of the server.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from components.workbench import Workbench

PARAMETER = "present"
"""The address's name for it: ``?present=1``."""

_ON = "_present"
_FOLDER = Path(__file__).with_name("js")

_stage = st.components.v2.component(
    "llm_guide_stage",
    js=(_FOLDER / "stage.js").read_text(encoding="utf-8"),
    css=(_FOLDER / "stage.css").read_text(encoding="utf-8"),
)


def is_on() -> bool:
    """Whether this window is on a stage."""
    return bool(st.session_state.setdefault(_ON, st.query_params.get(PARAMETER, "") in ("1", "true")))


def turn(*, on: bool) -> None:
    """Go onto the stage, or leave it."""
    st.session_state[_ON] = on
    if on:
        st.query_params[PARAMETER] = "1"
    else:
        st.query_params.pop(PARAMETER, None)


def lay_out(bench: Workbench, *, link: str = "", picture: str = "", here: int = 0, hands: int = 0) -> None:
    """Give the page its stage: the key P everywhere, the bar and the large type where it is on.

    Args:
        bench: for the language.
        link: the room's address; empty where there is no room.
        picture: the link's QR code as SVG.
        here, hands: how many guests are here, how many have their hands up.
    """
    say = bench.say
    if is_on():
        if st.query_params.get(PARAMETER) != "1":  # turning a page has lost it
            st.query_params[PARAMETER] = "1"
        st.html(f"<style>{Path(__file__).with_name('stage_style.css').read_text(encoding='utf-8')}</style>")
    _stage(
        key="stage",
        data={
            "on": is_on(),
            "link": link,
            "picture": picture,
            "counts": [say("workshop.stage.here", n=here)] * bool(link)
            + [say("workshop.stage.hands", n=hands)] * bool(hands),
            "words": {
                "keys": say("workshop.stage.keys"),
                "name": say("workshop.stage.name"),
                "timer": say("workshop.stage.timer", minutes="{minutes}"),
                "blank": say("workshop.stage.blank"),
            },
        },
        on_turn_change=lambda: turn(on=st.session_state["stage"].get("turn") == "on"),
        height=1,
    )
