"""``python -m llmkit verify``: max |Δ| of every part against the reference."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.errors import as_data, code_of, sentence
from llmkit.cli.output import Json, print_json, print_table, tell

if TYPE_CHECKING:
    from llmkit.reference import Report


def verify_command(
    boxes: Annotated[
        list[str] | None, typer.Argument(metavar="[BOX]...", help="Model boxes. Default: all that are here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Load each box twice, as the reference model and as our parts, and compare them. Exit status 1: one differs."""
    from llmkit import shelf

    results = [_verify_one(box_id, quiet=as_json) for box_id in dict.fromkeys(boxes or shelf.boxes_here("model"))]
    passed = all(result["passed"] for result in results)
    if as_json:
        print_json({"boxes": results, "passed": passed})
    raise typer.Exit(0 if passed else 1)


def _verify_one(box_id: str, *, quiet: bool) -> dict[str, Any]:
    """Compare one box; an error with a code is a result, too: the others are still compared."""
    try:
        report = _report(box_id)
    except Exception as error:
        if code_of(error) is None:
            raise
        tell(sentence(error))
        return {"box_id": box_id, "passed": False, "error": as_data(error)}
    if not quiet:
        _print(report)
    return report.to_dict() | {"error": None}


def _report(box_id: str) -> "Report":
    from llmkit import shelf

    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # the reference's own bars; read when it is imported
    if damage := shelf.check(box_id):
        raise shelf.ShelfError("tampered", box=box_id, detail=", ".join(f"{d.file} ({d.what})" for d in damage))
    from llmkit.reference import BoxError, verify_box

    if shelf.entry(box_id).content == "data":
        raise BoxError("box_unsupported", box=box_id, detail="it holds data")
    tell(f"{box_id}: comparing in float32 and float64 …")
    return verify_box(box_id)


def _print(report: "Report") -> None:
    typer.echo(f"{report.box_id} ({report.kind}), {report.tokens} tokens: max |Δ|")
    rows = [
        [
            row.part,
            str(row.places),
            f"{row.float32:.1e}",
            f"{row.float32_limit:.1e}",
            "–" if row.float64 is None else f"{row.float64:.1e}",
            "fits" if row.passed else "DIFFERS",
        ]
        for row in report.rows
    ]
    print_table(["part", "places", "float32", "limit", "float64", ""], rows, right=[1, 2, 3, 4])
    typer.echo(f"{'Every part fits' if report.passed else 'Not every part fits'}. {report.reason}\n")
