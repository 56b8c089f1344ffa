"""The virtual environment in which the real Triton server runs, made once: whole, or not there at all.

``nvidia-pytriton`` brings NVIDIA's own server for the CPU, with the Python backend and no other. The server wants an
older numpy than the guide has, so it lives apart; only the packages that it really loads are installed.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock

from llmkit.compress.made import disk_is_full
from llmkit.home import home, offline
from llmkit.jobs.store import is_held
from llmkit.serve.errors import ServeError

if TYPE_CHECKING:
    from llmkit.compress.made import Progress
    from llmkit.jobs import Report

State = Literal["impossible", "absent", "making", "ready", "broken"]

PINS = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", "onnxruntime==1.32.0", "tokenizers==0.23.3")
"""The server, and what the repository's models import."""

PYTHONS = ((3, 11), (3, 12))
"""Versions of Python for which all of that exists."""

GLIBC = (2, 35)
ROOM_BYTES = 700_000_000
"""As much room is needed while it is made."""

FACTS = "environment.json"
POLL_S = 0.2
STEPS = len(PINS) + 2

_UNREACHABLE = re.compile(
    r"failed to establish|connection (refused|error|broken|aborted)|name resolution|timed out|unreachable"
    r"|no matching distribution|could not find a version|max retries|proxy",
    re.IGNORECASE,
)


def place() -> Path:
    """Where it lies."""
    return home() / "tritonserver"


def state() -> State:
    """How it is now; quick."""
    if _whole():
        return "ready"
    if is_held(_lock_path()):
        return "making"
    if place().exists():
        return "broken"
    return "absent" if why_not() is None else "impossible"


def why_not() -> ServeError | None:
    """What keeps this machine from running the server, or None."""
    detail = ""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        detail = f"{sys.platform} {platform.machine()}; Linux x86_64"
    elif sys.version_info[:2] not in PYTHONS:
        detail = f"Python {platform.python_version()}; " + ", ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    elif not _enough_glibc(platform.libc_ver()):
        detail = f"{' '.join(platform.libc_ver())}; glibc {GLIBC[0]}.{GLIBC[1]}"
    elif importlib.util.find_spec("ensurepip") is None:
        detail = "ensurepip (python3-venv)"
    elif not (_library_folder() / str(sysconfig.get_config_var("INSTSONAME"))).is_file():
        detail = f"{sysconfig.get_config_var('INSTSONAME')}, {_library_folder()}"
    return ServeError("tritonserver_impossible", detail=detail) if detail else None


def require_ready() -> None:
    """Make sure that the server can be started.

    Raises:
        ServeError: ``tritonserver_impossible``, ``tritonserver_missing``.
    """
    if not _whole():
        raise why_not() or ServeError("tritonserver_missing", detail=state())


def facts() -> dict[str, Any] | None:
    """Size, versions, date and duration of its making; None where it is not whole."""
    try:
        found: dict[str, Any] = json.loads((place() / FACTS).read_text(encoding="utf-8"))
        return found if found["pins"] == list(PINS) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def program() -> Path:
    """The server."""
    return _package(place()) / "bin" / "tritonserver"


def backends() -> Path:
    """The folder of its backends."""
    return _package(place()) / "backends"


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment variables with which the server finds its Python and that one's library."""
    kept = {name: value for name, value in environment.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    return {
        **kept,
        "LD_LIBRARY_PATH": str(_library_folder()),
        "PATH": f"{place() / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}",
        "PYTHONDONTWRITEBYTECODE": "1",  # its files stay as they were written down
    }


def make(report: Progress, log: Callable[[str], None] = lambda _line: None) -> Path:
    """Make the environment, unless it is ready: all of it, or nothing.

    Args:
        report: told how far it is; what it raises (a job's ``Cancelled``) ends the making, and nothing stays behind.
        log: told what pip says.

    Raises:
        ServeError: ``tritonserver_impossible``, ``tritonserver_offline``, ``tritonserver_unreachable``,
            ``tritonserver_failed``, ``disk_full``.
    """
    if (why := why_not()) is not None:
        raise why
    target = place()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_path()):
            if not _whole():
                _make(target, report, log)
    except OSError as error:
        if disk_is_full(error):
            raise ServeError("disk_full", detail=str(target.parent)) from error
        raise ServeError("tritonserver_failed", detail=str(error)) from error
    return target


