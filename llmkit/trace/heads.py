"""What each attention head does, measured: where its attention goes beyond an even spread.

Every measure but ``broad`` is a *lift*: (attention on the places meant - what an even spread would put there) /
(1 - what an even spread would put there). 0 is an even spread, 1 is everything; below 0 they are avoided. So
heads can be compared between short and long texts, and between causal and bidirectional boxes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit.reference import Assembled
from llmkit.trace.trace import Recorder, Trace, Value

Measure = Literal["previous", "first", "same", "induction", "local", "broad"]
Role = Literal["previous", "first", "same", "induction", "local", "broad", "mixed"]

MEASURES: tuple[Measure, ...] = get_args(Measure)
ROLES: tuple[Role, ...] = get_args(Role)

LIFT = 0.4
"""A head has a role from this lift on."""
BROAD = 0.9
"""A head is broad from this share of the greatest possible entropy on."""
NEAR = 2
"""``local`` counts tokens at most this many places away, the token itself included."""

_SHARP: tuple[Measure, ...] = ("previous", "first", "same")


@dataclass(frozen=True, kw_only=True)
class HeadRoles:
    """What every head of a box does on one text.

    Args:
        roles: one row a layer, one role a head.
        scores: each measure's [n_layers, n_heads], float32. ``previous``: the token before; ``first``: the
            first token or a special one (``[CLS]``, ``[SEP]``), where attention goes to rest; ``same``: the
            token itself or an equal one; ``local``: at most NEAR places away; ``broad``: entropy over the
            greatest possible; ``induction``: see `induction_scores`.
    """

    roles: tuple[tuple[Role, ...], ...]
    scores: Mapping[Measure, NDArray[np.float32]]


def head_roles(trace: Trace, induction: NDArray[np.float32]) -> HeadRoles:
    """Give each head the role that its attention shows.

    Induction wins if its lift reaches LIFT: where a text repeats nothing such a head rests on the first token,
    so the text alone would not show it. Then the greatest of previous, first and same; then local; then broad,
    if the entropy reaches BROAD; otherwise the head is mixed.

    Args:
        trace: with ``attention_weights``.
        induction: [n_layers, n_heads], from `induction_scores`.
    """
    weights = np.stack([np.asarray(layer, dtype=np.float32) for layer in trace["attention_weights"]])  # [L,H,T,T]
    encoding = trace.encoding
    measured = measure_heads(weights, encoding.ids, encoding.special, causal=trace.family != "bert")
    scores = {**measured, "induction": induction}
    n_layers, n_heads = induction.shape
    roles = tuple(
        tuple(_role({name: float(score[layer, head]) for name, score in scores.items()}) for head in range(n_heads))
        for layer in range(n_layers)
    )
    return HeadRoles(roles=roles, scores={name: scores[name] for name in MEASURES})


def measure_heads(
    weights: NDArray[np.float32], ids: tuple[int, ...], special: tuple[bool, ...], *, causal: bool
) -> dict[Measure, NDArray[np.float32]]:
    """Measure where attention goes on one text.

    Args:
        weights: [n_layers, n_heads, T, T], query by key, rows sum to 1.
        ids: [T] token ids. special: [T], whether a token is the box's own.
        causal: whether a token sees only itself and what came before.

    Returns:
        every measure but ``induction``, each [n_layers, n_heads]; 0 where the text is too short to tell.

    >>> looks_back = np.eye(4, k=-1, dtype=np.float32)
    >>> looks_back[0, 0] = 1
    >>> scores = measure_heads(looks_back[None, None], (5, 6, 7, 8), (False,) * 4, causal=True)
    >>> {name: round(float(score[0, 0]), 2) for name, score in scores.items() if name in ("previous", "broad")}
    {'previous': 1.0, 'broad': 0.0}
    """
    T = len(ids)
    places = np.arange(T)
    apart = places[:, None] - places  # [T, T], query minus key
    seen = apart >= 0 if causal else np.ones((T, T), dtype=bool)
    resting = np.asarray(special) | (places == 0)
    equal = np.asarray(ids)[:, None] == np.asarray(ids)
    meant: dict[Measure, NDArray[np.bool_]] = {
        "previous": apart == 1,
        "first": np.broadcast_to(resting, (T, T)),
        "same": equal,
        "local": np.abs(apart) <= NEAR,
    }
    scores = {name: _lift(weights, target & seen, seen, ~resting) for name, target in meant.items()}
    return {**scores, "broad": _evenness(weights, seen)}


def induction_scores(box: Assembled, *, length: int = 24, sequences: int = 4, seed: int = 0) -> NDArray[np.float32]:
    """Measure how far each head completes a pattern that it has seen once: A B … A → looks at B.

    Tokens are drawn from the box's own vocabulary (specials left out) and the whole run is repeated, so that
    nothing but repetition can be recognised. The score is the prefix-matching score as a lift: attention
    from a token of the second run to the token after its first occurrence.

    Args:
        box: an opened box. One that looks both ways gets zeros: it needs no induction to see what follows.
        length: tokens in a run, >= 2; shortened where the box reads less.
        sequences: runs that are averaged.
        seed: of the generator that draws them.

    Returns:
        [n_layers, n_heads], float32.

    Source: Olsson et al. 2022, "In-context Learning and Induction Heads", "prefix matching score".
    """
    config = box.config
    if not config.causal:
        return np.zeros((config.n_layers, config.n_heads), dtype=np.float32)
    before = torch.tensor(box.tokenizer.before, dtype=torch.long)
    length = min(length, (config.max_seq_len - len(before)) // 2)
    plain = torch.tensor(
        [id_ for id_ in range(min(box.tokenizer.vocab_size, config.vocab_size)) if id_ not in _added(box)]
    )
    generator = torch.Generator().manual_seed(seed)
    drawn = plain[torch.randint(len(plain), (sequences, length), generator=generator)]
    run = torch.cat((before.expand(sequences, -1), drawn, drawn), dim=1)
    kept: tuple[Value, ...] = ("attention_weights",)
    recorder = Recorder(kept)
    with torch.inference_mode():
        box.model(run.to(box.device), tap=recorder)
    layers = recorder.each_layer["attention_weights"]
    queries = torch.arange(len(before) + length, run.shape[1])
    keys = queries - length + 1
    even = float((1.0 / (queries + 1)).mean())
    mass = torch.stack(
        [layers[layer][:, :, queries, keys].float().mean(dim=(0, 2)).cpu() for layer in range(config.n_layers)]
    )
    scores: NDArray[np.float32] = ((mass - even) / (1 - even)).numpy().astype(np.float32)
    return scores


def _role(score: Mapping[Measure, float]) -> Role:
    if score["induction"] >= LIFT:
        return "induction"
    sharpest = max(_SHARP, key=lambda name: score[name])
    if score[sharpest] >= LIFT:
        return sharpest
    if score["local"] >= LIFT:
        return "local"
    return "broad" if score["broad"] >= BROAD else "mixed"


def _lift(
    weights: NDArray[np.float32], target: NDArray[np.bool_], seen: NDArray[np.bool_], asking: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Attention on ``target`` beyond an even spread over ``seen``, averaged over the queries that can choose."""
    even = target.sum(1) / seen.sum(1)  # [T]
    rows = asking & (even > 0) & (even < 1)
    if not rows.any():
        return np.zeros(weights.shape[:2], dtype=np.float32)
    mass = (weights * target).sum(-1)[..., rows].mean(-1)  # [L, H]
    expected = even[rows].mean()
    lift: NDArray[np.float32] = ((mass - expected) / (1 - expected)).astype(np.float32)
    return lift


def _evenness(weights: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Entropy of each row over the greatest that it could have, averaged: 1 is an even spread."""
    choices = seen.sum(1)
    rows = choices > 1
    if not rows.any():
        return np.zeros(weights.shape[:2], dtype=np.float32)
    chosen = weights[..., rows, :]
    entropy = -(chosen * np.log(np.where(chosen > 0, chosen, 1))).sum(-1)  # [L, H, rows]
    share: NDArray[np.float32] = (entropy / np.log(choices[rows])).mean(-1).astype(np.float32)
    return share


def _added(box: Assembled) -> frozenset[int]:
    return frozenset(token.token_id for token in box.tokenizer.added)
