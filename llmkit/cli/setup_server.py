"""``python -m llmkit setup-triton``: the environment of NVIDIA's Triton server, made once; Ctrl-C leaves nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.output import Json, print_json, size, tell


def setup_triton_command(
    remove: Annotated[bool, typer.Option("--remove", help="Delete it.")] = False, as_json: Json = False
) -> None:
    """Set up NVIDIA's Triton server for the CPU, in a virtual environment of its own (about 350 MB)."""
    from llmkit.serve.nvidia import environment

    if remove:
        environment.remove()
    else:
        environment.make(_Steps())
    found = environment.facts() or {}
    told = {"state": environment.state(), "size_bytes": found.get("size_bytes"), "pins": found.get("pins")}
    if as_json:
        print_json(told)
    elif remove:
        tell("removed")
    else:
        tell(f"{told['state']}  {size(found['size_bytes'])}  {environment.place()}")


class _Steps:
    """Says each step once."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, done: float, total: float, note: str = "") -> None:
        line = f"{done:g}/{total:g}  {note}"
        if line != self._said:
            tell(line)
        self._said = line
