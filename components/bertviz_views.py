"""bertviz's three views, drawn from our own trace: offline, and safe against markup in tokens.

bertviz writes for notebooks: its page loads scripts from another machine and puts tokens into a script as they are.
Here the scripts come from `components/vendor`, every token is escaped, and the page goes into a frame that has no
origin (`js/bertviz_frame.js`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]
View = Literal["head", "model", "neuron"]
VIEWS: tuple[View, ...] = ("head", "model", "neuron")

MODEL_VIEW_TOKENS = 12
"""Tokens that the model view holds: it draws every pair of every head at once."""

_HERE = Path(__file__).parent
_LIBRARIES = ("jquery.min.js", "d3.min.js")
_SHIM = "window.require={config(){}};window.requirejs=(names,run)=>run(window.jQuery,window.d3);"
_LOADER = re.compile(r'<script src="[^"]*require\.min\.js"></script>')
_CONFIG = re.compile(r"require\.config\(\{.*?\}\);", re.DOTALL)
_COMMENT = re.compile(r" // HACK: PYTHON_PARAMS.*|//.*\bPYTHON_PARAMS\b.*| // HACK:.*")
_PLACE = re.compile(r'"@token(\d+)@"')

_frame = st.components.v2.component(
    "llm_guide_bertviz",
    js="\n".join(
        (_HERE / "js" / name).read_text(encoding="utf-8") for name in ("attention_common.js", "bertviz_frame.js")
    ),
    css="iframe { border: 0; width: 100%; display: block; }",
)


def draw_bertviz(html: str, *, view: View, title: str, key: str) -> None:
    """Put a view's page into a frame of its own, in the sheet's colours.

    Args:
        html: from one of the functions below. view: which of them. title: what the frame shows, in words.
        key: unique on the page.
    """
    _frame(key=key, data={"html": html, "view": view, "title": title})


def head_page(labels: Sequence[str], weights: Floats, *, layer: int, head: int) -> str:
    """Return the head view of one layer: [H, T, T], one head chosen."""
    from bertviz import head_view

    made = head_view(
        attention={layer: _rounded(weights)},
        tokens=_places(labels),
        include_layers=[layer],
        layer=layer,
        heads=[head],
        prettify_tokens=False,
        html_action="return",
    )
    return _page(made.data, labels)


def model_page(labels: Sequence[str], weights: Floats) -> str:
    """Return the model view of all heads: [L, H, T, T], of at most MODEL_VIEW_TOKENS tokens."""
    from bertviz import model_view

    n = MODEL_VIEW_TOKENS
    made = model_view(
        attention=[_rounded(layer[:, :n, :n]) for layer in weights],
        tokens=_places(labels[:n]),
        display_mode="light",
        prettify_tokens=False,
        html_action="return",
    )
    return _page(made.data, labels)


def neuron_page(labels: Sequence[str], weights: Floats, q: Floats, k: Floats, *, head: int, causal: bool) -> str:
    """Return the neuron view of one layer.

    Args:
        labels: T tokens. weights: [H, T, T]. q: [H, T, Dh]. k: [K, T, Dh]; heads of a group share theirs.
        head: the one that is open. causal: whether a token sees only what came before.
    """
    from bertviz.neuron_view import show

    shared = k.repeat(len(q) // len(k), axis=0)
    told = _Told(labels, {"attn": _rounded(weights), "queries": _rounded(q), "keys": _rounded(shared)})
    made = show(told, "gpt2", told, "@", display_mode="light", layer=0, head=head, html_action="return")
    page = made.data if causal else made.data.replace('"bidirectional": false', '"bidirectional": true')
    return _page(page, labels)


class _Told:
    """Stands where bertviz wants a model and a tokenizer, and tells it what our trace already knows."""

    sep_token = cls_token = None

    def __init__(self, labels: Sequence[str], layer: dict[str, torch.Tensor]) -> None:
        self.places = _places(labels)
        self.layer = layer

    def eval(self) -> None:
        """Do nothing: there is nothing to train."""

    def tokenize(self, sentence: str) -> list[str]:
        """Return the tokens of the trace, whatever the sentence."""
        return self.places

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        """Return a number for each; the trace needs none."""
        return list(range(len(tokens)))

    def __call__(self, input_ids: torch.Tensor) -> tuple[list[dict[str, torch.Tensor]]]:
        return ([self.layer],)


def _places(labels: Sequence[str]) -> list[str]:
    """Stand-ins for the tokens, until the page around them is written; then they are put in, escaped."""
    return [f"@token{at}@" for at in range(len(labels))]


def _rounded(values: Floats) -> torch.Tensor:
    """Four decimals, [1, ...]: more could not be seen, and would triple the page."""
    import torch

    return torch.from_numpy(np.round(values.astype(np.float64), 4))[None]


def _page(made: str, labels: Sequence[str]) -> str:
    """Make bertviz's HTML a page that needs no other machine, with the tokens as text."""
    body = _COMMENT.sub("", _CONFIG.sub("", _LOADER.sub("", made)))
    body = _PLACE.sub(lambda match: _as_script_text(labels[int(match[1])]), body)
    scripts = "".join(
        f"<script>{(_HERE / 'vendor' / name).read_text(encoding='utf-8')}</script>" for name in _LIBRARIES
    )
    return f"{scripts}<script>{_SHIM}</script>{body}"


def _as_script_text(value: Any) -> str:
    """JSON that may stand inside a script: nothing in it can end the script or begin a comment."""
    text = json.dumps(value, ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
