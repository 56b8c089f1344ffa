"""Merged against unmerged: the adapter added to the matrices, or computing beside them, gives the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from llmkit.reference import Assembled
from llmkit.reference.verify import FLOAT32_LIMIT, FLOAT64_LIMIT
from llmkit.tune.adapter import Adapter, Low, adapted


@dataclass(frozen=True, kw_only=True)
class Merging:
    """How far the merged machine's numbers are from the unmerged one's on a text.

    Args:
        float32, float64: max |Δ| of the logits, or of the final states where the box has no LM head.
        scale: the largest absolute value among them, in float32. changed: max |Δ| between adapter on and off.
        tokens: how many were read.
    """

    float32: float
    float64: float
    scale: float
    changed: float
    tokens: int

    @property
    def float32_limit(self) -> float:
        """Rounding grows with the size of the numbers: the limit does, too."""
        return FLOAT32_LIMIT * max(1.0, self.scale)

    @property
    def float64_limit(self) -> float:
        """Under which a rounding of float32 cannot stay."""
        return FLOAT64_LIMIT * max(1.0, self.scale)

    @property
    def fits(self) -> bool:
        """Within rounding in both; NaN never is."""
        return self.float32 < self.float32_limit and self.float64 < self.float64_limit


@torch.inference_mode()
def compare_merging(box: Assembled, adapter: Adapter, ids: Sequence[int]) -> Merging:
    """Read a text with the adapter merged and unmerged, in float32 and in float64; the box stays as it is.

    Args:
        ids: T tokens of the text.
    """
    given = torch.tensor([list(ids)], device=box.device)
    merged, beside = (adapted(box, adapter, merged=one)(given) for one in (True, False))
    scale, changed = float(merged.abs().max()), float((merged - box.model(given)).abs().max())
    wide = replace(box, model=copy.deepcopy(box.model).double())
    exact = replace(adapter, lows=tuple(map(_double, adapter.lows)))
    wide_merged, wide_beside = (adapted(wide, exact, merged=one)(given) for one in (True, False))
    return Merging(
        float32=float((merged - beside).abs().max()),
        float64=float((wide_merged - wide_beside).abs().max()),
        scale=scale,
        changed=changed,
        tokens=len(ids),
    )


def _double(low: Low) -> Low:
    magnitude = None if low.magnitude is None else low.magnitude.double()
    return replace(low, a=low.a.double(), b=low.b.double(), magnitude=magnitude)
