"""Few-shot, measured: how often a box is right as examples are added, and how much their order and wording change.

In-context learning (Brown et al. 2020, "Language Models are Few-Shot Learners"): no weight changes, the examples are
only read. How far the result depends on which examples, in which order and words, is what Zhao et al. 2021 ("Calibrate
Before Use") and Lu et al. 2022 ("Fantastically Ordered Prompts") found; here it is counted on this box.
"""

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from llmkit import shelf
from llmkit.generate.errors import GenerateError
from llmkit.generate.prompt import Prompt, Shot, Wording, build
from llmkit.generate.score import Prefix, Question, answer_logprobs, kv_bytes, read_prefix, split_at_seam
from llmkit.jobs import Report
from llmkit.reference import Assembled, open_box
from llmkit.tokens import ChatTemplate

SHOTS = (0, 1, 2, 4, 8, 16)
MOST_SHOTS = max(SHOTS)

STRONG = {"reviews-en": 1.5}
"""How far from 0 a rating must be to count as positive or negative; any rating in other boxes."""

LENGTHS = {"en": (20, 90), "zh-TW": (6, 30)}
"""Characters of a review that is used, least and most: sixteen long ones would fill a small box's context."""

GROUPS = {"reviews-en": ("movieReviewSnippets", "amazonReviewSnippets")}
"""Which sets of a data box are reviews; all of other boxes."""

BATCH = 8
"""Questions between two reports."""

Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Reviews parted into those that may be shots and those that are asked about.

    Args:
        train, held_out: no text is in both, nor twice in one; ``held_out`` is half negative, half positive.
    """

    train: tuple[Shot, ...]
    held_out: tuple[Shot, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run: one wording, one order of the shots, one number of them, every held-out review asked.

    Args:
        wording: its id. order: which choice and order of shots, from 0. shots: how many.
        right, n: reviews that were judged right, of how many.
        low, high: 95 % interval of the accuracy (Wilson).
        confusion: [[negative judged negative, negative judged positive], [positive judged negative, … positive]].
        mass: mean probability that either label follows at all; the rest is any other text.
        tokens: mean length of the prompt.
    """

    wording: str
    order: int
    shots: int
    right: int
    n: int
    low: float
    high: float
    confusion: tuple[tuple[int, int], tuple[int, int]]
    mass: float
    tokens: float


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``few_shot``: ask every held-out review for every wording, order and number of shots.

    A label's score is its summed log-probability, not divided by its tokens; the greater one is the prediction.

    Args:
        settings: box_id; fingerprint; data_id; data_fingerprint; lang; form; wordings (as plain data); shots; orders;
            sample (held-out reviews, even); seed.
        report: told after every batch; partial: {"runs", "skipped"} so far.

    Returns:
        runs, skipped (prompts that do not fit: wording, order, shots, tokens, limit), costs (see ``measure_costs``),
        baseline (accuracy of always saying the commoner label), n, limit (tokens of context), seconds.

    Raises:
        GenerateError: ``no_next_token``; BoxError, ShelfError, TokenizerError: as they are.
    """
    began = time.perf_counter()
    box = open_box(settings["box_id"])
    template = ChatTemplate.from_folder(box.folder) if settings["form"] == "chat" else None
    pool = split(read_reviews(settings["data_id"], settings["lang"]), sample=settings["sample"], seed=settings["seed"])
    ways = [Wording.from_dict(way) for way in settings["wordings"]]
    shots = sorted(settings["shots"])
    plan = [(way, order, k) for way in ways for order in range(settings["orders"]) for k in shots if k or not order]
    total = len(plan) * len(pool.held_out)
    done = 0
    runs: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    costs = measure_costs(box, ways[0], choose(pool, order=0, seed=settings["seed"]), shots, pool, template)
    prefix: Prefix | None = None
    for way, order, k in plan:
        chosen = choose(pool, order=order, seed=settings["seed"])[:k]
        prompts = [build(way, chosen, review.text, template=template) for review in pool.held_out]
        try:
            cut = cut_prompts(box, prompts)
            prefix = read_prefix(box, cut[0], after=prefix)
            scores: list[NDArray[np.float64]] = []
            for start in range(0, len(prompts), BATCH):
                part = {"runs": runs, "skipped": skipped, "costs": costs}
                report(done + start, total, f"{way.id} · {order + 1} · {k}", part)
                scores += answer_logprobs(box, prefix, cut[1][start : start + BATCH])
            tokens = len(prefix.ids) + float(np.mean([len(question.ids) for question in cut[1]]))
            runs.append(asdict(_count(way, order, k, np.stack(scores), pool.held_out, tokens)))
        except GenerateError as error:
            if error.code != "prompt_too_long":
                raise
            skipped.append({"wording": way.id, "order": order, "shots": k, **error.values})
        done += len(prompts)
    report(total, total, "", {"runs": runs, "skipped": skipped, "costs": costs})
    labels = [review.label for review in pool.held_out]
    return {
        "runs": runs,
        "skipped": skipped,
        "costs": costs,
        "baseline": max(labels.count(0), labels.count(1)) / len(labels),
        "n": len(labels),
        "limit": box.config.max_seq_len,
        "seconds": time.perf_counter() - began,
    }


def run_one(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``few_shot_one``: one review's label probabilities, with each number of shots.

    Args:
        settings: as for ``run``, but wording (one, plain data), text (the review) and order; shots is every number.
        report: told after every prompt; partial: what the result will hold, so far.

    Returns:
        rows (shots, probs: [negative, positive], the probability of each label among all texts that may follow; tokens)
        and skipped.

    Raises:
        as for ``run``.
    """
    box = open_box(settings["box_id"])
    template = ChatTemplate.from_folder(box.folder) if settings["form"] == "chat" else None
    pool = split(read_reviews(settings["data_id"], settings["lang"]), sample=settings["sample"], seed=settings["seed"])
    way = Wording.from_dict(settings["wording"])
    chosen = choose(pool, order=settings["order"], seed=settings["seed"], without=settings["text"])
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    prefix: Prefix | None = None
    for at, k in enumerate(settings["shots"]):
        report(at, len(settings["shots"]), f"{k}", {"rows": rows, "skipped": skipped})
        try:
            shared, (question,) = cut_prompts(box, [build(way, chosen[:k], settings["text"], template=template)])
            prefix = read_prefix(box, shared, after=prefix)
            (scores,) = answer_logprobs(box, prefix, (question,))
            rows.append(
                {"shots": k, "probs": [float(p) for p in np.exp(scores)], "tokens": len(shared) + len(question.ids)}
            )
        except GenerateError as error:
            if error.code != "prompt_too_long":
                raise
            skipped.append({"shots": k, **error.values})
    report(1, 1, "", {"rows": rows, "skipped": skipped})
    return {"rows": rows, "skipped": skipped, "limit": box.config.max_seq_len}


