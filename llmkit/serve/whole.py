"""A glance at a box's files, before a process is started for it: no weights are read, and torch is not loaded."""

from __future__ import annotations

from safetensors import SafetensorError, safe_open

from llmkit import shelf
from llmkit.compress.made import family
from llmkit.serve.errors import ServeError
from llmkit.tokens import Tokenizer


def require_whole(box_id: str) -> None:
    """Make sure that a server can most likely open a box.

    Raises:
        ShelfError: it is not here. ServeError: ``box_broken``, ``box_unsupported``. TokenizerError: its tokenizer is.
    """
    folder = shelf.locate(box_id)
    if folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    if family(box_id) is None:
        raise ServeError("box_unsupported", box=box_id, detail="config.json")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ServeError("box_broken", box=box_id, detail="no .safetensors file")
    for path in files:
        try:
            with safe_open(path, framework="np"):  # reads where each tensor lies, and that the file is long enough
                pass
        except (OSError, SafetensorError) as error:
            raise ServeError("box_broken", box=box_id, detail=f"{path.name}: {error}") from error
    Tokenizer.from_folder(folder)
