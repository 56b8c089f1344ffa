"""QLoRA: the frozen matrices as 4-bit normal floats, the adapter beside them in full precision.

Source: Dettmers et al. 2023, "QLoRA", section 3: NF4, double quantisation, gradients through the frozen 4-bit
weights. `bitsandbytes` holds and multiplies the weights, PEFT puts the adapter beside them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from llmkit.parts import Transformer
from llmkit.tune.errors import TuneError


def why_not() -> TuneError | None:
    """What keeps QLoRA from running on this machine, or None; loads nothing."""
    if find_spec("bitsandbytes") is None:
        return TuneError("qlora_missing", detail="bitsandbytes is not installed")
    return None if torch.cuda.is_available() else TuneError("qlora_missing", detail="torch sees no NVIDIA GPU")


def quantise_base(model: Transformer) -> Transformer:
    """Turn the linear layers of a machine's blocks into NF4, in place; it is a copy of the caller's own.

    Embedding, norms and LM head stay as they are, as in ``transformers`` with ``BitsAndBytesConfig``.
    """
    device = model.embedding.weight.device
    for name, module in list(model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, own = name.rpartition(".")
            setattr(model.layers.get_submodule(parent), own, _nf4(module).to(device))
    model.is_loaded_in_4bit = True  # type: ignore[assignment]  # by this PEFT knows that its 4-bit layer is wanted
    return model


def _nf4(linear: nn.Linear) -> Any:
    import bitsandbytes as bnb

    compute = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    made = bnb.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=compute,
        compress_statistics=True,
        quant_type="nf4",
    )
    weight = linear.weight.detach().cpu()
    made.weight = bnb.nn.Params4bit(weight, requires_grad=False, compress_statistics=True, quant_type="nf4")
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return made
