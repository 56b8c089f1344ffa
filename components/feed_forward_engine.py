"""What the feed-forward page computes, once for all sessions: one trace a sentence, and all that is read off it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import engine
from components.attention_engine import encode
from components.embeddings_engine import labels as labels_of
from components.engine import Made

if TYPE_CHECKING:
    from llmkit.parts.config import FeedForwardKind
    from llmkit.parts.count import Counts
    from llmkit.trace import Trace, Value
    from llmkit.trace.neurons import Through, Written

Floats = NDArray[np.float32]
Neuron = tuple[int, int]
"""Layer and neuron, both counted from 0."""

MAX_TOKENS = 96
"""Tokens of the sentence on this page, as on the attention page."""

COLUMNS = 64
"""Neurons of each layer that the machine shows: one column each."""

BINS = 48
"""Bars of the histogram of all neurons' pre-activations at one token."""

CURVE_POINTS = 513

LENGTHS = 60
"""Text lengths at which the work is counted, evenly spread over its orders of magnitude."""

STRONGEST = 10
"""Neurons in the table of the strongest."""

TOKENS = 6
"""Tokens told at either end of what a neuron writes towards."""

PARTS: tuple[Value, ...] = ("mlp_pre", "mlp_up", "mlp_act", "mlp_out", "residual_mid")
"""What one forward pass keeps for the whole page."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Every layer's feed-forward part on one sentence, as its picture takes it.

    Args:
        labels: the tokens, made visible; T of them. special: which of them are the box's own.
        n_layers, d_model, d_mlp, kind: of the box. gated: whether a gate decides (SwiGLU).
        neurons: [n_layers, K], the neurons that are columns.
        packed: base64 of float32 ``pre, up, act`` [n_layers, K, T], ``norms`` [n_layers, K], ``reach`` [n_layers, T]
            (length written back over length that came in), ``curve`` [n_layers, CURVE_POINTS], ``ends``
            [n_layers, 2] (of the curve's x), ``spread`` [n_layers, T, 2] (least and greatest pre-activation); int32
            ``neurons`` [n_layers, K], ``open`` [n_layers, T] (pre-activations above 0); uint16 ``bars``
            [n_layers, T, BINS].
        id: changes whenever any of it does.
    """

    labels: tuple[str, ...]
    special: tuple[bool, ...]
    n_layers: int
    d_model: int
    d_mlp: int
    kind: FeedForwardKind
    gated: bool
    neurons: NDArray[np.int32]
    packed: Mapping[str, str]
    id: str

    @property
    def last(self) -> int:
        """The last token that is not one of the box's own."""
        return max((at for at, special in enumerate(self.special) if not special), default=len(self.special) - 1)


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """The strongest neurons of one layer at one token.

    Args:
        neurons: [N], the strongest first; of all d_mlp. pre, act: [N]; up: [N] too, of a gated part.
        norms: [N], length of the output weights. adds: [N], length of what each adds to the residual stream.
        pushes, pulls: the tokens that each pushes up and down here, made visible; they have changed places where
            the activation is negative. through: see `Written`.
    """

    neurons: NDArray[np.int64]
    pre: Floats
    up: Floats | None
    act: Floats
    norms: Floats
    adds: Floats
    pushes: tuple[tuple[str, ...], ...]
    pulls: tuple[tuple[str, ...], ...]
    through: Through


@dataclass(frozen=True, kw_only=True)
class Told:
    """What some neurons of a layer write towards, as their picture takes it: each token's label once.

    Args:
        layer: which. labels: the tokens, made visible. through: see `Written`.
        up, down: one row a neuron, places in ``labels``; up_by, down_by: the products beside them.
    """

    layer: int
    labels: list[str]
    through: Through
    up: list[list[int]]
    down: list[list[int]]
    up_by: list[list[float]]
    down_by: list[list[float]]


def trace(box_id: str, text: str) -> Made[Trace]:
    """Return the page's only forward pass of the text.

    Raises:
        Exception: with a `.code`, where the text has no token or more than MAX_TOKENS, or the box cannot be opened.
    """
    return engine.trace(box_id, text, PARTS, max_tokens=MAX_TOKENS)


def machine(box_id: str, text: str, asked: Neuron | None = None) -> Made[Machine]:
    """Return all layers for their picture; ``asked`` is a neuron that must be among the columns."""
    return _machine(box_id, engine.fingerprint(box_id), text, asked)


def strongest(box_id: str, text: str, layer: int, token: int) -> Made[Strongest]:
    """Return the STRONGEST neurons of a layer at a token, by the length of what they add."""
    return _strongest(box_id, engine.fingerprint(box_id), text, layer, token)


