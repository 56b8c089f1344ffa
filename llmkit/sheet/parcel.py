"""Everything to take away, in one ZIP: the box, its card and sheet, adapters, its ONNX form, the files of a server."""

from __future__ import annotations

import base64
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit import shelf
from llmkit.compress import made
from llmkit.serve import recipe

if TYPE_CHECKING:
    from llmkit.jobs import Report

FILE = "machine.zip"
LEFT_OUT = frozenset({"manifest.json"})
PIECE_BYTES = 1 << 20
FLOAT32 = "torch-float32"


def contents(box_id: str) -> dict[str, Path]:
    """Return the files of a box, its adapters and its ONNX form, by their names in the parcel.

    Raises:
        ShelfError: ``box_missing`` where the box is not here.
    """
    from llmkit.tune.adapter import CONFIG, WEIGHTS
    from llmkit.tune.adapter_shelf import adapters_here

    folder = shelf.locate(box_id)
    if folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    found = {
        f"box/{path.relative_to(folder).as_posix()}": path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name not in LEFT_OUT
    }
    for form_id in made.forms_here(box_id):
        if form_id.startswith("onnx") and (place := made.folder(box_id, form_id)) is not None:
            found |= {f"{form_id}/{path.name}": path for path in sorted(place.iterdir()) if path.is_file()}
    for one in adapters_here(box_id):
        if one.origin != "classifier":  # that one lies in a box of its own
            found |= {f"adapters/{one.id}/{name}": one.folder / name for name in (CONFIG, WEIGHTS)}
    return {name: path for name, path in found.items() if path.is_file()}


def size_bytes(box_id: str) -> int:
    """Return about how large the parcel is: weights hardly get smaller."""
    return sum(path.stat().st_size for path in contents(box_id).values())


def name_of(box_id: str) -> str:
    """Return what the parcel's folder is called, a name that every system takes.

    >>> name_of("folder:/home/me/My model"), name_of("made:tiny.1")
    ('My-model', 'tiny.1')
    """
    last = re.sub(r"[^A-Za-z0-9._]+", "-", box_id.rpartition(":")[2].rstrip("/").rpartition("/")[2]).strip("-._")
    return last[:60] or "box"


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``parcel``.

    Args:
        settings: box_id, fingerprint; card (Markdown); paper (the PDF in base64).

    Returns:
        size_bytes, files (how many). The ZIP is ``machine.zip`` among the job's files.

    Raises:
        ShelfError: the box is another by now, or not here.
    """
    box_id = settings["box_id"]
    shelf.require_unchanged(box_id, settings["fingerprint"])
    files, top = contents(box_id), name_of(box_id)
    texts = {
        "README.md": settings["card"].encode(),
        "assembly-sheet.pdf": base64.b64decode(settings["paper"]),
        "server/Dockerfile": recipe.dockerfile(FLOAT32).encode(),
        "server/compose.yaml": recipe.compose(0).encode(),
        "server/requirements-serve.txt": recipe.requirements(FLOAT32).encode(),
    }
    total, done = sum(path.stat().st_size for path in files.values()), 0
    place = report.folder / FILE
    with zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as archive:
        for name, text in texts.items():
            archive.writestr(f"{top}/{name}", text)
        for name, path in files.items():
            with path.open("rb") as source, archive.open(f"{top}/{name}", "w", force_zip64=True) as target:
                while piece := source.read(PIECE_BYTES):
                    target.write(piece)
                    done += len(piece)
                    report(done, total, "writing")
    return {"size_bytes": place.stat().st_size, "files": len(files) + len(texts)}
