"""A prompt on trial: one version asked about every row of a test set, greedily, each answer scored by code.

One version is one job, so that a version that was tried before need not be tried again beside a new one.
"""

import time
from collections.abc import Mapping
from typing import Any

from llmkit.generate.answer_score import judge
from llmkit.generate.asking import ask_all
from llmkit.generate.few_shot import wilson
from llmkit.generate.prompt_variables import fill
from llmkit.jobs import Report
from llmkit.reference import open_box


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``prompt_trial``.

    Args:
        settings: box_id; fingerprint; template (the prompt with its variables); rows (each with ``values`` and
            ``expected``); score; labels; max_new_tokens.
        report: told after every token of a batch; partial: the rows so far.

    Returns:
        rows: question (as filled in), text, read, right, expected, tokens_in, tokens_out, ended of each.
        right, n, low, high: and the 95 % interval of their share (Wilson). seconds.

    Raises:
        TrialError: ``prompt_brace``, ``prompt_unknown_variable``. GenerateError: ``no_next_token``,
            ``prompt_too_long``.
    """
    questions = [fill(settings["template"], row["values"]) for row in settings["rows"]]
    limit, total = settings["max_new_tokens"], len(questions) * settings["max_new_tokens"]
    box = open_box(settings["box_id"])
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    report(0, total, "writing")

    for batch in ask_all(box, questions, max_new_tokens=limit, on_token=lambda done: report(done, total, "writing")):
        for answer in batch:
            row = settings["rows"][len(rows)]
            reading = judge(answer.text, row["expected"], settings["score"], labels=settings["labels"])
            rows.append(
                {
                    "question": questions[len(rows)],
                    "text": answer.text,
                    "read": reading.read,
                    "right": reading.right,
                    "expected": row["expected"],
                    "tokens_in": answer.tokens_in,
                    "tokens_out": answer.tokens_out,
                    "ended": answer.ended,
                }
            )
        report(len(rows) * limit, total, "writing", {"rows": rows})
    right = sum(row["right"] for row in rows)
    low, high = wilson(right, len(rows))
    return {
        "rows": rows,
        "right": right,
        "n": len(rows),
        "low": low,
        "high": high,
        "seconds": time.perf_counter() - began,
    }
