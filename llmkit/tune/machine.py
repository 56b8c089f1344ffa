"""The machine that a training ran on, for the model card."""

import os
import platform
import time
from dataclasses import dataclass

import torch

from llmkit.doctor import cpu_name


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the figures of a run depend on, besides its configuration.

    Args:
        cpu: the processor's name. cores: how many the system shows. threads: how many torch computes with.
        system: the operating system. python, torch: versions. date: the day on which it was described, as ISO 8601.
    """

    cpu: str
    cores: int
    threads: int
    system: str
    python: str
    torch: str
    date: str


def describe_machine() -> Machine:
    """This machine, as the system itself describes it."""
    return Machine(
        cpu=cpu_name(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch.__version__,
        date=time.strftime("%F"),
    )
