"""Keep a plan: as a JSON file, as a short text for a link, and as the Python that builds it."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any

from llmkit.assembly.errors import PlanError
from llmkit.assembly.plan import CHOICES, LIMITS, SLOTS, SWITCHES, Plan, from_dict, to_config

FORMAT = "llm-assembly"
VERSION = 1
MOST_BYTES = 64 * 1024
"""Of a file; a plan takes about one kilobyte."""

MOST_LINK = 600
"""Characters of a link's plan; a whole plan with scaling takes under 300."""

MOST_NAME = 80

_SEPARATOR = "~"
_NUMBERS = ("norm_eps", "rope_theta")


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A plan with the name that somebody gave it. The name is text from outside: escape it where it is shown."""

    name: str
    plan: Plan


def to_json(saved: Saved) -> str:
    """The plan as a file."""
    content = {"format": FORMAT, "version": VERSION, "name": saved.name[:MOST_NAME], "plan": saved.plan.to_dict()}
    return json.dumps(content, ensure_ascii=False, indent=2)


def from_json(content: bytes) -> Saved:
    """Read a file that somebody brings.

    Raises:
        PlanError: ``plan_big_file``, ``plan_json``, ``plan_foreign``, or what `from_dict` raises.
    """
    if len(content) > MOST_BYTES:
        raise PlanError("plan_big_file", size=f"{len(content) / 1024:,.0f}", limit=MOST_BYTES // 1024)
    try:
        data = json.loads(content.decode("utf-8-sig"))
        json.dumps(data, ensure_ascii=False).encode()  # half a character, which JSON can name, can be shown nowhere
    except (ValueError, RecursionError) as error:
        raise PlanError("plan_json", detail=str(error)[:80]) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        shown = ", ".join(map(str, list(data)[:3])) if isinstance(data, dict) else type(data).__name__
        raise PlanError("plan_foreign", detail=shown[:40])
    if data.get("version") != VERSION:
        raise PlanError("plan_foreign", detail=f"version {str(data.get('version'))[:20]}")
    name = data.get("name", "")
    return Saved(name=name[:MOST_NAME] if isinstance(name, str) else "", plan=from_dict(data.get("plan")))


def to_link(plan: Plan) -> str:
    """The plan as a short text of letters, digits, ``.``, ``-`` and ``~``, which an address holds as they are.

    >>> to_link(Plan())
    '1~1000~64~2~4~4~~256~128~0~learned~layer~pre~gelu~1111010110~1e-05~10000.0~~000000'
    """
    numbers = ["" if getattr(plan, name) is None else str(getattr(plan, name)) for name in LIMITS]
    switches = "".join("01"[getattr(plan, name)] for name in SWITCHES)
    missing = "".join("01"[slot in plan.missing] for slot in SLOTS)
    scaling = "" if plan.rope_scaling is None else ".._".join(f"{name}..{value}" for name, value in plan.rope_scaling)
    pieces = [
        str(VERSION),
        *numbers,
        *(getattr(plan, name) for name in CHOICES),
        switches,
        *(repr(float(getattr(plan, name))) for name in _NUMBERS),
        scaling,
        missing,
    ]
    return _SEPARATOR.join(pieces)


def from_link(text: str) -> Plan:
    """Read what `to_link` wrote.

    Raises:
        PlanError: ``plan_link`` when it is not that, ``plan_number`` or ``plan_choice`` when a field is wrong.
    """
    pieces = text.split(_SEPARATOR) if len(text) <= MOST_LINK else []
    if len(pieces) != 1 + len(LIMITS) + len(CHOICES) + 1 + len(_NUMBERS) + 2 or pieces[0] != str(VERSION):
        raise PlanError("plan_link", text=text[:40])
    rest = iter(pieces[1:])
    values: dict[str, Any] = {}
    try:
        for name in LIMITS:
            piece = next(rest)
            values[name] = None if name == "head_dim" and not piece else _digits(piece)
        for name in CHOICES:
            values[name] = next(rest)
        values |= dict(zip(SWITCHES, _flags(next(rest), len(SWITCHES)), strict=True))
        for name in _NUMBERS:
            values[name] = float(next(rest))
        scaling = next(rest)
        if scaling:
            values["rope_scaling"] = dict(_pair(pair) for pair in scaling.split(".._"))
        values["missing"] = [slot for slot, out in zip(SLOTS, _flags(next(rest), len(SLOTS)), strict=True) if out]
    except (ValueError, OverflowError) as error:
        if isinstance(error, PlanError):
            raise
        raise PlanError("plan_link", text=text[:40]) from error
    return from_dict(values)


def to_python(plan: Plan) -> str:
    """The Python that builds the plan's machine with our parts, counts it, and sends some tokens through.

    Raises:
        PlanError: ``plan_unfinished`` or ``plan_misfit``.
    """
    config = to_config(plan)
    names = ["TransformerConfig", "assemble"] + (["RopeScaling"] if config.rope_scaling is not None else [])
    lines = [
        "import torch",
        "",
        f"from llmkit.parts import {', '.join(sorted(names))}",
        "",
        "config = TransformerConfig(",
        *(f"    {one.name}={getattr(config, one.name)!r}," for one in fields(config)),
        ")",
        "machine = assemble(config).eval()",
        "parameters = sum(weight.numel() for weight in machine.parameters())",
        "",
        f"input_ids = torch.arange({min(8, config.max_seq_len)})[None] % config.vocab_size  # [batch, seq_len]",
        "with torch.inference_mode():",
        "    out = machine(input_ids)  # " + _gives(config.unembedding),
        "",
        'print(f"{parameters:,}", tuple(out.shape))',
    ]
    return "\n".join(lines) + "\n"


def _gives(unembedding: bool) -> str:
    return "[batch, seq_len, vocab_size]" if unembedding else "[batch, seq_len, d_model]"


def _digits(piece: str) -> int:
    if not (piece.isascii() and piece.isdigit() and len(piece) <= 9):
        raise ValueError(piece)
    return int(piece)


def _flags(piece: str, count: int) -> list[bool]:
    if len(piece) != count or not set(piece) <= {"0", "1"}:
        raise ValueError(piece)
    return [one == "1" for one in piece]


def _pair(pair: str) -> tuple[str, Any]:
    name, _, value = pair.partition("..")
    if name == "kind":
        return name, value
    if name == "truncate":
        return name, {"True": True, "False": False}[value] if value in {"True", "False"} else value
    return name, int(value) if value.isdigit() else float(value)
