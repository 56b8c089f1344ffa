"""Fit a box's weights onto a machine that somebody planned, part by part, each measured against the reference's part.

A part of another kind or shape is refused with the reason. One that takes the weights and yet computes something else
(another activation, another mask, another angle) shows it in its difference.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmkit import shelf
from llmkit.assembly import saved
from llmkit.assembly.errors import PlanError
from llmkit.assembly.plan import to_config
from llmkit.jobs.report import Report
from llmkit.parts import FeedForward, Positions, RotaryPositions, Transformer, TransformerConfig, View, assemble
from llmkit.reference.box import Assembled, open_box
from llmkit.reference.naming import Kind
from llmkit.reference.verify import FLOAT32_LIMIT, PLACES, Seen, load_reference

State = Literal["fits", "differs", "refused", "left"]
Reason = Literal["", "kind", "shape", "extra", "lacks", "tied", "none"]

TOP = 5
"""Next tokens of each model that are kept."""

_ENTRY_PLACES: Mapping[Kind, Mapping[str, str]] = {
    "bert": {"segments": "embeddings.token_type_embeddings", "norm_embeddings": "embeddings.LayerNorm"},
    "distilbert": {"norm_embeddings": "embeddings.LayerNorm"},
}
"""The reference's modules for parts that only an entry has; all others stand in `PLACES`."""

_BLOCK = ("norm_1", "attention", "norm_2", "feed_forward")


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One part at one place, and how the box's weights went onto it.

    Args:
        part: ``embedding``, ``norm_1`` and so on. layer: which block; None outside the blocks.
        state: ``fits``; ``differs`` (the weights went on, the numbers are others); ``refused`` (they do not go on);
            ``left`` (the box has weights for it, the plan has no such part).
        delta: max |Δ| against the reference's part on the same input; None where nothing could be compared.
        limit: under which it fits: rounding grows with the size of the numbers.
        reason: why it was refused: another ``kind``, another ``shape``, an ``extra`` tensor in the box, one that the
            box ``lacks``, a matrix that is ``tied`` here and not there; ``none`` where the box has no such part.
        yours, theirs: what the reason is about, on the bench and in the box.
    """

    part: str
    layer: int | None
    state: State
    delta: float | None = None
    limit: float | None = None
    reason: Reason = ""
    yours: str = ""
    theirs: str = ""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The finished machine beside the reference on the same text.

    Args:
        of: what was compared: ``logits``, or ``states`` where the machine ends in hidden states.
        delta, limit: max |Δ|, and under which it is rounding.
        each: [T], max |Δ| at each token.
        ours, theirs: the likeliest next tokens as (id, probability); empty for states, and where text is masked.
    """

    of: Literal["logits", "states"]
    delta: float
    limit: float
    each: tuple[float, ...]
    ours: tuple[tuple[int, float], ...]
    theirs: tuple[tuple[int, float], ...]

    @property
    def fits(self) -> bool:
        """Within rounding."""
        return self.delta < self.limit


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What came of fitting a box onto a plan.

    Args:
        pieces: in the order in which a text passes them. tokens: how many were read.
        differences: fields of the parts list that are not as in the box: (field, on the bench, in the box).
        whole: None where a part has no weights, so that nothing can run.
    """

    pieces: tuple[Piece, ...]
    tokens: int
    differences: tuple[tuple[str, str, str], ...]
    whole: Whole | None


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``fit_box``: settings are ``box_id``, ``fingerprint``, ``plan`` (as in a link) and ``sentence``.

    Raises:
        PlanError: the plan is not complete, does not fit, or reads less than the sentence.
        ShelfError, BoxError: the box is another by now, or cannot be opened.
    """
    report(0, 1, "opening")
    config = to_config(saved.from_link(settings["plan"]))
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    box = open_box(settings["box_id"])
    shown: list[dict[str, Any]] = []

    def tell(piece: Piece, total: int) -> None:
        shown.append(asdict(piece))
        note = piece.part if piece.layer is None else f"{piece.part} {piece.layer}"
        report(len(shown), total, note, partial={"pieces": shown})

    ids = list(box.tokenizer.encode(settings["sentence"]).ids)
    return asdict(fit_box(box, config, ids, tell=tell))


