"""Reasoning, measured: small sums and small logic, asked plainly and asked for step by step; answers read by code.

Asking for steps helps large models (Wei et al. 2022, "Chain-of-Thought Prompting"; Kojima et al. 2022, "Large Language
Models are Zero-Shot Reasoners"). Whether it helps this box is counted here, failures included.
"""

import math
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from operator import add, mul, sub, truediv
from pathlib import Path
from typing import Any, Literal, get_args

from llmkit.generate.decode import stream_batch
from llmkit.jobs import Report
from llmkit.reference import Assembled, open_box
from llmkit.tokens import ChatTemplate, visible

Kind = Literal["arithmetic", "logic"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Way = Literal["plain", "steps"]
WAYS: tuple[Way, ...] = get_args(Way)

ASKED: Mapping[Way, str] = {
    "plain": "{question}\nGive only the final answer.",
    "steps": "{question}\nThink step by step. Then write the final answer after 'Answer:'.",
}
"""What the box reads, word for word."""

MAX_NEW_TOKENS: Mapping[Way, int] = {"plain": 32, "steps": 128}
"""A box that has not finished by then is read as far as it came."""

BATCH = 8
NOTE = "how.reason.job"
_SIGNS = {"+": add, "-": sub, "*": mul, "/": truediv}
_FILE = Path(__file__).with_name("questions.toml")


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question.

    Args:
        kind: ``arithmetic`` or ``logic``.
        text: as it is asked.
        options: the answers that can be meant; empty where it is a number.
        answer: the right one, computed from the question's facts.
    """

    kind: Kind
    text: str
    options: tuple[str, ...]
    answer: str

    @property
    def chance(self) -> float:
        """How often a blind guess among the options is right; 0 for a number."""
        return 1 / len(self.options) if self.options else 0.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a box wrote to a question.

    Args:
        number: the question's place in the set. kind, question, answer: its own; see `Question`.
        way: how it was asked.
        text: what the box wrote, a broken character as its bytes.
        read: the answer that code found in it; None where there is none.
        right: whether that is the right one.
        tokens: how many were written. ended: whether the box stopped by itself.
    """

    number: int
    kind: Kind
    question: str
    answer: str
    way: Way
    text: str
    read: str | None
    right: bool
    tokens: int
    ended: bool


@cache
def questions() -> tuple[Question, ...]:
    """The whole set, arithmetic first."""
    data = tomllib.loads(_FILE.read_text(encoding="utf-8"))
    return tuple(_question(kind, entry) for kind in KINDS for entry in data[kind])


def read_answer(text: str, options: Sequence[str] = ()) -> str | None:
    """Find the answer in what a box wrote: after the last "answer", else the last one anywhere.

    Args:
        text: what was written.
        options: the answers that can be meant; without them a number is looked for.

    Returns:
        the option as it stands in ``options``, or the number without its commas and idle zeros; None for nothing.

    >>> read_answer("7 + 5 = 12, so he has 12 apples."), read_answer("Yes, it is.", ("yes", "no"))
    ('12', 'yes')
    >>> read_answer("Answer: 1,250.0 dollars"), read_answer("I do not know.")
    ('1250', None)
    """
    marked = list(re.finditer(r"\banswer\b(?: is)?", text, re.IGNORECASE))
    after = text[marked[-1].end() :] if marked else ""
    if options:
        pattern = r"\b(" + "|".join(map(re.escape, options)) + r")\b"
        found = re.findall(pattern, after, re.IGNORECASE)[:1] or re.findall(pattern, text, re.IGNORECASE)[-1:]
        return next((option for option in options if found and option.lower() == found[0].lower()), None)
    number = r"(?<!\d)-?\d[\d,]*(?:\.\d+)?"
    numbers = re.findall(number, after)[:1] or re.findall(number, text)[-1:]
    return f"{float(numbers[0].replace(',', '')):.10g}" if numbers else None


def wilson(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Between which shares the true one lies, with 95 % confidence: [low, high].

    Source: Wilson 1927; unlike ``p ± z √(p(1−p)/n)`` it holds for small n and shares near 0 and 1.

    >>> [round(share, 3) for share in wilson(2, 10)]
    [0.057, 0.51]
    """
    if n == 0:
        return 0.0, 1.0
    p, extra = right / n, z * z / n
    middle = (p + extra / 2) / (1 + extra)
    half = z * math.sqrt(p * (1 - p) / n + extra / (4 * n)) / (1 + extra)
    return max(0.0, middle - half), min(1.0, middle + half)


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Ask a box every question in every way. The task of the job kind ``reasoning``.

    Args:
        settings: ``box_id``, and ``fingerprint`` so that another box under the same name is asked anew;
            ``questions``, how many of each kind (all of them when left out).
        report: told after every token of a batch; the partial result is the answers so far.

    Returns:
        ``rows``: an `Answer` each, as plain data, in the order of the set, plainly asked first.

    Raises:
        BoxError: the box is not here or is broken.
        GenerateError: it predicts no next token.
    """
    box = open_box(settings["box_id"])
    template = ChatTemplate.from_folder(box.folder)
    chosen = [(n, q) for n, q in enumerate(questions()) if _within(q, n, settings.get("questions"))]
    total = sum(len(chosen) * MAX_NEW_TOKENS[way] for way in WAYS)
    rows: list[dict[str, Any]] = []
    for way in WAYS:
        for first in range(0, len(chosen), BATCH):
            batch = chosen[first : first + BATCH]
            done = sum(MAX_NEW_TOKENS[row["way"]] for row in rows)
            on_token = partial(_report_tokens, report, done, len(batch), total)
            new = [asdict(answer) for answer in _ask(box, template, batch, way, on_token)]
            for row in new:
                report.log(f"{row['way']} {row['question']!r} → {row['text']!r}: {row['read']} ({row['answer']})")
            rows += new
            report(done + len(batch) * MAX_NEW_TOKENS[way], total, NOTE, {"rows": rows})
    return {"rows": rows}


def prompt(question: Question, way: Way, template: ChatTemplate | None) -> str:
    """What the box reads: the question through its chat template, or followed by ``Answer:`` where it has none."""
    asked = ASKED[way].format(question=question.text)
    if template is None:
        return f"{asked}\nAnswer:"
    return template.render([{"role": "user", "content": asked}])


def stop_ids(box: Assembled) -> frozenset[int]:
    """The tokens that end an answer: what the box steers with and that writes no text."""
    return frozenset(token.token_id for token in box.tokenizer.added if token.special)


def _ask(
    box: Assembled,
    template: ChatTemplate | None,
    batch: Sequence[tuple[int, Question]],
    way: Way,
    on_token: Callable[[int], None],
) -> list[Answer]:
    """Ask a batch; ``on_token`` is told how many tokens the longest answer has by now."""
    ends = stop_ids(box)
    prompts = [box.tokenizer.encode(prompt(q, way, template), specials=False).ids for _, q in batch]
    new: list[list[int]] = [[] for _ in batch]
    steps = stream_batch(box, prompts, max_new_tokens=MAX_NEW_TOKENS[way], stop_ids=ends)
    for made, chosen in enumerate(steps, start=1):
        for row, token_id in chosen.items():
            new[row].append(token_id)
        on_token(made)
    answers = []
    for (number, question), ids in zip(batch, new, strict=True):
        ended = bool(ids) and ids[-1] in ends
        written = ids[:-1] if ended else ids
        text = as_text(b"".join(box.tokenizer.token_bytes(i) for i in written))
        read = read_answer(text, question.options)
        answers.append(
            Answer(
                number=number,
                kind=question.kind,
                question=question.text,
                answer=question.answer,
                way=way,
                text=text.strip(),
                read=read,
                right=read == question.answer,
                tokens=len(ids),
                ended=ended,
            )
        )
    return answers


def as_text(data: bytes) -> str:
    """Bytes as text; what is no whole character is written as its bytes.

    >>> as_text("你好".encode()[:5])
    '你⟨E5⟩⟨A5⟩'
    """
    parts = []
    while data:
        try:
            parts.append(data.decode())
            break
        except UnicodeDecodeError as error:
            parts.append(data[: error.start].decode() + visible(data[error.start : error.end]))
            data = data[error.end :]
    return "".join(parts)


def _report_tokens(report: Report, done: int, rows: int, total: int, made: int) -> None:
    report(done + made * rows, total, NOTE)


def _within(question: Question, number: int, each: int | None) -> bool:
    """Whether a question is among the first ``each`` of its kind."""
    return each is None or sum(before.kind == question.kind for before in questions()[:number]) < each


def _question(kind: Kind, entry: Mapping[str, Any]) -> Question:
    if "sum" in entry:
        return Question(kind=kind, text=entry["question"], options=(), answer=_reckon(entry["sum"]))
    if "order" in entry:
        order = _in_order(entry["order"])
        answer = order[0] if entry["asked"] == "first" else order[-1]
        return Question(kind=kind, text=entry["question"], options=tuple(sorted(order)), answer=answer)
    answer = "yes" if _reaches(entry["is_a"], *entry["asked"]) else "no"
    return Question(kind=kind, text=entry["question"], options=("yes", "no"), answer=answer)


def _reckon(terms: Sequence[int | str]) -> str:
    """``[3, "*", 8, "-", 5]`` from left to right."""
    value = float(terms[0])
    for sign, number in zip(terms[1::2], terms[2::2], strict=True):
        value = _SIGNS[str(sign)](value, float(number))
    return f"{value:.10g}"


def _in_order(pairs: Sequence[Sequence[str]]) -> list[str]:
    """All names, the greatest first: each is less than as many as reach it."""
    names = sorted({name for pair in pairs for name in pair})
    return sorted(names, key=lambda name: sum(_reaches(pairs, other, name) for other in names if other != name))


def _reaches(pairs: Sequence[Sequence[str]], start: str, goal: str) -> bool:
    """Whether a chain of pairs leads from one name to the other."""
    return start == goal or any(first == start and _reaches(pairs, then, goal) for first, then in pairs)
