"""Which parts of a plan do not fit together, why, and what would mend it.

The same rules stand in ``components/js/build_count.js``, where they answer without a server; a test holds them equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmkit.assembly.plan import LIMITS, Plan, Slot, changed

Code = Literal["heads", "kv_heads", "rotary", "alibi", "scaling", "dynamic"]


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Two parts that do not fit together.

    Args:
        code: the reason. slot: the part that is refused.
        values: the numbers that the reason is about.
        mend: fields and values of the nearest plan without this misfit.
    """

    code: Code
    slot: Slot
    values: Mapping[str, float]
    mend: Mapping[str, Any]


def misfits(plan: Plan) -> tuple[Misfit, ...]:
    """Every reason why this plan cannot be built, among the parts that are on the bench.

    >>> [one.code for one in misfits(Plan(d_model=64, n_heads=5, n_kv_heads=5))]
    ['heads']
    >>> misfits(Plan(d_model=64, n_heads=5, n_kv_heads=5))[0].mend
    {'n_heads': 4, 'n_kv_heads': 4}
    """
    found = []
    if "attention" not in plan.missing:
        uneven = plan.head_dim is None and plan.d_model % plan.n_heads != 0
        if uneven:
            found.append(_heads(plan))
        if plan.n_heads % plan.n_kv_heads:
            found.append(_kv_heads(plan))
        if plan.positions == "rotary" and "positions" not in plan.missing and not uneven:
            found += _rotary(plan)
        if plan.positions == "alibi" and "positions" not in plan.missing and not plan.causal:
            found.append(Misfit(code="alibi", slot="positions", values={}, mend={"causal": True}))
    if plan.rope_scaling is not None and plan.positions != "rotary" and "positions" not in plan.missing:
        found.append(Misfit(code="scaling", slot="positions", values={}, mend={"rope_scaling": None}))
    return tuple(found)


def mended(plan: Plan) -> Plan:
    """The plan with every misfit mended, one after the other."""
    while wrong := misfits(plan):
        plan = changed(plan, wrong[0].mend)
    return plan


def nearest_divisor(number: int, wish: int, most: int) -> int:
    """The divisor of ``number``, at most ``most``, nearest to ``wish``; the smaller of two.

    >>> nearest_divisor(768, 10, 1024), nearest_divisor(7, 3, 1024)
    (8, 1)
    """
    below = min(wish, most, number)
    while number % below:
        below -= 1
    for above in range(wish + 1, min(2 * wish - below, most + 1, number + 1)):
        if number % above == 0:
            return above
    return below


def _heads(plan: Plan) -> Misfit:
    heads = nearest_divisor(plan.d_model, plan.n_heads, LIMITS["n_heads"][1])
    kv = heads if plan.n_kv_heads == plan.n_heads else nearest_divisor(heads, plan.n_kv_heads, heads)
    return Misfit(
        code="heads",
        slot="attention",
        values={"d_model": plan.d_model, "n_heads": plan.n_heads, "rest": plan.d_model % plan.n_heads},
        mend={"n_heads": heads, "n_kv_heads": kv},
    )


def _kv_heads(plan: Plan) -> Misfit:
    kv = nearest_divisor(plan.n_heads, plan.n_kv_heads, plan.n_heads)
    values = {"n_heads": plan.n_heads, "n_kv_heads": plan.n_kv_heads}
    return Misfit(code="kv_heads", slot="attention", values=values, mend={"n_kv_heads": kv})


def _rotary(plan: Plan) -> list[Misfit]:
    """Rotary positions turn pairs; dynamic scaling divides by ``head_dim - 2``."""
    width = int(plan.width_of_head)
    if width % 2:
        wider = width + 1
        if plan.head_dim is not None:
            mend = {"head_dim": wider if wider <= LIMITS["head_dim"][1] else width - 1}
        else:
            fits = plan.n_heads * wider <= LIMITS["d_model"][1]
            mend = {"d_model": plan.n_heads * (wider if fits else width - 1)}
        return [Misfit(code="rotary", slot="positions", values={"head_dim": width}, mend=mend)]
    if width == 2 and plan.rope_scaling is not None and dict(plan.rope_scaling)["kind"] == "dynamic":
        return [Misfit(code="dynamic", slot="positions", values={"head_dim": width}, mend={"rope_scaling": None})]
    return []
