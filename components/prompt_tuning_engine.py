"""What the Prompt tuning page asks for: which box, which test set, the prompts on trial, and the jobs' settings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import engine
from components.badge import Badge
from llmkit import jobs

if TYPE_CHECKING:
    from llmkit.generate.answer_score import Score
    from llmkit.generate.trial_rows import TestRow, TrialSet
    from llmkit.tune.ways.measure import Duel, Ranking

TRIAL, NONSENSE = "prompt_trial", "nonsense"
"""Kinds of jobs."""

OWN_TOKENS = 24
"""Tokens that an answer to the learner's own rows may have."""

PREPARED_ROWS = 24
"""Rows taken of a prepared data set: from its test part, its labels in turns."""

TEXT_LIMIT = 4_000
"""Characters of a prompt."""

RECORDED = Path(__file__).with_name("prompt_tuning_recorded.json")
"""The nonsense as it was counted once and shipped: the picture that is there before the learner has counted."""


class TuningError(ValueError):
    """Something on the page has to be done first.

    Args:
        code: ``trial_not_run``, ``trial_one_prompt``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code
        self.values: dict[str, object] = {}


@dataclass(frozen=True, kw_only=True)
class Version:
    """A prompt on trial. name: what it is called on the page. template: with its variables."""

    name: str
    template: str


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A version whose trial is done: its job's result, and where that comes from."""

    version: Version
    result: Mapping[str, Any]
    badge: Badge

    @property
    def right(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """[N], whether each row was answered right."""
        return np.array([row["right"] for row in self.result["rows"]], dtype=bool)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A count that was made before, elsewhere."""

    settings: Mapping[str, Any]
    result: Mapping[str, Any]
    badge: Badge


def trial_settings(box_id: str, trial: TrialSet, template: str) -> dict[str, Any]:
    """Return what the job ``prompt_trial`` is given; the prompt has been looked at.

    Raises:
        TrialError: the prompt cannot be filled by these rows, or the rows cannot be scored so.
    """
    from llmkit.generate.prompt_variables import require
    from llmkit.generate.trial_rows import as_data, require_scorable

    require(template, trial.variables)
    require_scorable(trial.rows, trial.score)
    return {
        "box_id": box_id,
        "fingerprint": engine.fingerprint(box_id),
        "template": template,
        "rows": as_data(trial.rows),
        "score": trial.score,
        "labels": list(trial.labels) if trial.score == "label" else [],
        "max_new_tokens": trial.tokens,
    }


def tried(version: Version, settings: Mapping[str, Any]) -> Tried | None:
    """Return a version's trial where it is done."""
    job = jobs.find(TRIAL, settings)
    if job is None or job.state != "done":
        return None
    return Tried(version=version, result=job.result, badge=Badge.of_process(job.made_with))


def rank(done: Sequence[Tried]) -> Ranking:
    """Rank versions that were tried on the same rows: exact McNemar tests against the best, corrected by Holm."""
    from llmkit.tune.ways.measure import rank as ranked

    return ranked({one.version.name: one.right for one in done})


def half_duel(first: Tried, second: Tried) -> Duel:
    """Compare two versions on every second row alone."""
    from llmkit.tune.ways.measure import duel

    return duel(first.right[::2], second.right[::2])


def decided(duel: Duel) -> str:
    """Return which of two versions a duel shows to be better: "first", "second" or "none"."""
    from llmkit.tune.ways.measure import ALPHA

    if duel.p >= ALPHA:
        return "none"
    return "first" if duel.only_first > duel.only_second else "second"


def own_set(rows: Sequence[TestRow], score: Score, lang: str, precise: str) -> TrialSet:
    """Return a learner's rows as a test set: plainly all variables, and the same behind an instruction."""
    from llmkit.generate.trial_rows import TrialSet

    named = "\n".join(f"{{{name}}}" for name in rows[0].values)
    return TrialSet(
        id="own",
        lang=lang,
        score=score,
        vague=named,
        precise=f"{precise}\n\n{named}",
        rows=tuple(rows),
        tokens=OWN_TOKENS,
    )


def prepared_rows(set_id: str) -> tuple[TestRow, ...]:
    """Return rows of a prepared data set: of its test part, each label in turns; none where it has no labels.

    Raises:
        DataError: it is not here, or damaged.
    """
    from llmkit.generate.trial_rows import TestRow
    from llmkit.tune.data.prepared import open_prepared

    by_label: dict[str, list[TestRow]] = {}
    for row in open_prepared(set_id).part("test"):
        if row.label and row.text.strip():
            by_label.setdefault(row.label, []).append(TestRow(values={"text": row.text}, expected=row.label))
    longest = max(map(len, by_label.values()), default=0)
    turns = [rows[at] for at in range(longest) for rows in by_label.values() if at < len(rows)]
    return tuple(turns[:PREPARED_ROWS])


def pasted_rows(source: str) -> tuple[TestRow, ...]:
    """Return the rows of a kept file.

    Raises:
        DataError: it cannot be read as a table. TrialError: it is no test set.
    """
    from llmkit.generate.trial_rows import from_table
    from llmkit.tune.data.source import Reading, open_source

    table = open_source(source, Reading(header=True))
    return from_table(table.columns, table.frame.to_numpy().tolist())


def nonsense_settings(box_id: str, lang: str) -> dict[str, Any]:
    """Return what the job ``nonsense`` is given."""
    from llmkit.generate.nonsense import ASKED, MAX_NEW_TOKENS, WAYS, facts

    return {
        "box_id": box_id,
        "fingerprint": engine.fingerprint(box_id),
        "lang": lang,
        "facts": [asdict(fact) for fact in facts(lang)],
        "ways": list(WAYS),
        "asked": dict(ASKED[lang]),
        "max_new_tokens": MAX_NEW_TOKENS,
    }


def recorded(settings: Mapping[str, Any]) -> Recorded | None:
    """Return the count that ships with the guide, where it is about this very box, language and wording."""
    asked = {name: value for name, value in settings.items() if name != "fingerprint"}
    return next((one for one in all_recorded() if one.settings == json.loads(json.dumps(asked))), None)


def all_recorded() -> tuple[Recorded, ...]:
    """Return every count that ships with the guide."""
    return _recorded(RECORDED.stat().st_mtime_ns).value


def counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """Return way → outcome → how many."""
    from llmkit.generate.nonsense import OUTCOMES

    ways = dict.fromkeys(row["way"] for row in rows)
    return {
        way: {kind: sum(row["way"] == way and row["outcome"] == kind for row in rows) for kind in OUTCOMES}
        for way in ways
    }


def changes(rows: Sequence[Mapping[str, Any]], outcome: str) -> dict[str, Duel]:
    """Return for each way but the first: on how many questions only plain asking, and only that way, had an outcome.

    The probabilities are corrected by Holm.
    """
    from llmkit.tune.ways.measure import Duel, duel, holm

    had = {way: np.array([row["outcome"] == outcome for row in rows if row["way"] == way]) for way in counts(rows)}
    first, *others = had
    duels = {way: duel(had[first], had[way]) for way in others if len(had[way]) == len(had[first])}
    adjusted = holm([one.p for one in duels.values()])
    return {
        way: Duel(only_first=one.only_first, only_second=one.only_second, p=p)
        for (way, one), p in zip(duels.items(), adjusted, strict=True)
    }


@engine.remembered(max_entries=1)
def _recorded(changed_ns: int) -> tuple[Recorded, ...]:
    listed = json.loads(RECORDED.read_text(encoding="utf-8"))
    return tuple(
        Recorded(
            settings=one["settings"],
            result=one["result"],
            badge=Badge.recorded(device=one["device"], date=one["date"], versions=one["versions"]),
        )
        for one in listed
    )
