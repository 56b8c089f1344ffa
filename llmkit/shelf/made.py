"""Boxes that were made on this machine: put on the shelf whole, or not at all."""

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from llmkit.home import home
from llmkit.shelf.catalogue import entry
from llmkit.shelf.errors import ShelfError
from llmkit.shelf.store import folder_of, write_manifest


def put(name: str, build: Callable[[Path], None], **facts: Any) -> str:
    """Put a box on the shelf, where every page can open it; an older one of that name is replaced.

    Args:
        name: what it is called, in letters, digits, ``.``, ``_`` and ``-``.
        build: writes the box's files into the empty folder that it is given.
        facts: what it was made from and how, kept in its manifest.

    Returns:
        The box's id, ``made:name``.

    Raises:
        ShelfError: ``bad_name`` when no box can be called so, ``no_space`` when the disk is full.
    """
    box_id = f"made:{name}"
    entry(box_id)
    target = folder_of(box_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    (home() / "locks").mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        build(half)
        write_manifest(half, id=box_id, source="made", name=name, **facts)
        half.chmod(0o755)
        with FileLock(home() / "locks" / f"{target.name}.lock"):
            shutil.rmtree(target, ignore_errors=True)
            half.replace(target)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ShelfError("no_space", box=box_id, detail=str(error.filename or "")) from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return box_id