@torch.inference_mode()
def fit_box(
    box: Assembled, config: TransformerConfig, ids: list[int], *, tell: Callable[[Piece, int], None] = lambda *_: None
) -> Fitted:
    """Fit a box's weights onto a parts list and compare every part with the reference on one text.

    Args:
        box: an opened box; it is only read. config: what was planned.
        ids: T tokens. tell: hears each piece as soon as it is measured, and how many there will be.

    Raises:
        PlanError: ``plan_context`` when the plan reads less than T tokens.
    """
    limit = min(config.max_seq_len, box.config.max_seq_len)
    if not 0 < len(ids) <= limit:
        raise PlanError("plan_context", tokens=len(ids), limit=limit)
    input_ids = torch.tensor([ids])
    reference = load_reference(box, torch.float32)
    seen = Seen(reference)
    theirs = reference(input_ids, output_hidden_states=True)
    seen.stop()
    with torch.device("meta"):
        machine = assemble(config)
    fitter = _Fitter(box, config, machine, seen, input_ids)
    pieces = []
    for place in fitter.places:
        pieces.append(fitter.fit(*place))
        tell(pieces[-1], len(fitter.places))
    complete = all(piece.state != "refused" for piece in pieces)
    return Fitted(
        pieces=tuple(pieces),
        tokens=len(ids),
        differences=tuple(_differences(config, box.config)),
        whole=_whole(box, config, machine, input_ids, theirs) if complete else None,
    )


class _Fitter:
    """Puts the box's weights onto the planned machine, one part after the other."""

    def __init__(
        self, box: Assembled, config: TransformerConfig, machine: Transformer, seen: Seen, input_ids: Tensor
    ) -> None:
        self.box, self.config, self.machine, self.seen, self.input_ids = box, config, machine, seen, input_ids
        here = torch.arange(input_ids.shape[1])
        self.view: View = machine._view(here, None, None, 0)
        self.places = tuple(self._all_places())

    def _all_places(self) -> Iterator[tuple[str, int | None]]:
        """Every part that the plan or the box has: (part, layer)."""
        both = (self.machine, self.box.model)
        entry = [name for name in ("embedding", "segments") if any(getattr(one, name) is not None for one in both)]
        if any(type(one.positions) is not Positions for one in both):
            entry.append("positions")
        yield from ((name, None) for name in entry)
        if any(one.norm_embeddings is not None for one in both):
            yield "norm_embeddings", None
        for layer in range(max(len(one.layers) for one in both)):
            yield from ((name, layer) for name in _BLOCK)
        for name in ("norm_final", "unembedding"):
            if any(getattr(one, name) is not None for one in both):
                yield name, None

    def fit(self, part: str, layer: int | None) -> Piece:
        """Put the weights of one part on, if they go, and measure it."""
        yours, theirs = _module(self.machine, part, layer), _module(self.box.model, part, layer)
        place: dict[str, Any] = {"part": part, "layer": layer}
        if yours is None:
            return Piece(**place, state="left", theirs=_kind(theirs))
        if theirs is None:
            return Piece(**place, state="refused", reason="none", yours=_kind(yours))
        refusal = self._refusal(part, yours, theirs)
        if refusal is not None:
            reason, mine, given = refusal
            return Piece(**place, state="refused", reason=reason, yours=mine, theirs=given)
        yours.load_state_dict(theirs.state_dict(), assign=True)
        if part == "unembedding" and self.config.tied:
            self.machine.unembedding.weight = self.machine.embedding.weight  # type: ignore[union-attr]
        measured = self._measure(part, layer, yours)
        if measured is None:
            return Piece(**place, state="fits")
        delta, scale = measured
        limit = FLOAT32_LIMIT * max(1.0, scale)
        return Piece(**place, state="fits" if delta < limit else "differs", delta=delta, limit=limit)

    def _refusal(self, part: str, yours: nn.Module, theirs: nn.Module) -> tuple[Reason, str, str] | None:
        """Why these weights do not go onto this part; None when they do."""
        if type(yours) is not type(theirs):
            return "kind", _kind(yours), _kind(theirs)
        if part == "unembedding" and self.config.tied and not self.box.config.tied:
            return "tied", _kind(yours), _kind(theirs)
        mine, given = yours.state_dict(), theirs.state_dict()
        if given.keys() - mine.keys():
            return "extra", _kind(yours), ", ".join(sorted(given.keys() - mine.keys()))
        if mine.keys() - given.keys():
            return "lacks", ", ".join(sorted(mine.keys() - given.keys())), _kind(theirs)
        for name, tensor in mine.items():
            if tensor.shape != given[name].shape:
                return "shape", f"{name} {list(tensor.shape)}", f"{name} {list(given[name].shape)}"
        return None

    def _measure(self, part: str, layer: int | None, yours: nn.Module) -> tuple[float, float] | None:
        """max |Δ| of the part on the reference's own input, and the largest value of the reference."""
        our, their = self._outputs(part, layer or 0, yours)
        if our is None or their is None:
            return None
        return (our - their).abs().max().item(), their.abs().max().item()

    def _outputs(self, part: str, layer: int, yours: Any) -> tuple[Tensor | None, Tensor | None]:
        """What the part gives, and what the reference's part gave for the same input."""
        seen, places = self.seen, PLACES[self.box.kind]
        if part in ("embedding", "segments"):
            path = places["embedding"][1] if part == "embedding" else _ENTRY_PLACES[self.box.kind][part]
            ids = self.input_ids if part == "embedding" else torch.zeros_like(self.input_ids)
            return yours(ids), seen.output((path, path))
        if part == "positions":
            return self._positions(yours, places["positions"])
        if part == "norm_embeddings":
            path = _ENTRY_PLACES[self.box.kind][part]
            return yours(seen.input((path, path))), seen.output((path, path))
        place = places[part]
        given = seen.input(place, layer)
        return yours(given, self.view) if part == "attention" else yours(given), seen.output(place, layer)

    def _positions(self, yours: Positions, place: tuple[str, str]) -> tuple[Tensor | None, Tensor | None]:
        """Rows that are added, or cos and sin that turn; nothing to compare for encodings that no box has."""
        here = torch.arange(self.input_ids.shape[1])
        if isinstance(yours, RotaryPositions):
            cos, sin = self.seen.outputs[self.seen.name(place)]
            rotation = yours.rotation(here)
            if rotation.cos.shape != cos[0].shape:
                return None, None
            return torch.stack((rotation.cos, rotation.sin)), torch.stack((cos[0], sin[0]))
        return yours.added(here), self.seen.output(place)


