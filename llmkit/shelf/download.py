"""Download one file: with progress, cancel, resume, a size and a checksum."""

import errno
import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from llmkit.shelf.errors import ShelfError

TRIES = 4
TIMEOUT_S = 30.0
SPARE_BYTES = 200_000_000
"""Left free on the disk after a box is here."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a box has come.

    Args:
        stage: ``wait`` (another process fetches it), ``download``, ``unpack``, ``convert`` or ``check``.
        bytes_done, bytes_total: of the stage; total 0 where it is not known.
        bytes_per_s: over this sitting. seconds_left: None where it cannot be told.
    """

    stage: str
    bytes_done: int = 0
    bytes_total: int = 0
    bytes_per_s: float = 0.0
    seconds_left: float | None = None


OnProgress = Callable[[Progress], None]
Cancelled = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One file elsewhere: its address, the name it gets here, and what it must be (0 and "" where not known)."""

    url: str
    name: str
    size_bytes: int = 0
    sha256: str = ""


def require_space(folder: Path, needed_bytes: int, box: str) -> None:
    """Refuse before anything is written when the disk cannot take it.

    Raises:
        ShelfError: ``no_space``, with what is needed and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed_bytes + SPARE_BYTES:
        needed, here = (f"{size / 1e6:.0f} MB" for size in (needed_bytes + SPARE_BYTES, free))
        raise ShelfError("no_space", box=box, detail=f"{needed} needed, {here} free")


def download(
    remote: Remote, target: Path, box: str, on_progress: OnProgress, cancelled: Cancelled, *, client: httpx.Client
) -> None:
    """Bring one file. What an earlier sitting or a broken connection left is gone on from, where the server can.

    Args:
        remote: the file. target: where it goes; ``.part`` is appended while it is not whole.
        box: whose it is, for messages. on_progress, cancelled: told and asked after each piece.

    Raises:
        ShelfError: ``cancelled`` (what has come stays), ``no_space``, ``tampered`` (what has come is thrown away).
        httpx.HTTPError: when the server did not give it after several tries.
    """
    if target.exists() and not _wrong(remote, target):
        return
    part = target.with_name(target.name + ".part")
    resumed = part.exists()
    _bring(remote, part, box, on_progress, cancelled, client)
    wrong = _wrong(remote, part)
    if wrong and resumed:  # what an earlier sitting left may be what is wrong
        part.unlink()
        _bring(remote, part, box, on_progress, cancelled, client)
        wrong = _wrong(remote, part)
    if wrong:
        part.unlink()
        raise ShelfError("tampered", box=box, detail=f"{remote.name}: {wrong}")
    part.replace(target)


def _bring(
    remote: Remote, part: Path, box: str, on_progress: OnProgress, cancelled: Cancelled, client: httpx.Client
) -> None:
    for attempt in range(TRIES):
        if cancelled():
            raise ShelfError("cancelled", box=box)
        try:
            _pour(remote, part, box, on_progress, cancelled, client)
            return
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
            elif error.response.status_code < 500:
                raise
            if attempt == TRIES - 1:
                raise
        except httpx.TransportError:
            if attempt == TRIES - 1:
                raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                part.unlink(missing_ok=True)
                raise ShelfError("no_space", box=box, detail=part.name.removesuffix(".part")) from error
            raise
        time.sleep(0.2 * 2**attempt)


def _pour(
    remote: Remote, part: Path, box: str, on_progress: OnProgress, cancelled: Cancelled, client: httpx.Client
) -> None:
    here = part.stat().st_size if part.exists() else 0
    if remote.size_bytes and here == remote.size_bytes:
        return
    headers = {"Range": f"bytes={here}-"} if here else {}
    with client.stream("GET", remote.url, headers=headers | {"Accept-Encoding": "identity"}) as answer:
        answer.raise_for_status()
        resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
        done = here if resumed else 0
        total = remote.size_bytes or done + int(answer.headers.get("Content-Length", 0))
        began, came = time.monotonic(), 0
        with part.open("ab" if resumed else "wb") as file:
            for piece in answer.iter_bytes():
                if cancelled():
                    raise ShelfError("cancelled", box=box)
                file.write(piece)
                came += len(piece)
                rate = came / max(time.monotonic() - began, 1e-3)
                left = (total - done - came) / rate if total else None
                on_progress(
                    Progress(
                        stage="download",
                        bytes_done=done + came,
                        bytes_total=total,
                        bytes_per_s=rate,
                        seconds_left=left,
                    )
                )


def _wrong(remote: Remote, path: Path) -> str:
    """In what a file is not what it must be; empty when it is, as far as that is known."""
    size = path.stat().st_size
    if remote.size_bytes and size != remote.size_bytes:
        return f"{size} bytes, not {remote.size_bytes}"
    if remote.sha256:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return "" if digest == remote.sha256 else f"SHA-256 {digest}"
    return ""
