"""What the engine page computes, once for all sessions: one trace a sentence, and all that is read off it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import engine
from components.attention_engine import encode
from components.embeddings_engine import labels as labels_of
from components.engine import Made

if TYPE_CHECKING:
    from llmkit.parts.count import Counts
    from llmkit.trace import Trace, Value
    from llmkit.trace.contributions import Contributions
    from llmkit.trace.lens import Lens

MAX_TOKENS = 64
"""Tokens of the sentence on this page: the lens multiplies each layer's state of each with the whole vocabulary."""

DIMS = 64
"""Numbers of a state that are drawn: every n-th of d_model."""

TOP = 5
"""Likeliest tokens a place that are kept."""

PARTS: tuple[Value, ...] = (
    "token_embeddings",
    "position_embeddings",
    "segment_embeddings",
    "residual_pre",
    "residual_mid",
    "residual_post",
    "head_values",
    "attention_out",
    "mlp_out",
    "final",
    "logits",
)
"""What one forward pass keeps for the whole page."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The residual stream of one sentence, state by state.

    States in order: what enters layer 0; after attention and after feed-forward of each layer; and, where the machine
    has an end (final norm or unembedding), what the end reads. S = 1 + 2 L (+ 1).

    Args:
        labels: the tokens, made visible; T of them.
        n_layers, d_model: of the box. every: one of how many dimensions is drawn.
        states: [S, T, dims] as int8 in base64, 127 for the greatest drawn number of that state.
        added: [2 L, T, dims], what attention and feed-forward of each layer add, packed alike.
        tops, added_tops: [S, T] and [2 L, T] float32 in base64: those greatest numbers.
        norms, added_norms: [S, T] and [2 L, T] float32, lengths of the whole vectors.
        before_norms: [2 L, T], lengths of what each addition is added to.
        answers: [T] what the machine finds likeliest, and its probability; empty without an unembedding.
        id: changes whenever any of it does.
    """

    labels: tuple[str, ...]
    n_layers: int
    d_model: int
    every: int
    states: str
    added: str
    tops: str
    added_tops: str
    norms: Floats
    added_norms: Floats
    before_norms: Floats
    answers: tuple[tuple[str, float], ...]
    id: str

    @property
    def n_states(self) -> int:
        """How many states each token passes."""
        return len(self.norms)


@dataclass(frozen=True, kw_only=True)
class Adds:
    """What each part adds to some targets at each position.

    Args:
        found: the pieces and their values.
        targets: [T][K] target tokens, made visible; the first is the machine's own answer. Empty for a box that
            ends in states: there the target is the direction of the sentence vector.
    """

    found: Contributions
    targets: tuple[tuple[str, ...], ...]


def stream(box_id: str, text: str) -> Made[Stream]:
    """Return the residual stream on the text.

    Raises:
        Exception: with a `.code`, where the text has no token or more than MAX_TOKENS, or the box cannot be opened.
    """
    return _stream(box_id, engine.fingerprint(box_id), text)


def counts(box_id: str, seq_len: int) -> Counts:
    """Count every part of the box for a text of so many tokens; instant."""
    from llmkit.parts.count import count_parts

    box = engine.open_box(box_id)
    return count_parts(box.config, seq_len=seq_len, bytes_per_number=box.dtype.itemsize)


def lens(box_id: str, text: str) -> Made[Lens]:
    """Return what each layer would answer; only for a box with an unembedding."""
    return _lens(box_id, engine.fingerprint(box_id), text)


def nearness(box_id: str, text: str) -> Made[Floats]:
    """Return how near each layer's state is to the final one, [n_layers + 1, T]."""
    return _nearness(box_id, engine.fingerprint(box_id), text)


def adds(box_id: str, text: str) -> Made[Adds]:
    """Return what each part adds: to the likeliest tokens and the one that follows, else along the sentence vector."""
    return _adds(box_id, engine.fingerprint(box_id), text)


