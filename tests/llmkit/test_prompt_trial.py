"""Prompts on trial: variables, scores, rows, and the job, against the reference's own greedy text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit import shelf
from llmkit.generate import GenerateError
from llmkit.generate.answer_score import SCORES, json_object, judge
from llmkit.generate.prompt_trial import run
from llmkit.generate.prompt_variables import fill, require, variables
from llmkit.generate.trial_errors import TrialError
from llmkit.generate.trial_rows import MOST_ROWS, TestRow, as_data, from_table, require_scorable, sets
from llmkit.jobs import Cancelled, DirectReport

BOX = "gpt2-starter"


# ---- variables


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{text}", ("text",)),
        ("{a} {b} {a}", ("a", "b")),
        ("{{a}} {標題}", ("標題",)),
        ("{ a }", ("a",)),
        ('{{"x": {y}}}', ("y",)),
        ("none", ()),
    ],
)
def test_variables_are_named(template: str, names: tuple[str, ...]) -> None:
    assert variables(template) == names


@pytest.mark.parametrize("template", ["{", "}", "{}", "a } b", "{a", "{a\nb}", "{{a}", "{a{b}}"])
def test_a_brace_without_a_partner_is_said(template: str) -> None:
    with pytest.raises(TrialError) as refused:
        variables(template)
    assert refused.value.code == "prompt_brace"


def test_values_are_text_and_python_agrees() -> None:
    values = {"a": "{b} {{c}}", "b": "{a}"}
    for template in ("{a}-{b}", "{{{a}}}", "{{a}} {b}"):
        assert fill(template, values) == template.format(**values)
    with pytest.raises(TrialError, match="prompt_unknown_variable"):
        fill("{c}", values)


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (" ", "prompt_empty_version"),
        ("{texts}", "prompt_unknown_variable"),
        ("no variable", "prompt_without_variable"),
        ("{{text}}", "prompt_without_variable"),
        ("{text", "prompt_brace"),
    ],
)
def test_a_prompt_that_rows_cannot_fill_is_refused(template: str, code: str) -> None:
    with pytest.raises(TrialError) as refused:
        require(template, ("text",))
    assert refused.value.code == code


# ---- scores


@pytest.mark.parametrize(
    ("answer", "expected", "score", "right"),
    [
        ("Ｐａｒｉｓ。", "paris", "exact", True),
        ("It is Paris", "paris", "exact", False),
        ("", "", "exact", False),
        ("It is Paris!", "paris", "contains", True),
        ("Parisians", "Paris", "contains", False),
        ("在臺北市", "台北", "contains", True),
        ("about 3.14", "3", "contains", False),
        ("1,450 dollars", "450", "contains", False),
        ("450.", "450", "contains", True),
        ("Positive, I think", "positive", "label", True),
        ("negative, not positive", "positive", "label", False),
        ("I say positive", "positive", "label", False),
        ("positively", "positive", "label", False),
        ("正面。", "正面", "label", True),
        ("The answer is 45.", "45", "number", True),
        ("45 of 60", "45", "number", False),
        ("１，２００元", "1200", "number", True),
        ("先是 102，17 再來", "17", "number", True),
        ("102，17", "102", "contains", True),
        ("none", "1", "number", False),
        ('{"a": "X", "b": 2} tail', '{"a": "x"}', "json", True),
        ('{"a": "Y"}', '{"a": "x"}', "json", False),
        ('{"b": "x"}', '{"a": "x"}', "json", False),
        ("{'a': 'x'}", '{"a": "x"}', "json", False),
    ],
)
def test_answers_are_scored(answer: str, expected: str, score: Any, right: bool) -> None:
    assert judge(answer, expected, score, labels=("positive", "negative", "正面", "負面")).right is right


def test_a_longer_label_is_read_before_a_shorter_one() -> None:
    assert judge("very good", "very", "label", labels=("very", "very good")).right is False
    assert judge("very good", "very good", "label", labels=("very", "very good")).right is True


@pytest.mark.parametrize("text", ["{" * 5_000, "[" * 100_000, '{"a":' * 20_000, "{}" * 3, ""])
def test_json_of_any_shape_is_read_or_not(text: str) -> None:
    assert json_object(text) in (None, {})


# ---- rows


@pytest.mark.parametrize("lang", ["en", "zh-TW"])
def test_our_own_sets_are_whole(lang: str) -> None:
    listed = sets(lang)
    assert [one.id for one in listed] == ["mood", "amount", "contact"]
    for one in listed:
        require_scorable(one.rows, one.score)
        for template in (one.vague, one.precise):
            require(template, one.variables)
        assert len({row.values["text"] for row in one.rows}) == len(one.rows)
        for row in one.rows:
            assert judge(row.expected, row.expected, one.score, labels=one.labels).right
            if one.score == "number":
                assert judge(row.values["text"], row.expected, "contains").right
            if one.score == "json":
                found = json_object(row.expected)
                assert found is not None
                assert all(value in row.values["text"] for value in found.values())
    mood = listed[0]
    assert [row.expected for row in mood.rows].count(mood.labels[0]) * 2 == len(mood.rows)


def test_a_table_becomes_rows() -> None:
    rows = from_table(["題目", "答案"], [["一加一", "2"], [" 二加二 ", "4"]])
    assert rows == (
        TestRow(values={"題目": "一加一"}, expected="2"),
        TestRow(values={"題目": "二加二"}, expected="4"),
    )
    assert from_table(["Label", "Expected", "text"], [["a", "b", "c"]])[0].expected == "b"


@pytest.mark.parametrize(
    ("columns", "cells", "code"),
    [
        (["text", "x"], [["a", "b"]], "trial_no_expected"),
        (["expected"], [["a"]], "trial_no_expected"),
        (["text", "expected"], [], "trial_no_rows"),
        (["text", "expected"], [["a", None]], "trial_cell_empty"),
        (["text", "expected"], [["a", "b"]] * (MOST_ROWS + 1), "trial_too_many_rows"),
    ],
)
def test_a_table_that_is_no_test_set_is_refused(columns: list[str], cells: list[list[str | None]], code: str) -> None:
    with pytest.raises(TrialError) as refused:
        from_table(columns, cells)
    assert refused.value.code == code


@pytest.mark.parametrize("score", ["number", "json"])
def test_an_answer_that_cannot_be_scored_is_refused(score: Any) -> None:
    with pytest.raises(TrialError, match="trial_expected_bad"):
        require_scorable([TestRow(values={"text": "a"}, expected="none")], score)


def test_every_score_is_known() -> None:
    assert set(SCORES) == {"exact", "contains", "label", "number", "json"}


# ---- the job


def settings(**more: Any) -> dict[str, Any]:
    rows = [
        TestRow(values={"text": f"The movie was {word}"}, expected="good") for word in ("so", "not very", "bad and")
    ]
    base = {"box_id": BOX, "template": "{text}", "rows": as_data(rows), "score": "contains", "labels": []}
    return {**base, "max_new_tokens": 8, **more}


def test_answers_are_what_the_reference_writes(tmp_path: Path) -> None:
    report = DirectReport(tmp_path)
    made = run(settings(), report)
    folder = shelf.locate(BOX)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    for row in made["rows"]:
        ids = tokenizer(row["question"] + "\n", return_tensors="pt").input_ids
        with torch.inference_mode():
            new = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        assert row["tokens_in"] == ids.shape[1]
        assert row["text"] == tokenizer.decode(new, skip_special_tokens=True).strip()
        assert row["right"] == judge(row["text"], "good", "contains").right
    interval = binomtest(made["right"], made["n"]).proportion_ci(method="wilson")
    assert (made["low"], made["high"]) == pytest.approx((interval.low, interval.high))
    assert report.said[-1][0] == report.said[-1][1]
    assert report.partials[-1]["rows"] == made["rows"]


def test_a_trial_can_be_cancelled(tmp_path: Path) -> None:
    report = DirectReport(tmp_path)
    report.cancelled = True
    with pytest.raises(Cancelled):
        run(settings(), report)


@pytest.mark.parametrize(
    ("more", "code"),
    [({"template": "{who}"}, "prompt_unknown_variable"), ({"template": "{text} " * 200}, "prompt_too_long")],
)
def test_what_cannot_be_asked_is_said(tmp_path: Path, more: dict[str, Any], code: str) -> None:
    with pytest.raises((TrialError, GenerateError)) as refused:
        run(settings(**more), DirectReport(tmp_path))
    assert refused.value.code == code


def test_a_box_that_looks_both_ways_is_refused(tmp_path: Path, standard_kit: tuple[str, ...]) -> None:
    with pytest.raises(GenerateError, match="no_next_token"):
        run(settings(box_id="minilm-l6"), DirectReport(tmp_path))
