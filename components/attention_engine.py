"""What the attention page computes, once for all sessions: one trace a sentence, and all that is read off it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import engine
from components.engine import Made
from components.workbench import DEFAULT_BOX

if TYPE_CHECKING:
    from llmkit.trace import Value
    from llmkit.trace.heads import HeadRoles

MAX_TOKENS = 96
"""Tokens of the sentence on this page: all heads' weights together then stay under two megabytes."""

SIDE = 32
"""Pixels of a thumbnail; a longer text is pooled, the greatest weight of each block kept."""

PARTS: tuple[Value, ...] = ("q", "k", "v", "attention_scores", "attention_weights", "head_values")
"""What one forward pass keeps for the whole page."""

Family = Literal["gpt2", "bert", "llama"]
FAMILIES: tuple[Family, ...] = ("gpt2", "bert", "llama")


@dataclass(frozen=True, kw_only=True)
class Heads:
    """All heads of a box on one sentence.

    Args:
        labels: the tokens, made visible; T of them.
        n_layers, n_heads, n_kv_heads, head_dim: the box's attention.
        causal: whether a token sees only itself and what came before.
        weights: [n_layers, n_heads, T, T], float32, query by key.
        packed: the same as bytes in base64, 255 for 1; of a causal box the lower triangles alone.
        thumbs: [n_layers * n_heads, side, side] as bytes in base64.
        side: pixels of a thumbnail.
        id: changes whenever any of it does.
    """

    labels: tuple[str, ...]
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    causal: bool
    weights: NDArray[np.float32]
    packed: str
    thumbs: str
    side: int
    id: str


@dataclass(frozen=True, kw_only=True)
class OneHead:
    """One head's way from query, key and value to its answer; each float32, T rows.

    Args:
        q, k, v: [T, head_dim], after rotation where positions rotate.
        scores: [T, T], scaled; masked ones are the lowest number there is.
        weights: [T, T]. answer: [T, head_dim], weights @ v.
        kv_head: which key/value head it reads.
    """

    q: NDArray[np.float32]
    k: NDArray[np.float32]
    v: NDArray[np.float32]
    scores: NDArray[np.float32]
    weights: NDArray[np.float32]
    answer: NDArray[np.float32]
    kv_head: int


def encode(array: NDArray[Any]) -> str:
    """Return an array's bytes in base64, for a picture in the browser."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def heads(box_id: str, text: str) -> Made[Heads]:
    """Return all heads' attention on the text.

    Raises:
        Exception: with a `.code`, where the text has no token or more than MAX_TOKENS, or the box cannot be opened.
    """
    return _heads(box_id, engine.fingerprint(box_id), text)


def one_head(box_id: str, text: str, layer: int, head: int) -> Made[OneHead]:
    """Return one head's values, from the sentence's only forward pass."""
    traced = engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS)
    trace = traced.value
    q, k = trace["q"][layer], trace["k"][layer]
    kv_head = head // (len(q) // len(k))
    made = OneHead(
        q=_plain(q[head]),
        k=_plain(k[kv_head]),
        v=_plain(trace["v"][layer][kv_head]),
        scores=_plain(trace["attention_scores"][layer][head]),
        weights=_plain(trace["attention_weights"][layer][head]),
        answer=_plain(trace["head_values"][layer][head]),
        kv_head=kv_head,
    )
    return Made(value=made, badge=traced.badge)


def queries_and_keys(box_id: str, text: str, layer: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a layer's queries, [H, T, Dh], and keys, [K, T, Dh]."""
    trace = engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS).value
    return _plain(trace["q"][layer]), _plain(trace["k"][layer])


def roles(box_id: str, text: str) -> Made[HeadRoles]:
    """Return what each head does: on the text, and on a repeated run of tokens for induction."""
    return _roles(box_id, engine.fingerprint(box_id), text)


def roles_frame(found: HeadRoles) -> pd.DataFrame:
    """Return the roles and their scores, one row a head."""
    rows = [
        {
            "layer": layer,
            "head": head,
            "role": role,
            **{name: float(s[layer, head]) for name, s in found.scores.items()},
        }
        for layer, names in enumerate(found.roles)
        for head, role in enumerate(names)
    ]
    return pd.DataFrame(rows)


def pair_frame(labels: tuple[str, ...], tables: Mapping[str, NDArray[np.float32]], *, causal: bool) -> pd.DataFrame:
    """Return one head's tables ("weight": [T, T]), one row a pair of tokens that may see each other."""
    T = len(labels)
    query, key = np.tril_indices(T) if causal else np.indices((T, T)).reshape(2, -1)
    name = np.asarray(labels, dtype=object)
    pairs = {"query": query, "key": key, "query_token": name[query], "key_token": name[key]}
    return pd.DataFrame({**pairs, **{column: values[query, key] for column, values in tables.items()}})


def family_boxes(box_id: str) -> dict[Family, str | None]:
    """Return a box of each family: the learner's own, else the first that is here, else None."""
    own = engine.open_box(box_id).family
    here = {family_of(one): one for one in reversed(engine.boxes_here(DEFAULT_BOX))}
    return {family: box_id if family == own else here.get(family) for family in FAMILIES}


def family_of(box_id: str) -> Family | None:
    """Return which parts list a box follows, without opening it; None for a box that the catalogue does not know."""
    from llmkit import shelf

    known = shelf.entry(box_id).family
    return next((family for family in FAMILIES if family == known), None)


@engine.remembered(max_entries=8)
def _heads(box_id: str, fingerprint: str, text: str) -> Heads:
    trace = engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS).value
    weights = np.stack([_plain(layer) for layer in trace["attention_weights"]])  # [L, H, T, T]
    weights.flags.writeable = False
    causal = trace.family != "bert"
    n_layers, n_heads, T, _ = weights.shape
    whole = np.rint(weights * 255).astype(np.uint8)
    lower = whole[..., *np.tril_indices(T)] if causal else whole
    thumbs = _pool(whole.reshape(-1, T, T))
    seed = f"{box_id}\0{fingerprint}\0{text}".encode()
    return Heads(
        labels=trace.encoding.labels,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=len(trace["k"][0]),
        head_dim=trace["q"][0].shape[-1],
        causal=causal,
        weights=weights,
        packed=encode(lower),
        thumbs=encode(thumbs),
        side=thumbs.shape[-1],
        id=hashlib.blake2b(seed, digest_size=8).hexdigest(),
    )


@engine.remembered(max_entries=16)
def _roles(box_id: str, fingerprint: str, text: str) -> HeadRoles:
    from llmkit.trace.heads import head_roles

    trace = engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS).value
    return head_roles(trace, _induction(box_id, fingerprint).value)


@engine.remembered(max_entries=8)
def _induction(box_id: str, fingerprint: str) -> NDArray[np.float32]:
    from llmkit.trace.heads import induction_scores

    return induction_scores(engine.open_box(box_id))


def _plain(array: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(array, dtype=np.float32)


def _pool(tables: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink [N, T, T] to at most SIDE pixels a side; each keeps the greatest weight of its block."""
    T = tables.shape[-1]
    if T <= SIDE:
        return tables
    block = -(-T // SIDE)
    pad = -T % block
    padded = np.zeros((len(tables), T + pad, T + pad), dtype=np.uint8)
    padded[:, :T, :T] = tables
    side = (T + pad) // block
    pooled: NDArray[np.uint8] = padded.reshape(-1, side, block, side, block).max(axis=(2, 4))
    return pooled
