"""What the LoRA page reads: which adapter is looked at, what it did to each matrix, and what it does to one text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import engine
from components.attention_engine import encode
from components.engine import Made
from components.workbench import Workbench

if TYPE_CHECKING:
    from llmkit.tune.adapter import Adapter, Changed
    from llmkit.tune.adapter_merge import Merging
    from llmkit.tune.adapter_shelf import Here

ROWS, COLUMNS = 48, 64
"""Of each matrix's upper left corner: what is sent to the browser and drawn there."""

MOST_DIRECTIONS = 64
"""Directions of one matrix that the rank slider goes through; DoRA's are as many as the matrix is wide."""

STRENGTHS = tuple(at / 4 for at in range(9))
"""From off to twice as strong."""

HELD_SHARE = 0.9
"""Of ΔW's squares: what "nearly all of it" means in the check."""

MERGED_TOKENS = 64
FULL = 127
"""The largest of the whole numbers that a corner's numbers are sent as."""


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the page is about.

    Args:
        box_id: the box that adapters stand beside: the workbench's, or the one that it was tuned from.
        writes: whether it predicts the next token. here: its adapters, the newest first.
        chosen: the one that is looked at; None where there is none.
    """

    box_id: str
    writes: bool
    here: tuple[Here, ...]
    chosen: Here | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An adapter taken apart.

    Args:
        changed: each matrix, in the order of the layers. rank: as it was made.
        matrices: the kinds of matrices that it stands beside, in the order in which a text passes them.
        corners: for each matrix ΔW, B, A, left·singular and right in its corner, as `sent` packs them.
        parameters: numbers that the adapter holds. id: changes whenever any of it does.
    """

    changed: tuple[Changed, ...]
    rank: int
    alpha: float
    dora: bool
    rslora: bool
    matrices: tuple[str, ...]
    corners: tuple[tuple[NDArray[np.float32], ...], ...]
    parameters: int
    id: str

    @property
    def most_changed(self) -> int:
        """Which matrix changed most beside what it was."""
        return max(range(len(self.changed)), key=lambda at: self.changed[at].share)

    def directions(self, at: int) -> int:
        """How many directions of a matrix can be looked at."""
        return min(len(self.changed[at].singular), MOST_DIRECTIONS)

    def sent(self) -> dict[str, Any]:
        """The numbers as the browser gets them, once: corners as bytes with a scale each, singular values whole."""
        pieces: list[NDArray[np.int8]] = []
        scales: list[float] = []
        sizes: list[int] = []
        for corner in self.corners:
            for table in corner:
                top = float(np.abs(table).max(initial=0.0))
                scales.append(top / FULL)
                pieces.append(np.round(table * (FULL / top if top else 0.0)).astype(np.int8).ravel())
                sizes += table.shape
        return {
            "bytes": encode(np.concatenate(pieces).view(np.uint8)),
            "scales": encode(np.asarray(scales, dtype=np.float32)),
            "sizes": encode(np.asarray(sizes, dtype=np.float32)),
            "singular": encode(np.concatenate([one.singular for one in self.changed]).astype(np.float32)),
            "counts": [len(one.singular) for one in self.changed],
            "directions": [self.directions(at) for at in range(len(self.changed))],
            "layers": [one.layer for one in self.changed],
            "kinds": [self.matrices.index(one.matrix) for one in self.changed],
            "names": [one.name for one in self.changed],
            "shapes": [list(one.shape) for one in self.changed],
            "shares": encode(np.asarray([one.share for one in self.changed], dtype=np.float32)),
            "matrices": list(self.matrices),
            "dora": self.dora,
        }


def held_by(changed: Changed, share: float = HELD_SHARE) -> int:
    """How many directions, from the strongest on, hold such a share of ΔW's squares; 0 for no change."""
    squares = np.cumsum(changed.singular.astype(np.float64) ** 2)
    return int(np.searchsorted(squares, share * squares[-1]) + 1) if len(squares) and squares[-1] else 0


def frame(picture: Picture) -> pd.DataFrame:
    """What the adapter did to each matrix, one a row."""
    return pd.DataFrame(
        [
            {
                "matrix": one.name,
                "rows": one.shape[0],
                "columns": one.shape[1],
                "delta_norm": one.norm,
                "norm": one.norm_before,
                "share": one.share,
                "effective_rank": one.effective_rank,
                **{f"singular_{at + 1}": float(value) for at, value in enumerate(one.singular[: picture.rank])},
            }
            for one in picture.changed
        ]
    )


def desk(bench: Workbench) -> Desk:
    """Return what the page is about, no adapter chosen yet.

    Raises:
        Exception: with a ``.code``, where the box is missing or broken.
    """
    from llmkit.tune.adapter_shelf import adapters_here, base_of

    box_id = base_of(bench.box_id)
    box = engine.open_box(box_id)
    writes = box.config.causal and box.model.unembedding is not None
    return Desk(box_id=box_id, writes=writes, here=adapters_here(box_id), chosen=None)