def stream_frame(made: Stream) -> pd.DataFrame:
    """Return the lengths of all states, one row a state and token."""
    S, T = made.norms.shape
    state, token = np.indices((S, T)).reshape(2, -1)
    layer = np.clip((state - 1) // 2, 0, made.n_layers - 1)
    names = np.asarray(["enters", *(["after_attention", "after_feed_forward"] * made.n_layers), "final"], dtype=object)
    added = np.full((S, T), np.nan, dtype=np.float32)
    added[1 : 1 + 2 * made.n_layers] = made.added_norms
    return pd.DataFrame(
        {
            "position": token,
            "token": np.asarray(made.labels, dtype=object)[token],
            "layer": layer,
            "state": names[state],
            "norm": made.norms.ravel(),
            "norm_added": added.ravel(),
        }
    )


def counts_frame(counted: Counts) -> pd.DataFrame:
    """Return what was counted, one row a part."""
    rows = [
        {
            "part": part.name,
            "places": part.places,
            "takes": "x".join(map(str, part.takes)),
            "gives": "x".join(map(str, part.gives)),
            "parameters_each": part.parameters,
            "flops_each": part.flops,
            "weight_bytes_each": part.weight_bytes,
            "activation_bytes_each": part.activation_bytes,
            "kv_cache_bytes_each": part.kv_cache_bytes,
        }
        for part in counted.parts
    ]
    return pd.DataFrame(rows)


def lens_frame(found: Lens, labels: tuple[str, ...], box_id: str) -> pd.DataFrame:
    """Return the lens, one row a layer and position; layer -1 is what enters layer 0."""
    rows, T = found.entropy_bits.shape
    row, token = np.indices((rows, T)).reshape(2, -1)
    return pd.DataFrame(
        {
            "layer": row - 1,
            "position": token,
            "token": np.asarray(labels, dtype=object)[token],
            "top_token": labels_of(box_id, found.ids[..., 0].ravel().tolist()),
            "top_prob": found.probs[..., 0].ravel(),
            "entropy_bits": found.entropy_bits.ravel(),
            "rank_of_answer": found.ranks.ravel(),
            "prob_of_answer": found.answer_probs.ravel(),
        }
    )


def nearness_frame(near: Floats, labels: tuple[str, ...]) -> pd.DataFrame:
    """Return how near each state is to the final one, one row a layer and position; layer -1 enters layer 0."""
    row, token = np.indices(near.shape).reshape(2, -1)
    names = np.asarray(labels, dtype=object)[token]
    return pd.DataFrame({"layer": row - 1, "position": token, "token": names, "cosine": near.ravel()})


def adds_frame(made: Adds, position: int) -> pd.DataFrame:
    """Return what each part adds to the machine's own answer at a position."""
    rows = [
        {"part": piece.kind, "layer": piece.layer, "head": piece.head, "adds": float(value)}
        for piece, value in zip(made.found.pieces, made.found.values[:, position, 0], strict=True)
    ]
    return pd.DataFrame(rows).astype({"layer": "Int64", "head": "Int64"})


def group_sums(made: Adds, position: int) -> dict[str, float]:
    """Return what the rows, all attention, all feed-forwards and all biases add to the answer at a position."""
    groups = {"head": "attention", "attention_bias": "attention", "mlp": "feed_forward"}
    groups |= dict.fromkeys(("token", "position", "segment"), "rows")
    sums = dict.fromkeys(("rows", "attention", "feed_forward", "biases"), 0.0)
    for piece, value in zip(made.found.pieces, made.found.values[:, position, 0], strict=True):
        sums[groups.get(piece.kind, "biases")] += float(value)
    return sums


def _trace(box_id: str, text: str) -> Trace:
    return engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS).value


