"""``python -m llmkit doctor``: what this machine has, what is missing, and the command to get it."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmkit.cli.output import Json, print_json, size, tell

if TYPE_CHECKING:
    from llmkit.doctor import BoxState, Machine, Measurement, Package

PIP = "pip install -r requirements.txt"


def doctor_command(
    quick: Annotated[bool, typer.Option("--quick", help="Leave the measurement out: torch is not loaded.")] = False,
    as_json: Json = False,
) -> None:
    """Say what this machine has, which number format is fast on it (measured), and what is missing."""
    from llmkit import doctor

    machine, packages, boxes = doctor.describe_machine(), doctor.packages(), doctor.boxes()
    measured, why_not = (None, "left out") if quick else _measure()
    to_do = _missing(machine, packages, boxes)
    if as_json:
        print_json(
            {
                "machine": machine,
                "packages": [{**vars(package), "fits": package.fits} for package in packages],
                "boxes": boxes,
                "measured": None if measured is None else {**vars(measured), "fastest": measured.fastest},
                "missing": [{"what": what, "command": command} for what, command in to_do],
            }
        )
        return
    _print_machine(machine)
    if measured is None:
        typer.echo(f"speed     not measured: {why_not}")
    else:
        _print_speeds(measured)
    fitting = sum(package.fits for package in packages)
    typer.echo(f"packages  {fitting} of {len(packages)} are the versions of requirements.txt")
    typer.echo(f"boxes     {', '.join(box.id for box in boxes if box.here) or 'none'}")
    typer.echo("missing   nothing" if not to_do else "missing")
    for what, command in to_do:
        typer.echo(f"  {what}" + (f": {command}" if command else ""))


def _measure() -> "tuple[Measurement | None, str]":
    """The measurement, or why there is none: a doctor also has to say that torch is not there."""
    from llmkit import doctor

    tell("measuring …")
    try:
        return doctor.measure(), ""
    except (ImportError, OSError) as error:  # not installed, or a library that it needs does not load
        return None, f"torch does not load ({error})"


def _missing(
    machine: "Machine", packages: "tuple[Package, ...]", boxes: "tuple[BoxState, ...]"
) -> list[tuple[str, str]]:
    """What is missing, each with the command that gets it (empty where no command can)."""
    found = [
        (f"{package.name} {package.pinned} ({package.installed or 'not installed'} here)", PIP)
        for package in packages
        if not package.fits
    ]
    if not machine.writable:
        found.append((f"{machine.home} cannot be written to: set LLMKIT_HOME to a folder that can", ""))
    kit = [box for box in boxes if box.standard and not box.here]
    if kit:
        found.append((f"standard kit ({', '.join(box.id for box in kit)})", "python -m llmkit get"))
    other = [box for box in boxes if not box.standard and not box.here]
    found += [(f"{box.id} (optional, {size(box.size_bytes)})", box.command) for box in other]
    return found


def _print_machine(machine: "Machine") -> None:
    gpus = ", ".join(f"{gpu.name}, {size(gpu.memory_bytes)}" for gpu in machine.gpus)
    typer.echo(f"python    {machine.python} on {machine.system}")
    typer.echo(f"cpu       {machine.cpu}, {machine.cores} cores")
    typer.echo(f"memory    {size(machine.memory_bytes)}, {size(machine.memory_free_bytes)} free")
    typer.echo(f"disk      {size(machine.disk_free_bytes)} free for {machine.home}")
    typer.echo(f"gpu       {gpus or 'none'}")
    if machine.offline:
        typer.echo("network   switched off by LLMKIT_OFFLINE")


def _print_speeds(measured: "Measurement") -> None:
    figures = ", ".join(
        f"{speed.dtype} {'cannot' if speed.gflops is None else f'{speed.gflops:,.1f}'}" for speed in measured.speeds
    )
    typer.echo(f"fastest   {measured.fastest} on {measured.device} (measured, GFLOP/s: {figures})")