def loudness(box_id: str, text: str, layer: int) -> Floats:
    """Return how much each neuron of a layer adds over the whole text, as a sum of lengths: [d_mlp]."""
    from llmkit.trace.neurons import output_norms

    act = trace(box_id, text).value["mlp_act"][layer]
    added: Floats = np.abs(act).sum(0) * output_norms(engine.open_box(box_id), layer)
    return added


def told(box_id: str, layer: int, neurons: tuple[int, ...]) -> Made[Told]:
    """Return the tokens that some neurons write towards; a product of weights alone, no forward pass."""
    return _told(box_id, engine.fingerprint(box_id), layer, neurons)


def counts(box_id: str, tokens: int) -> Made[Counts]:
    """Return parameters and work of each part of the box, for a text of so many tokens."""
    return _counts(box_id, engine.fingerprint(box_id), tokens)


def work_by_length(box_id: str) -> Made[pd.DataFrame]:
    """Return each part's share of the floating-point work in per cent, for texts from one token to the longest."""
    return _work_by_length(box_id, engine.fingerprint(box_id))


def curves() -> Made[pd.DataFrame]:
    """Return the three activations of the families on the same inputs: columns x, gelu, gelu_tanh, swiglu."""
    return _curves()


def machine_frame(box_id: str, text: str, shown: Machine, layer: int) -> pd.DataFrame:
    """Return one layer's columns as a table, one row a token and neuron."""
    read = trace(box_id, text).value
    columns = shown.neurons[layer]
    T = len(shown.labels)
    table = {
        "token_index": np.repeat(np.arange(T), len(columns)),
        "token": np.repeat(np.asarray(shown.labels, dtype=object), len(columns)),
        "neuron": np.tile(columns, T),
    }
    values: dict[str, Value] = {"pre_activation": "mlp_pre", "up": "mlp_up", "activation": "mlp_act"}
    for name, value in values.items():
        if value in read:
            table[name] = read[value][layer][:, columns].ravel()
    return pd.DataFrame(table)


@engine.remembered(max_entries=16)
def _machine(box_id: str, fingerprint: str, text: str, asked: Neuron | None) -> Machine:
    from llmkit.trace.neurons import activation_curve, choose_neurons, output_norms

    box = engine.open_box(box_id)
    read = trace(box_id, text).value
    kind = box.config.feed_forward
    pres, acts = read["mlp_pre"], read["mlp_act"]
    norms = [output_norms(box, layer) for layer in range(len(pres))]
    always = [[asked[1]] if asked and asked[0] == layer else [] for layer in range(len(pres))]
    columns = np.stack(
        [
            choose_neurons(np.abs(act) * norm, COLUMNS, always=more)
            for act, norm, more in zip(acts, norms, always, strict=True)
        ]
    )
    ends = np.stack([_widen(float(pre.min()), float(pre.max())) for pre in pres])  # [L, 2]
    grid = np.linspace(ends[:, 0], ends[:, 1], CURVE_POINTS, axis=1, dtype=np.float32)
    spread = np.stack([np.stack((pre.min(1), pre.max(1)), axis=1) for pre in pres])  # [L, T, 2]
    packed = {
        "pre": _pick(pres, columns),
        "act": _pick(acts, columns),
        "norms": np.stack([norm[chosen] for norm, chosen in zip(norms, columns, strict=True)]),
        "reach": np.stack([_reach(*layer) for layer in zip(read["mlp_out"], read["residual_mid"], strict=True)]),
        "curve": activation_curve(kind, grid),
        "ends": ends,
        "spread": spread,
        "neurons": columns.astype(np.int32),
        "open": np.stack([(pre > 0).sum(1) for pre in pres]).astype(np.int32),
        "bars": np.stack([_bars(pre) for pre in pres]),
    }
    if "mlp_up" in read:
        packed["up"] = _pick(read["mlp_up"], columns)
    seed = f"{box_id}\0{fingerprint}\0{text}\0{asked}".encode()
    return Machine(
        labels=read.encoding.labels,
        special=read.encoding.special,
        n_layers=len(pres),
        d_model=box.config.d_model,
        d_mlp=box.config.d_mlp,
        kind=kind,
        gated="mlp_up" in read,
        neurons=columns.astype(np.int32),
        packed={name: encode(array) for name, array in packed.items()},
        id=hashlib.blake2b(seed, digest_size=8).hexdigest(),
    )


