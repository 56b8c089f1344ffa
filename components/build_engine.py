"""What the build bench computes: counts of a plan, the machine built, and texts that a changed machine writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from components import embeddings_engine, engine, tokens_engine
from components.engine import Made
from llmkit.assembly import saved
from llmkit.assembly.fitting import misfits
from llmkit.assembly.plan import Plan
from llmkit.assembly.size import Row, count_plan

if TYPE_CHECKING:
    from llmkit.trace.exchange import Change
    from llmkit.trace.order import Reading

MOST_TOKENS = 256
"""Of the sentence that parts are measured with."""

LIVE_PARAMETERS = 50_000_000
"""A machine up to this size is built while the page waits; a larger one is a job."""

NEW_TOKENS = 12
"""So many tokens a changed machine goes on with."""


def rows(plan: Plan) -> tuple[Row, ...]:
    """Count the parts on the bench; none where two of them do not fit."""
    return () if misfits(plan) else count_plan(plan)


def rows_frame(counted: tuple[Row, ...]) -> pd.DataFrame:
    """Return what was counted, one row a part."""
    return pd.DataFrame(
        {
            "part": [row.name for row in counted],
            "places": [row.places for row in counted],
            "parameters_each": [row.parameters for row in counted],
            "parameters": [row.places * row.parameters for row in counted],
            "float32_bytes": [row.places * row.parameters * 4 for row in counted],
            "bfloat16_bytes": [row.places * row.parameters * 2 for row in counted],
            "kv_cache_bytes_per_token_bfloat16": [row.places * row.kv_numbers * 2 for row in counted],
            "flop_first_token": [row.places * row.flops for row in counted],
            "flop_full_context": [row.places * row.flops_full for row in counted],
        }
    )


def require_sentence(box_id: str, text: str, *, limit: int) -> tuple[int, ...]:
    """Return the sentence's token ids.

    Raises:
        TraceError: there is no token, or more than fit.
    """
    from llmkit.trace import TraceError

    ids = tuple(embeddings_engine.encode(box_id, text).ids)
    limit = min(limit, MOST_TOKENS)
    if not ids:
        raise TraceError("text_empty", tokens=0, limit=limit)
    if len(ids) > limit:
        raise TraceError("text_too_long", tokens=len(ids), limit=limit)
    return ids


def built(plan: Plan) -> Made[dict[str, Any]]:
    """Build a plan with fresh weights; small ones only, see LIVE_PARAMETERS.

    Raises:
        PlanError: unfinished, misfitting, or too big.
    """
    return _built(saved.to_link(plan))


def text_of(box_id: str, ids: tuple[int, ...]) -> str:
    """Return tokens as one line of text; bytes that make no character stand as bytes."""
    from llmkit.tokens import visible

    tokenizer = tokens_engine.open_tokenizer(box_id)
    return visible(b"".join(tokenizer.token_bytes(one) for one in ids))


def written(box_id: str, text: str, change: Change | None) -> Made[tuple[int, ...]]:
    """Return the tokens that the box goes on with, one part changed."""
    return _written(box_id, engine.fingerprint(box_id), text, change)


def reading(box_id: str, text: str, change: Change | None) -> Made[Reading]:
    """Return the final states of the text's tokens, one part changed."""
    return _reading(box_id, engine.fingerprint(box_id), text, change)


@engine.remembered(max_entries=16)
def _built(link: str) -> dict[str, Any]:
    from llmkit.assembly.build import build

    return build(saved.from_link(link))


@engine.remembered(max_entries=64)
def _written(box_id: str, fingerprint: str, text: str, change: Change | None) -> tuple[int, ...]:
    from llmkit.trace.exchange import go_on

    return go_on(engine.open_box(box_id), embeddings_engine.encode(box_id, text).ids, change, tokens=NEW_TOKENS)


@engine.remembered(max_entries=64)
def _reading(box_id: str, fingerprint: str, text: str, change: Change | None) -> Reading:
    from llmkit.trace.exchange import read

    return read(engine.open_box(box_id), embeddings_engine.encode(box_id, text).ids, change)
