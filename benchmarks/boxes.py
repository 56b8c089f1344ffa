"""How long each box takes to open as our parts, against the reference's ``from_pretrained`` of the same folder.

    python -m benchmarks.boxes [--boxes gpt2-starter minilm-l6 smollm2-135m-instruct] [--rounds 9] [--json]

Both open tokenizer and model in float32 from the same files, in one process, and take turns; one round before
the first warms the file cache and the imports, so that what counts is the opening itself.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import transformers

from llmkit import shelf
from llmkit.doctor import cpu_name
from llmkit.reference import load_reference, open_box


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One box: medians in milliseconds, and the median of the ratios round by round with its extremes."""

    box: str
    ours_ms: float
    reference_ms: float
    ratio: float
    lowest: float
    highest: float
    rounds: int


def milliseconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def compare(box_id: str, rounds: int) -> Opened:
    """Open one box both ways, in turns."""
    box = open_box(box_id)

    def reference() -> None:
        transformers.AutoTokenizer.from_pretrained(box.folder, local_files_only=True)
        load_reference(box, torch.float32)

    reference()
    times = [(milliseconds(lambda: open_box(box_id)), milliseconds(reference)) for _ in range(rounds)]
    ratios = [ours / theirs for ours, theirs in times]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    return Opened(
        box=box_id,
        ours_ms=ours,
        reference_ms=theirs,
        ratio=statistics.median(ratios),
        lowest=min(ratios),
        highest=max(ratios),
        rounds=rounds,
    )


def main() -> None:
    """Open every box that is here and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--boxes", nargs="+", default=list(shelf.boxes_here("model")))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    machine = {
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    opened = [compare(box_id, options.rounds) for box_id in options.boxes]
    if options.json:
        print(json.dumps({"machine": machine, "boxes": [asdict(one) for one in opened]}, indent=1))
        return
    print(" · ".join(f"{name} {value}" for name, value in machine.items()))
    for one in opened:
        print(
            f"{one.box:24} ours {one.ours_ms:8.1f} ms  reference {one.reference_ms:8.1f} ms"
            f"  ratio {one.ratio:.2f}  ({one.lowest:.2f} to {one.highest:.2f}, {one.rounds} rounds)"
        )


if __name__ == "__main__":
    main()