def _module(model: Transformer, part: str, layer: int | None) -> nn.Module | None:
    """A machine's part; None where it has none."""
    if layer is None:
        found = getattr(model, part)
        return None if part == "positions" and type(found) is Positions else found
    return getattr(model.layers[layer], part) if layer < len(model.layers) else None


def _kind(part: nn.Module | None) -> str:
    """What a part is, by its class."""
    if isinstance(part, FeedForward):
        return "GELU (tanh)" if part.approximate == "tanh" else "GELU"
    return "" if part is None else type(part).__name__


def _differences(yours: TransformerConfig, theirs: TransformerConfig) -> Iterator[tuple[str, str, str]]:
    for one in fields(yours):
        mine, given = getattr(yours, one.name), getattr(theirs, one.name)
        if mine != given:
            yield one.name, str(mine), str(given)


def _whole(box: Assembled, config: TransformerConfig, machine: Transformer, input_ids: Tensor, theirs: Any) -> Whole:
    """Run the finished machine and compare how it ends."""
    final: list[Tensor] = []

    def keep(name: str, value: Tensor, /) -> Tensor:
        if name == "final":
            final.append(value)
        return value

    out = machine.eval()(input_ids, tap=keep)
    both = config.unembedding and box.config.unembedding
    our, their = (out, theirs.logits) if both else (final[0], theirs.hidden_states[-1])
    apart = (our - their)[0].abs().amax(-1)  # [T]
    predicts = both and config.causal and box.config.causal
    return Whole(
        of="logits" if both else "states",
        delta=apart.max().item(),
        limit=FLOAT32_LIMIT * max(1.0, their.abs().max().item()),
        each=tuple(apart.tolist()),
        ours=_likeliest(our[0, -1]) if predicts else (),
        theirs=_likeliest(their[0, -1]) if predicts else (),
    )


def _likeliest(logits: Tensor) -> tuple[tuple[int, float], ...]:
    found = logits.double().softmax(-1).topk(min(TOP, logits.shape[-1]))
    return tuple(zip(found.indices.tolist(), found.values.tolist(), strict=True))