def read_reviews(data_id: str, lang: str) -> tuple[Shot, ...]:
    """Return the reviews of a data box that are short, clear and there once, in the source's order.

    A text that is there several times, blanks and capitals apart, is kept once; where its ratings disagree, not at all.

    Raises:
        ShelfError: ``box_missing``, ``tampered``.
    """
    least, most = LENGTHS[lang]
    groups, strong = GROUPS.get(data_id), STRONG.get(data_id, 0.0)
    found: dict[str, Shot] = {}
    torn: set[str] = set()
    for row in shelf.open_data(data_id).rows:
        text = " ".join(row.text.split())
        if (groups and row.group not in groups) or not least <= len(text) <= most:
            continue
        if not row.rating or abs(row.rating) < strong:
            continue
        shot = Shot(text=text, label=int(row.rating > 0))
        key = text.casefold()
        if key in found and found[key].label != shot.label:
            torn.add(key)
        found.setdefault(key, shot)
    return tuple(shot for key, shot in found.items() if key not in torn)


def split(reviews: Sequence[Shot], *, sample: int, seed: int) -> Pool:
    """Part reviews into a balanced held-out sample and the rest.

    Raises:
        ValueError: there are not enough of one label.
    """
    mixed = list(reviews)
    random.Random(seed).shuffle(mixed)
    negative, positive = ([review for review in mixed if review.label == label] for label in (0, 1))
    half = sample // 2
    if min(len(negative), len(positive)) < half + MOST_SHOTS // 2:
        raise ValueError(f"{len(negative)} negative and {len(positive)} positive reviews are too few")
    held_out = [one for pair in zip(negative[:half], positive[:half], strict=True) for one in pair]
    return Pool(train=(*negative[half:], *positive[half:]), held_out=tuple(held_out))


