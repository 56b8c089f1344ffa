"""A complete ONNX folder: graph, weights, tokenizer, configuration, a program that runs them, and a card.

Everything another machine needs, and no path of this one. Written whole or not at all, as a folder or as a ZIP.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit import shelf
from llmkit.compress import made
from llmkit.compress.errors import FormError
from llmkit.compress.form import form
from llmkit.compress.onnx_card import card
from llmkit.compress.onnx_export import DATA, FACTS, MODEL
from llmkit.compress.onnx_graph import read_graph

if TYPE_CHECKING:
    from llmkit.compress.made import Progress
    from llmkit.jobs import Report

RUN, CARD = "run.py", "README.md"
OF_THE_FORM = (MODEL, DATA, FACTS, "config.json")
OF_THE_BOX = (
    "tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json vocab.txt merges.txt "
    "chat_template.jinja generation_config.json"
).split()
"""What is taken along of them where a box has it."""

OURS = frozenset({MODEL, FACTS, RUN, CARD})
"""A folder with all of these was written here before, and may be replaced."""

SPARE_BYTES = 50_000_000
CHUNK = 4 * 2**20

Piece = Path | str
"""A file to copy, or a text to write."""


def write_folder(box_id: str, form_id: str, out: Path, report: Progress) -> Path:
    """Write the folder; the form is made first where it is not here.

    Args:
        out: new, empty, or an earlier export. report: told bytes done and in all; what it raises ends it, and nothing
            stays behind.

    Raises:
        FormError: ``folder_taken``, ``form_no_space``, ``form_unsupported`` (a form without an ONNX graph of ours), and
            what ``made.make`` and ``read_graph`` raise. BoxError, ShelfError: the box is broken or not here.
        OSError: the folder cannot be written to.
    """
    _require_free(out)
    pieces = gather(box_id, form_id, report)

    def write(half: Path, told: Callable[[int], None]) -> None:
        for name, piece in pieces.items():
            with (half / name).open("wb") as file:
                _pour(piece, file.write, told)

    out.parent.mkdir(parents=True, exist_ok=True)
    return _whole_or_nothing(out, form_id, pieces, write, report, folder=True)


def write_zip(box_id: str, form_id: str, out: Path, report: Progress) -> Path:
    """Write the same as a ZIP, piece by piece: no file is ever held in memory.

    Raises:
        FormError, BoxError, ShelfError, OSError: see ``write_folder``.
    """
    pieces, inside = gather(box_id, form_id, report), safe_name(box_id)

    def write(half: Path, told: Callable[[int], None]) -> None:
        with zipfile.ZipFile(half, "w", zipfile.ZIP_STORED) as archive:  # float weights hardly get smaller
            for name, piece in pieces.items():
                with archive.open(
                    zipfile.ZipInfo(f"{inside}/{name}", (1980, 1, 1, 0, 0, 0)), "w", force_zip64=True
                ) as file:
                    _pour(piece, file.write, told)

    return _whole_or_nothing(out, form_id, pieces, write, report, folder=False)


def gather(box_id: str, form_id: str, report: Progress) -> dict[str, Piece]:
    """Every file of the complete folder, by name; the form is made first where it is not here.

    Raises:
        FormError, BoxError, ShelfError: see ``write_folder``.
    """
    if form(form_id).engine != "onnxruntime":
        raise FormError("form_unsupported", form=form_id, box=box_id, detail="it holds no ONNX graph that runs alone")
    place, box_folder = made.make(box_id, form_id, report), shelf.locate(box_id)
    if box_folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    pieces: dict[str, Piece] = {name: place / name for name in OF_THE_FORM if (place / name).is_file()}
    pieces |= {name: box_folder / name for name in OF_THE_BOX if (box_folder / name).is_file()}
    if "tokenizer.json" not in pieces:
        from llmkit.tokens import TokenizerError

        raise TokenizerError("tokenizer_missing", detail="tokenizer.json")
    pieces[RUN] = Path(__file__).with_name("onnx_run_alone.py")
    facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
    made_facts = made.facts(box_id, form_id) or {}
    pieces[CARD] = card(
        box=shelf.entry(box_id),
        name=safe_name(box_id),
        form=form(form_id),
        family=made.family(box_id) or "",
        graph=read_graph(place / MODEL),
        facts=facts,
        made=made_facts,
        files={name: size_of(piece) for name, piece in pieces.items()},
    )
    return pieces


def size_of(piece: Piece) -> int:
    """Bytes of a piece."""
    return len(piece.encode()) if isinstance(piece, str) else piece.stat().st_size


def safe_name(box_id: str) -> str:
    """What the folder is called, whatever the box is: a name that every system takes.

    >>> safe_name("smollm2-135m-instruct"), safe_name("folder:/home/me/My model"), safe_name("hub:a/CON")
    ('smollm2-135m-instruct-onnx', 'My-model-onnx', 'CON-onnx')
    """
    last = re.sub(r"[^A-Za-z0-9._]+", "-", box_id.rpartition(":")[2].rstrip("/").rpartition("/")[2]).strip("-._")
    return f"{last[:60] or 'box'}-onnx"


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``onnx_zip``: the complete folder as a ZIP among the job's files.

    Args:
        settings: ``box`` and its ``fingerprint``, ``form``.

    Raises:
        FormError, BoxError, ShelfError: see ``write_folder``.
    """
    shelf.require_unchanged(settings["box"], settings["fingerprint"])
    name = f"{safe_name(settings['box'])}.zip"
    path = write_zip(settings["box"], settings["form"], report.folder / name, report)
    with zipfile.ZipFile(path) as archive:
        files = {Path(one.filename).name: one.file_size for one in archive.infolist()}
    return {"file": name, "size_bytes": path.stat().st_size, "files": files}


def _require_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not all((out / name).is_file() for name in OURS))):
        raise FormError("folder_taken", detail=str(out))


def _whole_or_nothing(
    out: Path,
    form_id: str,
    pieces: Mapping[str, Piece],
    write: Callable[[Path, Callable[[int], None]], None],
    report: Progress,
    *,
    folder: bool,
) -> Path:
    """Write beside the place, then move there; what is left of anything that ends it is thrown away."""
    total, done = sum(map(size_of, pieces.values())), 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        report(done, total, note="writing")

    free = shutil.disk_usage(out.parent).free
    if free < total + SPARE_BYTES:
        detail = f"{(total + SPARE_BYTES) // 10**6} MB needed, {free // 10**6} MB free"
        raise FormError("form_no_space", form=form_id, detail=detail)
    room = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        half = room / "half"
        if folder:
            half.mkdir()
        write(half, told)
        if folder and out.is_dir():
            shutil.rmtree(out)
        half.replace(out)
    except Exception as error:
        if not made.disk_is_full(error):
            raise
        raise FormError("form_no_space", form=form_id, detail=str(out.parent)) from error
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return out


def _pour(piece: Piece, into: Callable[[bytes], object], told: Callable[[int], None]) -> None:
    """Copy a piece, a chunk at a time."""
    if isinstance(piece, str):
        data = piece.encode()
        into(data)
        told(len(data))
        return
    with piece.open("rb") as file:
        while chunk := file.read(CHUNK):
            into(chunk)
            told(len(chunk))
