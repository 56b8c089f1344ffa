"""What a helper asks first: the versions, the machine, the box and the form that it runs in."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from llmkit import doctor, shelf
from llmkit.shelf import ShelfError

ALWAYS = ("torch", "transformers", "tokenizers", "streamlit")
"""Packages whose versions are always told; any other only where it is not the one that the guide asks for."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What this machine and this box are.

    Args:
        python, system: as they call themselves. machine: cores, memory, GPUs in one line.
        packages: name and version of those that matter. differ: those that are not as requirements.txt asks.
        box, form: the box with its family, and how its weights are computed with.
    """

    python: str
    system: str
    machine: str
    packages: tuple[tuple[str, str], ...]
    differ: tuple[tuple[str, str], ...]
    box: str
    form: str

    @property
    def versions(self) -> str:
        """All versions in one line."""
        return ", ".join((f"Python {self.python}", *(f"{name} {version}" for name, version in self.packages)))


def describe(box_id: str, form: str) -> Facts:
    """Look at this machine. Imports no torch; a box that cannot be had is told by its name alone."""
    machine, packages = doctor.describe_machine(), _packages()
    installed = {one.name: one.installed or "–" for one in packages}
    gpus = [f"{gpu.name} ({gpu.memory_bytes / 2**30:.0f} GiB)" for gpu in machine.gpus]
    size = f"{machine.memory_bytes / 2**30:.0f} GiB"
    return Facts(
        python=machine.python,
        system=machine.system,
        machine=", ".join((f"{machine.cores} × {machine.cpu}", size, *(gpus or ["no GPU"]))),
        packages=tuple((name, installed[name]) for name in ALWAYS if name in installed),
        differ=tuple((one.name, f"{one.installed or '–'} ≠ {one.pinned}") for one in packages if not one.fits),
        box=_box(box_id),
        form=form,
    )


def names_of_boxes() -> Sequence[str]:
    """The names by which a box can be told: the catalogue's, and those that are here."""
    return tuple(dict.fromkeys((*shelf.catalogue(), *shelf.boxes_here("model"))))


@cache
def _packages() -> tuple[doctor.Package, ...]:
    """What is installed does not change while this process runs."""
    return doctor.packages()


def _box(box_id: str) -> str:
    try:
        known = shelf.entry(box_id)
    except ShelfError:
        return box_id
    return f"{box_id} ({known.family})" if known.family else box_id
