"""Many sessions, one model: our batch that sessions join and leave, beside a pipeline behind a lock.

    python -m benchmarks.sessions [--boxes smollm2-135m-instruct gpt2-starter] [--sessions 1 5 20] [--rounds 5]

Baseline: ``transformers.pipeline("text-generation")`` under a lock, what a Streamlit app does when its sessions share
one model. Same weights from the same box, float32, same prompts, same number of new tokens, greedy, same process, same
threads of torch; the two take turns. Every session is a thread that comes at a time of its own, goes on with a review
of its own, and takes its tokens as they are chosen. Tokens a second: those of all sessions, from the first arrival to
the last token. First token: from a session's arrival. ``same``: share of the tokens in which both agree.
"""

import argparse
import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoTokenizer, StoppingCriteria, StoppingCriteriaList, logging, pipeline

from llmkit import shelf
from llmkit.generate.together import together
from llmkit.reference import Assembled, load_reference, open_box

DATA = {"smollm2-135m-instruct": "reviews-en", "gpt2-starter": "reviews-zh-tw"}
FEWEST, MOST = 8, 120
"""Tokens that a prompt may have."""

Tokens = Iterator[int]
Session = Callable[[str], Tokens]
"""Goes on with a prompt; gives the new tokens, each when it is there."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What one session has seen: when its first and its last token came after it had arrived, and the tokens."""

    first_s: float
    left_s: float
    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Round:
    """All sessions of one round: tokens of all a second, and each one's wait for its first token."""

    tokens_per_second: float
    first_s: tuple[float, ...]
    tokens: tuple[tuple[int, ...], ...]


def prompts_of(box: Assembled, cut: AutoTokenizer) -> list[str]:
    """Reviews that both tokenizers cut alike, of very different lengths, in an order that does not change."""
    data = DATA.get(box.box_id, "reviews-en")
    texts = sorted({row.text.strip() for row in shelf.open_data(data).rows})
    random.Random(0).shuffle(texts)
    found = []
    for text in texts[:2_000]:
        ids = box.tokenizer.encode(text).ids
        if FEWEST <= len(ids) <= MOST and list(ids) == cut(text)["input_ids"]:
            found.append(text)
    return found


def ours(box: Assembled, new_tokens: int) -> Session:
    """The batch that all sessions share."""

    def go_on(prompt: str) -> Tokens:
        ids = box.tokenizer.encode(prompt).ids
        for step in together(box).stream(ids, max_new_tokens=new_tokens):
            yield step.token_id

    return go_on


