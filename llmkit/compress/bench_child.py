"""The process of one form on the bench: one line of JSON asks, one answers (``bench_child BOX FORM``).

Started by the bench, never by hand. A process of its own, so that its memory is the form's alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.compress import made
from llmkit.compress.runner import Ids, Reading, Runner

BATCH = 4
"""Windows that are scored at once."""


class Child:
    """The form, open, and what can be asked of it."""

    def __init__(self, box_id: str, form_id: str) -> None:
        began = time.perf_counter()
        self.runner: Runner = made.open_form(box_id, form_id)
        self.open_s = time.perf_counter() - began

    def about(self) -> dict[str, Any]:
        """How long opening took, and with how many threads it computes."""
        torch = sys.modules.get("torch")
        threads = torch.get_num_threads() if torch else os.cpu_count()
        return {"open_s": self.open_s, "threads": threads, **getattr(self.runner, "about", {})}

    def prefill(self, ids: list[list[int]], decoder: bool) -> dict[str, Any]:
        """Read texts; seconds until the next token of each is known."""
        rows = np.array(ids, dtype=np.int64)
        return _timed(lambda: self._first(rows) if decoder else self.runner.scores(rows))

    def decode(self, ids: list[list[int]], steps: int) -> dict[str, Any]:
        """Read texts, then seconds of so many greedy steps."""
        reading = self.runner.read(np.array(ids, dtype=np.int64))

        def go() -> None:
            for _ in range(steps):
                reading.step(reading.logits.argmax(-1).astype(np.int64))

        took = _timed(go)
        reading.close()
        return took

    def write(self, ids: list[int], steps: int, stops: list[int]) -> list[int]:
        """Go on greedily from a prompt."""
        reading, new = self.runner.read(np.array([ids], dtype=np.int64)), list[int]()
        while len(new) < steps:
            new.append(int(reading.logits[0].argmax()))
            if new[-1] in stops or len(new) == steps:
                break
            reading.step(np.array(new[-1:], dtype=np.int64))
        reading.close()
        return new

    def original(self, ids: list[list[int]], path: str) -> None:
        """Write the scores of windows into a file, for the other forms to be compared with."""
        np.save(path, self._scores(np.array(ids, dtype=np.int64)))

    def judge(self, ids: list[list[int]], path: str, decoder: bool) -> list[dict[str, float]]:
        """Compare the scores of windows with the original's."""
        from dataclasses import asdict

        from llmkit.compress.quality import judge_logits, judge_states

        rows = np.array(ids, dtype=np.int64)
        ours, theirs = self._scores(rows), np.load(path, mmap_mode="r")
        judged = [
            judge_logits(ours[n], theirs[n], rows[n]) if decoder else judge_states(ours[n], theirs[n])
            for n in range(len(rows))
        ]
        return [asdict(one) for one in judged]

    def peak(self) -> int:
        """The most memory that this process has held, in bytes."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        import resource  # Unix alone has it

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024

    def _first(self, rows: Ids) -> None:
        reading: Reading = self.runner.read(rows)
        reading.logits.argmax(-1)
        reading.close()

    def _scores(self, rows: Ids) -> Any:
        return np.concatenate([self.runner.scores(rows[n : n + BATCH]) for n in range(0, len(rows), BATCH)])


def _timed(work: Callable[[], object]) -> dict[str, Any]:
    """Seconds on the wall and of this process's own processor time, and what all others took meanwhile."""
    import psutil

    machine, own, began = psutil.cpu_times(), time.process_time(), time.perf_counter()
    work()
    wall, own = time.perf_counter() - began, time.process_time() - own
    now = psutil.cpu_times()
    busy = sum(
        getattr(now, name) - getattr(machine, name)
        for name in ("user", "nice", "system", "steal", "softirq")
        if hasattr(now, name)
    )
    return {"wall_s": wall, "own_s": own, "others_s": max(busy - own, 0.0)}


def main() -> None:
    """Answer until there is nothing more to read. What libraries print goes to stderr."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    child: Child | None = None

    def say(answer: Any) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "open":
                child = Child(*sys.argv[1:3])
                say({"said": child.about()})
            else:
                say({"said": getattr(child, asked["do"])(**asked["with"])})
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's, and the others go on
            code = getattr(error, "code", None)
            if isinstance(code, str):
                values = {name: str(value)[:300] for name, value in getattr(error, "values", {}).items()}
            else:
                first = (str(error).strip().splitlines() or [""])[0][:300]
                code, values = "form_broken", {"form": sys.argv[2], "detail": f"{type(error).__name__}: {first}"}
            say({"error": {"code": code, "values": values}})
    os._exit(0)


if __name__ == "__main__":
    main()
