"""A plan: what a learner has chosen so far, unfinished or misfitting as it may be; a `TransformerConfig` is neither."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from llmkit.assembly.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmkit.parts import TransformerConfig
    from llmkit.parts.count import PartName

Slot = Literal["embedding", "positions", "norm", "attention", "feed_forward", "unembedding"]
SLOTS: tuple[Slot, ...] = get_args(Slot)
"""The places on the bench that a part goes into, in the order in which a text passes them."""

SLOT_OF: Mapping[PartName, Slot] = {
    "embedding": "embedding",
    "segments": "embedding",
    "positions": "positions",
    "norm_embeddings": "norm",
    "norm_1": "norm",
    "attention": "attention",
    "add_1": "attention",
    "norm_2": "norm",
    "feed_forward": "feed_forward",
    "add_2": "feed_forward",
    "norm_final": "norm",
    "unembedding": "unembedding",
    "softmax": "unembedding",
}
"""Which place each counted part belongs to."""

LIMITS: Mapping[str, tuple[int, int]] = {
    "vocab_size": (1, 2_000_000),
    "d_model": (1, 131_072),
    "n_layers": (0, 1_024),
    "n_heads": (1, 1_024),
    "n_kv_heads": (1, 1_024),
    "head_dim": (1, 4_096),
    "d_mlp": (1, 1_048_576),
    "max_seq_len": (1, 1_048_576),
    "n_segments": (0, 1_024),
}
"""Whole numbers and their ranges: room for the largest models there are, and for a machine of 10^12 parameters."""

RANGES: Mapping[str, tuple[float, float]] = {"norm_eps": (1e-15, 1.0), "rope_theta": (2.0, 1e9)}

CHOICES: Mapping[str, tuple[str, ...]] = {
    "positions": ("sinusoidal", "learned", "rotary", "alibi", "none"),
    "norm": ("layer", "rms"),
    "norm_order": ("pre", "post"),
    "feed_forward": ("gelu", "gelu_tanh", "swiglu"),
}

SWITCHES = (
    "causal",
    "attention_bias",
    "output_bias",
    "mlp_bias",
    "norm_embeddings",
    "norm_final",
    "norm_heads",
    "unembedding",
    "tied",
    "unembedding_transform",
)

SCALINGS = ("linear", "dynamic", "yarn", "llama3")
_SCALING_NUMBERS: Mapping[str, tuple[float, float]] = {
    "factor": (1, 1e6),
    "original_max_seq_len": (1, 1_048_576),
    "low_freq_factor": (1e-3, 1e6),
    "high_freq_factor": (1e-3, 1e6),
    "beta_fast": (1e-3, 1e6),
    "beta_slow": (1e-3, 1e6),
    "attention_factor": (1e-3, 1e6),
}

Scaling = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What lies on the bench: the fields of `TransformerConfig`, and which places are still empty.

    Args:
        head_dim: None where ``d_model`` is split evenly over the heads.
        rope_scaling: names and values of a `RopeScaling`, sorted; None for none.
        missing: places that no part has been chosen for; what the other fields say about them is not yet meant.

    Raises:
        PlanError: ``plan_number`` or ``plan_choice``, when a field holds what no plan can hold.
    """

    vocab_size: int = 1_000
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: int = 4
    head_dim: int | None = None
    d_mlp: int = 256
    max_seq_len: int = 128
    positions: str = "learned"
    norm: str = "layer"
    norm_eps: float = 1e-5
    norm_order: str = "pre"
    causal: bool = True
    feed_forward: str = "gelu"
    attention_bias: bool = True
    output_bias: bool = True
    mlp_bias: bool = True
    norm_embeddings: bool = False
    norm_final: bool = True
    norm_heads: bool = False
    n_segments: int = 0
    unembedding: bool = True
    tied: bool = True
    unembedding_transform: bool = False
    rope_theta: float = 10_000.0
    rope_scaling: Scaling | None = None
    missing: tuple[Slot, ...] = field(default=())

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if name == "head_dim" and value is None:
                continue
            if not _whole(value) or not low <= value <= high:
                raise PlanError("plan_number", field=name, value=_short(value), low=low, high=high)
        for name, bounds in RANGES.items():
            _check_range(name, getattr(self, name), bounds)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise PlanError("plan_choice", field=name, value=_short(getattr(self, name)))
        for name in SWITCHES:
            if not isinstance(getattr(self, name), bool):
                raise PlanError("plan_choice", field=name, value=_short(getattr(self, name)))
        for slot in self.missing:
            if slot not in SLOTS:
                raise PlanError("plan_choice", field="missing", value=_short(slot))
        if self.rope_scaling is not None:
            _check_scaling(dict(self.rope_scaling))

    @property
    def width_of_head(self) -> float:
        """``head_dim``, or what an even split gives; not whole where the split is not even."""
        return self.head_dim if self.head_dim is not None else self.d_model / self.n_heads

    @property
    def attention_kind(self) -> str:
        """``mha``, ``mqa`` or ``gqa``, by the number of key/value heads."""
        if self.n_kv_heads == self.n_heads:
            return "mha"
        return "mqa" if self.n_kv_heads == 1 else "gqa"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; `from_dict` reads it back."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        scaling = None if self.rope_scaling is None else dict(self.rope_scaling)
        return plain | {"rope_scaling": scaling, "missing": list(self.missing)}


