"""What the Positional encoding page computes, once for all sessions: waves, tables, turns, slopes, readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from components import embeddings_engine, engine
from components.engine import Made
from components.workbench import DEFAULT_BOX

if TYPE_CHECKING:
    from llmkit.parts import TransformerConfig
    from llmkit.trace import Value
    from llmkit.trace.order import Reading

Floats = NDArray[np.float32]

MAX_TOKENS = 96
"""Tokens of the sentence that the experiment reads."""

PLACES = 64
"""Positions drawn for rotary and ALiBi."""

ROWS = 128
"""Rows of a learned table that are drawn."""

Way = Literal["as_is", "shuffled", "away", "both"]
WAYS: tuple[Way, ...] = ("as_is", "shuffled", "away", "both")
ALONE: tuple[Way, ...] = ("shuffled", "away")
"""What the check asks about: without positions an encoder reads every order alike, so that "both" would be a tie."""

_PARTS: tuple[Value, ...] = ("q_unrotated", "k_unrotated")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of positions: [N, D], and the cosine of each with each, [N, N]."""

    rows: Floats
    likeness: Floats


@dataclass(frozen=True, kw_only=True)
class Turning:
    """A true query and a true key of layer 0, head 0, before and after they are turned.

    Args:
        labels: the query's token (the sentence's last) and the key's (its first).
        own: whether the box itself turns its positions; otherwise this is what rotary would do to it.
        frequencies: [Dh / 2], radians a position.
        q, k: [PLACES, Dh / 2, 2], each pair at each position.
        scores: [PLACES, PLACES], query position by key position: product over √Dh.
    """

    labels: tuple[str, str]
    own: bool
    frequencies: Floats
    q: Floats
    k: Floats
    scores: Floats


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One sentence read in four ways.

    Args:
        labels: its tokens, as written.
        readings: way → what the box made of it.
        harm: way → loss in nats of a box that predicts, else the mean turn of the final states.
        predicts: whether harm is a loss.
        turned: way → how far each token's final state turned from the first reading, [T].
        blind: greatest difference of any final state between "away" and "both": what order is left to see.
    """

    labels: tuple[str, ...]
    readings: dict[Way, Reading]
    harm: dict[Way, float]
    predicts: bool
    turned: dict[Way, Floats]
    blind: float


def config(box_id: str) -> TransformerConfig:
    """Return the box's parts list."""
    return engine.open_box(box_id).config


def waves(length: int, d_model: int, base: float) -> Made[Table]:
    """Return sinusoidal positions, nothing learned: [length, d_model]."""
    return _waves(length, d_model, base)


def table_box(box_id: str) -> str:
    """Return the box itself where it has a learned table of positions, else the one that comes with the guide."""
    return box_id if config(box_id).positions == "learned" else DEFAULT_BOX


def learned(box_id: str) -> Made[Table]:
    """Return the first ROWS learned positions of `table_box(box_id)`."""
    chosen = table_box(box_id)
    return _learned(chosen, engine.fingerprint(chosen))


def turning(box_id: str, text: str) -> Made[Turning]:
    """Return the sentence's last query and first key at every position.

    Raises:
        TraceError: the text has no token, or more than MAX_TOKENS.
    """
    return _turning(box_id, engine.fingerprint(box_id), text)


def slopes(most: int) -> Made[tuple[tuple[Floats, Floats], ...]]:
    """Return, for 1 head, 2 heads … `most` heads: ALiBi's slopes, [H], and what they add by distance, [H, PLACES]."""
    return _slopes(most)


def experiment(box_id: str, text: str, seed: int) -> Made[Experiment]:
    """Read the sentence as it is, shuffled, without positions, and both.

    Raises:
        TraceError: the text has no token, or more than MAX_TOKENS.
        OrderError: it has too few words to be shuffled.
    """
    return _experiment(box_id, engine.fingerprint(box_id), text, seed)


@engine.remembered(max_entries=64)
def _waves(length: int, d_model: int, base: float) -> Table:
    import torch

    from llmkit.parts import SinusoidalPositions

    return _table(SinusoidalPositions(d_model=d_model, base=base).added(torch.arange(length)).numpy())


