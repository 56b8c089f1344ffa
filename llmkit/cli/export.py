"""``python -m llmkit export``: a box as a complete ONNX folder, or as a ZIP of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmkit.cli.errors import plain
from llmkit.cli.output import Json, print_json, print_table, size, tell


def export_command(
    box: Annotated[str, typer.Argument(metavar="BOX", help="A model box that is here.")],
    out: Annotated[Path, typer.Option(help="The folder to write, new or empty; or FILE.zip.")],
    form: Annotated[str, typer.Option(help="onnx-float32, onnx-int8 or onnx-int4.")] = "onnx-float32",
    as_json: Json = False,
) -> None:
    """Export BOX to ONNX: graph, weights, tokenizer, configuration, a program that runs them, and a card."""
    from llmkit import shelf
    from llmkit.compress import onnx_folder as room

    shelf.entry(box)  # a name that no box can have is refused before torch is loaded
    told: list[str] = []

    def report(done: float, total: float, note: str = "") -> None:
        line = f"{note} {done / total:.0%}" if note == "writing" and total > 100 else note
        if not told or told[-1] != line:
            told.append(line)
            tell(line)

    is_zip = out.suffix == ".zip"
    written = (room.write_zip if is_zip else room.write_folder)(box, form, out, report)
    facts = _facts(box, form, written)
    if as_json:
        print_json(facts)
        return
    print_table(["file", "size"], [[name, size(count)] for name, count in facts["files"].items()], right=[1])
    typer.echo("max |Δ| against PyTorch: " + ", ".join(f"{name} {d:.1e}" for name, d in facts["max_delta"].items()))
    tell(f"Written: {plain(out)}")


def _facts(box: str, form: str, written: Path) -> dict[str, Any]:
    from llmkit.compress import made
    from llmkit.compress import onnx_folder as room
    from llmkit.compress.onnx_engine import max_delta

    pieces = room.gather(box, form, lambda *_args, **_named: None)
    folder = made.folder(box, form)
    assert folder is not None
    return {
        "box": box,
        "form": form,
        "out": str(written),
        "size_bytes": written.stat().st_size if written.is_file() else sum(map(room.size_of, pieces.values())),
        "files": {name: room.size_of(piece) for name, piece in pieces.items()},
        "max_delta": max_delta(folder),
    }
