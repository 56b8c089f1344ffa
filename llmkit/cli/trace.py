"""``python -m llmkit trace``: one forward pass; shapes and a summary, or every value in a file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.errors import plain
from llmkit.cli.output import Json, print_json, print_table, size, tell

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmkit.trace import Trace, Value

SUFFIXES = (".safetensors", ".npz")


def trace_command(
    box: Annotated[str, typer.Argument(metavar="BOX", help="A model box that is here.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What goes in.")],
    part: Annotated[
        list[str], typer.Option(help="Keep this value (q, attention_weights, logits …); again for more. Default: all.")
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(help="Write the values to FILE.safetensors or FILE.npz; a layer's as NAME.LAYER.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Refuse a longer text.")] = 512,
    as_json: Json = False,
) -> None:
    """Send TEXT through BOX once and show what passed: each value's shape and range."""
    if out is not None and out.suffix not in SUFFIXES:
        raise typer.BadParameter(f"{plain(out.name)} must end in {' or '.join(SUFFIXES)}.", param_hint="--out")
    from llmkit import shelf

    shelf.entry(box)  # a name that no box can have is refused before torch is loaded
    from llmkit.reference import open_box
    from llmkit.trace import trace_model

    trace = trace_model(open_box(box), text, parts=_values(part), max_tokens=max_tokens)
    if out is not None:
        write(trace, out)
    if as_json:
        print_json(as_data(trace, out))
    else:
        _print(trace)
        if out is not None:
            tell(f"Written: {plain(out)}")


def _values(names: list[str]) -> "tuple[Value, ...]":
    """The values asked for; all of them when none was."""
    from llmkit.trace import EVERYTHING

    unknown = [plain(name) for name in names if name not in EVERYTHING]
    if unknown:
        raise typer.BadParameter(f"no {', '.join(unknown)}; there are: {', '.join(EVERYTHING)}", param_hint="--part")
    return tuple(name for name in EVERYTHING if name in names) or EVERYTHING


def as_data(trace: "Trace", out: Path | None) -> dict[str, Any]:
    """A trace's tokens and the summary of its values, as plain data."""
    encoding = trace.encoding
    return {
        "box_id": trace.box_id,
        "family": trace.family,
        "dtype": trace.dtype,
        "device": trace.device,
        "text": encoding.text,
        "tokens": [
            {"id": number, "piece": piece, "bytes": data.hex(), "offsets": span, "special": special}
            for number, piece, data, span, special in zip(
                encoding.ids, encoding.pieces, encoding.token_bytes, encoding.offsets, encoding.special, strict=True
            )
        ],
        "values": [
            {
                "name": name,
                "layers": layers,
                "shape": arrays[0].shape,
                **_range(arrays),
                "size_bytes": sum(array.nbytes for array in arrays),
            }
            for name, layers, arrays in _kept(trace)
        ],
        "out": None if out is None else str(out),
    }


def _range(arrays: "tuple[NDArray[Any], ...]") -> dict[str, float]:
    """Smallest, largest and mean number; a masked score, the dtype's lowest number, is no number of the model's."""
    import numpy as np

    seen = np.concatenate([array[array > np.finfo(array.dtype).min] for array in arrays])
    return {"min": float(seen.min()), "mean": float(seen.mean(dtype="float64")), "max": float(seen.max())}


def _kept(trace: "Trace") -> "Iterator[tuple[Value, int | None, tuple[NDArray[Any], ...]]]":
    """Each value: its name, how many layers have it (None: it is there once), its arrays."""
    for name, kept in trace.values.items():
        yield (name, len(kept), kept) if isinstance(kept, tuple) else (name, None, (kept,))


def write(trace: "Trace", out: Path) -> None:
    """Write every value under its name, a layer's as ``q.0``; the file is there whole or not at all.

    Raises:
        OSError: when the folder is not there or cannot be written to.
    """
    import numpy as np

    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, layers, kept in _kept(trace):
        names = [name] if layers is None else [f"{name}.{layer}" for layer in range(layers)]
        arrays |= {key: np.ascontiguousarray(array) for key, array in zip(names, kept, strict=True)}
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            if out.suffix == ".npz":
                np.savez(file, **arrays)  # type: ignore[arg-type]  # a value's name is never allow_pickle
            else:
                from safetensors.numpy import save

                about = {"box": trace.box_id, "text": trace.encoding.text, "ids": json.dumps(trace.encoding.ids)}
                file.write(save(arrays, metadata=about))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def _print(trace: "Trace") -> None:
    data = as_data(trace, None)
    typer.echo(f"{plain(trace.box_id)} ({trace.family}), {trace.dtype} on {trace.device}, {trace.seq_len} tokens")
    tokens = zip(trace.encoding.labels, trace.encoding.ids, strict=True)
    typer.echo("  ".join(f"{label} {number}" for label, number in tokens))
    rows = [
        [
            value["name"],
            "" if value["layers"] is None else f"{value['layers']} ×",
            "[" + ", ".join(str(length) for length in value["shape"]) + "]",
            f"{value['min']:.3g}",
            f"{value['mean']:.3g}",
            f"{value['max']:.3g}",
            size(value["size_bytes"]),
        ]
        for value in data["values"]
    ]
    print_table(["value", "layers", "shape", "min", "mean", "max", "size"], rows, right=[1, 3, 4, 5, 6])