def from_dict(data: object) -> Plan:
    """Read a plan from plain data; what is not there is as in `Plan`.

    Raises:
        PlanError: ``plan_foreign`` when it is no plan at all, ``plan_number`` or ``plan_choice`` when a field is wrong.
    """
    known = {one.name for one in fields(Plan)}
    if not isinstance(data, dict) or not data.keys() <= known:
        unknown = sorted(map(str, data.keys() - known))[:3] if isinstance(data, dict) else [type(data).__name__]
        raise PlanError("plan_foreign", detail=_short(", ".join(unknown)))
    values = dict(data)
    for name in RANGES:
        if _whole(values.get(name)):
            values[name] = float(values[name]) if abs(values[name]) < 1e300 else values[name]
    for name in LIMITS:  # JavaScript and other writers may call 64 64.0
        if isinstance(values.get(name), float) and values[name].is_integer():
            values[name] = int(values[name])
    if values.get("rope_scaling") is not None:
        if not isinstance(values["rope_scaling"], dict):
            raise PlanError("plan_choice", field="rope_scaling", value=_short(values["rope_scaling"]))
        values["rope_scaling"] = tuple(sorted((str(name), value) for name, value in values["rope_scaling"].items()))
    missing = values.get("missing", [])
    if not isinstance(missing, list | tuple) or not all(isinstance(slot, str) for slot in missing):
        raise PlanError("plan_choice", field="missing", value=_short(missing))
    values["missing"] = tuple(slot for slot in SLOTS if slot in missing) if set(missing) <= set(SLOTS) else (*missing,)
    return Plan(**values)


def from_config(config: TransformerConfig) -> Plan:
    """The plan of a parts list: nothing is missing, and it fits."""
    values = {one.name: getattr(config, one.name) for one in fields(config)}
    scaling = values.pop("rope_scaling")
    if scaling is not None:
        found = {one.name: getattr(scaling, one.name) for one in fields(scaling)}
        scaling = tuple(sorted((name, value) for name, value in found.items() if value is not None))
    if config.head_dim * config.n_heads == config.d_model:
        values["head_dim"] = None
    return Plan(**values, rope_scaling=scaling)


def to_config(plan: Plan) -> TransformerConfig:
    """The parts list of a plan.

    Raises:
        PlanError: ``plan_unfinished`` or ``plan_misfit``.
    """
    from llmkit.assembly.fitting import misfits
    from llmkit.parts import RopeScaling, TransformerConfig

    if plan.missing:
        raise PlanError("plan_unfinished", n=len(plan.missing), parts=", ".join(plan.missing))
    wrong = misfits(plan)
    if wrong:
        raise PlanError("plan_misfit", n=len(wrong), parts=", ".join(one.code for one in wrong))
    values = plan.to_dict()
    del values["missing"]
    values["head_dim"] = int(plan.width_of_head)
    if values["rope_scaling"] is not None:
        values["rope_scaling"] = RopeScaling(**values["rope_scaling"])
    return TransformerConfig(**values)


def changed(plan: Plan, changes: Mapping[str, Any]) -> Plan:
    """The same plan with some fields changed."""
    return replace(plan, **changes)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_range(name: str, value: object, bounds: tuple[float, float]) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not bounds[0] <= value <= bounds[1]:  # type: ignore[operator]
        raise PlanError("plan_number", field=name, value=_short(value), low=bounds[0], high=bounds[1])


def _check_scaling(scaling: Mapping[str, Any]) -> None:
    if scaling.get("kind") not in SCALINGS or not {"factor", "original_max_seq_len"} <= scaling.keys():
        raise PlanError("plan_choice", field="rope_scaling", value=_short(scaling.get("kind")))
    for name, value in scaling.items():
        if name == "kind":
            continue
        if name == "truncate":
            if not isinstance(value, bool):
                raise PlanError("plan_choice", field=name, value=_short(value))
        elif name in _SCALING_NUMBERS:
            _check_range(name, value, _SCALING_NUMBERS[name])
        else:
            raise PlanError("plan_foreign", detail=_short(name))
    if not _whole(scaling["original_max_seq_len"]):
        raise PlanError("plan_choice", field="original_max_seq_len", value=_short(scaling["original_max_seq_len"]))
    if scaling["kind"] == "llama3" and scaling.get("low_freq_factor", 1.0) >= scaling.get("high_freq_factor", 4.0):
        raise PlanError("plan_choice", field="low_freq_factor", value=_short(scaling.get("low_freq_factor", 1.0)))


def _short(value: object) -> str:
    """A value as a message shows it; nothing that comes from outside is shown at length."""
    try:
        text = str(value)
    except ValueError:  # an integer of more digits than Python writes
        text = "…"
    return text if len(text) <= 40 else text[:39] + "…"


EMPTY = Plan(missing=SLOTS)
"""The empty bench."""
