"""The build bench's own picture, and the plan that lies on it: in this session, else in the address, else empty."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import engine
from lessons import Words
from llmkit.assembly import saved
from llmkit.assembly.errors import PlanError
from llmkit.assembly.plan import CHOICES, EMPTY, LIMITS, RANGES, SLOTS, Plan, from_config, from_dict
from llmkit.assembly.size import FREE_SHARE

if TYPE_CHECKING:
    from components.frame import Page

_FOLDER = Path(__file__).with_name("js")
_STATE = "_build_plan"
_QUERY = "plan"
_KEY = "build_bench"

_bench = st.components.v2.component(
    "llm_guide_build_bench",
    js="\n".join(
        (_FOLDER / name).read_text(encoding="utf-8")
        for name in ("attention_common.js", "build_count.js", "build_drawing.js", "build_bench.js")
    ),
    css="\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("attention.css", "build.css")),
)


def current_plan() -> Plan:
    """Return what lies on this session's bench."""
    plan: Plan = _state()["plan"]
    return plan


def lay(plan: Plan) -> None:
    """Put a plan on the bench from outside: a preset, a file, a link. The bench can undo it."""
    state = _state()
    state.update(plan=plan, given=plan, n=state["n"] + 1)


def box_plan(box_id: str) -> Plan:
    """Return the plan of a box on this machine."""
    return from_config(engine.open_box(box_id).config)


def presets(box_id: str, say: Words) -> list[dict[str, Any]]:
    """Return the starting points: an empty bench, the three families' own settings, the box on the workbench."""
    from llmkit.parts import bert, gpt2, llama

    plans = {"empty": EMPTY, "gpt2": from_config(gpt2()), "llama": from_config(llama()), "bert": from_config(bert())}
    return [
        *({"name": name, "title": say(f"build.preset.{name}"), "plan": plan.to_dict()} for name, plan in plans.items()),
        {"name": "box", "title": say("build.preset.box", box=box_id), "plan": box_plan(box_id).to_dict()},
    ]


def draw_canvas(page: Page) -> None:
    """Draw the bench: every choice is drawn, counted and checked in the browser, and reaches the server a moment later.

    Raises:
        PlanError: the browser sent what no plan can hold.
    """
    from llmkit.doctor import describe_machine

    say, state = page.bench.say, _state()
    free = describe_machine().memory_free_bytes
    names = [key.removeprefix("build.bench.") for key in say.texts if key.startswith("build.bench.")]
    _bench(
        key=_KEY,
        data={
            "id": f"{say.lang} {page.bench.box_id}",
            "given": {"n": state["n"], "plan": state["given"].to_dict()},
            "presets": presets(page.bench.box_id, say),
            "slots": list(SLOTS),
            "limits": {name: list(bounds) for name, bounds in LIMITS.items()},
            "ranges": {name: list(bounds) for name, bounds in RANGES.items()},
            "choices": {name: list(known) for name, known in CHOICES.items()},
            "free": free,
            "room": free * FREE_SHARE,
            "words": {name: say(f"build.bench.{name}") for name in names},
        },
        on_settled_change=take_settled,
    )


def take_settled() -> None:
    """Take what the browser has settled on; what is no plan, or answers an older one, is not taken."""
    settled = st.session_state[_KEY].get("settled")
    state = _state()
    if not isinstance(settled, Mapping) or settled.get("given") != state["n"]:
        return
    try:
        state["plan"] = from_dict(dict(settled.get("plan") or {}))
    except PlanError as error:
        state["error"] = error
    else:
        state["touched"] = True


def keep_in_address(plan: Plan) -> None:
    """Let the address reopen the bench as it is; an empty one needs none."""
    link = saved.to_link(plan)
    if plan == EMPTY:
        st.query_params.pop(_QUERY, None)
    elif st.query_params.get(_QUERY) != link:
        st.query_params[_QUERY] = link


def complaint() -> PlanError | None:
    """Return, once, why the last plan that came from outside was not laid on the bench."""
    error: PlanError | None = _state().pop("error", None)
    return error


def _state() -> dict[str, Any]:
    if _STATE not in st.session_state:
        asked, plan, error = st.query_params.get(_QUERY), EMPTY, None
        if asked:
            try:
                plan = saved.from_link(asked)
            except PlanError as found:
                error = found
        st.session_state[_STATE] = {"plan": plan, "given": plan, "n": 1} | ({"error": error} if error else {})
    state: dict[str, Any] = st.session_state[_STATE]
    return state
