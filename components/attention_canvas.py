"""The attention page's own pictures: drawn in the browser from numbers that are sent once."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from components.attention_engine import Heads, OneHead, encode
from lessons import Words

if TYPE_CHECKING:
    from llmkit.trace.heads import HeadRoles

_FOLDER = Path(__file__).with_name("js")


def _read(*names: str) -> str:
    return "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)


def _component(name: str) -> Callable[..., Any]:
    """Register one picture: its script after the shared one, its style the shared one."""
    return st.components.v2.component(
        f"llm_guide_attention_{name}",
        js=_read("attention_common.js", f"attention_{name}.js"),
        css=_read("attention.css"),
    )


_explorer = _component("explorer")
_gallery = _component("gallery")
_steps = _component("steps")

PANELS = ("q", "k", "v", "products", "scores", "weights", "answer")


def role_names(say: Words) -> dict[str, str]:
    """Return every role with its name in the page's language."""
    roles = ("previous", "first", "same", "induction", "local", "broad", "mixed")
    return {role: say(f"attention.role.{role}") for role in roles}


def draw_explorer(heads: Heads, roles: HeadRoles, say: Words, *, on_chosen: Callable[[], None]) -> Any:
    """Draw arcs and table of every layer and head; hovering and choosing ask nothing of the server.

    Args:
        heads: all weights.
        roles: what each head does.
        say: the words of the page's language.
        on_chosen: called when the learner has settled on a layer and head.

    Returns:
        the component's state: ``.chosen``, [layer, head] or None; ``.hovered``, true once a token was pointed at.
    """
    names = role_names(say)
    return _explorer(
        key="attention_explorer",
        data={
            "id": f"{heads.id} {say.lang}",
            "labels": list(heads.labels),
            "layers": heads.n_layers,
            "heads": heads.n_heads,
            "causal": heads.causal,
            "weights": heads.packed,
            "roles": [[names[role] for role in layer] for layer in roles.roles],
            "words": {
                "name": say("attention.explorer.name"),
                "layer": say("attention.layer"),
                "head": say("attention.head"),
                "most": say("attention.explorer.most"),
                "pair": say("attention.explorer.pair"),
                "hidden": say("attention.explorer.hidden"),
                "keys": say("attention.explorer.keys"),
                "table": say("attention.explorer.table"),
                "columns": [say(f"attention.column.{name}") for name in ("place", "token", "weight")],
            },
        },
        on_chosen_change=on_chosen,
        on_hovered_change=lambda: None,
    )


def draw_gallery(
    heads: Heads, roles: HeadRoles, say: Words, *, key: str = "attention_gallery", layer: int | None = None
) -> None:
    """Draw all heads as thumbnails, or those of one layer, larger; query heads that share keys are bracketed.

    Args:
        heads: all weights.
        roles: what each head does.
        say: the words of the page's language.
        key: unique on the page.
        layer: only this one; None for all, and then a click chooses the head for the whole page.
    """
    names = role_names(say)
    order = list(names)
    shown = range(heads.n_layers) if layer is None else range(layer, layer + 1)
    area = heads.side * heads.side * heads.n_heads
    thumbs = base64.b64decode(heads.thumbs)[shown.start * area : shown.stop * area]
    _gallery(
        key=key,
        data={
            "id": f"{heads.id} {say.lang} {layer}",
            "heads": heads.n_heads,
            "first": shown.start,
            "group": heads.n_heads // heads.n_kv_heads,
            "side": heads.side,
            "large": layer is not None,
            "leads": layer is None,
            "thumbs": base64.b64encode(thumbs).decode("ascii"),
            "roles": [order.index(role) for at in shown for role in roles.roles[at]],
            "scores": [_scores(roles, at, head, say) for at in shown for head in range(heads.n_heads)],
            "names": list(names.values()),
            "marks": [say(f"attention.mark.{role}") if role != "mixed" else "" for role in order],
            "words": {
                "name": say("attention.gallery.name"),
                "head": say(
                    "attention.gallery.shared" if heads.n_kv_heads < heads.n_heads else "attention.gallery.head"
                ),
            },
        },
    )


def draw_steps(heads: Heads, one: OneHead, say: Words, *, layer: int, head: int) -> None:
    """Draw one head step by step: q, k, v, products, scores, weights, answer; hover shows what made a cell.

    Args:
        heads: for the tokens. one: the head's values.
        say: the words of the page's language.
        layer, head: which head it is.
    """
    mask = "attention.steps.masked" if heads.causal else "attention.steps.open"
    notes = {name: say(f"attention.steps.note.{name}") for name in PANELS if name != "scores"}
    notes["scores"] = say(mask)
    made = ("q", "k", "v", "products", "scores", "masked", "weights", "nothing", "answer")
    _steps(
        key="attention_steps",
        data={
            "id": f"{heads.id} {say.lang} {layer} {head}",
            "layer": layer,
            "head": head,
            "T": len(heads.labels),
            "dims": heads.head_dim,
            "causal": heads.causal,
            "labels": list(heads.labels),
            **{name: encode(getattr(one, name)) for name in ("q", "k", "v", "scores", "weights", "answer")},
            "words": {
                "panels": [[name, say(f"attention.steps.{name}"), notes[name]] for name in PANELS],
                "point": say("attention.steps.point"),
                "more": say("attention.steps.more"),
                "fold": say("attention.steps.fold"),
                "unfold": say("attention.steps.unfold"),
                **{f"made_{name}": say(f"attention.made.{name}") for name in made},
            },
        },
    )


def _scores(roles: HeadRoles, layer: int, head: int, say: Words) -> str:
    """A head's scores in one line, greatest first."""
    found = sorted(((float(score[layer, head]), name) for name, score in roles.scores.items()), reverse=True)
    return " · ".join(f"{say(f'attention.role.{name}')} {_signed(value)}" for value, name in found)


def _signed(value: float) -> str:
    """Two decimals with a true minus sign, and no minus before nothing."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")
