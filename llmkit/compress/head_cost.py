"""What rounding costs a box that writes: its layers alone, its token table (the LM head) alone, or both.

The weights are rounded by ``llmkit.compress.matrix`` and put back as numbers, so what is measured is the rounding and
nothing else. A tied head is the token table: rounding one rounds the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmkit import shelf
from llmkit.compress.matrix import Kind, Scheme, cost, quantise

if TYPE_CHECKING:
    from torch import Tensor

    from llmkit.jobs import Report
    from llmkit.reference import Assembled

WHAT = ("nothing", "layers", "head", "both")
MAX_TOKENS = 256


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Job kind ``head_cost``: the perplexity of one text with each part rounded, per output channel.

    Args:
        settings: ``box`` and its ``fingerprint``, ``bits`` and ``kind`` of ``matrix.Scheme``, ``text`` (its first
            ``MAX_TOKENS`` tokens are read).
        report: told after each reading.

    Returns:
        ``perplexity`` by ``WHAT``; ``tokens`` predicted; ``bytes`` of the layers' and of the head's weights in float32;
        ``snr_db`` of the head.

    Raises:
        GenerateError: ``no_next_token`` for an encoder, ``prompt_empty`` for a text of fewer than two tokens.
    """
    import torch

    from llmkit.generate.decode import require_next_token
    from llmkit.generate.errors import GenerateError
    from llmkit.reference import open_box

    if settings.get("fingerprint"):
        shelf.require_unchanged(settings["box"], settings["fingerprint"])
    box = open_box(settings["box"])
    require_next_token(box)
    kind: Kind = settings["kind"]
    scheme = Scheme(bits=settings["bits"], kind=kind)
    ids = box.tokenizer.encode(settings["text"]).ids[:MAX_TOKENS]
    if len(ids) < 2:
        raise GenerateError("prompt_empty", box=box.box_id)
    read = torch.tensor([ids])
    layers = {
        name: weight for name, weight in box.model.named_parameters() if name.startswith("layers.") and weight.ndim == 2
    }
    heads = _heads(box)
    measured: dict[str, float] = {}
    snr = math.inf
    for done, what in enumerate(WHAT):
        report(done, len(WHAT))
        changed = {**(layers if what in ("layers", "both") else {}), **(heads if what in ("head", "both") else {})}
        kept = {name: weight.data for name, weight in changed.items()}
        for name, weight in changed.items():
            rounded = quantise(kept[name].numpy(), scheme).weights
            if name in heads:
                snr = cost(kept[name].numpy(), rounded).snr_db
            weight.data = torch.from_numpy(rounded)  # this process opened the box: nobody shares it
        measured[what] = _perplexity(box, read)
        for name, weight in changed.items():
            weight.data = kept[name]
    return {
        "perplexity": measured,
        "tokens": len(ids) - 1,
        "bytes": {"layers": _bytes(layers), "head": _bytes(heads)},
        "snr_db": snr,
        "tied": box.config.tied,
    }


def _heads(box: Assembled) -> dict[str, Tensor]:
    """The token table, and the head where it is a matrix of its own."""
    found: dict[str, Tensor] = {"embedding.weight": box.model.embedding.weight}
    if not box.config.tied and box.model.unembedding is not None:
        found = {"unembedding.weight": box.model.unembedding.weight}
    return found


def _bytes(weights: Mapping[str, Tensor]) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


def _perplexity(box: Assembled, read: Tensor) -> float:
    """Of one text, [1, T]: exp of the mean negative log-probability (nats) of its tokens but the first."""
    import torch

    with torch.inference_mode():
        logits = box.model(read)
    mean = torch.nn.functional.cross_entropy(logits[0, :-1].double(), read[0, 1:])
    return float(mean.exp())
