"""What the page of task A asks for: which rows, which boxes, the jobs of the ways, and what they answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from components import engine, prompts_engine
from components.badge import Badge
from components.job_panel import ended_just_now
from components.workbench import DEFAULT_BOX
from llmkit import jobs, shelf

if TYPE_CHECKING:
    from llmkit.tune.tuned import Tuned
    from llmkit.tune.ways.measure import Ranking
    from llmkit.tune.ways.task import Task

KIND, ONE = "classify", "classify_one"
ENCODER = "minilm-l6"
"""The box that reads features as long as nobody has chosen: it was made to compare texts."""

SEED = 0
WORDINGS = ("field", "decide", "spoken")
WAYS = ("similarity", "prompt", "few_shot", "neighbours", "probe", "finetuned")
"""In the order in which they are drawn: what needs no training row first."""

FEATURES = ("similarity", "neighbours", "probe")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "features": FEATURES,
    "prompt": ("prompt",),
    "few_shot": ("few_shot",),
    "finetuned": ("finetuned",),
}
"""The jobs, in the order in which they are done: the quick ones first; and the ways that each brings."""

SEEN = "classify_board"
"""The component whose state says where the learner looks."""


class ClassifyError(ValueError):
    """The page's question cannot be answered yet.

    Args:
        code: ``ways_not_run``: fewer than two ways have answered.
    """

    def __init__(self, code: str, **values: object) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is compared, and how.

    Args:
        data, data_fingerprint: the labelled rows. sample: test rows, at most.
        reader: the box that reads features. asked: the box that is prompted; empty where none can be.
        wording: in which words. shots: examples in a prompt. tuned: the fine-tuned box; empty where there is none.
    """

    data: str
    data_fingerprint: str
    sample: int
    reader: str
    asked: str
    wording: str
    shots: int
    tuned: str

    def settings(self, group: str) -> dict[str, Any] | None:
        """What the job of a group is given: everything that changes its result; None where it has no box."""
        box_id = {"features": self.reader, "finetuned": self.tuned}.get(group, self.asked)
        if not box_id:
            return None
        words = {"wording": self.wording} if group in ("prompt", "few_shot") else {}
        examples = {"shots": self.shots, "seed": SEED} if group == "few_shot" else {}
        return {
            "data": self.data,
            "data_fingerprint": self.data_fingerprint,
            "sample": self.sample,
            "ways": list(GROUPS[group]),
            "box_id": box_id,
            "fingerprint": engine.fingerprint(box_id),
            "device": engine.device(),
            **words,
            **examples,
        }

    def box_of(self, way: str) -> str:
        """The box that a way asks."""
        return self.reader if way in FEATURES else self.tuned if way == "finetuned" else self.asked


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The rows that are asked about.

    Args:
        data, fingerprint: where they come from. sample: how many were asked for. task: the rows, split.
    """

    data: str
    fingerprint: str
    sample: int
    task: Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """What one way answered.

    Args:
        way: its name. facts: scores, dial, place, times and memory, as the job returned them.
        probs: [places, N, labels]. badge: where it comes from.
    """

    way: str
    facts: Mapping[str, Any]
    probs: NDArray[np.float32]
    badge: Badge

    def judged(self, place: int) -> NDArray[np.int64]:
        """The label of each row, [N], at a place of the dial."""
        found: NDArray[np.int64] = self.probs[place].argmax(-1)
        return found


def readers(own: str) -> tuple[str, ...]:
    """The boxes that can read features, the one that was made for it first."""
    here = engine.boxes_here(DEFAULT_BOX, own)
    return tuple(sorted(here, key=lambda one: (one != ENCODER, one != own)))


def askable(own: str) -> tuple[str, ...]:
    """The boxes that can be prompted, those that were taught to answer first."""
    return prompts_engine.promptable(own)


def fingerprint(data: str) -> str:
    """What changes when the data do."""
    from llmkit.tune.labelled import fingerprint as of

    return of(data)


def task(data: str, data_fingerprint: str, sample: int) -> Task:
    """The rows that all ways share.

    Raises:
        Exception: with a ``.code``, where nothing can be learned from them.
    """
    return _task(data, data_fingerprint, sample).value


def tuned(data: str, data_fingerprint: str, labels: Sequence[str]) -> tuple[Tuned, ...]:
    """The boxes that were fine-tuned on these very data, the newest first."""
    from llmkit.tune.ways.task import suited

    return suited(data, data_fingerprint, labels)


def languages(box_id: str) -> tuple[str, ...]:
    """The languages that a box of the catalogue was made from; empty where that is not known."""
    box = shelf.catalogue().get(box_id)
    return box.languages if box is not None else ()


def found_jobs(choice: Choice) -> dict[str, jobs.Job | None]:
    """The job of each group that can be done; None where it was not asked for yet."""
    asked = {group: choice.settings(group) for group in GROUPS}
    return {group: jobs.find(KIND, settings) for group, settings in asked.items() if settings is not None}


def answered(choice: Choice) -> dict[str, Answered]:
    """What has been answered so far, in the ways' order."""
    made: dict[str, Answered] = {}
    for job in found_jobs(choice).values():
        if job is None or job.state != "done":
            continue
        files = _answers(job.id, job.ended_at or 0.0).value
        badge = Badge.of_process(job.made_with, live=ended_just_now(job))
        for way, facts in job.result["ways"].items():
            made[way] = Answered(way=way, facts=facts, probs=files[way], badge=badge)
    return {way: made[way] for way in WAYS if way in made}


def start_all(choice: Choice) -> None:
    """Ask for every group's job, the quick ones first."""
    for group in GROUPS:
        settings = choice.settings(group)
        if settings is not None:
            jobs.submit(KIND, settings)


def places(ways: Mapping[str, Answered]) -> dict[str, int]:
    """Where each way's dial stands: as the learner has settled it, else where the validation rows put it."""
    dials = seen().get("dials", {})
    found = {}
    for way, one in ways.items():
        asked = dials.get(way, one.facts["place"]) if isinstance(dials, Mapping) else one.facts["place"]
        last = len(one.facts["dial"]) - 1
        found[way] = min(max(asked, 0), last) if isinstance(asked, int) else one.facts["place"]
    return found


def seen() -> Mapping[str, Any]:
    """Where the learner looks on the board: ``way``, ``cell`` [truth, judged], ``dials`` {way: place}."""
    state = st.session_state.get(SEEN)
    settled = state.get("settled") if state is not None else None
    return settled if isinstance(settled, Mapping) else {}


def ranking(task: Task, ways: Mapping[str, Answered], at: Mapping[str, int]) -> Ranking:
    """Who wins on these rows, and who cannot be told from the winner."""
    from llmkit.tune.ways.measure import rank

    truth = np.asarray(task.numbers(task.test))
    return rank({way: one.judged(at[way]) == truth for way, one in ways.items()})


@engine.remembered(max_entries=8)
def _task(data: str, data_fingerprint: str, sample: int) -> Task:
    from llmkit.tune.ways.task import open_task

    made = open_task({"data": data, "data_fingerprint": data_fingerprint, "sample": sample})
    engine.settle()
    return made


@engine.remembered(max_entries=24)
def _answers(job_id: str, ended_at: float) -> dict[str, NDArray[Any]]:
    from llmkit.tune.ways.runner import FILE

    with np.load(jobs.folder(job_id) / FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
