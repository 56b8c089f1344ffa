"""The machine that a training ran on, for the model card."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the figures of a run depend on, besides its configuration.

    Args:
        cpu: the processor's name. cores: how many the system shows. threads: how many torch computes with.
        system: the operating system. python, torch: versions.
    """

    cpu: str
    cores: int
    threads: int
    system: str
    python: str
    torch: str


def describe_machine() -> Machine:
    """This machine, as the system itself describes it."""
    return Machine(
        cpu=_cpu_name(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
    )


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
