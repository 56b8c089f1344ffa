"""The question set, answers read by code, the interval against scipy's, and the job itself on a tiny box."""

from __future__ import annotations

import ast
import json
import re
from itertools import permutations
from pathlib import Path

import pytest
from scipy.stats import binomtest

from llmkit.generate import GenerateError, stream
from llmkit.generate.reasoning import (
    KINDS,
    MAX_NEW_TOKENS,
    WAYS,
    _in_order,
    as_text,
    prompt,
    questions,
    read_answer,
    run,
    stop_ids,
    wilson,
)
from llmkit.jobs import Cancelled, DirectReport
from llmkit.jobs.kinds import KINDS as JOB_KINDS
from llmkit.jobs.kinds import task
from llmkit.reference import open_box


def test_forty_questions_half_of_each_kind() -> None:
    asked = questions()
    assert [sum(q.kind == kind for q in asked) for kind in KINDS] == [20, 20]
    assert len({q.text for q in asked}) == 40
    for q in asked:
        assert q.answer in q.options or not q.options
        assert q.options in ((), ("yes", "no")) or all(re.search(rf"\b{o}\b", q.text) for o in q.options)
        assert q.text.endswith(("?", "Answer yes or no."))
    assert {q.answer for q in asked if q.options == ("yes", "no")} == {"yes", "no"}


def test_sums_in_plain_figures_are_python_s() -> None:
    checked = 0
    for q in questions():
        match = re.fullmatch(r"What is ([\d +\-]+)\?", q.text)
        if match:
            tree = ast.parse(match[1], mode="eval")
            assert q.answer == str(eval(compile(tree, "sum", "eval"), {"__builtins__": {}}))
            checked += 1
    assert checked == 3


def test_orders_satisfy_every_pair() -> None:
    pairs = [["b", "c"], ["a", "b"], ["c", "d"]]
    holds = [p for p in permutations("abcd") if all(p.index(x) < p.index(y) for x, y in pairs)]
    assert [tuple(_in_order(pairs))] == holds


@pytest.mark.parametrize(
    ("text", "options", "read"),
    [
        ("12", (), "12"),
        ("7 + 5 = 12 apples", (), "12"),
        ("First 24, then 24 - 5. Answer: 19 oranges, not 5.", (), "19"),
        ("The answer is $1,250.50.", (), "1250.5"),
        ("83-47", (), "47"),
        ("It is -3", (), "-3"),
        ("Answer:", (), None),
        ("He has 8 apples. Answer: eight", (), "8"),
        ("", (), None),
        ("Yes, Milo is an animal.", ("yes", "no"), "yes"),
        ("I know nothing", ("yes", "no"), None),
        ("Ben is shorter than Anna, so it is Anna.", ("Anna", "Ben"), "Anna"),
        ("Answer: ben. Anna is taller.", ("Anna", "Ben"), "Ben"),
        ("一年有 12 個月", (), "12"),
    ],
)
def test_answers_are_read_by_code(text: str, options: tuple[str, ...], read: str | None) -> None:
    assert read_answer(text, options) == read


@pytest.mark.parametrize(("right", "n"), [(0, 20), (3, 20), (20, 20), (11, 40)])
def test_the_interval_is_scipy_s(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_broken_characters_are_bytes() -> None:
    assert as_text("好書".encode()[1:]) == "⟨A5⟩⟨BD⟩書"
    assert "\ufffd" not in as_text(bytes(range(256)))


def test_the_job_asks_all_reads_all_and_can_be_cancelled(tmp_path: Path) -> None:
    assert task("reasoning") is run
    assert JOB_KINDS["reasoning"]
    report = DirectReport(tmp_path)
    rows = run({"box_id": "gpt2-starter", "fingerprint": "x", "questions": 2}, report)["rows"]
    assert json.loads(json.dumps(rows)) == rows
    assert [(row["way"], row["kind"]) for row in rows] == [(way, kind) for way in WAYS for kind in KINDS for _ in "ab"]
    assert report.said[-1][0] == report.said[-1][1] == 4 * sum(MAX_NEW_TOKENS.values())
    assert [done for done, *_ in report.said] == sorted(done for done, *_ in report.said)
    assert report.partials[-1]["rows"] == rows
    assert len(report.lines) == len(rows)
    box, row = open_box("gpt2-starter"), rows[-1]
    question = questions()[row["number"]]
    ids = box.tokenizer.encode(prompt(question, row["way"], None), specials=False).ids
    alone = [s.token_id for s in stream(box, ids, max_new_tokens=128, stop_ids=stop_ids(box))]
    assert row["tokens"] == len(alone)
    assert row["text"] == box.tokenizer.decode(alone).strip() or "⟨" in row["text"]
    assert row["right"] == (row["read"] == question.answer)
    report.cancelled = True
    with pytest.raises(Cancelled):
        run({"box_id": "gpt2-starter", "questions": 1}, report)


@pytest.mark.registry
def test_an_encoder_is_refused_and_a_template_is_used(standard_kit: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(GenerateError) as caught:
        run({"box_id": "minilm-l6"}, DirectReport(tmp_path))
    assert caught.value.code == "no_next_token"
    rows = run({"box_id": "smollm2-135m-instruct", "questions": 1}, DirectReport(tmp_path))["rows"]
    assert any(row["ended"] for row in rows)  # through its template it knows where an answer ends