def adapter(one: Here) -> Made[Adapter]:
    """Open an adapter.

    Raises:
        AdapterError: ``adapter_broken``, ``adapter_other_box``.
    """
    return _adapter(one.box_id, engine.fingerprint(one.box_id), one.id, one.made_at)


def picture(one: Here) -> Made[Picture]:
    """Take an adapter apart; see `adapter`."""
    return _picture(one.box_id, engine.fingerprint(one.box_id), one.id, one.made_at)


def merging(one: Here, text: str) -> Made[Merging]:
    """Compare the merged with the unmerged machine on a text.

    Raises:
        Exception: with a ``.code``, where the text has no token.
    """
    return _merging(one.box_id, engine.fingerprint(one.box_id), one.id, one.made_at, text)


def label_probs(one: Here, text: str) -> Made[NDArray[np.float32]]:
    """What a classifier says of a text at each of `STRENGTHS`, [S, n_labels]."""
    fingerprints = (engine.fingerprint(one.box_id), engine.fingerprint(one.id))
    return _label_probs(one.box_id, fingerprints, one.id, one.made_at, text, int(one.facts["max_tokens"]) or 128)


def packed(one: Here) -> bytes:
    """The adapter as a ZIP that PEFT opens."""
    return _packed(one.box_id, engine.fingerprint(one.box_id), one.id, one.made_at).value


def _found(box_id: str, adapter_id: str) -> Here:
    from llmkit.tune.adapter import AdapterError
    from llmkit.tune.adapter_shelf import adapters_here

    found = next((one for one in adapters_here(box_id) if one.id == adapter_id), None)
    if found is None:
        raise AdapterError("adapter_broken", folder=adapter_id, detail="not here")
    return found


@engine.remembered(max_entries=4)
def _adapter(box_id: str, fingerprint: str, adapter_id: str, made_at: float) -> Adapter:
    from llmkit.tune.adapter import read_adapter

    return read_adapter(_found(box_id, adapter_id).folder, engine.open_box(box_id))


@engine.remembered(max_entries=4)
def _picture(box_id: str, fingerprint: str, adapter_id: str, made_at: float) -> Picture:
    from llmkit.tune.adapter import changes

    box, opened = engine.open_box(box_id), _adapter(box_id, fingerprint, adapter_id, made_at).value
    changed = changes(opened, box)
    corners = []
    for low, one in zip(opened.lows, changed, strict=True):
        n = min(len(one.singular), MOST_DIRECTIONS)
        left, right = (one.left * one.singular)[:ROWS], one.right[:, :COLUMNS]
        b, a = low.b.cpu().numpy()[:ROWS], low.a.cpu().numpy()[:, :COLUMNS]
        tables = (left @ right, b, a, left[:, :n], right[:n])
        corners.append(tuple(np.asarray(table, dtype=np.float32) for table in tables))
    layer = [name for name, _ in box.model.layers[0].named_modules()]
    kinds = {one.matrix: one.name.split(".", 2)[2] for one in changed}
    told = f"{box_id} {fingerprint} {adapter_id} {made_at}"
    return Picture(
        changed=changed,
        rank=opened.rank,
        alpha=opened.alpha,
        dora=opened.dora,
        rslora=opened.rslora,
        matrices=tuple(sorted(kinds, key=lambda kind: layer.index(kinds[kind]))),
        corners=tuple(corners),
        parameters=opened.parameters,
        id=hashlib.blake2b(told.encode(), digest_size=8).hexdigest(),
    )


@engine.remembered(max_entries=8)
def _merging(box_id: str, fingerprint: str, adapter_id: str, made_at: float, text: str) -> Merging:
    from llmkit.generate.decode import require_prompt
    from llmkit.tune.adapter_merge import compare_merging

    box = engine.open_box(box_id)
    ids = tuple(box.tokenizer.encode(text).ids[: min(MERGED_TOKENS, box.config.max_seq_len - 1)])
    require_prompt(box, ids)
    return compare_merging(box, _adapter(box_id, fingerprint, adapter_id, made_at).value, ids)


@engine.remembered(max_entries=16)
def _label_probs(
    box_id: str, fingerprints: tuple[str, str], adapter_id: str, made_at: float, text: str, max_tokens: int
) -> NDArray[np.float32]:
    from llmkit.tune.adapter_label import label_probs as compute
    from llmkit.tune.classifier_box import open_classifier

    opened = _adapter(box_id, fingerprints[0], adapter_id, made_at).value
    tuned = open_classifier(adapter_id, device=engine.device())
    return compute(engine.open_box(box_id), tuned, opened, text, STRENGTHS, max_tokens=max_tokens)


@engine.remembered(max_entries=2)
def _packed(box_id: str, fingerprint: str, adapter_id: str, made_at: float) -> bytes:
    from llmkit.tune.adapter_pack import pack

    return pack(_adapter(box_id, fingerprint, adapter_id, made_at).value, engine.open_box(box_id))