@engine.remembered(max_entries=128)
def _strongest(box_id: str, fingerprint: str, text: str, layer: int, token: int) -> Strongest:
    from llmkit.trace.neurons import output_norms

    read = trace(box_id, text).value
    norms = output_norms(engine.open_box(box_id), layer)
    act = read["mlp_act"][layer][token]
    adds = np.abs(act) * norms
    chosen = np.argsort(-adds, kind="stable")[:STRONGEST]
    written = _written(box_id, layer, chosen)
    turned = act[chosen] < 0
    rows = [(down, up) if turn else (up, down) for up, down, turn in zip(*_ends(box_id, written), turned, strict=True)]
    return Strongest(
        neurons=chosen,
        pre=read["mlp_pre"][layer][token][chosen],
        up=read["mlp_up"][layer][token][chosen] if "mlp_up" in read else None,
        act=act[chosen],
        norms=norms[chosen],
        adds=adds[chosen],
        pushes=tuple(up for up, _ in rows),
        pulls=tuple(down for _, down in rows),
        through=written.through,
    )


@engine.remembered(max_entries=256)
def _told(box_id: str, fingerprint: str, layer: int, neurons: tuple[int, ...]) -> Told:
    written = _written(box_id, layer, np.asarray(neurons, dtype=np.int64))
    ids = sorted({int(one) for table in (written.promoted, written.suppressed) for one in table.ravel()})
    place = {one: at for at, one in enumerate(ids)}
    return Told(
        layer=layer,
        labels=labels_of(box_id, ids),
        through=written.through,
        up=[[place[int(one)] for one in row] for row in written.promoted],
        down=[[place[int(one)] for one in row] for row in written.suppressed],
        up_by=[[round(float(one), 3) for one in row] for row in written.promoted_by],
        down_by=[[round(float(one), 3) for one in row] for row in written.suppressed_by],
    )


@engine.remembered(max_entries=4)
def _work_by_length(box_id: str, fingerprint: str) -> pd.DataFrame:
    from llmkit.parts.count import count_parts

    config = engine.open_box(box_id).config
    lengths = np.unique(np.geomspace(1, config.max_seq_len, LENGTHS).round().astype(int))
    rows = []
    for length in lengths.tolist():
        counted = count_parts(config, seq_len=length)
        work: dict[str, float] = {
            part.name: 100 * part.places * part.flops / counted.flops for part in counted.parts if part.flops
        }
        rows.append({"tokens": float(length), **work})
    return pd.DataFrame(rows)


@engine.remembered(max_entries=1)
def _curves() -> pd.DataFrame:
    from llmkit.trace.neurons import activation_curve

    x = np.linspace(-5, 5, CURVE_POINTS, dtype=np.float32)
    kinds: tuple[FeedForwardKind, ...] = ("gelu", "gelu_tanh", "swiglu")
    columns: dict[str, Floats] = {"x": x}
    columns.update((kind, activation_curve(kind, x)) for kind in kinds)
    return pd.DataFrame(columns)


@engine.remembered(max_entries=64)
def _counts(box_id: str, fingerprint: str, tokens: int) -> Counts:
    from llmkit.parts.count import count_parts

    return count_parts(engine.open_box(box_id).config, seq_len=tokens)


def _written(box_id: str, layer: int, neurons: NDArray[np.int64]) -> Written:
    from llmkit.trace.neurons import written_towards

    return written_towards(engine.open_box(box_id), layer, neurons, top=TOKENS)


def _ends(box_id: str, written: Written) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """The tokens at both ends, one row a neuron, made visible."""
    up, down = (
        [tuple(labels_of(box_id, [int(one) for one in row])) for row in table]
        for table in (written.promoted, written.suppressed)
    )
    return up, down


def _pick(layers: tuple[Floats, ...], columns: NDArray[np.int64]) -> Floats:
    """[L, K, T]: the chosen neurons of each layer, token by token."""
    picked = [layer[:, chosen].T for layer, chosen in zip(layers, columns, strict=True)]
    return np.stack(picked).astype(np.float32)


def _reach(written_back: Floats, came_in: Floats) -> Floats:
    """[T]: how long what a token gets back is, beside what came in."""
    length = np.linalg.norm(came_in, axis=1)
    ratio: Floats = (np.linalg.norm(written_back, axis=1) / np.where(length > 0, length, 1)).astype(np.float32)
    return ratio


def _bars(pre: Floats) -> NDArray[np.uint16]:
    """[T, BINS]: how many neurons have which pre-activation, between each token's own least and greatest."""
    return np.stack([np.histogram(row, bins=BINS)[0] for row in pre]).astype(np.uint16)


def _widen(low: float, high: float) -> Floats:
    """The ends of a curve that shows its bend, and a little more than the values on it."""
    low, high = min(low, -3.0), max(high, 3.0)
    edge = (high - low) / 20
    return np.asarray((low - edge, high + edge), dtype=np.float32)
