"""optimum-quanto: each linear layer's weights as int8, float8, int4 or int2 with scales; activations stay float32.

Source: Hugging Face's optimum-quanto, ``quantize`` and ``freeze``. int4 and int2 are unpacked by a small extension that
is compiled at their first use: that wants a C++ compiler, and about a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
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

WEIGHTS, MAP = "model.safetensors", "quantization_map.json"
COMPILED = frozenset({"int4", "int2"})


def why_not(form: Form) -> FormError | None:
    """What keeps this form from running here, or None; loads nothing."""
    if find_spec("optimum") is None or find_spec("optimum.quanto") is None:
        return FormError("form_missing", form=form.id, detail="optimum-quanto is not installed")
    if form.weights in COMPILED:
        compiler = os.environ.get("CXX", "c++")
        if shutil.which(compiler) is None:
            return FormError("form_missing", form=form.id, detail=f"no C++ compiler ({compiler})")
        if shutil.which("ninja", path=_path()) is None:
            return FormError("form_missing", form=form.id, detail="ninja is not installed")
    return None


def make(form: Form, box_folder: Path, out: Path, report: Progress) -> None:
    """Quantise each linear layer's weights and write them with the map of what was quantised how.

    Raises:
        BoxError: the box is broken.
    """
    from safetensors.torch import save_file

    from llmkit.compress.parts_runner import open_parts, to_keep

    quanto = _quanto()
    report(0, 3, note="reading")
    model = open_parts(box_folder)
    plain = open_parts(box_folder)
    report(1, 3, note="quantising")
    quanto.quantize(model, weights=_qtype(form))
    quanto.freeze(model)
    report(2, 3, note="writing")
    save_file(to_keep(plain, model.state_dict(), box_folder), out / WEIGHTS)
    (out / MAP).write_text(json.dumps(quanto.quantization_map(model), indent=1), encoding="utf-8")
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
    plain = dict(model.named_parameters(remove_duplicate=False))
    written = {}
    for name, tensor in plain.items():
        dequantise = getattr(tensor, "dequantize", None) if type(tensor).__module__.startswith("optimum") else None
        written[name] = (dequantise() if dequantise is not None else tensor).detach().float()
    return written


def _read(box_folder: Path, made_folder: Path) -> Transformer:
    from safetensors.torch import load_file

    from llmkit.compress.parts_runner import empty_parts, plain_dtype, tie

    model = empty_parts(box_folder)
    state = {name: plain_dtype(tensor) for name, tensor in load_file(made_folder / WEIGHTS).items()}
    plan = json.loads((made_folder / MAP).read_text(encoding="utf-8"))
    missing = [name for name in model.state_dict() if name not in state and name.removesuffix(".weight") not in plan]
    if set(missing) - {"unembedding.weight"}:
        raise KeyError(missing[0])
    _quanto().requantize(model, state, plan)
    return tie(model, box_folder)


def _quanto() -> Any:
    os.environ["PATH"] = _path()  # where the extension's build looks for ninja
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from optimum import quanto
    return quanto


def _qtype(form: Form) -> Any:
    return getattr(_quanto(), "q" + form.weights)


def _path() -> str:
    """The search path with this Python's own commands in it."""
    here, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    return path if here in path.split(os.pathsep) else here + os.pathsep + path
