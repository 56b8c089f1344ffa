"""An adapter opened: what it adds to each matrix, where it changed the box most, and the box with it at any strength.

An adapter is a folder in PEFT's format (``adapter_config.json``, ``adapter_model.safetensors``), its layers named as
our parts or as the reference's modules.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from llmkit.parts import Transformer
from llmkit.reference import Assembled
from llmkit.reference.naming import rows

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What PEFT puts before a module's name in its file."""

STRONGEST = 2.0
"""Beyond twice its strength an adapter was never tried."""


class AdapterError(ValueError):
    """An adapter cannot be read, or does not belong to this box.

    Args:
        code: ``adapter_broken`` (folder, detail), ``adapter_other_box`` (box, detail: what does not fit),
            ``adapter_strength`` (asked, most), ``adapter_files`` (not PEFT's two files), ``adapter_unsafe`` (file: one
            that could run code) or ``adapter_too_big`` (limit, in megabytes). values: what the message names.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code, self.values = code, values


@dataclass(frozen=True, kw_only=True, eq=False)
class Low:
    """An adapter's two thin matrices beside one matrix of the box.

    Args:
        name: of the module, as our parts name it ("layers.0.attention.q").
        a: [r, in]. b: [out, r]. scale: what ``b @ a`` is multiplied by.
        magnitude: [out], DoRA's length of each row of the whole; None for LoRA.
    """

    name: str
    a: Tensor
    b: Tensor
    scale: float
    magnitude: Tensor | None = None

    @property
    def layer(self) -> int:
        """Which layer it stands in, from 0; -1 outside the layers."""
        pieces = self.name.split(".")
        return int(pieces[1]) if pieces[0] == "layers" else -1

    @property
    def matrix(self) -> str:
        """What it stands beside ("q", "feed_forward.up" as "up")."""
        return self.name.rpartition(".")[2]

    def delta(self, weight: Tensor) -> Tensor:
        """What it adds to a weight [out, in] when it is merged; same shape, the weight's dtype.

        Source: Hu et al. 2022, "LoRA", equation 3; Liu et al. 2024, "DoRA", equation 5. Matches
        ``peft.tuners.lora.LoraLayer.get_delta_weight``.
        """
        added = self.scale * (self.b @ self.a).to(weight.dtype)
        if self.magnitude is None:
            return added
        whole = weight + added
        change: Tensor = (self.magnitude.to(weight.dtype) / whole.norm(dim=1))[:, None] * whole - weight
        return change


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """All of an adapter.

    Args:
        lows: one for each matrix, in the order of the layers. rank, alpha: as it was made.
        dora, rslora: which kind. size_bytes: of its weights' file.
    """

    lows: tuple[Low, ...]
    rank: int
    alpha: float
    dora: bool
    rslora: bool
    size_bytes: int

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        extra = (0 if low.magnitude is None else low.magnitude.numel() for low in self.lows)
        return sum(low.a.numel() + low.b.numel() for low in self.lows) + sum(extra)


def scaling(alpha: float, rank: int, *, rslora: bool) -> float:
    """What ``b @ a`` is multiplied by.

    >>> scaling(16, 4, rslora=False), scaling(16, 4, rslora=True)
    (4.0, 8.0)

    Source: Hu et al. 2022, section 4.1; Kalajdzievski 2023, "rsLoRA", theorem 3.2.
    """
    return alpha / (math.sqrt(rank) if rslora else rank)


def read_adapter(folder: Path, box: Assembled) -> Adapter:
    """Open an adapter of a box.

    Args:
        folder: with PEFT's two files. box: whose matrices it stands beside.

    Raises:
        AdapterError: ``adapter_broken``, ``adapter_other_box``.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        if config.get("peft_type") != "LORA" or config.get("rank_pattern") or config.get("alpha_pattern") or rank < 1:
            raise ValueError("neither LoRA nor DoRA with one rank and one alpha")
        dora, rslora = bool(config.get("use_dora")), bool(config.get("use_rslora"))
        found = _modules(tensors)
        if any(one["a"].shape[0] != rank for one in found.values()):
            raise ValueError(f"matrices that are not of rank {rank}")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError("numbers that are not finite")
        scale = scaling(alpha, rank, rslora=rslora)
        lows = [low for name, one in found.items() for low in _lows(name, one, scale, box)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        if isinstance(error, AdapterError):
            raise
        raise AdapterError("adapter_broken", folder=folder.name, detail=f"{type(error).__name__}: {error}") from error
    lows.sort(key=lambda low: low.layer)
    size = (folder / WEIGHTS).stat().st_size
    return Adapter(lows=tuple(lows), rank=rank, alpha=alpha, dora=dora, rslora=rslora, size_bytes=size)


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The adapters that ``peft.inject_adapter_in_model`` has put into a model, under the names of PEFT's file."""
    return {
        f"{PREFIX}{name.replace('.default', '')}": tensor.detach().cpu().clone().contiguous()
        for name, tensor in model.state_dict().items()
        if "lora_" in name
    }


def write_adapter(tensors: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path) -> None:
    """Write an adapter into a folder, in PEFT's format.

    Args:
        tensors: as `adapter_tensors` gives them. config: as ``LoraConfig.to_dict`` does.
        folder: made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    (folder / CONFIG).write_text(json.dumps(plain, indent=1, default=str), encoding="utf-8")


@dataclass(frozen=True, kw_only=True, eq=False)
class Changed:
    """What an adapter did to one matrix.

    Args:
        name, layer, matrix: which. shape: (out, in).
        singular: [min(out, in)] at most, singular values of ΔW, falling; those that are zero by its form left out.
        left: [out, n], right: [n, in], the directions; ``left @ diag(singular) @ right`` is ΔW.
        norm: Frobenius norm of ΔW. norm_before: of W.
    """

    name: str
    layer: int
    matrix: str
    shape: tuple[int, int]
    singular: NDArray[np.float32]
    left: NDArray[np.float32]
    right: NDArray[np.float32]
    norm: float
    norm_before: float

    @property
    def share(self) -> float:
        """How large the change is beside what was there: ‖ΔW‖ / ‖W‖."""
        return self.norm / self.norm_before if self.norm_before else math.inf

    @property
    def effective_rank(self) -> float:
        """How many directions it spreads over: e to the entropy of the singular values' shares; 0 for no change.

        Source: Roy and Vetterli 2007, "The effective rank", definition 1.
        """
        total = float(self.singular.sum(dtype=np.float64))
        if not total:
            return 0.0
        shares = self.singular[self.singular > 0].astype(np.float64) / total
        return float(np.exp(-(shares * np.log(shares)).sum()))

    def nonzero(self, tolerance: float = 1e-5) -> int:
        """How many singular values are not zero, beside the largest."""
        top = float(self.singular.max(initial=0.0))
        return int((self.singular > tolerance * top).sum()) if top else 0

    def error(self, k: int) -> float:
        """How far ΔW is from its best rebuilding of rank k, in Frobenius norm. Source: Eckart and Young 1936."""
        return float(np.sqrt((self.singular[k:].astype(np.float64) ** 2).sum()))


@torch.inference_mode()
def changes(adapter: Adapter, box: Assembled) -> tuple[Changed, ...]:
    """Take each matrix's change apart into its directions, in float64.

    A LoRA's is as thin as its rank, so that only an r × r matrix is taken apart: Q_b R_b (Q_a R_a)ᵀ.
    """
    return tuple(_changed(low, _weight(box.model, low.name)) for low in adapter.lows)


def adapted(box: Assembled, adapter: Adapter, strength: float = 1.0, *, merged: bool = True) -> Transformer:
    """The box's machine with its adapter at a strength; the box itself stays as it is, and all else is shared.

    Args:
        strength: 0 for the box alone, 1 for the adapter as it learned, at most 2; what it adds is multiplied by it.
        merged: add to copies of the matrices; else leave each as it is and let the thin pair compute beside it.

    Raises:
        AdapterError: ``adapter_strength``.
    """
    if not 0 <= strength <= STRONGEST:
        raise AdapterError("adapter_strength", asked=strength, most=STRONGEST)
    blocks = list(box.model.layers)
    touched: dict[int, list[Low]] = {}
    for low in adapter.lows:
        touched.setdefault(low.layer, []).append(low)
    for layer, lows in touched.items():
        kept = {id(tensor): tensor for tensor in (*blocks[layer].parameters(), *blocks[layer].buffers())}
        blocks[layer] = copy.deepcopy(blocks[layer], kept)  # modules are new, every tensor is the box's own
        for low in lows:
            parent, _, own = low.name.split(".", 2)[2].rpartition(".")
            home = blocks[layer].get_submodule(parent)
            setattr(home, own, _exchanged(getattr(home, own), low, strength, merged))
    return box.model.with_parts(blocks=blocks).eval().requires_grad_(False) if touched else box.model


class Beside(nn.Module):
    """A frozen linear layer with an adapter beside it: ``W x + s · scale · B A x``; DoRA's rows keep their length.

    Args:
        linear: the box's own, shared. low: the adapter's pair. strength: s.
    """

    def __init__(self, linear: nn.Linear, low: Low, strength: float) -> None:
        super().__init__()
        self.linear, self.low, self.strength = linear, low, strength

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out]."""
        low, before = self.low, self.linear(x)
        a, b = low.a.to(x), low.b.to(x)
        added = nn.functional.linear(nn.functional.linear(x, a), b) * low.scale
        if low.magnitude is not None:
            length = (self.linear.weight + low.scale * (b @ a)).norm(dim=1)
            whole = nn.functional.linear(x, self.linear.weight) + added
            added = low.magnitude.to(x) / length * whole - nn.functional.linear(x, self.linear.weight)
        after: Tensor = before + self.strength * added
        return after


def _exchanged(linear: nn.Linear, low: Low, strength: float, merged: bool) -> nn.Module:
    if not merged:
        return Beside(linear, low, strength)
    made = copy.copy(linear)
    made._parameters = dict(linear._parameters)
    own = Low(
        name=low.name,
        a=low.a.to(linear.weight.device),
        b=low.b.to(linear.weight.device),
        scale=low.scale,
        magnitude=None if low.magnitude is None else low.magnitude.to(linear.weight.device),
    )
    with torch.no_grad():
        weight = linear.weight + strength * own.delta(linear.weight) if strength else linear.weight.clone()
    made.weight = nn.Parameter(weight, requires_grad=False)
    return made


def _modules(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Module's name → its tensors: a, b, and magnitude where it is DoRA's."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        module, mark, piece = name.removeprefix(PREFIX).rpartition(".lora_")
        if not mark:
            raise ValueError(f"{name} is no part of an adapter")
        kind = piece.partition(".")[0]
        found.setdefault(module, {})[{"A": "a", "B": "b", "magnitude_vector": "magnitude"}[kind]] = tensor
    if not found:
        raise ValueError("no matrices")
    return found


def _lows(name: str, tensors: Mapping[str, Tensor], scale: float, box: Assembled) -> list[Low]:
    """A module's pair under our names; the reference's fused q, k, v become three with the same A."""
    names = _ours(name, box)
    a, b, magnitude = tensors["a"], tensors["b"], tensors.get("magnitude")
    shapes = [tuple(_weight(box.model, one).shape) for one in names]
    if a.shape[0] != b.shape[1] or (b.shape[0], a.shape[1]) != (sum(s[0] for s in shapes), shapes[0][1]):
        detail = f"{name}: {b.shape[0]} × {a.shape[1]}"
        raise AdapterError("adapter_other_box", box=box.box_id, detail=detail)
    bs = b.chunk(len(names))
    magnitudes = [None] * len(names) if magnitude is None else list(magnitude.flatten().chunk(len(names)))
    return [
        Low(name=one, a=a.float(), b=part.float().contiguous(), scale=scale, magnitude=None if m is None else m.float())
        for one, part, m in zip(names, bs, magnitudes, strict=True)
    ]


def _ours(name: str, box: Assembled) -> tuple[str, ...]:
    """What our parts call a module that an adapter names in our way or in the reference's."""
    linears = {
        path for path, module in box.model.layers.named_modules(prefix="layers") if isinstance(module, nn.Linear)
    }
    if name in linears:
        return (name,)
    for row in rows(box.kind, box.config):
        ours = tuple(one.removesuffix(".weight") for one in row.ours)
        theirs = row.theirs.removesuffix(".weight")
        if set(ours) <= linears and (theirs == name or theirs.endswith(f".{name}")):
            return ours
    raise AdapterError("adapter_other_box", box=box.box_id, detail=name)


def _weight(model: Transformer, name: str) -> Tensor:
    weight: Tensor = model.get_parameter(f"{name}.weight")
    return weight


def _changed(low: Low, weight: Tensor) -> Changed:
    wide = weight.detach().cpu().double()
    if low.magnitude is None:
        qb, rb = torch.linalg.qr(low.b.double())
        qa, ra = torch.linalg.qr(low.a.double().T)
        u, s, v = torch.linalg.svd(low.scale * rb @ ra.T, full_matrices=False)
        u, v = qb @ u, v @ qa.T
    else:
        exact = Low(name=low.name, a=low.a.double(), b=low.b.double(), scale=low.scale, magnitude=low.magnitude)
        u, s, v = torch.linalg.svd(exact.delta(wide), full_matrices=False)
    return Changed(
        name=low.name,
        layer=low.layer,
        matrix=low.matrix,
        shape=(wide.shape[0], wide.shape[1]),
        singular=s.float().numpy(),
        left=u.float().numpy(),
        right=v.float().numpy(),
        norm=float(s.norm()),
        norm_before=float(wide.norm()),
    )
