"""The job ``prune_cost``: what pruning saves, and what it does not: bytes and times, measured here, in turns."""

from __future__ import annotations

import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmkit import shelf
from llmkit.compress.prune import keep_masks, prunable
from llmkit.compress.prune_curve import nearest_step
from llmkit.compress.prune_ladder import make_ladder, pruned
from llmkit.compress.prune_loss import TOKENS
from llmkit.compress.prune_order import Kind, scores
from llmkit.compress.row import Spread
from llmkit.parts import Transformer
from llmkit.reference import Assembled, open_box

if TYPE_CHECKING:
    from pathlib import Path

    from llmkit.jobs import Report

SHARES = (0.0, 0.5, 0.9)
SAMPLE_BYTES = 32 * 2**20
"""Of the layers' matrices, so much is written and packed, whole layers at a time; at least one."""

PRODUCT_ROUNDS, MACHINE_ROUNDS = 21, 9
STRUCTURED: tuple[Kind, ...] = ("heads", "neurons", "layers")
HALF = 0.5


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Measure sizes, one product, and whole machines.

    Args:
        settings: ``box`` and its ``fingerprint``.

    Returns:
        ``sizes``: for each of ``SHARES`` the bytes of the same matrices as a file (``dense``), packed (``zipped``) and
        as CSR (``csr``), and of which ``layers``. ``products``: ms of one matrix of that ``shape``, times a text:
        ``dense``, ``csr`` and, where a GPU has the kernel, ``two_four``. ``machines``: parameters, bytes of the file
        and ms of a text for the original, one with zeros, and smaller ones. ``no_two_four``: why it was not timed.
    """
    if settings.get("fingerprint"):
        shelf.require_unchanged(settings["box"], settings["fingerprint"])
    report(0, 4, "opening")
    box = open_box(settings["box"])
    report(1, 4, "writing")
    sizes = measure_sizes(box.model, report.folder)
    report(2, 4, "measuring", partial={"sizes": sizes})
    products, shape = measure_products(box.model)
    report(3, 4, "measuring", partial={"sizes": sizes, "products": products})
    machines = measure_machines(box, report)
    return {
        "sizes": sizes,
        "products": products,
        "shape": shape,
        "tokens": _tokens(box),
        "machines": machines,
        "layers": box.config.n_layers,
        "no_two_four": no_two_four(),
    }


def measure_sizes(model: Transformer, folder: Path) -> dict[str, Any]:
    """Bytes of the same matrices, the smallest weights of each made zero."""
    layers, total = 0, 0
    weights = prunable(model)
    chosen: dict[str, Tensor] = {}
    for layer in range(len(model.layers)):
        own = {name: weight for name, weight in weights.items() if name.startswith(f"layers.{layer}.")}
        total += sum(weight.nbytes for weight in own.values())
        if layers and total > SAMPLE_BYTES:
            break
        chosen, layers = chosen | own, layers + 1
    rows = []
    for share in SHARES:
        kept = keep_masks({name: weight.abs() for name, weight in chosen.items()}, "matrix", share)
        zeroed = {name: weight.detach() * kept[name] for name, weight in chosen.items()}
        path = folder / "matrices.safetensors"
        dense = file_bytes(zeroed, path, keep=True)
        packed = zlib.compressobj(6)
        with path.open("rb") as file:
            zipped = sum(len(packed.compress(block)) for block in iter(lambda: file.read(2**20), b""))
        zipped += len(packed.flush())
        path.unlink()
        csr = sum(csr_bytes(matrix) for matrix in zeroed.values())
        rows.append({"share": share, "dense": dense, "zipped": zipped, "csr": csr})
    return {"layers": layers, "rows": rows}


def csr_bytes(matrix: Tensor) -> int:
    """Of a matrix as compressed sparse rows with 32-bit places: what is not zero, its column, and where rows begin."""
    sparse = as_csr(matrix)
    return sum(part.nbytes for part in (sparse.values(), sparse.col_indices(), sparse.crow_indices()))


def as_csr(matrix: Tensor) -> Tensor:
    """The same matrix as torch's CSR with 32-bit places."""
    wide = matrix.to_sparse_csr()
    return torch.sparse_csr_tensor(
        wide.crow_indices().int(), wide.col_indices().int(), wide.values(), size=matrix.shape, device=matrix.device
    )


