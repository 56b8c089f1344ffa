"""A quantised box on the shelf: what rounding left of its weights, as a box that every page opens.

The weights are the ones that the quantised form computes with, written out again as float32. So the box is as big as
the original, opens without a quantisation library, and in the reference, too; the form itself is the small one.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit import shelf
from llmkit.compress import made
from llmkit.compress.errors import FormError
from llmkit.compress.form import form

if TYPE_CHECKING:
    from llmkit.compress.made import Progress

ENGINES = frozenset({"quanto", "torchao"})
"""Those whose weights can be written out: the others quantise more than the linear layers, or keep a graph."""

KEPT = ("*.json", "*.jinja", "*.txt", "*.model")
LEFT_OUT = frozenset({"manifest.json", "classifier.json", "training.json", "model.safetensors.index.json"})
CARD = """# {name}

{box} as {form}: its linear layers' weights rounded to {weights}, then written out as float32 again, so that every page
opens it and shows what rounding did. It is as big as the original; the small one is the form itself.

{box} 的 {form} 形式：線性層的權重先取整成 {weights}，再寫回 float32，讓每一頁都能打開它，看取整改變了什麼。
檔案和原本的一樣大；小的是那個形式本身。
"""


def put_on_shelf(box_id: str, form_id: str, report: Progress) -> str:
    """Put a quantised box on the shelf, made first where it is not here; an older one of that name is replaced.

    Returns:
        the new box's id, ``made:<box>-<form>``.

    Raises:
        FormError: ``form_unsupported`` for a form whose weights cannot be written out, and all that ``make`` raises.
        BoxError, ShelfError: the box is broken or not here; ``no_space``.
    """
    which = form(form_id)
    if which.engine not in ENGINES:
        detail = "its weights cannot be written out one by one"
        raise FormError("form_unsupported", form=form_id, box=box_id, detail=detail)
    place, box_folder = made.make(box_id, form_id, report), shelf.locate(box_id)
    if box_folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    name = name_of(box_id, form_id)

    def build(folder: Path) -> None:
        report(0, 1, note="writing")
        _write(box_folder, place, form_id, folder)
        words = {"name": name, "box": box_id, "form": form_id, "weights": which.weights}
        (folder / "README.md").write_text(CARD.format(**words), encoding="utf-8")
        report(1, 1, note="writing")

    return shelf.put(name, build, made_from=box_id, form=form_id)


def name_of(box_id: str, form_id: str) -> str:
    """What the box on the shelf is called, after ``made:``.

    >>> name_of("hub:owner/My model", "quanto-int4")
    'My-model-quanto-int4'
    """
    last = re.sub(r"[^A-Za-z0-9_]+", "-", box_id.rpartition(":")[2].rstrip("/").rpartition("/")[2]).strip("-_")
    return f"{(last or 'box')[:60]}-{form_id}"


def _write(box_folder: Path, place: Path, form_id: str, folder: Path) -> None:
    from safetensors.torch import save_file

    from llmkit.reference.box import open_folder
    from llmkit.reference.naming import to_reference

    which, box = form(form_id), open_folder(box_folder)
    for pattern in KEPT:
        for path in box_folder.glob(pattern):
            if path.name not in LEFT_OUT:
                shutil.copyfile(path, folder / path.name)
    rounded = made.engine(which).dequantised(which, box_folder, place)
    weights = {**box.model.state_dict(), **rounded}
    theirs = to_reference({name: tensor.cpu().float() for name, tensor in weights.items()}, box.kind, box.config)
    tensors = {name: tensor.contiguous().clone() for name, tensor in theirs.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
