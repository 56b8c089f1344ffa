"""The jobs ``classify`` and ``classify_one``: ask ways about the held-out rows, or about one text that was typed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit import jobs, shelf
from llmkit.jobs import Report
from llmkit.tune.memory import PeakMemory
from llmkit.tune.ways import measure
from llmkit.tune.ways.asking import Asker
from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.few_shot import FewShot
from llmkit.tune.ways.finetuned import FineTuned
from llmkit.tune.ways.neighbours import Neighbours
from llmkit.tune.ways.probe import Probe
from llmkit.tune.ways.prompt import ZeroShot
from llmkit.tune.ways.similarity import Similarity
from llmkit.tune.ways.task import Task, open_task
from llmkit.tune.ways.way import Name, Probs, Way

FILE = "answers.npz"
"""truth [N] and, for each way, its probabilities [places, N, labels] as float32."""

FEATURE_WAYS: tuple[Name, ...] = ("similarity", "neighbours", "probe")
"""The ways that share one box's features: one job, the texts read once."""


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``classify``: every way of one box learns, and answers for the held-out rows.

    Args:
        settings: data, data_fingerprint, sample (`open_task`); ways (names); box_id, fingerprint; device;
            wording, for ways that ask; shots, seed, for ``few_shot``.
        report: told after every batch; partial: the result so far.

    Returns:
        ways: name → `measure.Score` for each place of the dial, dial, place, cut, limit, learn_s, answer_s (seconds),
        peak_bytes (of the process), weights_bytes, and shots (used) where there are any; labels; rows (train,
        validation, test, asked, empty, unlabelled); chance; lang. ``answers.npz`` holds what was answered.

    Raises:
        TuneError, GenerateError, BoxError, ShelfError, DataError, TokenizerError: as they are.
    """
    report(0, 0)
    task = open_task(settings)
    shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    texts = [row.text for row in task.test]
    truth = np.asarray(task.numbers(task.test))
    learners = {"neighbours", "probe"} & set(settings["ways"])
    total = len(texts) + (len(task.train) + len(task.validation) if learners else 0)
    made: dict[str, Any] = {}
    answers: dict[str, NDArray[Any]] = {"truth": truth}
    read = 0

    def tick(count: int) -> None:
        nonlocal read
        read += count
        report(min(read, total), total, "judging", {"ways": made})

    reader: Reader | None = None
    for name in settings["ways"]:
        with PeakMemory(settings["device"]) as memory:
            if name in FEATURE_WAYS:
                reader = reader or Reader(settings["box_id"], device=settings["device"])
            way = make(name, settings, reader)
            reused = reader.reused_s if reader else 0.0
            began = time.perf_counter()
            way.learn(task, tick)
            learned, learn_reused = time.perf_counter(), (reader.reused_s if reader else 0.0)
            probs = way.answer(texts, tick)
            ended, answer_reused = time.perf_counter(), (reader.reused_s if reader else 0.0)
        answers[name] = probs
        made[name] = {
            **_scores(way, probs, truth, task),
            "learn_s": learned - began + learn_reused - reused,  # what was found already read would cost it, too
            "answer_s": ended - learned + answer_reused - learn_reused,
            "peak_bytes": memory.peak_bytes,
        }
        report(min(read, total), total, "judging", {"ways": made})
    if reader is not None and learners:
        reader.keep(report.folder, [row.text for row in task.train])
    np.savez(report.folder / FILE, allow_pickle=False, **answers)
    return {"ways": made, **about(task)}


def run_one(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """The job ``classify_one``: what each way answers for one text.

    Args:
        settings: text; asked: the settings of ``classify``, one for each box.
        report: told after each way; partial: the result so far.

    Returns:
        ways: name → probs [labels], cut (whether the text was too long), limit; labels.
    """
    text = settings["text"]
    total = sum(len(asked["ways"]) for asked in settings["asked"])
    made: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    report(0, total, "judging")

    def tick(_: int = 0) -> None:
        report(len(made), total, "judging", {"ways": made, "labels": list(labels)})

    for asked in settings["asked"]:
        task = open_task(asked)
        shelf.require_unchanged(asked["box_id"], asked["fingerprint"])
        labels = task.labels
        reader: Reader | None = None
        for name in asked["ways"]:
            if name in FEATURE_WAYS and reader is None:
                reader = Reader(asked["box_id"], device=asked["device"])
                before = jobs.find("classify", asked)
                if before is not None:
                    reader.take(jobs.folder(before.id), [row.text for row in task.train])
            way = make(name, asked, reader)
            way.learn(task, tick)
            probs = way.answer([text], tick)[way.place, 0]
            made[name] = {"probs": [float(p) for p in probs], "cut": bool(way.cut), "limit": way.limit}
            tick()
    return {"ways": made, "labels": list(labels)}


def make(name: Name, settings: Mapping[str, Any], reader: Reader | None) -> Way:
    """Make a way that has learned nothing yet.

    Args:
        name: which. settings: as of `run`. reader: for the ways that go by features.
    """
    device = settings["device"]
    if name == "prompt":
        return ZeroShot(Asker(settings["box_id"], wording=settings["wording"], device=device))
    if name == "few_shot":
        asker = Asker(settings["box_id"], wording=settings["wording"], device=device)
        return FewShot(asker, shots=settings["shots"], seed=settings["seed"])
    if name == "finetuned":
        return FineTuned(settings["box_id"], device=device)
    assert reader is not None
    if name == "similarity":
        return Similarity(reader)
    return Neighbours(reader) if name == "neighbours" else Probe(reader)


def about(task: Task) -> dict[str, Any]:
    """What the answers are about, as plain data."""
    return {
        "labels": list(task.labels),
        "rows": {
            "train": len(task.train),
            "validation": len(task.validation),
            "test": len(task.test),
            "asked": task.asked,
            "empty": task.empty,
            "unlabelled": task.unlabelled,
        },
        "chance": task.chance,
        "lang": task.lang,
    }


def _scores(way: Way, probs: Probs, truth: NDArray[np.int64], task: Task) -> dict[str, Any]:
    judged: Sequence[NDArray[np.int64]] = list(probs.argmax(-1))
    return {
        "scores": [asdict(measure.score(truth, one, labels=len(task.labels))) for one in judged],
        "dial": list(way.dial),
        "place": way.place,
        "cut": way.cut,
        "limit": way.limit,
        "weights_bytes": way.weights_bytes,
        **({"shots": way.used} if isinstance(way, FewShot) else {}),
    }
