"""The job ``read_column``: read a column's texts with a box, or by a rule; the answers become new columns."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from llmkit import shelf
from llmkit.analyse.cells import Cells, cells_of
from llmkit.analyse.cluster import cluster, on_map, terms
from llmkit.analyse.found import RULES
from llmkit.analyse.store import Store
from llmkit.analyse.table import open_table
from llmkit.analyse.ways import Answer, Vectors, Way, labels_of, make, matrix
from llmkit.jobs import Report
from llmkit.trace.space import project

WAYS = ("classify", "tag", *RULES, "answer", "summary", "cluster")
SLOW = ("answer", "summary")
"""Ways for which the box writes; asking for a label by prompt is slow, too."""

MOST_SLOW = 1_000
"""Different texts that a slow way reads at most."""

ROWS, SCORES, MAP = "answers.parquet", "scores.npz", "map.npz"
SHOWN = 6
"""Answers that are shown while the job runs."""


def run(settings: Mapping[str, Any], report: Report) -> dict[str, Any]:
    """Read a column.

    Args:
        settings: table (its id), column, way, most (different texts at most, 0 for all); for ways that ask a box:
            box_id, fingerprint, device; classify: labels, by ("similarity" or "prompt"), wording; tag: labels; answer:
            question, lang; summary: lang; cluster: k.
        report: told after every chunk; partial: counts and the latest answers.

    Returns:
        rows, filled (rows that have an answer), different (texts in the column), read (texts asked about), fresh (of
        these not known before), seconds (for the fresh), counts (answer → rows), limit (tokens of a text that are
        read, None where there is none), terms (for each cluster). ``answers.parquet`` holds a row for each of the
        table's: answer, confidence, in_text. ``scores.npz``: tag's cosines [texts, labels] and places [rows];
        ``map.npz``: cluster's points xy [n, 2] with their text's number.

    Raises:
        AnalyseError, DataError, ShelfError, BoxError, GenerateError, TokenizerError: as they are.
    """
    report(0, 0, "opening")
    frame = open_table(settings["table"])
    cells = cells_of(frame[settings["column"]], most=_most(settings))
    if "box_id" in settings:
        shelf.require_unchanged(settings["box_id"], settings["fingerprint"])
    way = make(settings)
    read, fresh, seconds = _read(way, cells, report)
    result: dict[str, Any] = {"fresh": fresh, "seconds": seconds, "limit": way.limit, "terms": []}
    if settings["way"] == "cluster":
        answers = _clusters(cells, read, settings["k"], report, result)
    elif settings["way"] == "tag":
        assert isinstance(way, Vectors)
        scores = way.scores(read)
        np.savez(report.folder / SCORES, scores=scores, places=cells.places)
        names = labels_of(settings)[0]
        answers = [Answer(text=names[int(row.argmax())], confidence=float(row.max())) for row in scores]
    else:
        answers = way.judge(cells.texts, read)
    _write(cells, answers, report)
    filled = Counter(str(one) for one in cells.spread([answer.text for answer in answers]) if one)
    return {
        **result,
        "rows": len(cells.places),
        "filled": sum(filled.values()),
        "different": cells.different,
        "read": len(cells.texts),
        "counts": dict(filled.most_common(60)),
    }


def is_slow(settings: Mapping[str, Any]) -> bool:
    """Whether a reading asks the box to write, or about every label: then only MOST_SLOW texts are read."""
    return settings["way"] in SLOW or (settings["way"] == "classify" and settings.get("by") == "prompt")


def tags(
    scores: np.ndarray[Any, np.dtype[np.float32]],
    labels: Sequence[str],
    threshold: float,
) -> list[str]:
    """The labels of each text whose cosine reaches the threshold, the nearest first; "" for none."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return [
        "; ".join(labels[at] for at in places if row[at] >= threshold)
        for row, places in zip(scores, order.tolist(), strict=True)
    ]


def _most(settings: Mapping[str, Any]) -> int:
    asked = int(settings.get("most", 0))
    return min(asked or MOST_SLOW, MOST_SLOW) if is_slow(settings) else asked


def _read(way: Way, cells: Cells, report: Report) -> tuple[list[bytes], int, float]:
    """Read what is not known yet, a chunk at a time; return what was read of each text, in order."""
    store, total = Store(way.asked), len(cells.texts)
    known = store.find(cells.texts) if way.kept else {}
    unread = [text for text in cells.texts if text not in known]
    fresh, seconds = len(unread), 0.0
    counts: Counter[str] = Counter()
    report(total - fresh, total, "reading_cells")
    for start in range(0, fresh, way.chunk):
        some = unread[start : start + way.chunk]
        began = time.perf_counter()
        made = dict(zip(some, way.read(some), strict=True))
        seconds += time.perf_counter() - began
        if way.kept:
            store.keep(made)
        known.update(made)
        answers = way.judge(some, list(made.values()))
        counts.update(answer.text for answer in answers)
        done = total - fresh + start + len(some)
        report(done, total, "reading_cells", _so_far(some, answers, counts))
    if fresh >= way.chunk and way.kept:
        store.keep_pace(seconds / fresh)
    return [known[text] for text in cells.texts], fresh, seconds


def _so_far(texts: Sequence[str], answers: Sequence[Answer], counts: Counter[str]) -> dict[str, Any] | None:
    if not answers:
        return None
    latest = [
        {"text": text[:120], "answer": answer.text[:120], "confidence": answer.confidence}
        for text, answer in list(zip(texts, answers, strict=True))[-SHOWN:]
    ]
    return {"counts": dict(counts.most_common(12)), "latest": latest}


def _clusters(cells: Cells, read: Sequence[bytes], k: int, report: Report, result: dict[str, Any]) -> list[Answer]:
    report(len(cells.texts), len(cells.texts), "clustering")
    vectors = matrix(read)
    made = cluster(vectors, k)
    result["terms"] = terms(cells.texts, made.group, k)
    shown = on_map(len(vectors))
    np.savez(report.folder / MAP, xy=project(vectors[shown], "pca", dims=2), text=shown, group=made.group[shown])
    return [
        Answer(text=str(group + 1), confidence=float(clear))
        for group, clear in zip(made.group.tolist(), made.clear, strict=True)
    ]


def _write(cells: Cells, answers: Sequence[Answer], report: Report) -> None:
    """Write the answers, a row for each row of the table."""
    frame = pd.DataFrame(
        {
            "answer": pd.Series(cells.spread([answer.text for answer in answers]), dtype=object),
            "confidence": pd.Series(cells.spread([answer.confidence for answer in answers]), dtype="float32"),
            "in_text": pd.Series(cells.spread([answer.in_text for answer in answers]), dtype="boolean"),
        }
    )
    frame.to_parquet(report.folder / ROWS, index=False)
