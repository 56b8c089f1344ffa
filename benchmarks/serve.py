"""Our server beside the one that everybody writes first: FastAPI around a transformers pipeline.

    python -m benchmarks.serve [--box smollm2-135m-instruct] [--forms torch-float32 genai-int8 genai-int4 onnx-int4]
                               [--clients 1 16] [--rounds 3] [--tokens 32]

Baseline: a synchronous endpoint that calls ``transformers.pipeline("text-generation")``, float32, behind uvicorn:
``benchmarks/serve_naive.py``, its own process. Ours: ``llmkit.serve``, a process for each form. The same weights,
prompts and number of tokens at most, greedy; the servers take turns, and whoever is not asked does nothing. Forms that
were not made yet are made first. ``--clients`` threads ask at the same time, each its own prompts one after the other.
Tokens a second: those that were written, as the tokenizer of the box counts the texts, over the time from the first
request to the last answer. Medians over the rounds, with the least and the greatest; the ratio is taken round by round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import psutil

from llmkit import shelf
from llmkit.compress import made
from llmkit.serve import process
from llmkit.tokens import Tokenizer

NAIVE = "naive"
DATA = {"gpt2-starter": "reviews-zh-tw"}


class Servers:
    """All servers, each in a process of its own."""

    def __init__(self, box_id: str, forms: Sequence[str]) -> None:
        self.box_id, self.forms = box_id, forms
        self.addresses: dict[str, str] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[dict[str, str]]:
        """Start them one after the other, each ready before the next; stop them all."""
        with contextlib.ExitStack() as started:
            listening = process.bind("127.0.0.1", 0)
            port = listening.getsockname()[1]
            listening.close()
            folder = str(shelf.locate(self.box_id))
            command = [sys.executable, "-m", "benchmarks.serve_naive", folder, str(port)]
            child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            started.callback(child.wait)
            started.callback(child.kill)
            self._ready(NAIVE, f"http://127.0.0.1:{port}")
            for form in self.forms:
                one = process.start(self.box_id, form)
                started.callback(process.stop, one.id)
                self._ready(form, one.address)
            yield self.addresses

    def _ready(self, name: str, address: str) -> None:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{address}/ready").status_code == 200:
                    self.addresses[name] = address
                    print(f"{name} is ready", file=sys.stderr, flush=True)
                    return
            time.sleep(0.1)
        raise SystemExit(f"{name} is not ready after 120 s")


def prompts_of(box_id: str) -> list[str]:
    """Beginnings of reviews, of many lengths, in an order that does not change."""
    data = DATA.get(box_id, "reviews-en")
    texts = sorted({row.text.strip() for row in shelf.open_data(data).rows})
    return [text[: 60 + 37 * (at % 7)] for at, text in enumerate(texts[:: max(1, len(texts) // 400)]) if len(text) > 40]


def play(address: str, model: str | None, prompts: Sequence[str], clients: int, most: int) -> tuple[float, list[str]]:
    """So many clients ask at the same time, until every prompt is answered.

    Returns:
        seconds from the first request to the last answer, and the texts in the order of the prompts.
    """
    texts: list[str | None] = [None] * len(prompts)
    left = iter(range(len(prompts)))
    lock = threading.Lock()

    def client() -> None:
        with httpx.Client(timeout=300, trust_env=False) as http:
            while True:
                with lock:
                    at = next(left, None)
                if at is None:
                    return
                asked: dict[str, Any] = {"prompt": prompts[at], "max_tokens": most, "temperature": 0}
                answer = http.post(f"{address}/v1/completions", json={**asked, **({"model": model} if model else {})})
                answer.raise_for_status()
                texts[at] = answer.json()["choices"][0]["text"]

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    done = [text for text in texts if text is not None]
    if len(done) < len(prompts):
        raise SystemExit(f"{address} has not answered everyone")
    return took, done


def compare(asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Play every number of clients against every server, in turns."""
    forms = []
    for form in asked.forms:
        why = made.why_not(form, asked.box)
        if why is not None:
            print(f"{form}: left out, {why}")
            continue
        if made.folder(asked.box, form) is None:
            print(f"{form}: is being made", flush=True)
            made.make(asked.box, form, lambda *_args, **_more: None)
        forms.append(form)
    folder = shelf.locate(asked.box)
    assert folder is not None
    tokenizer, prompts = Tokenizer.from_folder(folder), prompts_of(asked.box)
    with Servers(asked.box, forms).running() as addresses:
        for name, address in addresses.items():
            took, _ = play(address, None if name == NAIVE else asked.box, prompts[:2], 2, 8)
            print(f"{name} is warm after {took:.1f} s", file=sys.stderr, flush=True)
        for clients in asked.clients:
            rates: dict[str, list[float]] = {name: [] for name in addresses}
            same: dict[str, list[bool]] = {name: [] for name in addresses}
            count = max(clients, asked.requests)
            for number in range(asked.rounds):
                chosen = [prompts[(number * count + at) % len(prompts)] for at in range(count)]
                order = list(addresses) if number % 2 == 0 else list(reversed(addresses))
                said = {}
                for name in order:
                    model = None if name == NAIVE else asked.box
                    wait_until_quiet()
                    took, said[name] = play(addresses[name], model, chosen, clients, asked.tokens)
                    rates[name].append(sum(map(tokenizer_count(tokenizer), said[name])) / took)
                    told = f"round {number + 1}, {clients} clients, {name}: {rates[name][-1]:.1f} tokens/s"
                    print(told, file=sys.stderr, flush=True)
                for name, texts in said.items():
                    same[name] += [a == b for a, b in zip(texts, said[NAIVE], strict=True)]
            for name in addresses:
                ratios = [mine / plain for mine, plain in zip(rates[name], rates[NAIVE], strict=True)]
                yield {
                    "box": asked.box,
                    "clients": clients,
                    "server": name,
                    "tokens_per_s": _spread(rates[name]),
                    "ratio": _spread(ratios),
                    "same": round(statistics.mean(same[name]), 3),
                }


def wait_until_quiet() -> None:
    """Wait, for a while, until other programs leave the cores alone: OpenMP's threads wait for one another."""
    for _ in range(20):
        if psutil.cpu_percent(0.5) < 15:
            return
    print("the machine is busy with something else", file=sys.stderr, flush=True)


def tokenizer_count(tokenizer: Tokenizer) -> Any:
    """How many tokens a text has."""
    return lambda text: len(tokenizer.encode(text, specials=False).ids)


def _spread(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in (statistics.median(values), min(values), max(values))]


def main() -> None:
    """Parse, play, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--box", default="smollm2-135m-instruct")
    parser.add_argument("--forms", nargs="*", default=["torch-float32", "genai-int8", "genai-int4", "onnx-int4"])
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--requests", type=int, default=4, help="a round, where there are fewer clients")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32, help="of each answer, at most")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end, too
    for row in compare(asked):
        if asked.json:
            print(json.dumps(row), flush=True)
            continue
        (rate, low, high), (ratio, least, most) = row["tokens_per_s"], row["ratio"]
        print(
            f"{row['clients']:3} clients  {row['server']:14} {rate:7.1f} tokens/s ({low} to {high})"
            f"  {ratio:5.2f}× naive ({least} to {most})  same texts {row['same']:.0%}",
            flush=True,
        )
    process.leave()


if __name__ == "__main__":
    main()