@torch.inference_mode()
def measure_products(model: Transformer) -> tuple[list[dict[str, Any]], tuple[int, int]]:
    """Times of ``W x`` for the largest matrix of the first layer and a text of ``TOKENS`` columns, in turns."""
    matrix = max(
        (module.weight for module in model.layers[0].modules() if isinstance(module, nn.Linear)), key=Tensor.numel
    )
    matrix = matrix.detach()
    text = torch.randn(matrix.shape[1], TOKENS, generator=torch.Generator().manual_seed(0)).to(matrix.device)
    ways: dict[tuple[str, float], Callable[[], Tensor]] = {}
    for share in SHARES:
        zeroed = matrix * keep_masks({"w": matrix.abs()}, "matrix", share)["w"]
        ways["dense", share] = lambda zeroed=zeroed: zeroed @ text  # type: ignore[misc]
        if share:
            sparse = as_csr(zeroed)
            ways["csr", share] = lambda sparse=sparse: sparse @ text  # type: ignore[misc]
    if no_two_four() is None:
        kept = keep_masks({"w": matrix.abs()}, "two_four")["w"]
        packed = torch.sparse.to_sparse_semi_structured((matrix * kept).half())
        half, narrow = text.half(), matrix.half()
        ways["dense_half", 0.0] = lambda: narrow @ half
        ways["two_four", 0.5] = lambda: packed @ half
    spreads = in_turns(list(ways.values()), PRODUCT_ROUNDS)
    rows = [{"way": way, "share": share, "ms": asdict(ms)} for (way, share), ms in zip(ways, spreads, strict=True)]
    return rows, (matrix.shape[0], matrix.shape[1])


@torch.inference_mode()
def measure_machines(box: Assembled, report: Report) -> list[dict[str, Any]]:
    """Parameters, bytes of the file and time of one text: the original, nine tenths of zeros, and smaller machines."""
    machines: list[tuple[str, float, Transformer]] = [("original", 0.0, box.model)]
    for kind in ("weights", *STRUCTURED):
        ladder = make_ladder(kind, scores(kind, "size", box.model, box.config), box.config)
        step = nearest_step(ladder.shares, 0.9 if kind == "weights" else HALF)
        machines.append((kind, ladder.shares[step], pruned(box.model, box.config, ladder, step)[0]))
    ids = torch.arange(_tokens(box), device=box.device)[None] % box.config.vocab_size
    spreads = in_turns([lambda machine=machine: machine(ids) for _, _, machine in machines], MACHINE_ROUNDS)  # type: ignore[misc]
    rows: list[dict[str, Any]] = []
    for (name, share, machine), ms in zip(machines, spreads, strict=True):
        report(3 + len(rows) / len(machines), 4, "writing")
        tensors = dict(machine.named_parameters())
        size = file_bytes(tensors, report.folder / "machine.safetensors")
        parameters = sum(weight.numel() for weight in machine.parameters())
        rows.append({"kind": name, "share": share, "parameters": parameters, "bytes": size, "ms": asdict(ms)})
    return rows


def no_two_four() -> str | None:
    """Why there is no kernel for 2:4 here; None where there is."""
    if not torch.cuda.is_available():
        return "no_gpu"
    return None if torch.cuda.get_device_capability() >= (8, 0) else "old_gpu"


def in_turns(ways: Sequence[Callable[[], object]], rounds: int) -> list[Spread]:
    """Milliseconds of each way: a round runs every one once, so that a machine that slows down slows all. The first
    round warms up and is thrown away; low and high are the quartiles."""
    times: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds + 1):
        for way, own in zip(ways, times, strict=True):
            began = time.perf_counter()
            way()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                own.append(1000 * (time.perf_counter() - began))
    spreads = []
    for own in times:
        low, _, high = statistics.quantiles(own, n=4)
        spreads.append(Spread(median=statistics.median(own), low=low, high=high, n=len(own)))
    return spreads


def file_bytes(tensors: Mapping[str, Tensor], path: Path, *, keep: bool = False) -> int:
    """Bytes of a safetensors file, really written."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, path)
    size = path.stat().st_size
    if not keep:
        path.unlink()
    return size


def _tokens(box: Assembled) -> int:
    return min(TOKENS, box.config.max_seq_len)
