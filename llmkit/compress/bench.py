"""The one bench: every form of a box measured alike, each in a process of its own, in turns.

In turns: a round measures every form once, then the next round begins, so that a machine that grows slower meanwhile
slows all of them. The first round warms up and is thrown away.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psutil

from llmkit import shelf
from llmkit.compress import made, quality
from llmkit.compress.errors import FormError
from llmkit.compress.form import FORMS, form
from llmkit.compress.held_out import languages_of, windows
from llmkit.compress.row import Row, Spread

ORIGINAL = "torch-float32"
ROWS = (1, 8)
"""How many texts are read and written at once."""

NOISE = 0.15
"""Share of the machine's processor time that others may take before a row is called noisy."""

TOO_SLOW = 8.0
"""A dtype whose matrix products are so many times slower here than float32's is not run; the row says so."""

PROMPT = {"en": "The room was clean and the staff", "zh-TW": "這家飯店的房間很乾淨，服務人員"}

OnRows = Callable[[float, float, str, Sequence[Row]], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is measured.

    Args:
        rounds: that count, after the one that warms up. prefill_tokens: of each text read. steps: tokens written.
        windows, window_tokens: of held-out text. text_tokens: of the greedy text.
    """

    rounds: int = 3
    prefill_tokens: int = 128
    steps: int = 16
    windows: int = 16
    window_tokens: int = 128
    text_tokens: int = 24


QUICK = Plan(rounds=2, prefill_tokens=32, steps=6, windows=6, window_tokens=64, text_tokens=12)


class _ChildError(Exception):
    """What a form's process answers instead of a measurement."""

    def __init__(self, code: str, values: dict[str, Any]) -> None:
        super().__init__(code)
        self.row = {"code": code, "values": values}


@dataclass(kw_only=True)
class _Entry:
    """A form on the bench: its process and what is known of it so far."""

    form_id: str
    process: subprocess.Popen[str] | None = None
    missing: dict[str, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    peak_bytes: int | None = None
    times: dict[str, list[float]] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)
    judged: list[quality.Judged] = field(default_factory=list)
    text: str | None = None

    def ask(self, do: str, **how: Any) -> Any:
        """Ask the form's process; what it cannot answer takes the form off the bench."""
        process = self.process
        if process is None or process.stdin is None or process.stdout is None:
            raise _ChildError("form_broken", {"form": self.form_id, "detail": "its process is not running"})
        try:
            process.stdin.write(json.dumps({"do": do, "with": how}) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            status = process.wait()
            raise _ChildError("form_broken", {"form": self.form_id, "detail": f"its process ended ({status})"})
        answer = json.loads(line)
        if "error" in answer:
            raise _ChildError(answer["error"]["code"], answer["error"]["values"])
        return answer["said"]

    def time(self, name: str, tokens: int, answer: dict[str, float]) -> None:
        """Keep a time, and how busy others were meanwhile."""
        self.times.setdefault(name, []).append(tokens / answer["wall_s"])
        cores = psutil.cpu_count() or 1
        self.others.append(answer["others_s"] / (answer["wall_s"] * cores))

    def end(self) -> None:
        """End the process that this bench started."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe is not None:
                    pipe.close()
            self.process = None


def default_forms(box_id: str) -> tuple[str, ...]:
    """Forms that a box can take here, the original first; those that need a GPU only where there is one."""
    return tuple(one.id for one in FORMS if made.why_not(one.id, box_id) is None)


def bench(
    box_id: str,
    forms: Sequence[str],
    *,
    prompt: str | None = None,
    plan: Plan | None = None,
    on_rows: OnRows | None = None,
) -> tuple[Row, ...]:
    """Measure forms of a box beside each other; those not made yet are made first.

    Args:
        forms: ids; the original is opened besides, to be compared with.
        prompt: what all go on with; None for one in the box's language. plan: how much is measured; None for all of it.
        on_rows: told done, total, what is being done, and the rows as far as they are; what it raises ends the bench.

    Returns:
        one row a form, in the order asked for; a form that fails is a row with ``missing``.

    Raises:
        FormError: ``form_unknown``, or the original's own. BoxError, ShelfError: the box is broken or not here.
    """
    for one in forms:
        form(one)
    run = _Bench(box_id, tuple(dict.fromkeys(forms)), prompt, plan or Plan(), on_rows)
    try:
        return run.measure()
    finally:
        for entry in run.entries:
            entry.end()


class _Bench:
    def __init__(
        self, box_id: str, forms: tuple[str, ...], prompt: str | None, plan: Plan, on_rows: OnRows | None
    ) -> None:
        from llmkit.reference.config_file import read_config
        from llmkit.tokens import Tokenizer

        folder = shelf.locate(box_id)
        if folder is None:
            raise shelf.ShelfError("box_missing", box=box_id)
        self.box_id, self.forms, self.on_rows = box_id, forms, on_rows
        self.tokenizer, (_, self.config) = Tokenizer.from_folder(folder), read_config(folder, unembedding=False)
        self.decoder, limit = self.config.causal, self.config.max_seq_len
        self.plan, self.prefill = plan, max(min(plan.prefill_tokens, limit // 2), 1)
        self.steps = max(min(plan.steps, limit - self.prefill - 1), 1)
        window = max(min(plan.window_tokens, limit), 2)
        self.windows = windows(box_id, folder, tokens=window, count=plan.windows).tolist()
        self.prompt = prompt or PROMPT[languages_of(box_id)[-1]]
        ids = self.tokenizer.before + self.tokenizer.encode(self.prompt, specials=False).ids
        self.prompt_ids = list(ids)[: max(limit - plan.text_tokens, 1)] or [0]
        self.entries = [_Entry(form_id=one) for one in dict.fromkeys((ORIGINAL, *forms))]
        text = [token for window_ids in self.windows for token in window_ids] or self.prompt_ids
        self.texts = [[text[(n * self.prefill + at) % len(text)] for at in range(self.prefill)] for n in range(8)]
        self.done, self.total = 0.0, len(self.entries) * (plan.rounds + 4.0)

    def measure(self) -> tuple[Row, ...]:
        """Make, open, time in turns, compare, write."""
        for entry in self.entries:
            self._try(entry, "opening", self._open)
        if self.entries[0].missing is not None:
            self._raise_original(self.entries[0].missing)
        for number in range(self.plan.rounds + 1):
            for entry in self._alive():
                self._try(entry, "measuring", self._time, keep=number > 0)
        for entry in self._alive():
            self._try(entry, "measuring", self._peak)
        self._judge()
        for entry in self._alive():
            self._try(entry, "comparing", self._write)
        return self.rows()

    def rows(self) -> tuple[Row, ...]:
        """The rows as far as they are, in the order that was asked for."""
        entries = {entry.form_id: entry for entry in self.entries}
        return tuple(self._row(entries[one]) for one in self.forms)

    def _alive(self) -> Iterator[_Entry]:
        return (entry for entry in self.entries if entry.missing is None)

    def _try(self, entry: _Entry, note: str, work: Callable[[_Entry], None], *, keep: bool = True) -> None:
        """Do a piece of work for one form; where it fails, its row says why, and the others go on."""
        self._say(note)
        try:
            work(entry)
        except _ChildError as error:
            entry.missing = error.row
            entry.end()
        except FormError as error:
            entry.missing = {"code": error.code, "values": error.values}
        if not keep:
            entry.times, entry.others = {}, []
        self.done += 1

    def _say(self, note: str) -> None:
        if self.on_rows is not None:
            self.on_rows(min(self.done, self.total), self.total, note, self.rows())

    def _open(self, entry: _Entry) -> None:
        """Make the form where it is not here, then open it in a process of its own."""
        which = form(entry.form_id)
        why = made.why_not(entry.form_id, self.box_id)
        if why is not None:
            raise why
        self._require_fast(entry)
        made.make(self.box_id, entry.form_id, lambda *_args, **_named: self._say(entry.form_id))
        need = 2 * (made.size_bytes(self.box_id, entry.form_id) or 0) + 500_000_000
        free = psutil.virtual_memory().available
        if need > free:
            detail = f"{need // 10**6} MB of memory beside the other forms; {free // 10**6} MB are free"
            raise FormError("form_missing", form=entry.form_id, detail=detail)
        entry.process = subprocess.Popen(
            [sys.executable, "-m", "llmkit.compress.bench_child", self.box_id, entry.form_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            cwd=Path(__file__).parents[2],
        )
        entry.about |= {**entry.ask("open"), "versions": made.versions(which)}
        entry.about["made_s"] = (made.facts(self.box_id, entry.form_id) or {}).get("seconds", 0.0)

    def _require_fast(self, entry: _Entry) -> None:
        """Do not run a dtype that this processor only imitates; say how slow it is."""
        which = form(entry.form_id)
        if which.engine != "torch" or which.device != "cpu" or which.weights == "float32":
            return
        from llmkit.doctor import measure

        speeds = {speed.dtype: speed.gflops or 0.0 for speed in measure().speeds}
        fast, slow = speeds["float32"], speeds[which.weights]  # type: ignore[index]
        entry.about["gflops"] = {"float32": fast, which.weights: slow}
        if fast > TOO_SLOW * slow:
            detail = f"{which.weights} multiplies {slow:.2g} GFLOP/s here, float32 {fast:.3g}"
            raise FormError("form_missing", form=entry.form_id, detail=detail)

    def _time(self, entry: _Entry) -> None:
        if self.decoder:
            entry.time("first", 1, entry.ask("prefill", ids=[self.prompt_ids], decoder=True))
        for rows in ROWS:
            texts = self.texts[:rows]
            answer = entry.ask("prefill", ids=texts, decoder=self.decoder)
            entry.time(f"prefill.{rows}", rows * self.prefill, answer)
            if self.decoder:
                answer = entry.ask("decode", ids=texts, steps=self.steps)
                entry.time(f"decode.{rows}", rows * self.steps, answer)

    def _peak(self, entry: _Entry) -> None:
        entry.peak_bytes = entry.ask("peak")

    def _judge(self) -> None:
        """Window by window, all forms beside the original; its scores lie in a file meanwhile."""
        with tempfile.TemporaryDirectory(prefix="llmkit-bench-") as place:
            path = str(Path(place) / "original.npy")
            parts = [self.windows[n : n + 4] for n in range(0, len(self.windows), 4)]
            for part in parts:
                try:
                    self.entries[0].ask("original", ids=part, path=path)
                except _ChildError as error:  # nothing is left to compare with
                    self._raise_original(error.row)
                for entry in self._alive():
                    self._try(entry, "comparing", partial(self._judge_one, part=part, path=path))
                    self.done -= 1 - 1 / len(parts)

    def _judge_one(self, entry: _Entry, *, part: list[list[int]], path: str) -> None:
        said = entry.ask("judge", ids=part, path=path, decoder=self.decoder)
        entry.judged += [quality.Judged(**one) for one in said]

    def _write(self, entry: _Entry) -> None:
        if self.decoder:
            stops = [token.token_id for token in self.tokenizer.added if token.special]
            ids = entry.ask("write", ids=self.prompt_ids, steps=self.plan.text_tokens, stops=stops)
            entry.text = self.tokenizer.decode([token for token in ids if token not in stops])

    def _raise_original(self, missing: dict[str, Any]) -> NoReturn:
        raise FormError(missing["code"], **{"form": ORIGINAL, "box": self.box_id, "detail": "", **missing["values"]})

    def _row(self, entry: _Entry) -> Row:
        about = {
            **_about(),
            **entry.about,
            "dtype": form(entry.form_id).weights,
            "languages": languages_of(self.box_id),
        }
        if entry.others:
            about["others_share"] = round(statistics.median(entry.others), 3)
        if entry.missing is not None:
            return Row(box=self.box_id, form=entry.form_id, missing=entry.missing, about=about)
        judged = entry.judged
        return Row(
            box=self.box_id,
            form=entry.form_id,
            size_bytes=made.size_bytes(self.box_id, entry.form_id),
            peak_memory_bytes=entry.peak_bytes,
            prefill_tokens_s=_by_rows(entry, "prefill"),
            decode_tokens_s=_by_rows(entry, "decode"),
            first_token_ms=_first(entry),
            prompt_tokens=len(self.prompt_ids) if self.decoder else None,
            perplexity=quality.perplexity(judged) if judged and self.decoder else None,
            kl_nats=quality.mean_of([one.kl for one in judged]) if judged and self.decoder else None,
            top1_agreement=quality.share_of([one.top1 for one in judged]) if judged and self.decoder else None,
            cosine=quality.mean_of([one.cosine for one in judged]) if judged and not self.decoder else None,
            prompt=self.prompt if self.decoder else None,
            text=entry.text,
            noisy=bool(entry.others) and statistics.median(entry.others) > NOISE,
            about=about,
        )


def _by_rows(entry: _Entry, name: str) -> dict[str, Spread]:
    times = {str(rows): entry.times.get(f"{name}.{rows}", []) for rows in ROWS}
    return {rows: _spread(values) for rows, values in times.items() if values}


def _first(entry: _Entry) -> Spread | None:
    values = [1000 / rate for rate in entry.times.get("first", [])]
    return _spread(values) if values else None


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median=statistics.median(values), low=min(values), high=max(values), n=len(values))


def _about() -> dict[str, Any]:
    from llmkit.doctor import cpu_name

    return {"device": cpu_name(), "cores": psutil.cpu_count(), "date": date.today().isoformat()}
