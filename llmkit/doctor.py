"""What this machine has: quick facts without torch, a measurement with it, and what is still to be fetched."""

import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from llmkit import shelf
from llmkit.home import home, offline

if TYPE_CHECKING:
    import torch

DType = Literal["float32", "bfloat16", "float16"]
DTYPES: tuple[DType, ...] = ("float32", "bfloat16", "float16")

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;#]+)", re.MULTILINE)

GPU_QUERY_S = 5.0
"""How long the driver may take to answer before no GPU is assumed."""

LONG_ENOUGH_S = 0.008
"""A product that takes so long is timed well; smaller ones are doubled in width until they do."""

BUDGET_S = 0.4
"""Seconds spent on one dtype once its size is found."""

FEWEST_RUNS, MOST_RUNS = 3, 31
SMALLEST, LARGEST = 128, {"cpu": 1024, "cuda": 4096}
"""Widths of the square matrices."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, as its driver describes it: its name and its memory."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What can be told at once.

    Args:
        python, system, cpu: as they call themselves.
        cores: how many this process may use.
        memory_bytes, memory_free_bytes: in all, and what can be had without swapping.
        home: where boxes are kept. disk_free_bytes: on its disk. writable: whether boxes can be put there.
        offline: whether ``LLMKIT_OFFLINE`` forbids the network.
        gpus: what NVIDIA's driver shows; empty where there is none.
    """

    python: str
    system: str
    cpu: str
    cores: int
    memory_bytes: int
    memory_free_bytes: int
    home: str
    disk_free_bytes: int
    writable: bool
    offline: bool
    gpus: tuple[Gpu, ...]


@dataclass(frozen=True, kw_only=True)
class Package:
    """One package of ``requirements.txt``: the version pinned there, and the one here (None: not installed)."""

    name: str
    pinned: str
    installed: str | None

    @property
    def fits(self) -> bool:
        """Whether it is the pinned version; a local build of it (``2.13.0+cpu``) is."""
        return self.installed is not None and self.installed.partition("+")[0] == self.pinned.partition("+")[0]


@dataclass(frozen=True, kw_only=True)
class BoxState:
    """One box of the shelf: whether it is here, and the command that gets it if it is not."""

    id: str
    content: Literal["model", "data"]
    standard: bool
    here: bool
    size_bytes: int
    command: str


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast one dtype is here.

    Args:
        dtype: its name.
        gflops: billions of multiplications and additions a second: median of ``runs`` products of two square
            matrices, ``width`` wide. None where this device has no product in that dtype.
    """

    dtype: DType
    gflops: float | None
    width: int
    runs: int


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What the timing gave.

    Args:
        device: ``cpu`` or ``cuda``. device_name: the processor's or the GPU's own name.
        threads: that torch computes with on the CPU. torch: its version. seconds: that all of it took.
        speeds: one for each dtype.
    """

    device: Literal["cpu", "cuda"]
    device_name: str
    threads: int
    torch: str
    seconds: float
    speeds: tuple[Speed, ...]

    @property
    def fastest(self) -> DType:
        """The dtype with the most products a second."""
        return max(self.speeds, key=lambda speed: speed.gflops or 0.0).dtype


def describe_machine() -> Machine:
    """Look at this machine. Imports no torch, and takes milliseconds (once the GPU's driver has been asked)."""
    memory, folder = psutil.virtual_memory(), _nearest_folder(home())
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=cpu_name(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=memory.total,
        memory_free_bytes=memory.available,
        home=str(home()),
        disk_free_bytes=shutil.disk_usage(folder).free,
        writable=os.access(folder, os.W_OK),
        offline=offline(),
        gpus=find_gpus(),
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no more memory, on a GPU or for a CPU. Imports torch."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "alloc" in str(error)  # how torch says it on a CPU


def cpu_name() -> str:
    """The processor's name; where the system does not tell, its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


@cache
def find_gpus() -> tuple[Gpu, ...]:
    """Ask NVIDIA's driver, once for the process; no driver, or no answer in time, means no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=GPU_QUERY_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rpartition(",") for line in said.splitlines()]
    return tuple(
        Gpu(name=name.strip(), memory_bytes=int(mebibytes) * 2**20)
        for name, _, mebibytes in rows
        if mebibytes.strip().isdigit()
    )


def packages() -> tuple[Package, ...]:
    """The pinned packages beside the versions installed; empty where ``requirements.txt`` is not at hand."""
    if not REQUIREMENTS.is_file():
        return ()
    pins = _PIN.findall(REQUIREMENTS.read_text(encoding="utf-8"))
    return tuple(Package(name=name, pinned=pinned, installed=_installed(name)) for name, pinned in pins)


def boxes() -> tuple[BoxState, ...]:
    """Every box of the catalogue, then those that were fetched by hub id."""
    own = [shelf.entry(name) for name in shelf.boxes_here("model") if name not in shelf.catalogue()]
    return tuple(
        BoxState(
            id=box.id,
            content=box.content,
            standard=box.standard,
            here=shelf.locate(box.id) is not None,
            size_bytes=box.size_bytes,
            command=f"python -m llmkit get {box.id}",
        )
        for box in (*shelf.catalogue().values(), *own)
    )


def measure() -> Measurement:
    """Time matrix products in each dtype, on the GPU where torch sees one. Imports torch; takes about 2 s at most.

    Raises:
        ImportError: when torch is not installed.
    """
    import torch

    device: Literal["cpu", "cuda"] = "cuda" if torch.cuda.is_available() else "cpu"
    began = time.perf_counter()
    speeds = tuple(_time_dtype(name, getattr(torch, name), device) for name in DTYPES)
    return Measurement(
        device=device,
        device_name=torch.cuda.get_device_name() if device == "cuda" else cpu_name(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        seconds=time.perf_counter() - began,
        speeds=speeds,
    )


def _time_dtype(name: DType, dtype: "torch.dtype", device: Literal["cpu", "cuda"]) -> Speed:
    """Double the width until a product takes long enough to be timed, then take the median of several."""
    width = SMALLEST
    try:
        run = _product(width, dtype, device)
        run()  # the first one also loads what the product needs
        seconds = run()
        while seconds < LONG_ENOUGH_S and width < LARGEST[device]:
            width *= 2
            run = _product(width, dtype, device)
            run()
            seconds = run()
    except RuntimeError:  # torch's answer to a dtype that the device cannot multiply
        return Speed(dtype=name, gflops=None, width=width, runs=0)
    times = [run() for _ in range(min(max(int(BUDGET_S / seconds), FEWEST_RUNS), MOST_RUNS))]
    return Speed(dtype=name, gflops=2 * width**3 / statistics.median(times) / 1e9, width=width, runs=len(times))


def _product(width: int, dtype: "torch.dtype", device: str) -> Callable[[], float]:
    """A function that multiplies two matrices [width, width] and says how many seconds that took."""
    import torch

    left = torch.linspace(-1, 1, width * width, device=device).view(width, width).to(dtype)
    right = left.T.contiguous()
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None

    def run() -> float:
        wait()
        began = time.perf_counter()
        torch.matmul(left, right)
        wait()
        return time.perf_counter() - began

    return run


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    absolute = path.absolute()
    return next(place for place in (absolute, *absolute.parents) if os.path.isdir(place))
