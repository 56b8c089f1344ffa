"""What the fast-inference page knows: the box's ONNX graph before and after fusion, and the ways to run it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
import psutil

from components import engine
from components.badge import Badge
from components.engine import Made
from components.workbench import Workbench
from llmkit import jobs
from llmkit.compress.onnx_fusion import ATTENTIONS, FORM, NORMS
from llmkit.compress.onnx_graph import Graph, Port, kind, read_graph

if TYPE_CHECKING:
    from llmkit.compress.providers import Provider

RACERS = ("torch-float32", "torch-compiled", FORM)
"""PyTorch as it is, PyTorch compiled, ONNX Runtime."""

TAKES_IN_MEMORY = 4
"""Streamlit holds what it hands over in memory; it may take one part in so many of what is free."""


class FastError(Exception):
    """The page cannot do what was asked: ``fast_not_exported``, there is no graph yet.

    Args:
        code: see above. values: what the sentence names.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(f"{code}: {values}")
        self.code, self.values = code, values


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A box's graph as the job left it.

    Args:
        before, after: as exported; as ONNX Runtime optimises it. plain_ms, fused_ms, n: one step of each, medians of n.
        whole, cached: max |Δ| against PyTorch; ``cached`` None for an encoder. files: name → bytes.
        made_s: seconds that exporting took. badge: where all this comes from.
    """

    before: Graph
    after: Graph
    plain_ms: float
    fused_ms: float
    n: int
    whole: float
    cached: float | None
    files: Mapping[str, int]
    made_s: float
    badge: Badge


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """How norms and attention stand in a graph: as operators of their own, or in small pieces.

    Args:
        norms, attentions: operators that do a whole one. pieces: square roots that norms are written out with.
        softmaxes: attentions that are written out.
    """

    norms: int
    attentions: int
    pieces: int
    softmaxes: int


def settings(bench: Workbench) -> dict[str, Any]:
    """What the job ``onnx`` is given."""
    return {"box": bench.box_id, "fingerprint": engine.fingerprint(bench.box_id)}


def lost(bench: Workbench) -> str | None:
    """The export's job, where its files are gone from the disk; forget it to export again."""
    from llmkit.compress import made

    job = jobs.find("onnx", settings(bench))
    gone = job is not None and job.state == "done" and made.facts(bench.box_id, FORM) is None
    return job.id if job is not None and gone else None


def exported(made: Made[Any]) -> Exported:
    """The job's result, with its graphs as graphs again."""
    told = made.value
    return Exported(
        before=_graph(told["before"]),
        after=_graph(told["after"]),
        plain_ms=told["timed"]["plain_ms"],
        fused_ms=told["timed"]["fused_ms"],
        n=told["timed"]["n"],
        whole=told["max_delta"]["whole"],
        cached=told["max_delta"].get("cached"),
        files=told["files"],
        made_s=told["made_s"],
        badge=made.badge,
    )


def why_not(bench: Workbench, form_id: str = FORM) -> Exception | None:
    """What keeps the box from taking a form here."""
    from llmkit.compress import made

    return made.why_not(form_id, bench.box_id)


def operators(graph: Graph) -> pd.DataFrame:
    """The operators of a graph, most frequent first, and what each is there for."""
    rows = [{"operator": name, "kind": kind(name), "nodes": n} for name, n in graph.operators.items()]
    return pd.DataFrame(rows).sort_values("nodes", ascending=False, kind="stable")


def changes(before: Graph, after: Graph) -> pd.DataFrame:
    """Operators whose number the optimisation changed, the greatest change first."""
    names = dict.fromkeys((*before.operators, *after.operators))
    rows = [
        {"operator": name, "before": before.operators.get(name, 0), "after": after.operators.get(name, 0)}
        for name in names
    ]
    table = pd.DataFrame(
        [row for row in rows if row["before"] != row["after"]], columns=["operator", "before", "after"]
    )
    return table.loc[(table["after"] - table["before"]).abs().sort_values(ascending=False, kind="stable").index]


