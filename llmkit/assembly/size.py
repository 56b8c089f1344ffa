"""What a plan takes: counted from the plan alone, whatever its size, and held against the memory of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.assembly.errors import PlanError
from llmkit.assembly.plan import SLOT_OF, Plan, changed, to_config

if TYPE_CHECKING:
    from llmkit.parts.count import PartName

GIB = 2**30
FREE_SHARE = 0.6
"""Of the memory that is free, so much may be built in: other sessions and the system need the rest."""

BYTES = 4
"""A number that is built is float32."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One part of a plan, at one place.

    Args:
        name: which part. places: how often it stands. parameters: its own.
        flops: floating-point operations for one token that nothing comes before.
        flops_full: the same for a token that sees a whole context, itself included.
        kv_numbers: how many numbers it keeps of each token.
    """

    name: PartName
    places: int
    parameters: int
    flops: int
    flops_full: int
    kv_numbers: int


def count_plan(plan: Plan) -> tuple[Row, ...]:
    """Count the parts that are on the bench, in the order in which a text passes them.

    Raises:
        PlanError: ``plan_misfit``: what does not fit has no size.
    """
    from llmkit.parts.count import count_parts

    config = to_config(changed(plan, {"missing": ()}))
    alone = count_parts(config, seq_len=1, bytes_per_number=1)
    full = count_parts(config, seq_len=1, past_len=config.max_seq_len - 1, bytes_per_number=1)
    return tuple(
        Row(
            name=one.name,
            places=one.places,
            parameters=one.parameters,
            flops=one.flops,
            flops_full=other.flops,
            kv_numbers=one.kv_cache_bytes,
        )
        for one, other in zip(alone.parts, full.parts, strict=True)
        if SLOT_OF[one.name] not in plan.missing
    )


def parameters(plan: Plan) -> int:
    """How many parameters the parts on the bench have."""
    return sum(row.places * row.parameters for row in count_plan(plan))


def require_room(plan: Plan, *, free_bytes: int) -> int:
    """The memory that the plan's weights need in float32, in bytes, when there is room for it.

    Raises:
        PlanError: ``plan_too_big``, with the memory it would need beside what there is.
    """
    number = parameters(plan)
    need = number * BYTES
    if need > free_bytes * FREE_SHARE:
        raise PlanError(
            "plan_too_big", parameters=f"{number:,}", need=f"{need / GIB:,.1f}", have=f"{free_bytes / GIB:,.1f}"
        )
    return need
