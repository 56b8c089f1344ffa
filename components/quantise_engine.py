"""What the quantise page reads off the workbench's box: one matrix, and what each way of rounding it costs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import engine
from components.attention_engine import encode
from components.engine import Made
from llmkit import shelf
from llmkit.compress.held_out import TEXTS
from llmkit.compress.matrix import (
    BITS,
    Cost,
    Kind,
    Outliers,
    Per,
    Scheme,
    bits_a_weight,
    cost,
    groups,
    histogram,
    outliers,
    quantise,
)

ROWS, COLUMNS = 48, 256
"""Of the matrix's upper left corner: what is sent to the browser, and rounded there."""

BINS = 96
KINDS: tuple[Kind, ...] = ("symmetric", "asymmetric")
PERS: tuple[Per, ...] = ("tensor", "channel", 256, 128, 64, 32, 16)
START: tuple[int, Per, Kind] = (4, "channel", "symmetric")
HEAD_BITS = (8, 4)
TEXT_CHARACTERS = 1_500


@dataclass(frozen=True, kw_only=True, eq=False)
class Matrix:
    """One weight matrix of a box.

    Args:
        corner: [rows, columns], at most ``ROWS`` by ``COLUMNS``. shape: of the whole matrix, outputs by inputs.
        ranges: [1 + rows, 2], lowest and highest weight of the whole matrix, then of each whole row of the corner.
        counts: [BINS], how many of its weights lie where. most: its greatest |w|: the bins' end.
        pers: the group sizes that this matrix can have, largest first.
        costs: of the whole matrix, by bits, what shares a scale, and kind.
        outliers: per output channel.
        id: changes whenever any of it does.
    """

    corner: NDArray[np.float32]
    ranges: NDArray[np.float32]
    shape: tuple[int, int]
    counts: NDArray[np.int64]
    most: float
    pers: tuple[Per, ...]
    costs: dict[tuple[int, Per, Kind], Cost]
    outliers: Outliers
    id: str

    def bits_a_weight(self, bits: int, per: Per, kind: Kind) -> float:
        """Bits that a weight of the whole matrix takes, scales among them."""
        scheme = Scheme(bits=bits, per=per, kind=kind)
        return bits_a_weight(scheme, self.shape[0] * self.shape[1], groups(self.shape, per))

    def sent(self) -> dict[str, Any]:
        """The numbers as the browser gets them, once."""
        told = [
            (one.snr_db, one.max_abs, self.bits_a_weight(bits, per, kind))
            for kind in KINDS
            for bits in BITS
            for per in self.pers
            for one in (self.costs[bits, per, kind],)
        ]
        whole = np.asarray(told, dtype=np.float32)  # [kinds * bits * pers, 3]
        return {
            "rows": self.corner.shape[0],
            "columns": self.corner.shape[1],
            "shape": list(self.shape),
            "corner": encode(self.corner),
            "ranges": encode(self.ranges),
            "counts": encode((self.counts / max(int(self.counts.max()), 1)).astype(np.float32)),
            "most": self.most,
            "pers": list(self.pers),
            "bits": list(BITS),
            "whole": encode(whole),
        }


def matrices(box_id: str) -> tuple[str, ...]:
    """The weight matrices that every layer of a box has, in the order in which a text passes them."""
    layers = engine.open_box(box_id).model.layers
    return tuple(name.removesuffix(".weight") for name, weight in layers[0].named_parameters() if weight.ndim == 2)


def n_layers(box_id: str) -> int:
    """How many layers a box has."""
    return len(engine.open_box(box_id).model.layers)


def matrix(box_id: str, layer: int, name: str) -> Made[Matrix]:
    """One weight matrix ("attention.q"), read and rounded in every way.

    Raises:
        MatrixError: ``matrix_not_finite``.
    """
    return _matrix(box_id, engine.fingerprint(box_id), layer, name)


def text_of(lang: str, sentence: str) -> tuple[str, str]:
    """Held-out text that perplexity is measured on, and the box that it is from; the sentence where none is here."""
    return _text(TEXTS[lang], sentence).value


def head_settings(box_id: str, lang: str, sentence: str, bits: int) -> dict[str, Any]:
    """What the job ``head_cost`` is given."""
    return {
        "box": box_id,
        "fingerprint": engine.fingerprint(box_id),
        "bits": bits,
        "kind": "symmetric",
        "text": text_of(lang, sentence)[0],
    }


def costs_frame(shown: Matrix) -> pd.DataFrame:
    """Every way of rounding the whole matrix, one a row."""
    return pd.DataFrame(
        [
            {
                "bits": bits,
                "per": str(per),
                "kind": kind,
                "bits_a_weight": shown.bits_a_weight(bits, per, kind),
                "snr_db": one.snr_db,
                "max_abs": one.max_abs,
                "mean_square": one.mean_square,
            }
            for (bits, per, kind), one in shown.costs.items()
        ]
    )


@engine.remembered(max_entries=24)
def _matrix(box_id: str, fingerprint: str, layer: int, name: str) -> Matrix:
    parts = dict(engine.open_box(box_id).model.layers[layer].named_parameters())
    weights = parts[f"{name}.weight"].detach().float().cpu().numpy()
    counts, most = histogram(weights, BINS)
    pers = tuple(per for per in PERS if not isinstance(per, int) or per < weights.shape[1])
    costs = {}
    for bits in reversed(BITS):
        for per in pers:
            for kind in KINDS:
                made = quantise(weights, Scheme(bits=bits, per=per, kind=kind))
                costs[bits, per, kind] = cost(weights, made.weights)
    corner = np.ascontiguousarray(weights[:ROWS, :COLUMNS])
    ends = [(weights.min(), weights.max()), *((row.min(), row.max()) for row in weights[:ROWS])]
    told = hashlib.blake2b(f"{box_id} {fingerprint} {layer} {name}".encode(), digest_size=8).hexdigest()
    return Matrix(
        corner=corner,
        ranges=np.asarray(ends, dtype=np.float32),
        shape=(weights.shape[0], weights.shape[1]),
        counts=counts,
        most=most,
        pers=pers,
        costs=costs,
        outliers=outliers(weights),
        id=told,
    )


@engine.remembered(max_entries=8)
def _text(data: str, sentence: str) -> tuple[str, str]:
    try:
        rows = shelf.open_data(data).rows
    except shelf.ShelfError:
        return sentence[:TEXT_CHARACTERS], ""
    from llmkit.tune.corpus import is_held_out

    text = ""
    for row in rows:
        if not is_held_out(row.text):
            continue
        text = f"{text}\n\n{row.text}".strip()
        if len(text) >= TEXT_CHARACTERS:
            break
    return text[:TEXT_CHARACTERS], data