def pieces(graph: Graph) -> Pieces:
    """How norms and attention stand in a graph."""
    counts: dict[str, int] = {}
    for name, n in graph.operators.items():
        counts[name.rpartition(".")[2]] = counts.get(name.rpartition(".")[2], 0) + n
    return Pieces(
        norms=sum(counts.get(name, 0) for name in NORMS),
        attentions=sum(counts.get(name, 0) for name in ATTENTIONS),
        pieces=counts.get("Sqrt", 0),
        softmaxes=counts.get("Softmax", 0),
    )


def ports(given: Sequence[Port]) -> list[tuple[str, str, str]]:
    """Name, type and shape of what goes in or comes out; keys and values of all layers in one line."""
    kept = [one for one in given if one.name.startswith(("past_key_values.", "present."))]
    shown = [(one.name, one.dtype, _shape(one)) for one in given if one not in kept]
    if kept:
        shown.append((f"{kept[0].name} … {kept[-1].name}", f"{kept[0].dtype} × {len(kept)}", _shape(kept[0])))
    return shown


@engine.remembered(max_entries=1)
def providers() -> tuple[Provider, ...]:
    """Every provider, and what it wants that is not here."""
    from llmkit.compress.providers import look

    return look()


@engine.remembered(max_entries=1)
def optimum() -> tuple[str, bool]:
    """Optimum's version ("" where it is not here), and whether it brings an ONNX exporter along."""
    import importlib.metadata
    from importlib.util import find_spec

    try:
        version = importlib.metadata.version("optimum")
    except importlib.metadata.PackageNotFoundError:
        return "", False
    try:
        exports = find_spec("optimum.exporters.onnx") is not None
    except ModuleNotFoundError:
        exports = False
    return version, exports


def look_into(files: Sequence[Any]) -> tuple[str, Graph]:
    """Read an ONNX file that was given, with what was given beside it; nothing of it is kept.

    Raises:
        GraphError: any code; ``graph_missing`` where none of the files is called ``.onnx``.
    """
    from llmkit.compress.errors import GraphError

    names = {one.file_id: PurePosixPath(one.name.replace("\\", "/")).name[:200] or "file" for one in files}
    graphs = [one for one in files if names[one.file_id].endswith(".onnx")]
    if not graphs:
        raise GraphError("graph_missing", file=".onnx")
    with tempfile.TemporaryDirectory(prefix="llmkit-look-") as room:
        for one in files:
            (Path(room) / names[one.file_id]).write_bytes(one.getbuffer())
        name = names[graphs[0].file_id]
        return name, read_graph(Path(room) / name)


def zip_settings(bench: Workbench) -> dict[str, Any]:
    """What the job ``onnx_zip`` is given."""
    return {**settings(bench), "form": FORM}


def zip_path(bench: Workbench, file: str) -> Path | None:
    """Where the ZIP lies; None where it is gone."""
    job = jobs.find("onnx_zip", zip_settings(bench))
    path = None if job is None else jobs.folder(job.id) / file
    return path if path is not None and path.is_file() else None


def fits_in_memory(size_bytes: int) -> bool:
    """Whether a file may be handed over by the browser's button, which holds it in memory."""
    return bool(size_bytes * TAKES_IN_MEMORY < psutil.virtual_memory().available)


def _graph(told: Mapping[str, Any]) -> Graph:
    def port(one: Mapping[str, Any]) -> Port:
        return Port(name=one["name"], dtype=one["dtype"], shape=tuple(one["shape"]))

    return Graph(
        **{
            **told,
            "inputs": tuple(port(one) for one in told["inputs"]),
            "outputs": tuple(port(one) for one in told["outputs"]),
        }
    )


def _shape(port: Port) -> str:
    return "[" + ", ".join(str(size) if size != "" else "?" for size in port.shape) + "]"
