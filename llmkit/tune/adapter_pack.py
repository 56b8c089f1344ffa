"""An adapter to take away: PEFT's two files under the reference's names, so that it opens beside Hugging Face's model.

GPT-2 keeps q, k and v in one matrix: their pairs become one of a larger rank, each in rows of its own.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor

from llmkit.reference import Assembled
from llmkit.reference.naming import Row, rows
from llmkit.tune.adapter import CONFIG, PREFIX, WEIGHTS, Adapter, Low, write_adapter

README = "README.md"


def pack(adapter: Adapter, box: Assembled) -> bytes:
    """An adapter as a ZIP of ``adapter_config.json``, ``adapter_model.safetensors`` and lines that open it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_for_peft(adapter, box, folder)
        (folder / README).write_text(f"```python\n{snippet(box, '.')}```\n", encoding="utf-8")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
            for name in (CONFIG, WEIGHTS, README):
                file.write(folder / name, name)
    return packed.getvalue()


def write_for_peft(adapter: Adapter, box: Assembled, folder: Path) -> None:
    """Write an adapter into a folder as ``peft.PeftModel.from_pretrained`` opens it beside the reference's model."""
    lows = {low.name: low for low in adapter.lows}
    found = []
    for row in rows(box.kind, box.config):
        names = [name.removesuffix(".weight") for name in row.ours]
        if any(name in lows for name in names):
            found.append((_module(row, box), [(name, lows.get(name)) for name in names]))
    fused = any(len(pairs) > 1 for _, pairs in found)
    rank = max(sum(low.a.shape[0] for _, low in pairs if low is not None) for _, pairs in found)
    tensors: dict[str, Tensor] = {}
    for module, pairs in found:
        tensors |= {f"{PREFIX}{module}.{name}": tensor for name, tensor in _joined(pairs, rank, box).items()}
    config = LoraConfig(
        r=rank,
        lora_alpha=adapter.lows[0].scale * rank if fused else adapter.alpha,  # type: ignore[arg-type]
        use_rslora=adapter.rslora and not fused,
        use_dora=adapter.dora,
        fan_in_fan_out=box.kind == "gpt2",
        target_modules=[module for module, _ in found],
        inference_mode=True,
    )
    write_adapter(tensors, config.to_dict(), folder)  # type: ignore[no-untyped-call]


def snippet(box: Assembled, folder: str) -> str:
    """Python lines that open the adapter beside the reference's model of the same box."""
    auto = "AutoModel" if box.model.unembedding is None else "AutoModelForCausalLM"
    auto = auto if box.config.causal or box.model.unembedding is None else "AutoModelForMaskedLM"
    return (
        f"from peft import PeftModel\nfrom transformers import {auto}\n\n"
        f"base = {auto}.from_pretrained({json.dumps(str(box.folder), ensure_ascii=False)})\n"
        f"model = PeftModel.from_pretrained(base, {json.dumps(folder, ensure_ascii=False)}).eval()\n"
    )


def _module(row: Row, box: Assembled) -> str:
    """What the reference's model calls a matrix; one without a head has no prefix."""
    name = row.theirs.removesuffix(".weight")
    return name if box.model.unembedding is not None else name.partition(".")[2]


def _joined(pairs: list[tuple[str, Low | None]], rank: int, box: Assembled) -> Mapping[str, Tensor]:
    """The pairs of one of the reference's matrices as one pair, filled up with zeros to a rank."""
    weights = [box.model.get_parameter(f"{name}.weight").detach().cpu().float() for name, _ in pairs]
    a = torch.zeros(rank, weights[0].shape[1])
    b = torch.zeros(sum(weight.shape[0] for weight in weights), rank)
    magnitude = torch.cat([_length(weight, low) for weight, (_, low) in zip(weights, pairs, strict=True)])
    row = column = 0
    for weight, (_, low) in zip(weights, pairs, strict=True):
        if low is not None:
            r = low.a.shape[0]
            a[column : column + r] = low.a
            b[row : row + weight.shape[0], column : column + r] = low.b
            column += r
        row += weight.shape[0]
    joined: dict[str, Any] = {"lora_A.weight": a, "lora_B.weight": b}
    if any(low is not None and low.magnitude is not None for _, low in pairs):
        joined["lora_magnitude_vector"] = magnitude
    return joined


def _length(weight: Tensor, low: Low | None) -> Tensor:
    """DoRA's length of each row; of one without an adapter its own."""
    return weight.norm(dim=1) if low is None or low.magnitude is None else low.magnitude.cpu().float()
