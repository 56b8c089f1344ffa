"""ONNX Runtime's execution providers: which are here, what the others want, and which one really takes a graph.

TensorRT and CUDA need ONNX Runtime's GPU package and NVIDIA's libraries; asked for without them, ONNX Runtime falls
back to the next in order. Who took how many operators is read off a profile of a run, not off what was asked for.
"""

from __future__ import annotations

import ctypes.util
import json
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llmkit.compress.errors import FormError

Name = Literal["tensorrt", "cuda", "cpu"]
PROVIDERS: Mapping[Name, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
"""In the order in which they are asked: what one does not take, the next one does."""

GPU_PACKAGE = "onnxruntime-gpu"
CUDA_LIBRARIES = ("cuda", "cudart", "cublas", "cublasLt", "cufft", "curand", "nvrtc", "cudnn")
LIBRARIES: Mapping[Name, tuple[str, ...]] = {
    "tensorrt": ("nvinfer", "nvinfer_plugin", "nvonnxparser", *CUDA_LIBRARIES),
    "cuda": CUDA_LIBRARIES,
    "cpu": (),
}
"""What each loads when it opens a graph; ``cuda`` is the driver's own."""

FORM = "onnx-float32"
TOKENS, PAST = 4, 4
"""Of the text that tries a provider: so many new tokens after so many old ones."""

ENGINES = "tensorrt-engines"
"""The folder in which TensorRT keeps what it has built: building takes minutes, and depends on the GPU."""


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One way to run a graph.

    Args:
        name: short. full: ONNX Runtime's name. built_in: whether the ONNX Runtime that is installed has it.
        package: to install instead of ``onnxruntime`` where it has not.
        libraries: name → where it lies, None where it was not found.
        gpu: the GPU's name; "" where none is seen, None where none is needed.
    """

    name: Name
    full: str
    built_in: bool
    package: str
    libraries: Mapping[str, str | None]
    gpu: str | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Libraries that were not found."""
        return tuple(name for name, place in self.libraries.items() if place is None)

    @property
    def complete(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.built_in and not self.missing and self.gpu != ""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of opening and running a graph.

    Args:
        asked: providers in the order asked for. session: those that the session then had.
        nodes: operators that ran, by provider; a fused one counts once.
        open_s, run_ms: to open (TensorRT builds its engines in the first run), and one run after that.
        max_delta: against the CPU's own answer. fp16: whether TensorRT was allowed half precision.
        said: what ONNX Runtime warned of, first lines.
    """

    asked: tuple[str, ...]
    session: tuple[str, ...]
    nodes: Mapping[str, int]
    open_s: float
    run_ms: float
    max_delta: float
    fp16: bool
    said: tuple[str, ...]


def look() -> tuple[Provider, ...]:
    """Every provider that the guide knows, in the order asked for; loads ONNX Runtime, and no library of NVIDIA's.

    Raises:
        FormError: ``form_missing``: no ONNX Runtime is installed.
    """
    from llmkit.doctor import find_gpus

    built_in = set(_onnxruntime().get_available_providers())
    gpus = find_gpus()
    places = {library: find_library(library) for library in LIBRARIES["tensorrt"]}
    return tuple(
        Provider(
            name=name,
            full=full,
            built_in=full in built_in,
            package="onnxruntime" if name == "cpu" else GPU_PACKAGE,
            libraries={library: places[library] for library in LIBRARIES[name]},
            gpu=None if name == "cpu" else (gpus[0].name if gpus else ""),
        )
        for name, full in PROVIDERS.items()
    )


def find_library(name: str) -> str | None:
    """Where a library lies: the system's, on ``LD_LIBRARY_PATH``, or in a package of NVIDIA's; None where nowhere."""
    found = ctypes.util.find_library(name)
    if found is not None:
        return found
    pattern = f"{name}*.dll" if sys.platform == "win32" else f"lib{name}.so*"
    for folder in _folders():
        for path in sorted(folder.glob(pattern)):
            return str(path)
    return None


def commands(box_id: str, *, fp16: bool = False) -> str:
    """What to type on a machine with an NVIDIA GPU; ``onnxruntime`` and its GPU package cannot lie side by side."""
    import shlex

    folder = shlex.quote(f"{box_id.rpartition(':')[2].rstrip('/').rpartition('/')[2]}-onnx")
    return "\n".join(
        (
            f"python -m llmkit export {shlex.quote(box_id)} --out {folder}",
            "pip uninstall -y onnxruntime",
            f'pip install "{GPU_PACKAGE}[cuda,cudnn]" tensorrt tokenizers numpy',
            f'python {folder}/run.py --provider tensorrt{" --fp16" if fp16 else ""} "The movie was"',
        )
    )


def order(names: Sequence[Name], *, engines: Path | None = None, fp16: bool = False) -> list[Any]:
    """What ONNX Runtime is given: providers in their order, the CPU last, with TensorRT's options.

    Args:
        names: which are wanted. engines: where TensorRT keeps the engines it builds.

    >>> order(["cuda"])
    ['CUDAExecutionProvider', 'CPUExecutionProvider']
    """
    wanted: list[Any] = []
    for name, full in PROVIDERS.items():
        if name == "tensorrt" and name in names and engines is not None:
            options = {
                "trt_fp16_enable": str(fp16),
                "trt_engine_cache_enable": "True",
                "trt_engine_cache_path": str(engines),
                "trt_timing_cache_enable": "True",
                "trt_timing_cache_path": str(engines),
            }
            wanted.append((full, options))
        elif name in names or name == "cpu":
            wanted.append(full)
    return wanted


def try_out(folder: Path, names: Sequence[Name], *, fp16: bool = False) -> Tried:
    """Open a graph with providers, run it, and compare with the CPU's own answer.

    Args:
        folder: of an export of ours. names: which providers are wanted. fp16: let TensorRT compute in half precision.

    Raises:
        FormError: ``form_broken``: it cannot be opened, or not be run.
    """
    from llmkit.compress.onnx_export import FACTS, MODEL

    engines = folder / ENGINES
    if "tensorrt" in names and PROVIDERS["tensorrt"] in _onnxruntime().get_available_providers():
        engines.mkdir(exist_ok=True)
    asked = order(names, engines=engines, fp16=fp16)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with (
            tempfile.TemporaryDirectory(prefix="llmkit-provider-") as room,
            _heard(Path(room) / "said") as heard,
            warnings.catch_warnings(record=True) as warned,
        ):
            warnings.simplefilter("always")
            began = time.perf_counter()
            session = _open(folder / MODEL, asked, profile=Path(room) / "profile")
            open_s = time.perf_counter() - began
            feed = example(session, facts)
            session.run(None, feed)
            began = time.perf_counter()
            answer = session.run(None, feed)[0]
            run_ms = 1000 * (time.perf_counter() - began)
            nodes = _who_ran(Path(session.end_profiling()))
        expected = _open(folder / MODEL, order(["cpu"])).run(None, feed)[0]
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise FormError("form_broken", form=FORM, detail=f"{type(error).__name__}: {first}") from error
    return Tried(
        asked=tuple(one if isinstance(one, str) else one[0] for one in asked),
        session=tuple(session.get_providers()),
        nodes=nodes,
        open_s=open_s,
        run_ms=run_ms,
        max_delta=float(np.abs(np.asarray(answer) - np.asarray(expected)).max()),
        fp16=fp16,
        said=tuple(dict.fromkeys([*(str(one.message) for one in warned), *heard])),
    )


def example(session: Any, facts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a graph of ours is fed to try it: a text of a few tokens, of a decoder after some that it has read."""
    names = {one.name for one in session.get_inputs()}
    past = PAST if facts["causal"] else 0
    ids = np.arange(TOKENS, dtype=np.int64)[None]
    feed: dict[str, np.ndarray] = {"input_ids": ids, "attention_mask": np.ones((1, past + TOKENS), dtype=np.int64)}
    if "position_ids" in names:
        feed["position_ids"] = ids + past
    if "token_type_ids" in names:
        feed["token_type_ids"] = np.zeros_like(ids)
    if facts["causal"]:
        kept = np.zeros((1, int(facts["n_kv_heads"]), past, int(facts["head_dim"])), dtype=np.float32)
        feed |= {name: kept for name in names if name.startswith("past_key_values.")}
    return feed


def run(settings: Mapping[str, Any], report: Any) -> dict[str, Any]:
    """The job ``provider``: see ``try_out``.

    Args:
        settings: ``box`` and its ``fingerprint``, ``providers`` (names), ``fp16``.

    Raises:
        FormError: ``form_missing``: the graph is not made yet; and what ``try_out`` raises.
    """
    from dataclasses import asdict

    from llmkit import shelf
    from llmkit.compress import made

    shelf.require_unchanged(settings["box"], settings["fingerprint"])
    folder = made.folder(settings["box"], FORM)
    if folder is None:
        raise FormError("form_missing", form=FORM, detail="it was not made yet")
    report(0, 1, note="opening")
    tried = try_out(folder, settings["providers"], fp16=bool(settings["fp16"]))
    report(1, 1, note="opening")
    return asdict(tried)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise FormError("form_missing", form=FORM, detail=f"onnxruntime does not load ({error})") from error
    return onnxruntime


def _open(path: Path, providers: Sequence[Any], *, profile: Path | None = None) -> Any:
    onnxruntime = _onnxruntime()
    if len(providers) > 1 and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # NVIDIA's libraries out of their packages, where they lie there
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return onnxruntime.InferenceSession(str(path), options, providers=list(providers))


def _who_ran(profile: Path) -> dict[str, int]:
    """Operators that ran in a profile, by provider."""
    ran: dict[str, set[str]] = {}
    for event in json.loads(profile.read_text(encoding="utf-8")):
        provider = event.get("args", {}).get("provider")
        if event.get("cat") == "Node" and provider:
            ran.setdefault(provider, set()).add(event["name"])
    return dict(Counter({provider: len(names) for provider, names in ran.items()}).most_common())


class _heard:  # noqa: N801  used as a statement
    """Listen to what is written to this process's stderr: ONNX Runtime warns there, past Python."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines: list[str] = []

    def __enter__(self) -> list[str]:
        sys.stderr.flush()
        self._kept, self._file = os.dup(2), self._path.open("w+b")
        os.dup2(self._file.fileno(), 2)
        return self._lines

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 2)
        os.close(self._kept)
        self._file.seek(0)
        text = self._file.read().decode("utf-8", errors="replace")
        self._file.close()
        self._lines.extend(_plain_lines(text))


def _plain_lines(text: str) -> Iterator[str]:
    """Lines without a terminal's colours, and few of them."""
    import re

    seen = []
    for line in text.splitlines():
        line = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()[:300]
        if line and line not in seen:
            seen.append(line)
    yield from seen[:8]


def _folders() -> Iterator[Path]:
    """Where NVIDIA's libraries lie beside the system's: paths that are set, its packages, its usual folders."""
    for place in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if place:
            yield Path(place)
    for root in map(Path, sys.path):
        yield from sorted(root.glob("nvidia/*/lib"))
        yield from sorted(root.glob("tensorrt*_libs"))
    yield from sorted(Path("/usr/local").glob("cuda*/lib64"))
