"""Our trace against the reference's own: one forward pass with everything kept, as a ratio.

    python -m benchmarks.trace [--boxes smollm2-135m-instruct minilm-l6] [--tokens 64 256] [--rounds 15]

Baseline: the Hugging Face model, eager attention, ``output_attentions=True, output_hidden_states=True``. Same box,
same token ids, same threads, same process; the two take turns. Ours keeps more: q, k, v, scores, head values and
the feed-forward layer's neurons too. ``same`` keeps only what the baseline keeps.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from llmkit.reference import load_reference, open_box
from llmkit.reference.verify import SAMPLE
from llmkit.trace import EVERYTHING, Recorder, Value

SAME: tuple[Value, ...] = ("residual_pre", "attention_weights", "final", "logits")


def milliseconds(run: Callable[[], object]) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    run()
    return 1e3 * (time.perf_counter() - began)


def compare(box_id: str, n_tokens: int, rounds: int) -> None:
    """Print one line for each way of tracing: median, and the median of the ratios round by round."""
    box = open_box(box_id)
    reference = load_reference(box, torch.float32)
    ids = torch.tensor([(box.tokenizer.encode(SAMPLE * 40).ids)[:n_tokens]])
    assert ids.shape[1] == n_tokens
    ways = {
        "reference": lambda: reference(ids, output_attentions=True, output_hidden_states=True),
        "everything": lambda: box.model(ids, tap=(tap := Recorder(EVERYTHING))) is None or tap.arrays(),
        "same": lambda: box.model(ids, tap=(tap := Recorder(SAME))) is None or tap.arrays(),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    with torch.inference_mode():
        for run in ways.values():
            run()
        for _ in range(rounds):
            for name, run in ways.items():
                times[name].append(milliseconds(run))
    for name, taken in times.items():
        ratios = [mine / theirs for mine, theirs in zip(taken, times["reference"], strict=True)]
        print(
            f"{box_id:24} {n_tokens:4} tokens  {name:11} median {statistics.median(taken):8.1f} ms"
            f"  ratio {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main() -> None:
    """Run every box at every length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--boxes", nargs="+", default=["smollm2-135m-instruct", "minilm-l6"])
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 256])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for box_id in options.boxes:
        for n_tokens in options.tokens:
            compare(box_id, n_tokens, options.rounds)


if __name__ == "__main__":
    main()
