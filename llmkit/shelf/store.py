"""The store: boxes that are on this machine, each in one folder with a manifest of what belongs in it."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.home import home
from llmkit.shelf.catalogue import HUB_ID, MADE_ID, catalogue, entry
from llmkit.shelf.errors import ShelfError

BUNDLED = Path(__file__).parent / "boxes"
MANIFEST = "manifest.json"
ROWS = "rows.jsonl"


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One file of a box that is not what the manifest says: ``missing``, ``size`` or ``content``."""

    file: str
    what: str


def folder_of(box_id: str) -> Path:
    """Where a box is kept, or would be. Its name cannot lead out of the store.

    Raises:
        ShelfError: when there can be no such box.
    """
    source = entry(box_id).sources[0]
    if source.kind == "bundled":
        return BUNDLED / box_id
    if source.kind == "folder":
        return Path(source.name).expanduser()
    return home() / "boxes" / box_id.replace(":", "--").replace("/", "--")


def locate(box_id: str) -> Path | None:
    """The folder of a box that is here and whole as far as its file sizes tell; None when it is not.

    Raises:
        ShelfError: when there can be no such box.
    """
    folder = folder_of(box_id)
    kind = entry(box_id).sources[0].kind
    if kind == "folder":
        return folder if (folder / "config.json").is_file() else None
    if kind == "bundled":
        return folder if any(folder.glob("*.safetensors")) else None
    return folder if (folder / MANIFEST).is_file() and not any(_sizes_wrong(folder)) else None


def boxes_here(content: str = "model") -> tuple[str, ...]:
    """Ids of the boxes on this machine: the catalogue's, those that were fetched by hub id, those made here."""
    known = [box.id for box in catalogue().values() if box.content == content and locate(box.id)]
    if content == "model":
        typed = sorted((home() / "boxes").glob("hub--*--*"))
        names = ("hub:" + path.name[5:].replace("--", "/", 1) for path in typed)
        known += [name for name in names if HUB_ID.fullmatch(name) and locate(name)]
        made = ("made:" + path.name[6:] for path in sorted((home() / "boxes").glob("made--*")))
        known += [name for name in made if MADE_ID.fullmatch(name) and locate(name)]
    return tuple(known)


def check(box_id: str) -> tuple[Damage, ...]:
    """Read every file of a fetched box and compare it with the manifest: nothing means that it is whole.

    Raises:
        ShelfError: ``box_missing`` when the box is not here at all.
    """
    folder = folder_of(box_id)
    if entry(box_id).sources[0].kind in ("bundled", "folder"):
        if locate(box_id) is None:
            raise ShelfError("box_missing", box=box_id)
        return ()
    if not (folder / MANIFEST).is_file():
        raise ShelfError("box_missing", box=box_id)
    return tuple(_damage(folder))


def remove(box_id: str) -> None:
    """Take a fetched box off the shelf; a bundled one and a learner's own folder stay."""
    if entry(box_id).sources[0].kind not in ("bundled", "folder"):
        shutil.rmtree(folder_of(box_id), ignore_errors=True)


def fingerprint(box_id: str) -> str:
    """What changes when the box's files change: for cache keys. Empty when the box is not here."""
    folder = locate(box_id)
    if folder is None:
        return ""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.blake2b(repr(facts).encode(), digest_size=8).hexdigest()


def require_unchanged(box_id: str, chosen: str) -> None:
    """Make sure that a box is the one that was chosen; one that is gone is said by whoever opens it.

    Args:
        chosen: its ``fingerprint`` at that time.

    Raises:
        ShelfError: ``box_changed``.
    """
    now = fingerprint(box_id)
    if now and now != chosen:
        raise ShelfError("box_changed", box=box_id)


def write_manifest(folder: Path, **facts: Any) -> None:
    """Write down every file's size and SHA-256, and where the box came from."""
    files = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    (folder / MANIFEST).write_text(
        json.dumps({**facts, "files": files}, indent=1, ensure_ascii=False), encoding="utf-8"
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest; one that cannot be read counts as empty, so that the box counts as damaged."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        whole = all({"size", "sha256"} <= set(facts) for facts in manifest["files"].values())
        return manifest if whole else {"files": {}}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {"files": {}}


def sha256_of(path: Path) -> str:
    """A file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sizes_wrong(folder: Path) -> Iterator[Damage]:
    files = read_manifest(folder)["files"]
    if not files:
        yield Damage(file=MANIFEST, what="content")
    for name, facts in files.items():
        path = folder / name
        if not path.is_file():
            yield Damage(file=name, what="missing")
        elif path.stat().st_size != facts["size"]:
            yield Damage(file=name, what="size")


def _damage(folder: Path) -> Iterator[Damage]:
    wrong = list(_sizes_wrong(folder))
    yield from wrong
    for name, facts in read_manifest(folder)["files"].items():
        if name not in {damage.file for damage in wrong} and sha256_of(folder / name) != facts["sha256"]:
            yield Damage(file=name, what="content")
