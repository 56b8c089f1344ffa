"""One weight matrix rounded to a few bits: codes, scale and zero point in closed form, and what the rounding costs.

Everything is computed as a browser can compute it, too: quotients and products of float32 numbers, rounded to float32,
halves to the even neighbour. Source: Jacob et al., arXiv:1712.05877, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Kind = Literal["symmetric", "asymmetric"]
Per = Literal["tensor", "channel"] | int
"""What shares one scale: the whole matrix, one output channel (a row), or so many weights of a row in order."""

BITS = (2, 3, 4, 8)
SCALE_BITS = 16
"""A scale is counted as one float16 number, as files of quantised boxes keep it."""


class MatrixError(ValueError):
    """A matrix cannot be rounded.

    Args:
        code: ``matrix_empty`` (no weights, or not a table), ``matrix_not_finite`` (NaN or infinite weights),
            ``matrix_scheme`` (bits or group size that there are not).
        values: what the sentence names.
    """

    def __init__(self, code: str, **values: Any) -> None:
        super().__init__(f"{code}: {values}")
        self.code = code
        self.values = values


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How a matrix is rounded.

    Args:
        bits: of a code, one of ``BITS``.
        kind: symmetric: codes from -(2^(bits-1) - 1) to 2^(bits-1) - 1, zero point 0. asymmetric: codes from 0 to
            2^bits - 1, and the zero point is the code that stands for 0.
        per: what shares a scale; a group's size is at least 1, and the last of a row may be shorter.
    """

    bits: int
    kind: Kind = "symmetric"
    per: Per = "channel"

    def __post_init__(self) -> None:
        sized = isinstance(self.per, int) and not isinstance(self.per, bool) and self.per >= 1
        if self.bits not in BITS or not (sized or self.per in ("tensor", "channel")):
            raise MatrixError("matrix_scheme", bits=self.bits, per=self.per)
        if self.kind not in ("symmetric", "asymmetric"):
            raise MatrixError("matrix_scheme", bits=self.bits, per=self.kind)

    @property
    def codes(self) -> tuple[int, int]:
        """The lowest and the highest code."""
        half = 2 ** (self.bits - 1) - 1
        return (-half, half) if self.kind == "symmetric" else (0, 2**self.bits - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """A matrix, rounded.

    Args:
        scheme: how.
        codes: [rows, columns].
        scale: [rows, groups]; [1, 1] where the whole matrix shares one.
        zero_point: like ``scale``, codes.
        weights: [rows, columns], (codes - zero_point) * scale: what the box computes with.
    """

    scheme: Scheme
    codes: NDArray[np.int16]
    scale: Floats
    zero_point: NDArray[np.int16]
    weights: Floats

    @property
    def bits_a_weight(self) -> float:
        """Really taken: codes, and each group's share of its float16 scale and of its zero point."""
        return bits_a_weight(self.scheme, self.codes.size, self.scale.size)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What rounding changed.

    Args:
        max_abs: the greatest difference of a weight. mean_square: of the differences.
        snr_db: signal to noise, 10 log10(sum w² / sum difference²); infinite where nothing changed.
    """

    max_abs: float
    mean_square: float
    snr_db: float


@dataclass(frozen=True, kw_only=True)
class Outliers:
    """How much the largest weights of a matrix stand out.

    Args:
        kurtosis: m4 / m2²; 3 for a normal distribution, more with longer tails, nan for equal weights.
        lone_share: of a group's range |w|, the share that its largest weight takes alone (1 - second / largest): the
            median over the groups. lone_share_max: the greatest.
        largest: the greatest |w|. deviations: the same in standard deviations, 0 where all weights are equal.
    """

    kurtosis: float
    lone_share: float
    lone_share_max: float
    largest: float
    deviations: float


def quantise(weights: NDArray[Any], scheme: Scheme) -> Rounded:
    """Round a matrix.

    Args:
        weights: [rows, columns], output channels by inputs, as torch's ``Linear`` keeps them; computed as float32.
        scheme: how.

    Raises:
        MatrixError: ``matrix_empty``, ``matrix_not_finite``.

    >>> made = quantise(np.array([[-1.0, 0.0, 0.5, 1.0]]), Scheme(bits=3))
    >>> made.codes.tolist(), round(float(made.scale[0, 0]), 4)
    ([[-3, 0, 2, 3]], 0.3333)
    """
    matrix = _checked(weights)
    low, high = scheme.codes
    grouped = _grouped(matrix, scheme.per)  # [R, G, per]; zeros fill up the last group and change no range
    if scheme.kind == "symmetric":
        scale = np.abs(grouped).max(-1).astype(np.float64) / high
    else:
        top, bottom = (
            np.maximum(grouped.max(-1), 0).astype(np.float64),
            np.minimum(grouped.min(-1), 0).astype(np.float64),
        )
        scale = (top - bottom) / high
    scale = scale.astype(np.float32)
    scale = np.where(scale > 0, scale, np.float32(1))  # only zeros: any scale gives them back
    if scheme.kind == "symmetric":
        zero = np.zeros_like(scale)
    else:
        zero = np.clip(np.rint(-bottom.astype(np.float32) / scale), low, high)
    each_scale, each_zero = scale[..., None], zero[..., None]
    codes = np.clip(np.rint(grouped / each_scale) + each_zero, low, high)
    back = ((codes - each_zero) * each_scale).astype(np.float32)
    return Rounded(
        scheme=scheme,
        codes=_ungrouped(codes, matrix.shape).astype(np.int16),
        scale=scale,
        zero_point=zero.astype(np.int16),
        weights=_ungrouped(back, matrix.shape),
    )


def cost(before: NDArray[Any], after: NDArray[Any]) -> Cost:
    """What changed between two matrices of one shape, summed in float64.

    Raises:
        MatrixError: ``matrix_empty``, ``matrix_not_finite``.
    """
    signal = _checked(before).astype(np.float64)
    noise = _checked(after).astype(np.float64) - signal
    loud, lost = float((signal**2).sum()), float((noise**2).sum())
    snr = float("inf") if lost == 0 else float("-inf")
    if lost and loud:
        snr = 10 * float(np.log10(loud) - np.log10(lost))
    return Cost(max_abs=float(np.abs(noise).max()), mean_square=lost / noise.size, snr_db=snr)


def outliers(weights: NDArray[Any], per: Per = "channel") -> Outliers:
    """How much the largest weights stand out, within what shares a scale.

    Raises:
        MatrixError: ``matrix_empty``, ``matrix_not_finite``.
    """
    matrix = _checked(weights)
    values = matrix.astype(np.float64)
    centred = values - values.mean()
    spread = float((centred**2).mean())
    grouped = np.abs(_grouped(matrix, per)).astype(np.float64)
    if grouped.shape[-1] > 1:
        two = np.partition(grouped, -2, axis=-1)[..., -2:]
        largest, second = two[..., 1], two[..., 0]
    else:
        largest, second = grouped[..., 0], np.zeros_like(grouped[..., 0])
    lone = np.where(largest > 0, 1 - second / np.where(largest > 0, largest, 1), 0.0)
    return Outliers(
        kurtosis=float((centred**4).mean()) / spread**2 if spread**2 > 0 else float("nan"),
        lone_share=float(np.median(lone)),
        lone_share_max=float(lone.max()),
        largest=float(largest.max()),
        deviations=float(largest.max()) / spread**0.5 if spread > 0 else 0.0,
    )


def histogram(weights: NDArray[Any], bins: int = 96) -> tuple[NDArray[np.int64], float]:
    """How many weights lie where, in equal bins around 0.

    Returns:
        counts, [bins]; and the greatest |w|: the bins go from minus to plus so much (1 where all are 0).

    Raises:
        MatrixError: ``matrix_empty``, ``matrix_not_finite``.
    """
    matrix = _checked(weights)
    most = float(np.abs(matrix).max()) or 1.0
    counts, _ = np.histogram(matrix, bins=bins, range=(-most, most))
    return counts, most


def groups(shape: tuple[int, int], per: Per) -> int:
    """How many scales a matrix of that shape has."""
    rows, columns = shape
    if per == "tensor":
        return 1
    return rows if per == "channel" else rows * -(-columns // per)


def bits_a_weight(scheme: Scheme, n_weights: int, n_groups: int) -> float:
    """Bits that a weight really takes, its share of the scales and zero points among them.

    >>> bits_a_weight(Scheme(bits=4, per=32), 64, 2)
    4.5
    """
    beside = SCALE_BITS + (scheme.bits if scheme.kind == "asymmetric" else 0)
    return scheme.bits + beside * n_groups / n_weights


def _checked(weights: NDArray[Any]) -> Floats:
    matrix = np.asarray(weights)
    if matrix.ndim != 2 or matrix.size == 0:
        raise MatrixError("matrix_empty", shape=" × ".join(map(str, matrix.shape)))
    with np.errstate(over="ignore"):
        matrix = matrix.astype(np.float32)
    broken = int(matrix.size - np.isfinite(matrix).sum())
    if broken:
        raise MatrixError("matrix_not_finite", n=broken, all=matrix.size)
    return matrix


def _grouped(matrix: Floats, per: Per) -> Floats:
    """The matrix as [rows, groups, size], zeros after the end of a row."""
    if per == "tensor":
        return matrix.reshape(1, 1, -1)
    size = matrix.shape[1] if per == "channel" else min(per, matrix.shape[1])
    full = np.pad(matrix, ((0, 0), (0, -matrix.shape[1] % size)))
    return full.reshape(len(matrix), -1, size)


def _ungrouped(grouped: Floats, shape: tuple[int, ...]) -> Floats:
    if grouped.shape[:2] == (1, 1) and grouped.size == shape[0] * shape[1]:
        return grouped.reshape(shape)
    return grouped.reshape(shape[0], -1)[:, : shape[1]]
