"""The attention page's own pictures: drawn in the browser from numbers that are sent once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from components.attention_engine import Heads, OneHead, encode
from components.moving import Slider, draw_moving
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
        on_chosen: called when the learner has settled on a layer and head, or on a token.

    Returns:
        the component's state: ``.chosen``, [layer, head] or None; ``.token``, its place or None; ``.hovered``, true
        once a token was pointed at.
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
        on_token_change=on_chosen,
    )


def draw_gallery(heads: Heads, roles: HeadRoles, say: Words) -> None:
    """Draw all heads as thumbnails; query heads that share keys are bracketed, a click chooses for the whole page."""
    _gallery(
        key="attention_gallery",
        data={
            "id": f"{heads.id} {say.lang}",
            "thumbs": heads.thumbs,
            **_thumbnails(heads, roles, say),
            "words": {"name": say("attention.gallery.name"), "head": _told(heads, say)},
        },
    )


def draw_family(
    heads: Heads, roles: HeadRoles, say: Words, *, key: str, told: str, depth: Slider, layer_at: Sequence[int]
) -> None:
    """Draw the heads of one layer as large thumbnails; a slider that stands elsewhere says which layer.

    Args:
        heads: all weights.
        roles: what each head does.
        say: the words of the page's language.
        key: unique on the page.
        told: the box in one line, ``{layer}`` in it.
        depth: the slider.
        layer_at: for each of its places the layer.
    """
    draw_moving(
        "families",
        "family",
        key=key,
        name=say("attention.families.title"),
        sliders=[depth],
        words={"told": told, "head": _told(heads, say)},
        thumbs=heads.thumbs,
        layerAt=list(layer_at),
        **_thumbnails(heads, roles, say),
    )


def _thumbnails(heads: Heads, roles: HeadRoles, say: Words) -> dict[str, Any]:
    """What is said and marked at every head's thumbnail."""
    names = role_names(say)
    order = list(names)
    return {
        "heads": heads.n_heads,
        "group": heads.n_heads // heads.n_kv_heads,
        "side": heads.side,
        "roles": [order.index(role) for layer in roles.roles for role in layer],
        "scores": [
            _scores(roles, layer, head, say) for layer in range(heads.n_layers) for head in range(heads.n_heads)
        ],
        "names": list(names.values()),
        "marks": [say(f"attention.mark.{role}") if role != "mixed" else "" for role in order],
    }


def _told(heads: Heads, say: Words) -> str:
    return say("attention.gallery.shared" if heads.n_kv_heads < heads.n_heads else "attention.gallery.head")


def draw_steps(heads: Heads, one: OneHead, say: Words, *, layer: int, head: int, token: int) -> None:
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
            "token": token,
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