@engine.remembered(max_entries=4)
def _learned(box_id: str, fingerprint: str) -> Table:
    import torch

    model = engine.open_box(box_id).model
    places = torch.arange(min(ROWS, model.max_seq_len), device=model.embedding.weight.device)
    rows = model.positions.added(places)
    if rows is None:
        raise TypeError(f"{box_id} has no table of positions")
    return _table(rows.detach().float().cpu().numpy())


@engine.remembered(max_entries=16)
def _turning(box_id: str, fingerprint: str, text: str) -> Turning:
    import torch

    from llmkit.parts import RotaryPositions

    made = engine.trace(box_id, text, _PARTS, max_tokens=MAX_TOKENS).value
    box = engine.open_box(box_id)
    ours = box.model.positions
    own = isinstance(ours, RotaryPositions)
    rotary = ours if isinstance(ours, RotaryPositions) else RotaryPositions(head_dim=box.config.head_dim)
    rotation = rotary.rotation(torch.arange(PLACES))
    q, k = (
        rotation.turn(torch.from_numpy(made[name][0][0, at].copy()).expand(PLACES, -1))  # [PLACES, Dh]
        for name, at in zip(_PARTS, (-1, 0), strict=True)
    )
    scores = q @ k.T / box.config.head_dim**0.5
    return Turning(
        labels=(made.encoding.labels[-1], made.encoding.labels[0]),
        own=own,
        frequencies=rotary.frequencies(PLACES).numpy(),
        q=_pairs(q.numpy()),
        k=_pairs(k.numpy()),
        scores=scores.numpy(),
    )


@engine.remembered(max_entries=2)
def _slopes(most: int) -> tuple[tuple[Floats, Floats], ...]:
    import torch

    from llmkit.parts import ALiBiPositions

    made = []
    for n_heads in range(1, most + 1):
        alibi = ALiBiPositions(n_heads=n_heads)
        bias = alibi.bias(torch.arange(PLACES - 1, PLACES), torch.arange(PLACES))[:, 0].flip(-1)  # nearest first
        made.append((alibi.slopes().numpy(), bias.numpy()))
    return tuple(made)


@engine.remembered(max_entries=32)
def _experiment(box_id: str, fingerprint: str, text: str, seed: int) -> Experiment:
    from llmkit.trace import TraceError
    from llmkit.trace.order import change, read_in_order, shuffle_words

    encoding = embeddings_engine.encode(box_id, text)
    box = engine.open_box(box_id)
    limit = min(MAX_TOKENS, box.config.max_seq_len)
    if not len(encoding) or len(encoding) > limit:
        code: Literal["text_too_long", "text_empty"] = "text_too_long" if len(encoding) else "text_empty"
        raise TraceError(code, tokens=len(encoding), limit=limit)
    plain, mixed = tuple(range(len(encoding))), shuffle_words(encoding, seed=seed)
    readings = {
        way: read_in_order(box, encoding.ids, mixed if way in ("shuffled", "both") else plain, positions=keep)
        for way, keep in zip(WAYS, (True, True, False, False), strict=True)
    }
    turned = {way: change(readings["as_is"], reading).astype(np.float32) for way, reading in readings.items()}
    harm = {way: float(turned[way].mean()) if one.loss is None else one.loss for way, one in readings.items()}
    return Experiment(
        labels=encoding.labels,
        readings=readings,
        harm=harm,
        predicts=readings["as_is"].loss is not None,
        turned=turned,
        blind=float(np.abs(readings["away"].states - readings["both"].states).max()),
    )


def _table(rows: Floats) -> Table:
    from llmkit.trace.space import similarity

    return Table(rows=rows, likeness=similarity(rows))


def _pairs(x: Floats) -> Floats:
    """Put a pair's two numbers together: [N, Dh] → [N, Dh / 2, 2]."""
    return np.stack(np.split(x, 2, axis=1), axis=-1)