@engine.remembered(max_entries=8)
def _stream(box_id: str, fingerprint: str, text: str) -> Stream:
    trace = _trace(box_id, text)
    pre, mid, post = (trace[name] for name in ("residual_pre", "residual_mid", "residual_post"))
    states = [pre[0], *(state for pair in zip(mid, post, strict=True) for state in pair)]
    if engine.open_box(box_id).config.norm_final or "logits" in trace:
        states.append(trace["final"])
    added = [one for pair in zip(trace["attention_out"], trace["mlp_out"], strict=True) for one in pair]
    before = [state for pair in zip(pre, mid, strict=True) for state in pair]
    every = -(-pre[0].shape[1] // DIMS)
    packed, tops = _pack(states, every)
    packed_added, added_tops = _pack(added, every)
    return Stream(
        labels=trace.encoding.labels,
        n_layers=len(pre),
        d_model=pre[0].shape[1],
        every=every,
        states=packed,
        added=packed_added,
        tops=tops,
        added_tops=added_tops,
        norms=_lengths(states),
        added_norms=_lengths(added),
        before_norms=_lengths(before),
        answers=_answers(box_id, trace["logits"]) if "logits" in trace else (),
        id=hashlib.blake2b(f"{box_id}\0{fingerprint}\0{text}".encode(), digest_size=8).hexdigest(),
    )


@engine.remembered(max_entries=8)
def _lens(box_id: str, fingerprint: str, text: str) -> Lens:
    from llmkit.trace.lens import read_lens

    return read_lens(engine.open_box(box_id), _trace(box_id, text), k=TOP)


@engine.remembered(max_entries=8)
def _nearness(box_id: str, fingerprint: str, text: str) -> Floats:
    from llmkit.trace.lens import nearness

    return nearness(_trace(box_id, text))


@engine.remembered(max_entries=8)
def _adds(box_id: str, fingerprint: str, text: str) -> Adds:
    from llmkit.trace.contributions import direction_contributions, logit_contributions

    box, trace = engine.open_box(box_id), _trace(box_id, text)
    if box.config.unembedding:
        ids = _targets(trace, causal=box.config.causal)
        names = tuple(tuple(labels_of(box_id, [int(id_) for id_ in row])) for row in ids)
        return Adds(found=logit_contributions(box, trace, ids), targets=names)
    mean = np.asarray(trace["final"], dtype=np.float64).mean(0)  # the sentence vector
    return Adds(found=direction_contributions(box, trace, mean / np.linalg.norm(mean)), targets=())


def _targets(trace: Trace, *, causal: bool) -> NDArray[np.int64]:
    """The likeliest tokens of each position, then the one that the text really has there: [T, TOP + 1]."""
    logits = np.asarray(trace["logits"])
    top = np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]
    ids = np.asarray(trace.encoding.ids)
    real = np.append(ids[1:], top[-1, 0]) if causal else ids  # nothing follows the last token
    return np.column_stack((top, real)).astype(np.int64)


def _answers(box_id: str, logits: NDArray[Any]) -> tuple[tuple[str, float], ...]:
    """The likeliest token of each position, and its probability."""
    wide = np.asarray(logits, dtype=np.float64)
    top = wide.max(-1, keepdims=True)
    probs = 1 / np.exp(wide - top).sum(-1)
    likeliest = labels_of(box_id, wide.argmax(-1).tolist())
    return tuple((name, float(prob)) for name, prob in zip(likeliest, probs, strict=True))


def _pack(vectors: list[NDArray[Any]], every: int) -> tuple[str, str]:
    """Every n-th number of each vector as a share of the greatest of them, int8; and those greatest numbers."""
    drawn = np.stack([np.asarray(vector, dtype=np.float32)[:, ::every] for vector in vectors])  # [N, T, dims]
    tops = np.maximum(np.abs(drawn).max(-1), 1e-12).astype(np.float32)
    return encode(np.rint(drawn / tops[..., None] * 127).astype(np.int8)), encode(tops)


def _lengths(vectors: list[NDArray[Any]]) -> Floats:
    return np.stack([np.linalg.norm(np.asarray(vector, dtype=np.float64), axis=-1) for vector in vectors]).astype(
        np.float32
    )
