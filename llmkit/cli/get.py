"""``python -m llmkit get``: fetch boxes, with progress in the terminal."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.errors import as_data, code_of, sentence
from llmkit.cli.output import Json, print_json, size, tell

if TYPE_CHECKING:
    from llmkit.shelf import Progress

STAGES = {
    "wait": "another process is fetching it",
    "download": "downloading",
    "unpack": "unpacking",
    "convert": "converting to safetensors",
    "check": "checking",
}
STEP = 10
"""Per cent between two lines where there is no terminal that could overwrite one."""

ENDS_ALL = frozenset({"cancelled", "offline", "no_space"})
"""What would stop the next box just as well."""


def get_command(
    boxes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[BOX]...", help="Ids of the catalogue, or hub:owner/name. Default: the standard kit."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Get boxes; what is here and whole is not fetched again. Ctrl-C stops, the same command goes on."""
    from llmkit import shelf

    wanted = list(dict.fromkeys(boxes or shelf.standard_kit()))
    for box_id in wanted:
        shelf.entry(box_id)
    results = []
    for box_id in wanted:
        results.append(_get_one(box_id))
        if (results[-1]["error"] or {}).get("code") in ENDS_ALL:
            break
    passed = all(result["error"] is None for result in results)
    if as_json:
        print_json({"boxes": results, "passed": passed})
    raise typer.Exit(0 if passed else 1)


def _get_one(box_id: str) -> dict[str, Any]:
    """Fetch one box and say how it went; an error of the shelf is part of the result."""
    from llmkit import shelf

    line = ProgressLine(box_id)
    try:
        was_here = shelf.locate(box_id) is not None
        try:
            folder = shelf.get(box_id, on_progress=line)
        except KeyboardInterrupt:
            raise shelf.ShelfError("cancelled", box=box_id) from None
        finally:
            line.end()
    except Exception as error:
        if code_of(error) is None:
            raise
        tell(sentence(error))
        return {"id": box_id, "folder": None, "fetched": False, "error": as_data(error)}
    fetched = not was_here or line.seen
    tell(f"{box_id}  {'has arrived' if fetched else 'is here'}: {folder}")
    return {"id": box_id, "folder": str(folder), "fetched": fetched, "error": None}


class ProgressLine:
    """Shows how far a box has come: one line that is overwritten, or a line now and then where that cannot be."""

    def __init__(self, box_id: str) -> None:
        self.box_id = box_id
        self.seen = False
        self._live = sys.stderr.isatty()
        self._last = ""
        self._mark: tuple[str, int] = ("", -1)

    def __call__(self, progress: "Progress") -> None:
        self.seen = self.seen or progress.stage != "wait"
        line = f"{self.box_id}  {describe(progress)}"
        if self._live:
            typer.echo(f"\r{line.ljust(len(self._last))}", nl=False, err=True)
            self._last = line
            return
        share = progress.bytes_done * 100 // progress.bytes_total // STEP if progress.bytes_total else 0
        if (progress.stage, share) != self._mark:
            self._mark = (progress.stage, share)
            tell(line)

    def end(self) -> None:
        """Leave the line that was overwritten."""
        if self._last:
            typer.echo("", err=True)
            self._last = ""


def describe(progress: "Progress") -> str:
    """Stage, bytes, rate and time left, as far as they are known.

    >>> from llmkit.shelf import Progress
    >>> describe(Progress(stage="download", bytes_done=5e6, bytes_total=8e7, bytes_per_s=2.5e6, seconds_left=30.0))
    'downloading · 5 MB / 80 MB · 2 MB/s · 30 s left'
    """
    pieces = [STAGES[progress.stage]]
    if progress.bytes_done:
        whole = f" / {size(progress.bytes_total)}" if progress.bytes_total else ""
        pieces.append(size(progress.bytes_done) + whole)
    if progress.bytes_per_s:
        pieces.append(f"{size(progress.bytes_per_s)}/s")
    if progress.seconds_left is not None:
        pieces.append(f"{progress.seconds_left:.0f} s left")
    return " · ".join(pieces)
