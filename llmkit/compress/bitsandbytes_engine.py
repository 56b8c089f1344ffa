"""bitsandbytes on an NVIDIA GPU: weights as int8 (LLM.int8()) or as 4-bit normal floats (NF4).

Source: Dettmers et al. 2022, "LLM.int8()"; Dettmers et al. 2023, "QLoRA", section 3. Nothing is written: a form is the
box's own weights, quantised as they are put on the GPU.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form

if TYPE_CHECKING:
    from llmkit.compress.made import Progress
    from llmkit.compress.runner import Runner

NOTE = "quantised_on_load.json"


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; loads nothing."""
    if find_spec("bitsandbytes") is None:
        return FormError("form_missing", form=form.id, detail="bitsandbytes is not installed")
    from llmkit.doctor import find_gpus

    return None if find_gpus() else FormError("form_missing", form=form.id, detail="no NVIDIA GPU")


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Note that nothing is to be made: the weights are quantised when the form is opened."""
    (out / NOTE).write_text(json.dumps({"weights": form.weights}), encoding="utf-8")
    report(1, 1, note="writing")


def open_runner(form: Form, box_folder: Path, made_folder: Path) -> Runner:
    """Put the box on the GPU, its linear layers quantised.

    Raises:
        FormError: ``form_missing``, torch sees no GPU. BoxError: the box is broken.
    """
    import torch

    from llmkit.compress.parts_runner import PartsRunner, open_parts

    if not torch.cuda.is_available():
        raise FormError("form_missing", form=form.id, detail="this torch sees no GPU")
    model = open_parts(box_folder, dtype=torch.float16)
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _quantised(form, module))
    return PartsRunner(form, box_folder.name, model.to("cuda"))


def _quantised(form: Form, linear: Any) -> Any:
    import bitsandbytes as bnb
    import torch

    shape, bias = (linear.in_features, linear.out_features), linear.bias is not None
    if form.weights == "int8":
        made = bnb.nn.Linear8bitLt(*shape, bias=bias, has_fp16_weights=False, threshold=6.0)
        made.weight = bnb.nn.Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
    else:
        made = bnb.nn.Linear4bit(*shape, bias=bias, quant_type="nf4", compute_dtype=torch.float16)
        made.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4")
    if bias:
        made.bias = linear.bias
    return made
