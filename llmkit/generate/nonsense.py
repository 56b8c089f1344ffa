"""Talking nonsense, counted: questions with known answers, asked plainly, with a way out, and with the answer at hand.

A language model goes on with a text whether it knows or not (Ji et al. 2023, "Survey of Hallucination in Natural
Language Generation"). What an instruction and what a given context change is counted here, on this box.
"""

import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from llmkit.generate.answer_score import holds, plain
from llmkit.generate.asking import ask_all
from llmkit.jobs import Report
from llmkit.reference import open_box

Way = Literal["plain", "unsure", "context"]
WAYS: tuple[Way, ...] = get_args(Way)

Outcome = Literal["right", "made_up", "unknown"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

ASKED: Mapping[str, Mapping[Way, str]] = {
    "en": {
        "plain": "{question}",
        "unsure": 'Answer in one short sentence. If you are not sure, say "I don\'t know".\n\n{question}',
        "context": "{context}\n\nAnswer from the text above in one short sentence. "
        'If it does not say, say "I don\'t know".\n\n{question}',
    },
    "zh-TW": {
        "plain": "{question}",
        "unsure": "用一句話回答。不確定就說「不知道」。\n\n{question}",
        "context": "{context}\n\n只看上面這段文字，用一句話回答。裡面沒有就說「不知道」。\n\n{question}",
    },
}
"""What the box reads, word for word."""

REFUSALS = (
    "don't know",
    "do not know",
    "don’t know",
    "not sure",
    "cannot answer",
    "can't answer",
    "cannot provide",
    "don't have",
    "do not have",
    "does not say",
    "不知道",
    "不確定",
    "不清楚",
    "無法回答",
    "沒有提到",
    "不确定",
    "无法回答",
    "没有提到",
)
"""An answer without the right one that holds one of these says that it does not know."""

MAX_NEW_TOKENS = 32
"""An answer is read that far."""

_FILE = Path(__file__).with_name("facts.toml")


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A question, the answers that count as right, and a paragraph that holds one."""

    question: str
    answers: tuple[str, ...]
    context: str


@cache
def facts(lang: str) -> tuple[Fact, ...]:
    """Return our own questions in a language ("en", "zh-TW")."""
    listed = tomllib.loads(_FILE.read_text(encoding="utf-8"))[lang]
    return tuple(Fact(**{**entry, "answers": tuple(entry["answers"])}) for entry in listed)


def ask(fact: Fact, wording: str) -> str:
    """What is asked, without any template: a wording of `ASKED` about one fact."""
    return wording.replace("{context}", fact.context).replace("{question}", fact.question)


def judge(text: str, fact: Fact) -> Outcome:
    """Read an answer: right where it holds a right answer, whatever else it says; unknown where it says nothing, or
    that it does not know; else made up.

    >>> lisbon = Fact(question="?", answers=("Lisbon",), context="")
    >>> judge("It's Lisbon!", lisbon), judge("I don't know.", lisbon), judge("Madrid", lisbon), judge(" ", lisbon)
    ('right', 'unknown', 'made_up', 'unknown')
    """
    if any(holds(text, answer) for answer in fact.answers):
        return "right"
    said = plain(text)
    return "unknown" if not said or any(plain(one) in said for one in REFUSALS) else "made_up"


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``nonsense``: ask every question every way, greedily.

    Args:
        settings: box_id; fingerprint; lang; facts (plain data: question, answers, context each); ways; asked (way →
            text, `ASKED` of the language); max_new_tokens.
        report: told after every token of a batch; partial: the rows so far.

    Returns:
        rows: number (of the fact), way, question, asked, answers, text, outcome, ended; every fact of the first way
        first. seconds.

    Raises:
        GenerateError: ``no_next_token``, ``prompt_too_long``.
    """
    box = open_box(settings["box_id"])
    known = [Fact(**{**entry, "answers": tuple(entry["answers"])}) for entry in settings["facts"]]
    asked = [(way, number, fact) for way in settings["ways"] for number, fact in enumerate(known)]
    questions = [ask(fact, settings["asked"][way]) for way, _, fact in asked]
    limit, total = settings["max_new_tokens"], len(asked) * settings["max_new_tokens"]
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    report(0, total, "writing")

    for batch in ask_all(box, questions, max_new_tokens=limit, on_token=lambda done: report(done, total, "writing")):
        for answer in batch:
            way, number, fact = asked[len(rows)]
            rows.append(
                {
                    "number": number,
                    "way": way,
                    "question": fact.question,
                    "asked": questions[len(rows)],
                    "answers": list(fact.answers),
                    "text": answer.text,
                    "outcome": judge(answer.text, fact),
                    "ended": answer.ended,
                }
            )
        report(len(rows) * limit, total, "writing", {"rows": rows})
    return {"rows": rows, "seconds": time.perf_counter() - began}
