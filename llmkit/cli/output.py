"""What the commands print: JSON alone on stdout, or a table; words about the work go to stderr."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]


def print_json(value: object) -> None:
    """Print one JSON document in ASCII, so that any terminal and any pipe can carry it."""
    typer.echo(json.dumps(_finite(value), indent=1, allow_nan=False))


def tell(line: str) -> None:
    """Say something about the work: on stderr."""
    typer.echo(line, err=True)


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print columns under their names.

    Args:
        head: the columns' names. rows: one text for each column. right: columns of numbers, set to the right.
    """
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo("  ".join(cells).rstrip())


def size(size_bytes: float) -> str:
    """A size as people read it.

    >>> size(542_000_000), size(2_200_000_000), size(145_000)
    ('542 MB', '2.2 GB', '145 kB')
    """
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    return f"{size_bytes / 1e6:.0f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"


def survive_any_terminal() -> None:
    """Write what the terminal's encoding lacks as an escape, not as an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _finite(value: Any) -> Any:
    """Plain data; JSON has no NaN and no infinity, so they become null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
