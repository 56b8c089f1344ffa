"""One part exchanged or left out: the same box run again, so that it shows what the part is good for.

The box is never edited: each change is a new machine that shares all other parts (`Transformer.with_parts`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from llmkit import shelf
from llmkit.jobs.report import Report
from llmkit.parts import (
    ALiBiPositions,
    Block,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    Positions,
    RMSNorm,
    RotaryPositions,
    SinusoidalPositions,
    SwiGLU,
    Tap,
    Transformer,
    TransformerConfig,
    untouched,
)
from llmkit.reference import Assembled, open_box
from llmkit.trace.errors import TraceError
from llmkit.trace.order import Reading, change, read_in_order

Kind = Literal[
    "positions",
    "norm_kind",
    "norms_off",
    "norm_final_off",
    "activation",
    "layer_off",
    "attention_off",
    "feed_forward_off",
]
MOST_TOKENS = 256
SEED = 0
"""Of rows that were never trained: learned positions put into a box that has none."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change to a machine.

    Args:
        kind: what is exchanged, or left out (``…_off``).
        option: what comes in its place: a positional encoding, a norm, an activation.
        layer: where, for what stands in a layer.
    """

    kind: Kind
    option: str = ""
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a change costs on one text.

    Args:
        change: what was changed.
        loss: mean surprise in nats of the box that predicts; None for one that does not.
        turned: how far the tokens' final states turned on the average, 1 minus the cosine.
            Both None where the numbers have left the range of float32.
        next_id, next_prob: the likeliest next token; None for a box that predicts none.
    """

    change: Change
    loss: float | None
    turned: float | None
    next_id: int | None
    next_prob: float | None


def changes(config: TransformerConfig) -> tuple[Change, ...]:
    """Every single change that a machine can take, those of the whole machine first."""
    found: list[Change] = []
    for option in ("none", "sinusoidal", "learned", "rotary", "alibi"):
        if option != config.positions and not (option == "rotary" and config.head_dim % 2):
            found.append(Change(kind="positions", option=option))
    found.append(Change(kind="norm_kind", option="rms" if config.norm == "layer" else "layer"))
    found.append(Change(kind="norms_off"))
    if config.norm_final:
        found.append(Change(kind="norm_final_off"))
    found += [Change(kind="activation", option=option) for option in _activations(config)]
    for layer in range(config.n_layers):
        found += [Change(kind=kind, layer=layer) for kind in ("layer_off", "attention_off", "feed_forward_off")]
    return tuple(found)


def exchange(box: Assembled, one: Change) -> Transformer:
    """The box's machine with one change; all other parts are shared with it.

    Raises:
        ValueError: the box has no such layer.
    """
    model, blocks = box.model, [cast(Block, block) for block in box.model.layers]
    if one.layer is not None and not 0 <= one.layer < len(blocks):
        raise ValueError(f"no layer {one.layer} in {len(blocks)}")
    if one.kind == "positions":
        return model.with_parts(positions=_positions(box.config, one.option))
    if one.kind == "norm_final_off":
        return model.with_parts(norm_final=None)
    if one.kind == "norms_off":
        return model.with_parts(
            blocks=[_block(block, norm_1=nn.Identity(), norm_2=nn.Identity()) for block in blocks], norm_final=None
        )
    if one.kind == "norm_kind":
        return _with_norms(model, blocks, one.option)
    if one.kind == "activation":
        bent = [_block(block, feed_forward=OtherActivation(block.feed_forward, one.option)) for block in blocks]
        return model.with_parts(blocks=bent)
    layer = cast(int, one.layer)
    if one.kind == "layer_off":
        return model.with_parts(blocks=blocks[:layer] + blocks[layer + 1 :])
    part = "attention" if one.kind == "attention_off" else "feed_forward"
    return model.with_parts(blocks=[*blocks[:layer], _block(blocks[layer], **{part: Silent()}), *blocks[layer + 1 :]])


def read(box: Assembled, ids: Sequence[int], one: Change | None) -> Reading:
    """Read a text with one change, or with none."""
    machine = box if one is None else replace(box, model=exchange(box, one))
    return read_in_order(machine, ids, range(len(ids)))


def go_on(box: Assembled, ids: Sequence[int], one: Change | None, *, tokens: int) -> tuple[int, ...]:
    """The likeliest token, again and again, after a text: at most ``tokens`` that fit its context.

    Special tokens, such as the mark at the end of a text, are left out: the machine always goes on.

    Raises:
        ValueError: the box predicts no next token.
    """
    if not box.config.causal or box.model.unembedding is None:
        raise ValueError(f"{box.box_id} predicts no next token")
    machine = box.model if one is None else exchange(box, one)
    marks = [token.token_id for token in box.tokenizer.added if token.special]
    text = list(ids)
    with torch.inference_mode():
        while len(text) < min(len(ids) + tokens, box.config.max_seq_len):
            logits = machine(torch.tensor([text], device=box.device))[0, -1]  # [V]
            if not logits.isfinite().all():
                break
            text.append(
                int(logits.index_fill(0, torch.tensor(marks, dtype=torch.long, device=box.device), -torch.inf).argmax())
            )
    return tuple(text[len(ids) :])