class _First(StoppingCriteria):
    """Notes when the first token is there."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        self.at = self.at or time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool)


@dataclass
class Pipeline:
    """A pipeline that one session at a time may use."""

    box: Assembled
    new_tokens: int

    def __post_init__(self) -> None:
        model = load_reference(self.box, torch.float32)
        model.set_attn_implementation("sdpa")  # its own default, and the faster one
        model.generation_config.eos_token_id = None  # every text to its full length, as ours
        model.generation_config.pad_token_id = 0
        self.tokenizer = AutoTokenizer.from_pretrained(self.box.folder)
        self.pipe = pipeline("text-generation", model=model, tokenizer=self.tokenizer)
        self.lock = threading.Lock()

    def visit(self, prompt: str, arrived: float) -> Visit:
        """Wait for the lock, then generate."""
        first = _First()
        with self.lock:
            made = self.pipe(
                prompt,
                max_new_tokens=self.new_tokens,
                do_sample=False,
                temperature=None,
                top_k=None,
                top_p=None,
                return_tensors=True,
                stopping_criteria=StoppingCriteriaList([first]),
            )
        left, ids = time.perf_counter() - arrived, made[0]["generated_token_ids"]
        assert first.at is not None
        return Visit(first_s=first.at - arrived, left_s=left, tokens=tuple(ids[-self.new_tokens :]))


def visit_ours(session: Session, prompt: str, arrived: float) -> Visit:
    """Take the tokens as they come."""
    tokens, first = [], 0.0
    for token in session(prompt):
        first = first or time.perf_counter() - arrived
        tokens.append(token)
    return Visit(first_s=first, left_s=time.perf_counter() - arrived, tokens=tuple(tokens))


def play(visit: Callable[[str, float], Visit], prompts: Sequence[str], arrivals: Sequence[float]) -> Round:
    """One thread a session, each arriving at its time."""
    visits: list[Visit | None] = [None] * len(prompts)
    began = time.perf_counter() + 0.05

    def live(number: int) -> None:
        at = began + arrivals[number]
        time.sleep(max(0.0, at - time.perf_counter()))
        visits[number] = visit(prompts[number], at)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = [one for one in visits if one is not None]
    if len(seen) < len(prompts):
        raise SystemExit("a session has failed")
    took = max(at + one.left_s for at, one in zip(arrivals, seen, strict=True)) - min(arrivals)
    return Round(
        tokens_per_second=sum(len(one.tokens) for one in seen) / took,
        first_s=tuple(one.first_s for one in seen),
        tokens=tuple(one.tokens for one in seen),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def compare(
    box_id: str, sessions: Sequence[int], rounds: int, new_tokens: int, jitter_s: float
) -> Iterator[dict[str, object]]:
    """Play every number of sessions both ways, round by round."""
    box = open_box(box_id)
    theirs = Pipeline(box, new_tokens)
    session = ours(box, new_tokens)
    ways: dict[str, Callable[[str, float], Visit]] = {
        "ours": lambda prompt, arrived: visit_ours(session, prompt, arrived),
        "pipeline": theirs.visit,
    }
    prompts = prompts_of(box, theirs.tokenizer)
    luck = random.Random(0)
    for way in ways.values():
        play(way, prompts[:2], [0.0, 0.0])  # warm up
    played: dict[int, dict[str, list[Round]]] = {n: {name: [] for name in ways} for n in sessions}
    for number in range(rounds):
        for n in sessions:
            chosen = luck.sample(prompts, n)
            arrivals = [luck.uniform(0, jitter_s) for _ in range(n)]
            for name in ways if number % 2 else reversed(ways):
                played[n][name].append(play(ways[name], chosen, arrivals))
    for n, by_way in played.items():
        yield row(box_id, n, by_way)


def row(box_id: str, n: int, by_way: dict[str, list[Round]]) -> dict[str, object]:
    """Medians and spread of one number of sessions."""
    rounds = list(zip(by_way["ours"], by_way["pipeline"], strict=True))
    ratios = [mine.tokens_per_second / plain.tokens_per_second for mine, plain in rounds]
    pairs = [
        (a, b)
        for mine, plain in rounds
        for ours_, theirs in zip(mine.tokens, plain.tokens, strict=True)
        for a, b in zip(ours_, theirs, strict=True)
    ]
    made: dict[str, object] = {"box": box_id, "sessions": n, "rounds": len(rounds)}
    for name, several in by_way.items():
        rates = [one.tokens_per_second for one in several]
        waits = [wait for one in several for wait in one.first_s]
        made[name] = {
            "tokens_per_second": [round(value, 1) for value in (statistics.median(rates), min(rates), max(rates))],
            "first_token_s": {"p50": round(percentile(waits, 0.5), 3), "p95": round(percentile(waits, 0.95), 3)},
        }
    made["ratio"] = [round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios))]
    made["same"] = round(statistics.mean(a == b for a, b in pairs), 4)
    return made


def told(row: dict[str, object]) -> str:
    """One number of sessions in one line for each way."""
    lines = [f"{row['box']}, {row['sessions']} sessions, {row['rounds']} rounds"]
    for name in ("ours", "pipeline"):
        way = row[name]
        assert isinstance(way, dict)
        middle, least, most = way["tokens_per_second"]
        wait = way["first_token_s"]
        lines.append(
            f"  {name:9} {middle:8.1f} tokens/s ({least} to {most})"
            f"   first token p50 {wait['p50']:.2f} s, p95 {wait['p95']:.2f} s"
        )
    assert isinstance(row["ratio"], list)
    middle, least, most = row["ratio"]
    lines.append(f"  ratio     {middle:8.2f}          ({least} to {most})   same tokens {row['same']:.2%}")
    return "\n".join(lines)


def main() -> None:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boxes", nargs="+", default=["smollm2-135m-instruct", "gpt2-starter"])
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=40, help="new tokens of each session")
    parser.add_argument("--jitter", type=float, default=0.2, help="seconds over which sessions arrive")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    logging.set_verbosity_error()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32")
    for box_id in asked.boxes:
        for one in compare(box_id, asked.sessions, asked.rounds, asked.tokens, asked.jitter):
            print(json.dumps(one) if asked.json else told(one), flush=True)


if __name__ == "__main__":
    main()
