"""What heads are good for: the sentence read again with some of them switched off, once for all sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components import embeddings_engine, engine
from components.engine import Made

if TYPE_CHECKING:
    from llmkit.trace.order import Reading

Floats = NDArray[np.float32]
Pair = tuple[int, int]
"""Layer and head, both counted from 0."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One sentence read with all heads, and without some.

    Args:
        whole, without: both readings.
        harm: what it costs: rise of the loss in nats, of a box that predicts; else the mean turn of the final states.
        predicts: whether harm is a loss.
        turned: how far each token's final state turned, [T].
    """

    whole: Reading
    without: Reading
    harm: float
    predicts: bool
    turned: Floats


def switched_off(box_id: str, text: str, pairs: tuple[Pair, ...]) -> Made[Change]:
    """Read the text with these heads switched off.

    Raises:
        Exception: with a `.code`, where the box cannot be opened or the text cannot be read.
    """
    return _switched_off(box_id, engine.fingerprint(box_id), text, tuple(sorted(set(pairs))))


def each_alone(box_id: str, text: str, layer: int) -> Made[Floats]:
    """Return the harm of each head of a layer, switched off alone, [n_heads]."""
    return _each_alone(box_id, engine.fingerprint(box_id), text, layer)


@engine.remembered(max_entries=32)
def _switched_off(box_id: str, fingerprint: str, text: str, pairs: tuple[Pair, ...]) -> Change:
    return compare(_whole(box_id, fingerprint, text).value, _read(box_id, text, pairs))


@engine.remembered(max_entries=128)
def _each_alone(box_id: str, fingerprint: str, text: str, layer: int) -> Floats:
    whole = _whole(box_id, fingerprint, text).value
    heads = range(engine.open_box(box_id).config.n_heads)
    found = [compare(whole, _read(box_id, text, ((layer, head),))).harm for head in heads]
    return np.asarray(found, dtype=np.float32)


@engine.remembered(max_entries=16)
def _whole(box_id: str, fingerprint: str, text: str) -> Reading:
    return _read(box_id, text, ())


def _read(box_id: str, text: str, pairs: tuple[Pair, ...]) -> Reading:
    from llmkit.trace.intervene import switch_off_heads
    from llmkit.trace.order import read_in_order

    ids = embeddings_engine.encode(box_id, text).ids
    return read_in_order(engine.open_box(box_id), ids, range(len(ids)), tap=switch_off_heads(pairs))


def compare(whole: Reading, without: Reading) -> Change:
    """Return what a reading without some part of the box costs, beside the whole one."""
    from llmkit.trace.order import change

    turned = change(whole, without).astype(np.float32)
    predicts = whole.loss is not None and without.loss is not None
    harm = without.loss - whole.loss if whole.loss is not None and without.loss is not None else float(turned.mean())
    return Change(whole=whole, without=without, harm=harm, predicts=predicts, turned=turned)
