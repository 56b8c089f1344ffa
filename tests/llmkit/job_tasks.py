"""Small tasks for the tests of jobs: each ends, or does not end, in a way of its own."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from llmkit.jobs import Cancelled, Report

NAMES = "add wait stubborn eats fails bug quits memory crash killed heavy child files noisy hungry".split()
KINDS = ",".join(f"test_{name}=tests.llmkit.job_tasks:{name}" for name in NAMES)
"""What `LLMKIT_TEST_KINDS` is set to."""

Settings = Mapping[str, Any]


class LessonError(Exception):
    """An error as llmkit's own are."""

    code = "text_too_long"

    def __init__(self) -> None:
        super().__init__("too long")
        self.values = {"tokens": 300, "limit": 256}


def add(settings: Settings, report: Report) -> dict[str, Any]:
    """Add numbers up, one after the other."""
    total = 0
    for n, number in enumerate(settings["numbers"]):
        total += number
        report(n + 1, len(settings["numbers"]), f"number {number}", partial={"so_far": total})
    report.log(f"the sum is {total}")
    return {"sum": total, "niceness": os.nice(0), "pid": os.getpid()}


def wait(settings: Settings, report: Report) -> str:
    """Take a while, reporting."""
    (report.folder / "half.txt").write_text("half")
    steps = int(settings.get("seconds", 60) * 20)
    for step in range(steps):
        report(step, steps, "naming <b>", partial=[step])
        time.sleep(0.05)
    return "waited"


def stubborn(settings: Settings, report: Report) -> None:
    """Never look whether it was cancelled."""
    (report.folder / "half.txt").write_text("half")
    report(1, 100)
    while True:
        time.sleep(0.1)


def eats(settings: Settings, report: Report) -> str:
    """Catch whatever a report raises, and go on."""
    for step in range(1000):
        try:
            report(step, 40)
        except Exception:  # noqa: BLE001
            pass
        except Cancelled:
            return "as if nothing had happened"
        time.sleep(0.05)
    return "done"


def fails(settings: Settings, report: Report) -> None:
    """Raise an error with a code."""
    report(1, 2)
    raise LessonError


def bug(settings: Settings, report: Report) -> None:
    """Raise as a bug does."""
    raise ZeroDivisionError("<b>one</b>\nsecond line")


def quits(settings: Settings, report: Report) -> None:
    """Leave without a word."""
    os._exit(int(settings.get("status", 0)))


def memory(settings: Settings, report: Report) -> None:
    """Run out of memory where Python notices."""
    raise MemoryError


def crash(settings: Settings, report: Report) -> None:
    """Crash the interpreter."""
    ctypes.string_at(0)


def killed(settings: Settings, report: Report) -> None:
    """Be killed as the system kills when memory runs out."""
    os.kill(os.getpid(), 9)


def child(settings: Settings, report: Report) -> None:
    """Start a process of its own, and never end."""
    started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    report(1, 2, partial=started.pid)
    while True:
        report(1, 2)
        time.sleep(0.05)


def files(settings: Settings, report: Report) -> dict[str, Any]:
    """Leave a file."""
    (report.folder / "numbers.bin").write_bytes(bytes(settings["size"]))
    return {"file": "numbers.bin"}


def noisy(settings: Settings, report: Report) -> None:
    """Write more into the log than anyone reads."""
    for _ in range(settings["lines"]):
        report.log("x" * 1000)


def heavy(settings: Settings, report: Report) -> dict[str, Any]:
    """Return numbers as torch and numpy have them."""
    import numpy as np
    import torch

    return {"torch": torch.arange(3), "numpy": np.float64(0.5), "threads": torch.get_num_threads()}


def hungry(settings: Settings, report: Report) -> str:
    """Return what is too much for the database."""
    return "x" * 9_000_000
