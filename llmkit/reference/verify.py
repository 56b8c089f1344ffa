"""Prove that every part fits: the same weights and the same text through the reference and through our parts.

Each part gets the very input that the reference's own part got, so a difference belongs to that part alone.
In float32 two right implementations differ by rounding; in float64 that difference collapses. One that does not
collapse is a mistake.

The reference keeps islands of float32 whatever the dtype: RMSNorm and the softmax of its eager attention. For the
float64 comparison its RMSNorms are exchanged for ``torch.nn.RMSNorm`` and its attention runs as
``scaled_dot_product_attention``; both are PyTorch's own.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn

from llmkit.parts import Block, RotaryPositions, View
from llmkit.reference.box import Assembled, open_box, open_folder
from llmkit.reference.naming import Kind

SAMPLE = "The movie was good, but 這本書 is better: 春眠不覺曉，處處聞啼鳥。 🙂 1,234\n\tdef f(x): return x"
"""What is read: two languages, an emoji, digits, blanks and code."""

FLOAT64_LIMIT = 1e-9
FLOAT32_LIMIT = 1e-4


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well one part fits, over all places where it stands.

    Args:
        part: its name (``attention``); ``hidden_states``, ``attention_weights`` and ``logits`` are the whole
            machine's, differences of all layers added up.
        places: how many were compared.
        scale: the largest absolute value that the reference gave in float32.
        float32: max |Δ| in float32. float64: the same in float64; None where the reference has no float64 value.
    """

    part: str
    places: int
    scale: float
    float32: float
    float64: float | None

    @property
    def float32_limit(self) -> float:
        """Rounding grows with the size of the numbers: the limit does, too."""
        return FLOAT32_LIMIT * max(1.0, self.scale)

    @property
    def passed(self) -> bool:
        """Within rounding in float32, and gone in float64. NaN never passes."""
        collapsed = self.float64 is None or self.float64 < FLOAT64_LIMIT
        return self.float32 < self.float32_limit and collapsed


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came out for one box.

    Args:
        box_id, kind: what was compared. tokens: how many were read. rows: one for each part.
        reason: why the limits are what they are.
    """

    box_id: str
    kind: Kind
    tokens: int
    rows: tuple[Fit, ...]
    reason: str = (
        f"float32: {FLOAT32_LIMIT:g} times the largest value, a few hundred roundings of 2^-24; "
        f"float64: {FLOAT64_LIMIT:g}, under which a float32 rounding cannot stay"
    )

    @property
    def passed(self) -> bool:
        """Whether every part fits."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON; NaN becomes null."""
        rows = [
            {name: None if value != value else value for name, value in asdict(row).items()}
            | {"float32_limit": row.float32_limit, "passed": row.passed}
            for row in self.rows
        ]
        return asdict(self) | {"rows": rows, "passed": self.passed}


def verify_box(box_id: str, *, text: str = SAMPLE) -> Report:
    """Compare a box of the shelf with its reference, part by part.

    Raises:
        BoxError: when the box cannot be opened.
    """
    return _verify(open_box(box_id), text)


def verify_folder(folder: Path, *, text: str = SAMPLE) -> Report:
    """Compare a box that lies in a folder with its reference; see `verify_box`."""
    return _verify(open_folder(folder), text)


def load_reference(box: Assembled, dtype: torch.dtype) -> Any:
    """The Hugging Face model of an opened box, in evaluation mode.

    In float32 it shows its attention weights (eager); in float64 its float32 islands are lifted.
    """
    names = {"gpt2": "AutoModelForCausalLM", "llama": "AutoModelForCausalLM", "bert": "AutoModelForMaskedLM"}
    loader = getattr(transformers, names[box.family] if box.config.unembedding else "AutoModel")
    model = loader.from_pretrained(
        box.folder,
        dtype=dtype,
        attn_implementation="sdpa" if dtype is torch.float64 else "eager",
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    ).eval()
    return _lift_islands(model) if dtype is torch.float64 else model


