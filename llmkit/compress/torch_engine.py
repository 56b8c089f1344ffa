"""Plain torch: the box's parts in float32, bfloat16 or float16, on the processor or on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.compress.errors import FormError
from llmkit.compress.form import Form

if TYPE_CHECKING:
    import torch

    from llmkit.compress.made import Progress
    from llmkit.compress.runner import Runner


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; asks no torch."""
    if form.device == "cuda":
        from llmkit.doctor import find_gpus

        if not find_gpus():
            return FormError("form_missing", form=form.id, detail="no NVIDIA GPU")
    return None


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Write the weights in the form's dtype; float32 is opened from the box's own files and needs none.

    Raises:
        BoxError: the box is broken.
    """
    if form.weights == "float32":
        return
    from safetensors.torch import save_file

    from llmkit.compress.parts_runner import WEIGHTS, open_parts, to_keep

    report(0, 2, note="reading")
    model = open_parts(box_folder)
    kept = to_keep(model, model.state_dict(), box_folder)
    report(1, 2, note="writing")
    save_file({name: tensor.to(_dtype(form)) for name, tensor in kept.items()}, out / WEIGHTS)
    report(2, 2, note="writing")


def open_runner(form: Form, box_folder: Path, made_folder: Path) -> Runner:
    """Open the form.

    Raises:
        FormError: ``form_broken``, or ``form_missing`` where torch sees no GPU. BoxError: the box is broken.
    """
    import torch

    from llmkit.compress.parts_runner import WEIGHTS, PartsRunner, empty_parts, open_parts, reading_files, tie
    from llmkit.parts import Transformer

    if form.device == "cuda" and not torch.cuda.is_available():
        raise FormError("form_missing", form=form.id, detail="this torch sees no GPU")
    if form.weights == "float32":
        return PartsRunner(form, box_folder.name, open_parts(box_folder, device=form.device))

    def read() -> Transformer:
        from safetensors.torch import load_file

        model = empty_parts(box_folder)
        tensors = load_file(made_folder / WEIGHTS, device=form.device)
        if "unembedding.weight" in model.state_dict():
            tensors.setdefault("unembedding.weight", tensors["embedding.weight"])
        model.load_state_dict(tensors, assign=True)
        return tie(model, box_folder)

    return PartsRunner(form, box_folder.name, reading_files(form, read))


def _dtype(form: Form) -> torch.dtype:
    import torch

    dtype: torch.dtype = getattr(torch, form.weights)
    return dtype
