"""torchao: each linear layer's weights as int8 with a scale for each output row; activations stay float32.

Source: torchao's ``Int8WeightOnlyConfig``. Its tensors are written as what they consist of, so that a safetensors file
holds them and opening one runs no code of the file's.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form

if TYPE_CHECKING:
    from torch import Tensor

    from llmkit.compress.made import Progress
    from llmkit.compress.runner import Runner
    from llmkit.parts import Transformer

WEIGHTS, PLAN = "model.safetensors", "torchao.json"
_BETWEEN = "::"
"""Between a weight's name and the name of a tensor that it consists of."""


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; loads nothing."""
    if find_spec("torchao") is None:
        return FormError("form_missing", form=form.id, detail="torchao is not installed")
    return None


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Quantise each linear layer's weights and write them.

    Raises:
        BoxError: the box is broken.
    """
    from safetensors.torch import save_file

    from llmkit.compress.parts_runner import open_parts, to_keep

    report(0, 3, note="reading")
    model, plain = open_parts(box_folder), open_parts(box_folder)
    report(1, 3, note="quantising")
    quantization, _ = _torchao()
    quantization.quantize_(model, quantization.Int8WeightOnlyConfig())
    report(2, 3, note="writing")
    whole: dict[str, Tensor] = {}
    parted: dict[str, Tensor] = {}
    plan: dict[str, Any] = {}
    for name, tensor in model.state_dict().items():
        if hasattr(tensor, "qdata"):
            inner, context = tensor.__tensor_flatten__()
            parted |= {f"{name}{_BETWEEN}{one}": getattr(tensor, one).contiguous() for one in inner}
            plan[name] = {"tensors": inner, "block_size": context["block_size"]}
        else:
            whole[name] = tensor
    save_file({**to_keep(plain, whole, box_folder), **parted}, out / WEIGHTS)
    (out / PLAN).write_text(json.dumps(plan, indent=1), encoding="utf-8")
    report(3, 3, note="writing")


def open_runner(form: Form, box_folder: Path, made_folder: Path) -> Runner:
    """Open what ``make`` wrote: it computes the same numbers as the model that was quantised.

    Raises:
        FormError: ``form_broken``. BoxError: the box's config cannot be read.
    """
    from llmkit.compress.parts_runner import PartsRunner, reading_files

    return PartsRunner(form, box_folder.name, reading_files(form, lambda: _read(box_folder, made_folder)))


def dequantised(form: Form, box_folder: Path, made_folder: Path) -> dict[str, Tensor]:
    """The weights that the form computes with, written out as float32 under the parts' names."""
    from llmkit.compress.parts_runner import reading_files

    model = reading_files(form, lambda: _read(box_folder, made_folder))
    return {
        name: (tensor.dequantize() if hasattr(tensor, "qdata") else tensor).detach().float()
        for name, tensor in model.named_parameters(remove_duplicate=False)
    }


def _read(box_folder: Path, made_folder: Path) -> Transformer:
    import torch
    from safetensors.torch import load_file

    from llmkit.compress.parts_runner import empty_parts, plain_dtype, tie

    _, kind = _torchao()
    model = empty_parts(box_folder)
    plan = json.loads((made_folder / PLAN).read_text(encoding="utf-8"))
    tensors = load_file(made_folder / WEIGHTS)
    state = {name: plain_dtype(tensor) for name, tensor in tensors.items() if _BETWEEN not in name}
    for name, how in plan.items():
        inner = {one: tensors[f"{name}{_BETWEEN}{one}"] for one in how["tensors"]}
        context = {
            "block_size": how["block_size"],
            "dtype": torch.float32,
            "act_quant_kwargs": None,
            "reduce_range": False,
        }
        state[name] = kind.__tensor_unflatten__(inner, context, None, None)
    if "unembedding.weight" in model.state_dict():
        state.setdefault("unembedding.weight", state["embedding.weight"])
    model.load_state_dict(state, assign=True)
    return tie(model, box_folder)


def _torchao() -> tuple[Any, Any]:
    """``torchao.quantization`` and its int8 tensor; what it says about extensions for other processors is not shown."""
    import logging
    import warnings

    logging.getLogger("torchao").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao import quantization
        from torchao.quantization import Int8Tensor
    return quantization, Int8Tensor
