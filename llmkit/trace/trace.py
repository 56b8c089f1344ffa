"""The trace: one forward pass through our parts, every value kept as a plain array.

The values are our parts' own, not the reference's; that both agree is checked by ``llmkit.reference.verify_box``
and by the tests.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.parts import Tap, untouched
from llmkit.reference import Assembled
from llmkit.tokens import Encoding
from llmkit.trace.errors import TraceError

Value = Literal[
    "token_embeddings",
    "position_embeddings",
    "segment_embeddings",
    "embeddings",
    "residual_pre",
    "residual_mid",
    "residual_post",
    "q_unrotated",
    "k_unrotated",
    "q",
    "k",
    "v",
    "attention_scores",
    "attention_weights",
    "head_values",
    "attention_out",
    "mlp_pre",
    "mlp_up",
    "mlp_act",
    "mlp_out",
    "final",
    "logits",
]
"""What a trace can keep. Shapes: see `Trace`."""

EVERYTHING: tuple[Value, ...] = get_args(Value)

_ONCE: Mapping[str, Value] = {
    "embeddings.token": "token_embeddings",
    "embeddings.position": "position_embeddings",
    "embeddings.segment": "segment_embeddings",
    "embeddings": "embeddings",
    "final": "final",
    "logits": "logits",
}
_EACH_LAYER: Mapping[str, Value] = {
    "residual_pre": "residual_pre",
    "residual_mid": "residual_mid",
    "residual_post": "residual_post",
    "attention.q_unrotated": "q_unrotated",
    "attention.k_unrotated": "k_unrotated",
    "attention.q": "q",
    "attention.k": "k",
    "attention.v": "v",
    "attention.scores": "attention_scores",
    "attention.weights": "attention_weights",
    "attention.head_values": "head_values",
    "attention.out": "attention_out",
    "feed_forward.pre": "mlp_pre",
    "feed_forward.up": "mlp_up",
    "feed_forward.act": "mlp_act",
    "feed_forward.out": "mlp_out",
}
_PLACE = re.compile(r"layers\.(\d+)\.(.+)")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One text's way through one box. Arrays are read-only.

    ``trace["embeddings"]`` is an array; a value that every layer has, such as ``trace["q"]``, is a tuple with one
    array a layer: ``trace["q"][layer]``. T tokens, H heads, K key/value heads, Dh head_dim, V vocabulary:

    - once: ``token_embeddings, position_embeddings, segment_embeddings, embeddings, final`` [T, d_model] (position
      and segment only where the family adds them), ``logits`` [T, V] (not for an encoder without a head);
    - each layer: ``residual_pre, residual_mid, residual_post, attention_out, mlp_out`` [T, d_model];
      ``q, q_unrotated, head_values`` [H, T, Dh]; ``k, k_unrotated, v`` [K, T, Dh]; ``attention_scores`` (scaled and
      masked; a masked score is the dtype's lowest number) and ``attention_weights`` [H, T, T] (query, key);
      ``mlp_pre, mlp_act`` [T, d_mlp], ``mlp_up`` too with SwiGLU.

    Args:
        box_id, family, dtype, device: what read the text, and how.
        encoding: the text's tokens with their bytes and offsets.
        values: what was kept.
    """

    box_id: str
    family: str
    dtype: str
    device: str
    encoding: Encoding
    values: Mapping[Value, Any]

    def __getitem__(self, name: Value) -> Any:
        """The array, or the tuple of one array a layer.

        Raises:
            KeyError: when it was not kept, or this box has no such value.
        """
        return self.values[name]

    def __contains__(self, name: Value) -> bool:
        return name in self.values

    @property
    def seq_len(self) -> int:
        """How many tokens the text has."""
        return len(self.encoding)

    @property
    def size_bytes(self) -> int:
        """Memory that the kept arrays take; parts of the same memory are counted each."""
        arrays = (a for kept in self.values.values() for a in (kept if isinstance(kept, tuple) else (kept,)))
        return sum(a.nbytes for a in arrays)


class Recorder:
    """A tap that keeps what passes, without copying it.

    Args:
        parts: which values to keep.
        tap: what else to do to each value; it is recorded after that.
    """

    def __init__(self, parts: Collection[Value], tap: Tap = untouched) -> None:
        self.parts = frozenset(parts)
        self.tap = tap
        self.once: dict[Value, Tensor] = {}
        self.each_layer: dict[Value, dict[int, Tensor]] = {}

    def __call__(self, name: str, value: Tensor, /) -> Tensor:
        value = self.tap(name, value)
        place = _PLACE.fullmatch(name)
        kind = _EACH_LAYER[place[2]] if place else _ONCE[name]
        if kind in self.parts:
            if place:
                self.each_layer.setdefault(kind, {})[int(place[1])] = value
            else:
                self.once[kind] = value
        return value

    def arrays(self) -> dict[Value, Any]:
        """What was kept of the first text of the batch, as read-only arrays."""
        kept: dict[Value, Any] = {name: _array(value) for name, value in self.once.items()}
        for name, layers in self.each_layer.items():
            kept[name] = tuple(_array(layers[layer]) for layer in sorted(layers))
        return kept


def trace_model(
    box: Assembled,
    text: str,
    *,
    parts: Collection[Value] = EVERYTHING,
    max_tokens: int = 512,
    specials: bool = True,
    tap: Tap = untouched,
) -> Trace:
    """Send a text through a box once and keep what passes.

    Args:
        box: an opened box.
        text: any text.
        parts: which values to keep; a long text with everything kept may take gigabytes.
        max_tokens: the longest text accepted, in tokens; the box's own ``max_seq_len`` binds too.
        specials: put the box's own special tokens around the text (``[CLS]`` … ``[SEP]``).
        tap: an intervention; the trace then shows the machine with it.

    Raises:
        TraceError: ``text_empty`` when the text has no token, ``text_too_long`` when it has too many.
        TokenizerError: when the text cannot be cut.
    """
    encoding = box.tokenizer.encode(text, specials=specials)
    limit = min(max_tokens, box.config.max_seq_len)
    if not len(encoding):
        raise TraceError("text_empty", tokens=0, limit=limit)
    if len(encoding) > limit:
        raise TraceError("text_too_long", tokens=len(encoding), limit=limit)
    recorder = Recorder(parts, tap)
    with torch.inference_mode():
        box.model(torch.tensor([encoding.ids], device=box.device), tap=recorder)
    return Trace(
        box_id=box.box_id,
        family=box.family,
        dtype=str(box.dtype).removeprefix("torch."),
        device=str(box.device),
        encoding=encoding,
        values=recorder.arrays(),
    )


def _array(value: Tensor) -> NDArray[Any]:
    """A value of the first text of the batch; bfloat16, which numpy lacks, becomes float32."""
    value = value.detach().cpu()
    value = value.float() if value.dtype is torch.bfloat16 else value
    array: NDArray[Any] = np.asarray(value[0] if value.dim() > 2 else value)
    array.flags.writeable = False
    return array