def choose(pool: Pool, *, order: int, seed: int, without: str = "") -> tuple[Shot, ...]:
    """Choose MOST_SHOTS shots and their order; fewer shots are the first of them.

    Each pair of shots holds one of either label, in random order, so that every even number of them is balanced.

    Args:
        pool: shots come from its train part. order: which choice, from 0. seed: of all choices.
        without: a text that may not be among them, because it is asked about.
    """
    generator = random.Random(f"{seed}.{order}")
    sides = [
        generator.sample([one for one in pool.train if one.label == label and one.text != without], MOST_SHOTS // 2)
        for label in (0, 1)
    ]
    return tuple(one for pair in zip(*sides, strict=True) for one in generator.sample(pair, 2))


def cut_prompts(box: Assembled, prompts: Sequence[Prompt]) -> tuple[tuple[int, ...], list[Question]]:
    """Cut prompts into what all begin with, and what is each one's own.

    Returns:
        the tokens that all share (each keeps at least one of its own), and a question for each.
    """
    cut = [split_at_seam(box.tokenizer, p.text, p.answers, specials=p.specials) for p in prompts]
    shortest = min(len(ids) for ids, _ in cut) - 1
    first = cut[0][0]
    shared = next((at for at in range(shortest) if any(ids[at] != first[at] for ids, _ in cut)), shortest)
    return first[:shared], [Question(ids=ids[shared:], answers=answers) for ids, answers in cut]


def measure_costs(
    box: Assembled,
    wording: Wording,
    chosen: Sequence[Shot],
    shots: Sequence[int],
    pool: Pool,
    template: ChatTemplate | None,
) -> list[dict[str, Any]]:
    """Read one prompt with each number of shots from the beginning, and say what it took.

    Returns:
        shots, tokens, seconds (one reading, measured), kv_bytes (of the real cache) and kv_formula
        (``2 · n_layers · n_kv_heads · head_dim · tokens`` numbers); without those that do not fit.
    """
    found: list[dict[str, Any]] = []
    read_prefix(box, (0,))  # the first pass of a process is slower than all later ones
    for k in shots:
        prompt = build(wording, chosen[:k], pool.held_out[0].text, template=template)
        ids, _ = split_at_seam(box.tokenizer, prompt.text, prompt.answers, specials=prompt.specials)
        if len(ids) > box.config.max_seq_len:
            continue
        began = time.perf_counter()
        cache = read_prefix(box, ids).cache
        if box.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        found.append(
            {
                "shots": k,
                "tokens": len(ids),
                "seconds": seconds,
                "kv_bytes": cache.size_bytes,
                "kv_formula": kv_bytes(box, len(ids)),
            }
        )
    return found


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, from 0 to 1.

    Source: Wilson 1927; matches ``scipy.stats.binomtest(right, n).proportion_ci(method="wilson")``.

    >>> [round(end, 3) for end in wilson(8, 10)]
    [0.49, 0.943]
    """
    share = right / n
    middle = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 / (1 + Z_95**2 / n) * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def median_accuracy(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """Each number of shots that ran, with the median accuracy of its runs."""
    for k in sorted({one["shots"] for one in runs}):
        yield k, float(np.median([one["right"] / one["n"] for one in runs if one["shots"] == k]))


def _count(
    way: Wording, order: int, k: int, scores: NDArray[np.float64], reviews: Sequence[Shot], tokens: float
) -> Run:
    """Turn [N, 2] log-probabilities into what the run is remembered by."""
    judged = scores.argmax(1)
    truth = np.array([review.label for review in reviews])
    table = [[int(((truth == real) & (judged == said)).sum()) for said in (0, 1)] for real in (0, 1)]
    right = table[0][0] + table[1][1]
    low, high = wilson(right, len(reviews))
    return Run(
        wording=way.id,
        order=order,
        shots=k,
        right=right,
        n=len(reviews),
        low=low,
        high=high,
        confusion=((table[0][0], table[0][1]), (table[1][0], table[1][1])),
        mass=float(np.exp(scores).sum(1).mean()),
        tokens=tokens,
    )
