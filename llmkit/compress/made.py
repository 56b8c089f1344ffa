"""Forms that were made on this machine: each in a folder of its own, whole or not there at all.

Loads no torch; the engines do that when they make or open something.
"""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from filelock import FileLock

from llmkit import shelf
from llmkit.compress.errors import FormError
from llmkit.compress.form import FORMS, Family, Form, form
from llmkit.home import home

if TYPE_CHECKING:
    from llmkit.compress.runner import Runner
    from llmkit.jobs import Report

FACTS = "form.json"
"""Written last, beside a form's files: their sizes, what it was made of, with which versions, how long it took."""

FAMILY: Mapping[str, Family] = {
    "gpt2": "gpt2",
    "bert": "bert",
    "distilbert": "bert",
    "llama": "llama",
    "qwen3": "llama",
}
"""The reference's model types and the family that each belongs to."""

VERSIONED: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "quanto": ("optimum-quanto", "torch"),
    "torchao": ("torchao", "torch"),
    "bitsandbytes": ("bitsandbytes", "torch"),
    "onnxruntime": ("onnxruntime", "onnx", "torch"),
    "genai": ("onnxruntime-genai", "onnxruntime"),
}


class Progress(Protocol):
    """How a form's making says how far it is; a job's report can be given."""

    def __call__(self, done: float, total: float, note: str = "") -> None: ...


def engine(which: Form) -> ModuleType:
    """The module that makes and opens a form."""
    name = {"onnxruntime": "onnx"}.get(which.engine, which.engine)
    return importlib.import_module(f"llmkit.compress.{name}_engine")


def family(box_id: str) -> Family | None:
    """Which family a box here belongs to; None where its config cannot be read or is of another kind.

    Raises:
        ShelfError: ``box_missing``, or there can be no such box.
    """
    try:
        config = json.loads((_box_folder(box_id) / "config.json").read_text(encoding="utf-8"))
        return FAMILY.get(str(config.get("model_type")))
    except (OSError, ValueError, AttributeError):
        return None


def why_not(form_id: str, box_id: str) -> FormError | None:
    """What keeps a box from taking a form here; None when nothing does. Quick: loads no torch.

    Raises:
        FormError: ``form_unknown``. ShelfError: the box is not here.
    """
    which, kind = form(form_id), family(box_id)
    if kind not in which.families:
        detail = f"family {kind or 'unknown'}; it takes {', '.join(sorted(which.families))}"
        return FormError("form_unsupported", form=form_id, box=box_id, detail=detail)
    try:
        found: FormError | None = engine(which).why_not(which)
    except ModuleNotFoundError as error:
        return FormError("form_missing", form=form_id, detail=f"{error.name} is not installed")
    return found


def folder(box_id: str, form_id: str) -> Path | None:
    """Where a form's files lie, whole as far as their sizes tell; None: it is not made yet.

    A plain form (``torch-float32``) is opened from the box's own folder.

    Raises:
        FormError: ``form_unknown``. ShelfError: the box is not here.
    """
    if is_plain(form(form_id)):
        return _box_folder(box_id)
    place = _place(box_id, form_id)
    return place if facts(box_id, form_id) is not None else None


def facts(box_id: str, form_id: str) -> dict[str, Any] | None:
    """What was written down when the form was made; None where it is not here, or not whole."""
    place = _place(box_id, form_id)
    try:
        found: dict[str, Any] = json.loads((place / FACTS).read_text(encoding="utf-8"))
        whole = all((place / name).stat().st_size == size for name, size in found["files"].items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return found if whole and found["files"] else None


def size_bytes(box_id: str, form_id: str) -> int | None:
    """Bytes of the files that a form needs to run, its tokenizer left out; None where it is not made yet."""
    if is_plain(form(form_id)):
        box = _box_folder(box_id)
        weights = [path for path in box.glob("*.safetensors") if path.name != "classifier.safetensors"]
        return sum(path.stat().st_size for path in (*weights, box / "config.json"))
    found = facts(box_id, form_id)
    return None if found is None else sum(found["files"].values())


def make(box_id: str, form_id: str, report: Progress) -> Path:
    """Make a form, unless it is here: all of its files, or none.

    Args:
        report: told how far it is; what it raises (a job's ``Cancelled``) ends the making, and nothing stays behind.

    Raises:
        FormError: any code. BoxError, ShelfError: the box is broken, or not here.
    """
    why = why_not(form_id, box_id)
    if why is not None:
        raise why
    which, box_folder = form(form_id), _box_folder(box_id)
    if is_plain(which):
        return box_folder
    place = _place(box_id, form_id)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / f".{place.name}.lock"):
            if facts(box_id, form_id) is None:
                _make(which, box_id, box_folder, place, report)
    except FormError:
        raise
    except Exception as error:
        if not disk_is_full(error):
            raise
        raise FormError("form_no_space", form=form_id, detail=str(place.parent)) from error
    return place


