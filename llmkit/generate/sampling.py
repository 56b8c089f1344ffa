"""Sampling: from one set of logits to the odds of the next token, filter by filter, and a draw from what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

StageName = Literal["raw", "repetition", "temperature", "top_k", "top_p", "min_p"]

STAGES: tuple[StageName, ...] = ("raw", "repetition", "temperature", "top_k", "top_p", "min_p")
"""The pipeline's stages in the order in which they act, which is that of ``transformers.generate``."""


class SamplingError(ValueError):
    """A setting is outside what it can be.

    Args:
        code: ``sampling_out_of_range``. values: the setting's name, what was asked for, the least and the most.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code = code
        self.values = values


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen. Each default leaves the model's own odds as they are.

    Args:
        temperature: what logits are divided by, at most 100; 0 takes the likeliest token, whatever else is set.
        top_k: only so many of the likeliest stay; 0 for all.
        top_p: only the likeliest that together reach this probability stay, in (0, 1].
        min_p: only those with at least this share of the likeliest one's probability stay, in [0, 1].
        repetition_penalty: how much the logits of what was written before are pushed down, in (0, 100]; 1 for not.
        seed: of the draws.

    Raises:
        SamplingError: a setting is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        least = torch.finfo(torch.float32).tiny
        for name, low, high in (
            ("temperature", 0.0, 100.0),
            ("top_k", 0, 2**31),
            ("top_p", least, 1.0),
            ("min_p", 0.0, 1.0),
            ("repetition_penalty", least, 100.0),
            ("seed", 0, 2**63 - 1),
        ):
            asked = getattr(self, name)
            if not low <= asked <= high:  # a NaN is in no range
                raise SamplingError("sampling_out_of_range", setting=name, asked=asked, low=low, high=high)

    @property
    def greedy(self) -> bool:
        """Whether nothing is drawn: the likeliest token is taken."""
        return self.temperature == 0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The odds after one filter.

    Args:
        name: which filter.
        logits: [V], float32; minus infinity where a token has been taken out.
        probs: [V], their softmax.
        kept: how many tokens are still in.
    """

    name: StageName
    logits: Tensor
    probs: Tensor
    kept: int


def stages(logits: Tensor, sampling: Sampling, history: Sequence[int] = ()) -> tuple[Stage, ...]:
    """Return the odds before the first filter and after each: one `Stage` for each of `STAGES`.

    Nothing here runs a model: a change of a setting costs a softmax.

    Args:
        logits: [V], for the next token. sampling: the settings. history: ids of the text so far.

    Source: Ackley et al. 1985 (temperature); Fan et al. 2018 (top-k); Holtzman et al. 2020 (top-p); Nguyen et al.
    2024 (min-p); Keskar et al. 2019 (repetition penalty, section 4.1). Matches ``transformers``' LogitsProcessor of
    each name, and the order in which ``generate`` runs them.

    >>> import torch
    >>> found = stages(torch.tensor([2.0, 1.0, 0.0]), Sampling(temperature=0.5, top_k=2))
    >>> [(stage.name, stage.kept) for stage in found][-3:]
    [('top_k', 2), ('top_p', 2), ('min_p', 2)]
    """
    now = logits.detach().float()
    made = [_stage("raw", now)]
    for name in STAGES[1:]:
        now = _FILTERS[name](now, sampling, history)
        made.append(_stage(name, now))
    return tuple(made)


def odds(logits: Tensor, sampling: Sampling, history: Sequence[int] = ()) -> Tensor:
    """Return the probabilities of the last of the ``stages`` alone, [V], float32: what a token is drawn from."""
    now = logits.detach().float()
    for name in STAGES[1:]:
        now = _FILTERS[name](now, sampling, history)
    return now.softmax(-1)


def draw(probs: Tensor, generator: torch.Generator) -> int:
    """Draw a token id from probabilities [V], with the caller's own generator: no other draw is disturbed.

    Where filters have taken tokens out, only those that are left are drawn from, the likeliest first.
    """
    probs = probs.cpu()
    kept = int(probs.count_nonzero())
    if not 0 < kept < len(probs):
        return int(torch.multinomial(probs, 1, generator=generator))
    likeliest = probs.topk(kept)
    return int(likeliest.indices[torch.multinomial(likeliest.values, 1, generator=generator)])


def _stage(name: StageName, logits: Tensor) -> Stage:
    return Stage(name=name, logits=logits, probs=logits.softmax(-1), kept=int(logits.isfinite().sum()))


def _repetition(logits: Tensor, sampling: Sampling, history: Sequence[int]) -> Tensor:
    if sampling.repetition_penalty == 1 or not history:
        return logits
    seen = torch.tensor(sorted(set(history)), device=logits.device)
    before = logits[seen]
    pushed = torch.where(before < 0, before * sampling.repetition_penalty, before / sampling.repetition_penalty)
    return logits.index_copy(0, seen, pushed)


def _temperature(logits: Tensor, sampling: Sampling, history: Sequence[int]) -> Tensor:
    if sampling.greedy:
        likeliest = torch.zeros_like(logits, dtype=torch.bool).index_fill(0, logits.argmax(), True)
        return logits.masked_fill(~likeliest, -torch.inf)
    return logits / sampling.temperature


def _top_k(logits: Tensor, sampling: Sampling, history: Sequence[int]) -> Tensor:
    if not sampling.top_k:
        return logits
    least = logits.topk(min(sampling.top_k, len(logits))).values[-1]
    return logits.masked_fill(logits < least, -torch.inf)


def _top_p(logits: Tensor, sampling: Sampling, history: Sequence[int]) -> Tensor:
    if sampling.top_p == 1:
        return logits
    ordered, ids = logits.sort()  # the least likely first, so that the likeliest is the last to go
    out = ordered.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
    out[-1] = False
    return logits.masked_fill(torch.zeros_like(out).index_copy(0, ids, out), -torch.inf)


def _min_p(logits: Tensor, sampling: Sampling, history: Sequence[int]) -> Tensor:
    if not sampling.min_p:
        return logits
    probs = logits.softmax(-1)
    return logits.masked_fill(probs < sampling.min_p * probs.max(), -torch.inf)


_FILTERS = {
    "repetition": _repetition,
    "temperature": _temperature,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
}