def costs(
    box: Assembled, ids: Sequence[int], *, tell: Callable[[Cost, int], None] = lambda *_: None
) -> tuple[Cost, tuple[Cost, ...]]:
    """What every change costs on one text.

    Args:
        box: an opened box. ids: T tokens. tell: hears each cost as soon as it is known, and how many there will be.

    Returns:
        the box as it is, and one cost for each of `changes`.
    """
    whole = read(box, ids, None)
    every = changes(box.config)
    found = []
    for one in every:
        found.append(_cost(one, whole, read(box, ids, one)))
        tell(found[-1], len(every))
    return _cost(Change(kind="positions", option=box.config.positions), whole, whole), tuple(found)


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``exchange``: settings are ``box_id``, ``fingerprint`` and ``sentence``.

    Raises:
        TraceError: the sentence has no token, or more than MOST_TOKENS or the box can read.
        ShelfError, BoxError: the box is another by now, or cannot be opened.
    """
    report(0, 1, "opening")
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    box = open_box(settings["box_id"])
    ids = box.tokenizer.encode(settings["sentence"]).ids
    limit = min(MOST_TOKENS, box.config.max_seq_len)
    if not ids or len(ids) > limit:
        raise TraceError("text_empty" if not ids else "text_too_long", tokens=len(ids), limit=limit)
    shown: list[dict[str, Any]] = []

    def tell(cost: Cost, total: int) -> None:
        shown.append(asdict(cost))
        report(len(shown), total, cost.change.kind)

    whole, found = costs(box, ids, tell=tell)
    return {"whole": asdict(whole), "costs": [asdict(one) for one in found], "tokens": len(ids)}


class Silent(nn.Module):
    """Stands where a part stood and adds nothing to the residual stream."""

    def forward(self, x: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """[B, T, d_model] → zeros of the same shape."""
        return torch.zeros_like(x)


class OtherActivation(nn.Module):
    """A feed-forward part with its own matrices and another activation function: ``relu``, ``none``, ``gelu``…"""

    def __init__(self, part: FeedForward | SwiGLU, activation: str) -> None:
        super().__init__()
        self.part, self.activation = part, activation

    def forward(self, x: Tensor, *, tap: Tap = untouched) -> Tensor:
        """[B, T, d_model] → [B, T, d_model]; the tap sees pre, act and out."""
        gated = isinstance(self.part, SwiGLU)
        pre = tap("pre", self.part.gate(x) if isinstance(self.part, SwiGLU) else self.part.up(x))
        bent = _BEND[self.activation](pre)
        act = tap("act", bent * tap("up", self.part.up(x)) if gated else bent)
        return tap("out", self.part.down(act))


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _gelu_tanh(x: Tensor) -> Tensor:
    return nn.functional.gelu(x, approximate="tanh")


_BEND: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": nn.functional.silu,
    "relu": nn.functional.relu,
    "none": _as_it_is,
}


def _activations(config: TransformerConfig) -> Iterator[str]:
    own = "silu" if config.feed_forward == "swiglu" else config.feed_forward
    yield from (name for name in ("gelu", "silu", "relu", "none") if name != own)


def _positions(config: TransformerConfig, option: str) -> Positions:
    if option == "sinusoidal":
        return SinusoidalPositions(d_model=config.d_model)
    if option == "rotary":
        return RotaryPositions(head_dim=config.head_dim, theta=config.rope_theta)
    if option == "alibi":
        return ALiBiPositions(n_heads=config.n_heads)
    if option == "learned":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            rows = LearnedPositions(max_seq_len=config.max_seq_len, d_model=config.d_model)
        return rows.requires_grad_(False)
    return Positions()


def _with_norms(model: Transformer, blocks: Sequence[Block], kind: str) -> Transformer:
    """The other norm everywhere, with the same scale; a shift that it has no place for is left out."""
    final, entry = model.norm_final, model.norm_embeddings
    return model.with_parts(
        blocks=[_block(one, norm_1=_norm(one.norm_1, kind), norm_2=_norm(one.norm_2, kind)) for one in blocks],
        norm_final=None if final is None else _norm(final, kind),
        norm_embeddings=None if entry is None else _norm(entry, kind),
    )


def _norm(own: Any, kind: str) -> nn.Module:
    other = (RMSNorm if kind == "rms" else LayerNorm)(d_model=own.weight.shape[0], eps=own.eps)
    other.requires_grad_(False).to(own.weight.device, own.weight.dtype)
    other.weight = own.weight
    return other


def _block(own: Block, **exchanged: Any) -> Block:
    """The same block with some parts exchanged; the others are shared."""
    parts = {name: getattr(own, name) for name in ("norm_1", "attention", "norm_2", "feed_forward")}
    return Block(**{**parts, **exchanged}, norm_order=own.norm_order)


def _cost(one: Change, whole: Reading, other: Reading) -> Cost:
    turned = float(change(whole, other).mean())
    if not math.isfinite(turned) or not math.isfinite(other.loss or 0.0):
        return Cost(change=one, loss=None, turned=None, next_id=None, next_prob=None)
    return Cost(
        change=one,
        loss=other.loss,
        turned=turned,
        next_id=None if other.probs is None else int(other.probs.argmax()),
        next_prob=None if other.probs is None else float(other.probs.max()),
    )