def open_form(box_id: str, form_id: str) -> Runner:
    """Open a form that was made before.

    Raises:
        FormError: ``form_missing`` (it was not made, or cannot run here), ``form_broken``. BoxError, ShelfError: the
            box is.
    """
    which = form(form_id)
    why = why_not(form_id, box_id)
    if why is not None:
        raise why
    place = folder(box_id, form_id)
    if place is None and (_place(box_id, form_id)).is_dir():
        raise FormError("form_broken", form=form_id, detail=f"{FACTS} or a file that it names")
    if place is None:
        raise FormError("form_missing", form=form_id, detail="it was not made yet")
    runner: Runner = engine(which).open_runner(which, _box_folder(box_id), place)
    return runner


def remove(box_id: str, form_id: str) -> None:
    """Throw a form's files away; a plain form has none of its own."""
    if not is_plain(form(form_id)):
        shutil.rmtree(_place(box_id, form_id), ignore_errors=True)


def forms_here(box_id: str) -> tuple[str, ...]:
    """The forms of a box that can be opened without making them first."""
    return tuple(one.id for one in FORMS if folder(box_id, one.id) is not None and why_not(one.id, box_id) is None)


def is_plain(which: Form) -> bool:
    """Whether a form is opened from the box's own files."""
    return which.engine == "torch" and which.weights == "float32"


def versions(which: Form) -> dict[str, str]:
    """The versions of what computes a form."""
    found = {}
    for name in VERSIONED[which.engine]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``form``: make a form of a box.

    Args:
        settings: ``box``, ``form``, and the box's ``fingerprint`` where it must be the one that was chosen.

    Raises:
        FormError, BoxError, ShelfError: see ``make``.
    """
    box_id, form_id = settings["box"], settings["form"]
    if settings.get("fingerprint"):
        shelf.require_unchanged(box_id, settings["fingerprint"])
    make(box_id, form_id, report)
    return {
        "box": box_id,
        "form": form_id,
        "size_bytes": size_bytes(box_id, form_id),
        "seconds": (facts(box_id, form_id) or {}).get("seconds", 0.0),
    }


def _make(which: Form, box_id: str, box_folder: Path, place: Path, report: Progress) -> None:
    for left in place.parent.glob(f".{place.name}-*"):  # of a process that was killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    half = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    began = time.monotonic()
    try:
        engine(which).make(which, box_folder, half, report)
        files = {str(path.relative_to(half)): path.stat().st_size for path in sorted(half.rglob("*")) if path.is_file()}
        written = {
            "box": box_id,
            "form": which.id,
            "seconds": round(time.monotonic() - began, 2),
            "date": date.today().isoformat(),
            "versions": versions(which),
            "files": files,
        }
        (half / FACTS).write_text(json.dumps(written, indent=1, ensure_ascii=False), encoding="utf-8")
        half.chmod(0o755)
        shutil.rmtree(place, ignore_errors=True)
        half.replace(place)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _box_folder(box_id: str) -> Path:
    found = shelf.locate(box_id)
    if found is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    return found


def _place(box_id: str, form_id: str) -> Path:
    """A form's folder; another file of the box's, another folder."""
    return home() / "forms" / shelf.fingerprint(box_id) / form(form_id).id


def disk_is_full(error: BaseException) -> bool:
    """Whether an error says so, however the library that raised it says it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno == errno.ENOSPC:
            return True
        if "No space left on device" in str(seen) or "os error 28" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