def _verify(box: Assembled, text: str) -> Report:
    input_ids = torch.tensor([box.tokenizer.encode(text).ids[: box.config.max_seq_len]])
    narrow = _differences(box, input_ids)
    wide = _differences(open_folder(box.folder, box_id=box.box_id, dtype=torch.float64), input_ids)
    rows = tuple(
        Fit(
            part=part,
            places=len(found),
            scale=max(scale for _, scale in found),
            float32=_worst(found),
            float64=_worst(wide[part]) if part in wide else None,
        )
        for part, found in narrow.items()
    )
    return Report(box_id=box.box_id, kind=box.kind, tokens=input_ids.shape[1], rows=rows)


def _worst(found: list[tuple[float, float]]) -> float:
    """The largest difference; NaN if there is one."""
    differences = [difference for difference, _ in found]
    return math.nan if any(math.isnan(d) for d in differences) else max(differences)


@torch.inference_mode()
def _differences(box: Assembled, input_ids: Tensor) -> dict[str, list[tuple[float, float]]]:
    """max |Δ| and max |reference| of each part at each place, in the box's dtype."""
    reference = load_reference(box, box.dtype)
    seen = Seen(reference)
    eager = box.dtype is torch.float32
    theirs = reference(input_ids, output_hidden_states=True, output_attentions=eager)
    seen.stop()
    ours = _OurRun(box, input_ids)
    found: dict[str, list[tuple[float, float]]] = {}

    def compare(part: str, our: Tensor, their: Tensor) -> None:
        found.setdefault(part, []).append(((our - their).abs().max().item(), their.abs().max().item()))

    for part, our, their in _isolated(box, seen, ours, input_ids):
        compare(part, our, their)
    for layer, hidden in enumerate(theirs.hidden_states[:-1]):
        compare("hidden_states", ours.values[f"layers.{layer}.residual_pre"], hidden)
    compare("hidden_states", ours.values["final"], theirs.hidden_states[-1])
    for layer, weights in enumerate(theirs.attentions or ()):
        compare("attention_weights", ours.values[f"layers.{layer}.attention.weights"], weights)
    if box.config.unembedding:
        compare("logits", ours.values["logits"], theirs.logits)
    return found