def run(_settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``tritonserver``: make the environment.

    Args:
        _settings: ``pins``: others are another job.

    Raises:
        ServeError: see ``make``.
    """
    make(report, report.log)
    return facts() or {}


def remove() -> None:
    """Throw it away."""
    shutil.rmtree(place(), ignore_errors=True)


def _make(target: Path, report: Progress, log: Callable[[str], None]) -> None:
    if offline():
        raise ServeError("tritonserver_offline")
    if shutil.disk_usage(target.parent).free < ROOM_BYTES:
        raise ServeError("disk_full", detail=f"{target.parent}: {ROOM_BYTES / 1e6:.0f} MB")
    for left in target.parent.glob(f".{target.name}-*"):  # of a process that was killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    half = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    began = time.monotonic()
    try:
        _run([sys.executable, "-m", "venv", str(half)], lambda: report(0, STEPS, "venv"), log)
        pip = [str(half / "bin" / "python"), "-m", "pip", "install", "--no-deps", "--only-binary=:all:"]
        pip += ["--progress-bar=off", "--disable-pip-version-check", "--retries=2", "--timeout=20"]
        for at, pin in enumerate(PINS, 1):
            _run([*pip, pin], partial(report, at, STEPS, pin), log)
        stub = f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
        shutil.copy2(_package(half) / stub, _package(half) / "backends" / "python")
        _try(half, lambda: report(STEPS - 1, STEPS, "trying"), log)
        files = [path for path in half.rglob("*") if path.is_file() and not path.is_symlink()]
        written = {
            "pins": list(PINS),
            "python": platform.python_version(),
            "size_bytes": sum(path.stat().st_size for path in files),
            "seconds": round(time.monotonic() - began, 1),
            "date": date.today().isoformat(),
            "files": {str(path.relative_to(half)): path.stat().st_size for path in _needed(half)},
        }
        (half / FACTS).write_text(json.dumps(written, indent=1), encoding="utf-8")
        half.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        half.replace(target)
        report(STEPS, STEPS, "trying")
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _try(half: Path, tell: Callable[[], None], log: Callable[[str], None]) -> None:
    """Make sure that the server and what its models import can be loaded at all."""
    library = {"LD_LIBRARY_PATH": str(_library_folder())}
    _run([str(half / "bin" / "python"), "-c", "import numpy, onnxruntime, tokenizers"], tell, log)
    _run([str(_package(half) / "bin" / "tritonserver"), "--help"], tell, lambda _line: None, library)


def _run(
    command: list[str],
    tell: Callable[[], None],
    log: Callable[[str], None],
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run a command to its end, and tell meanwhile; it does not outlive what ``tell`` raises.

    Raises:
        ServeError: ``disk_full``, ``tritonserver_unreachable``, ``tritonserver_failed``.
    """
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**clean, **(variables or {})},
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                tell()
                time.sleep(POLL_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
                process.wait()
        said.seek(0)
        lines = said.read().decode("utf-8", errors="replace").splitlines()
    for line in lines:
        log(line)
    # --help ends with status 1 in some versions, but prints what it can
    if process.returncode and not (command[-1] == "--help" and any("--model-repository" in line for line in lines)):
        raise _failed(lines)


def _failed(lines: list[str]) -> ServeError:
    errors = [line for line in lines if line.startswith("ERROR")] or [line for line in lines if line.strip()] or [""]
    detail = errors[-1][:300]
    if any("No space left on device" in line for line in lines):
        return ServeError("disk_full", detail=str(home()))
    if _UNREACHABLE.search("\n".join(errors)):
        return ServeError("tritonserver_unreachable", detail=detail)
    return ServeError("tritonserver_failed", detail=detail)


def _whole() -> bool:
    """Whether what was written down is there, as far as sizes and the way to Python tell."""
    found = facts()
    if found is None or not (place() / "bin" / "python").exists():  # Python itself may have been updated away
        return False
    try:
        return all((place() / name).stat().st_size == size for name, size in found["files"].items())
    except (OSError, AttributeError, KeyError):
        return False


def _needed(folder: Path) -> list[Path]:
    """The files without which the server does not start."""
    package = _package(folder)
    return [
        package / "bin" / "tritonserver",
        *sorted((package / "backends" / "python").glob("*.so")),
        package / "backends" / "python" / "triton_python_backend_stub",
    ]


def _package(folder: Path) -> Path:
    return folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages/pytriton/tritonserver"


def _library_folder() -> Path:
    return Path(str(sysconfig.get_config_var("LIBDIR")))


def _lock_path() -> Path:
    return home() / ".tritonserver.lock"


def _enough_glibc(found: tuple[str, str]) -> bool:
    name, version = found
    numbers = tuple(int(piece) for piece in version.split(".")[:2] if piece.isdigit())
    return name == "glibc" and numbers >= GLIBC
