"""Nonsense, counted: the questions are sound, the judge is strict where it says so, the recorded count is this one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from llmkit.generate.answer_score import holds
from llmkit.generate.nonsense import ASKED, MAX_NEW_TOKENS, OUTCOMES, REFUSALS, WAYS, Fact, ask, facts, judge, run
from llmkit.jobs import Cancelled, DirectReport

LISBON = Fact(question="?", answers=("Lisbon",), context="")
SIX = Fact(question="?", answers=("6", "six"), context="")


@pytest.mark.parametrize("lang", ["en", "zh-TW"])
def test_every_context_holds_the_answer_and_no_question_does(lang: str) -> None:
    known = facts(lang)
    assert len(known) == 20
    assert len({fact.question for fact in known}) == 20
    for fact in known:
        assert any(holds(fact.context, answer) for answer in fact.answers), fact
        assert not any(holds(fact.question, answer) for answer in fact.answers), fact
        assert judge(fact.answers[0], fact) == "right"


@pytest.mark.parametrize("lang", ["en", "zh-TW"])
def test_each_way_asks_the_question_and_only_one_gives_the_text(lang: str) -> None:
    for fact in facts(lang):
        asked = {way: ask(fact, ASKED[lang][way]) for way in WAYS}
        assert asked["plain"] == fact.question
        assert all(fact.question in text for text in asked.values())
        assert [way for way in WAYS if fact.context in asked[way]] == ["context"]


@pytest.mark.parametrize(
    ("text", "fact", "outcome"),
    [
        ("It is LISBON.", LISBON, "right"),
        ("Lisbonne", LISBON, "made_up"),
        ("Madrid.", LISBON, "made_up"),
        ("I don't know, maybe Madrid", LISBON, "unknown"),
        ("I don’t know.", LISBON, "unknown"),
        ("I'm not sure, but Lisbon", LISBON, "right"),
        ("不知道。", LISBON, "unknown"),
        ("", LISBON, "unknown"),
        ("It is 6.", SIX, "right"),
        ("It is 16.", SIX, "made_up"),
        ("It is 6.5", SIX, "made_up"),
        ("6,000", SIX, "made_up"),
        ("Sixteen", SIX, "made_up"),
    ],
)
def test_answers_are_judged(text: str, fact: Fact, outcome: str) -> None:
    assert judge(text, fact) == outcome


@pytest.mark.parametrize("refusal", REFUSALS)
def test_every_refusal_is_heard_in_any_case(refusal: str) -> None:
    assert judge(f"Sorry, I {refusal.upper()} that.", LISBON) == "unknown"


def settings(**more: Any) -> dict[str, Any]:
    few = [asdict(fact) for fact in facts("en")[:5]]
    base = {"box_id": "gpt2-starter", "lang": "en", "facts": few, "ways": list(WAYS), "asked": dict(ASKED["en"])}
    return {**base, "max_new_tokens": 4, **more}


def test_every_question_is_asked_every_way(tmp_path: Path) -> None:
    report = DirectReport(tmp_path)
    made = run(settings(), report)
    rows = made["rows"]
    assert [(row["way"], row["number"]) for row in rows] == [(way, at) for way in WAYS for at in range(5)]
    assert {row["outcome"] for row in rows} <= set(OUTCOMES)
    for row in rows:
        fact = facts("en")[row["number"]]
        assert row["asked"] == ask(fact, ASKED["en"][row["way"]])
        assert row["outcome"] == judge(row["text"], fact)
    done = [said[0] for said in report.said]
    assert done == sorted(done)
    assert report.said[-1][:2] == (60, 60)
    assert MAX_NEW_TOKENS >= 24


def test_it_can_be_cancelled(tmp_path: Path) -> None:
    report = DirectReport(tmp_path)
    report.cancelled = True
    with pytest.raises(Cancelled):
        run(settings(), report)