def _isolated(box: Assembled, seen: "Seen", ours: "_OurRun", input_ids: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each of our parts on the input of the reference's part: (part, our output, its output)."""
    model, places = box.model, PLACES[box.kind]
    yield "embedding", model.embedding(input_ids), seen.output(places["embedding"])
    if isinstance(model.positions, RotaryPositions):
        rotation = model.positions.rotation(torch.arange(input_ids.shape[1]))
        cos, sin = seen.outputs[seen.name(places["positions"])]
        yield (
            "positions",
            torch.stack((rotation.cos, rotation.sin)).to(cos.dtype),
            torch.stack((cos[0], sin[0])),
        )
    else:
        yield (
            "positions",
            ours.values["embeddings.position"].expand(1, -1, -1),
            seen.output(places["positions"]),
        )
    for number, block in enumerate(cast(Iterable[Block], model.layers)):
        for part, inner in (
            ("norm", block.norm_1),
            ("norm", block.norm_2),
            ("feed_forward", block.feed_forward),
        ):
            place = places[part if part == "feed_forward" else f"norm_{1 if inner is block.norm_1 else 2}"]
            yield part, inner(seen.input(place, number)), seen.output(place, number)
        attended = block.attention(seen.input(places["attention"], number), ours.view)
        yield "attention", attended, seen.output(places["attention"], number)
        yield (
            "block",
            block(seen.input(places["block"], number), ours.view),
            seen.output(places["block"], number),
        )
    if model.norm_final is not None:
        yield "norm", model.norm_final(seen.input(places["norm_final"])), seen.output(places["norm_final"])
    if model.unembedding is not None:
        place = places["unembedding"]
        yield "unembedding", model.unembedding(seen.input(place)), seen.output(place)


class _OurRun:
    """Our whole machine's run: every value under its tap name, and the view that its blocks were given."""

    def __init__(self, box: Assembled, input_ids: Tensor) -> None:
        self.values: dict[str, Tensor] = {}
        self.view = View()
        first = box.model.layers[0]
        handle = first.register_forward_pre_hook(lambda _module, args: setattr(self, "view", args[1]))
        try:
            box.model(input_ids, tap=self._keep)
        finally:
            handle.remove()

    def _keep(self, name: str, value: Tensor, /) -> Tensor:
        self.values[name] = value
        return value


class Seen:
    """What went into and came out of every module of the reference in one run."""

    def __init__(self, reference: nn.Module) -> None:
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Any] = {}
        self.prefix: str = getattr(reference, "base_model_prefix", "")
        self._handles = [
            module.register_forward_hook(self._hook(name), with_kwargs=True)
            for name, module in reference.named_modules()
        ]

    def input(self, place: tuple[str, str], layer: int = 0) -> Tensor:
        """The first tensor that the module at a place was given."""
        return self.inputs[self.name(place[0], layer)]

    def output(self, place: tuple[str, str], layer: int = 0) -> Tensor:
        """The first tensor that the module at a place gave."""
        output = self.outputs[self.name(place[1], layer)]
        first: Tensor = output[0] if isinstance(output, tuple) else output
        return first

    def name(self, path: str | tuple[str, str], layer: int = 0) -> str:
        """The module's name in this reference: with the model's prefix, or without where there is no head."""
        path = (path if isinstance(path, str) else path[1]).format(n=layer)
        return path if path in self.outputs else f"{self.prefix}.{path}"

    def stop(self) -> None:
        """Look no longer."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            if given:
                self.inputs[name] = given[0]
            self.outputs[name] = output

        return keep


def _same(path: str) -> tuple[str, str]:
    return path, path


_LLAMA: Mapping[str, tuple[str, str]] = {
    "embedding": _same("embed_tokens"),
    "positions": _same("rotary_emb"),
    "norm_1": _same("layers.{n}.input_layernorm"),
    "attention": _same("layers.{n}.self_attn"),
    "norm_2": _same("layers.{n}.post_attention_layernorm"),
    "feed_forward": _same("layers.{n}.mlp"),
    "block": _same("layers.{n}"),
    "norm_final": _same("norm"),
    "unembedding": _same("lm_head"),
}
PLACES: Mapping[Kind, Mapping[str, tuple[str, str]]] = {
    # part: the reference's module that gets the part's input, and the one that gives its output
    "gpt2": {
        "embedding": _same("wte"),
        "positions": _same("wpe"),
        "norm_1": _same("h.{n}.ln_1"),
        "attention": _same("h.{n}.attn"),
        "norm_2": _same("h.{n}.ln_2"),
        "feed_forward": _same("h.{n}.mlp"),
        "block": _same("h.{n}"),
        "norm_final": _same("ln_f"),
        "unembedding": _same("lm_head"),
    },
    "bert": {
        "embedding": _same("embeddings.word_embeddings"),
        "positions": _same("embeddings.position_embeddings"),
        "norm_1": _same("encoder.layer.{n}.attention.output.LayerNorm"),
        "attention": ("encoder.layer.{n}.attention.self", "encoder.layer.{n}.attention.output.dense"),
        "norm_2": _same("encoder.layer.{n}.output.LayerNorm"),
        "feed_forward": ("encoder.layer.{n}.intermediate.dense", "encoder.layer.{n}.output.dense"),
        "block": _same("encoder.layer.{n}"),
        "unembedding": _same("cls.predictions"),
    },
    "distilbert": {
        "embedding": _same("embeddings.word_embeddings"),
        "positions": _same("embeddings.position_embeddings"),
        "norm_1": _same("transformer.layer.{n}.sa_layer_norm"),
        "attention": ("transformer.layer.{n}.attention.q_lin", "transformer.layer.{n}.attention.out_lin"),
        "norm_2": _same("transformer.layer.{n}.output_layer_norm"),
        "feed_forward": _same("transformer.layer.{n}.ffn"),
        "block": _same("transformer.layer.{n}"),
        "unembedding": ("vocab_transform", "vocab_projector"),
    },
    "llama": _LLAMA,
    "qwen3": _LLAMA,
}


def _lift_islands(model: Any) -> Any:
    """Exchange the reference's float32-only RMSNorms for PyTorch's own, with the same weights."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                norm = nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=child.weight.dtype)
                norm.weight = child.weight
                setattr(parent, name, norm)
    return model
