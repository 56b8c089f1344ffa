"""The job ``ask_table``: a box chooses among operations that are given; what it says is never read as code, nor at all.

A box that compares texts takes the operation whose words lie nearest to the question. A box that goes on with a text
says how much likelier each operation's words become by the question, and the greatest gain is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit import shelf
from llmkit.analyse.candidates import words
from llmkit.generate.score import Question, answer_logprobs, read_prefix, split_at_seam
from llmkit.jobs import Report
from llmkit.reference import Assembled, open_box
from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.similarity import SCALE
from llmkit.tune.ways.way import softmax

BATCH = 16
"""Operations that are scored between two reports."""


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Choose.

    Args:
        settings: box_id, fingerprint, device; question; lang of the phrases; phrases: the operations in words.

    Returns:
        probs: of each phrase, among themselves; way: "similarity" or "prompt".

    Raises:
        BoxError, ShelfError, TokenizerError, GenerateError: as they are.
    """
    report(0, 0, "opening")
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    box = open_box(settings["box_id"], device=settings["device"])
    phrases = list(settings["phrases"])
    if not box.config.causal or box.model.unembedding is None:
        return {"way": "similarity", "probs": _nearest(settings, phrases)}
    told = words()["prompt"][settings["lang"]]

    def gain(question: str, done: int) -> NDArray[np.float64]:
        prompt = told["before"] + told["question"].replace("{question}", " ".join(question.split()))
        return logprobs(box, prompt, [told["blank"] + one for one in phrases], report, done, 2 * len(phrases))

    gains = gain(settings["question"], 0) - gain(told["nothing"], len(phrases))
    return {"way": "prompt", "probs": [float(p) for p in softmax(gains)]}


def logprobs(
    box: Assembled, prompt: str, answers: Sequence[str], report: Report, done: int, total: int
) -> NDArray[np.float64]:
    """The summed log-probability (nats) of each answer after one prompt, [n]; the prompt is read once.

    Source: the difference that `run` takes is the domain-conditional PMI of Holtzman et al. 2021, "Surface Form
    Competition": without it short and common operations would always win.
    """
    ids, tails = split_at_seam(box.tokenizer, prompt, answers, specials=True)
    prefix = read_prefix(box, ids[:-1])
    found: list[NDArray[np.float64]] = []
    for start in range(0, len(tails), BATCH):
        some = tails[start : start + BATCH]
        found += answer_logprobs(box, prefix, [Question(ids=ids[-1:], answers=some)])
        report(done + start + len(some), total, "judging")
    return np.concatenate(found)


def _nearest(settings: Mapping[str, Any], phrases: Sequence[str]) -> list[float]:
    reader = Reader(settings["box_id"], device=settings["device"])
    vectors, _ = reader.read([settings["question"], *phrases])
    return [float(p) for p in softmax(SCALE * (vectors[1:] @ vectors[0]).astype(np.float64))]
