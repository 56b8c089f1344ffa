"""What the page of boxes and data computes, once for all sessions: facts, speeds, tables, findings, lengths, splits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from components import engine
from components.engine import Made
from components.tokens_engine import open_tokenizer

if TYPE_CHECKING:
    import pandas as pd

    from llmkit.tune.box_facts import BoxFacts, BoxSpeed
    from llmkit.tune.data.checks import Finding
    from llmkit.tune.data.columns import Columns
    from llmkit.tune.data.dataset import Table
    from llmkit.tune.data.source import Reading
    from llmkit.tune.data.split import Part

Shares = tuple[float, float, float]

INLINE_CHARACTERS = 150_000
"""Texts of so many characters are counted at once; more are a job."""

_measuring = threading.Lock()

LONG = "drop_long"
"""A mending that depends on a box: ``drop_long:<context>:<box_id>``."""


@dataclass(frozen=True, kw_only=True)
class Pile:
    """A source, how it is read, which columns count, and what was mended; the key of everything that is computed.

    Args:
        source: a data box's id or ``file:<digest>``. fingerprint: changes when it does.
        reading: how a file is read. columns: which hold text and label. mendings: names, in order.
    """

    source: str
    fingerprint: str
    reading: Reading
    columns: Columns
    mendings: tuple[str, ...] = ()

    @property
    def raw(self) -> Pile:
        """The same pile before any mending."""
        return replace(self, mendings=())

    def mended_by(self, name: str) -> Pile:
        """The same pile after one more mending."""
        return replace(self, mendings=(*self.mendings, name))


@engine.remembered(max_entries=32)
def facts(box_id: str, fingerprint: str) -> BoxFacts:
    """Return what a box is, read off its files."""
    from llmkit.tune.box_facts import read_facts

    return read_facts(box_id)


@engine.remembered(max_entries=32)
def cost(box_id: str, fingerprint: str, sentence: str) -> int:
    """Return how many tokens the sentence is in a box."""
    return len(open_tokenizer(box_id).encode(sentence))


@engine.remembered(max_entries=32)
def speed(box_id: str, fingerprint: str, sentence: str, device: str) -> BoxSpeed:
    """Return how fast a box is on this machine; measured once for all sessions, since they share it."""
    from llmkit.tune.box_facts import measure_speed

    with _measuring:
        return measure_speed(box_id, sentence, device=device)


def table(source: str, reading: Reading) -> Made[Table]:
    """Return a source as a table."""
    from llmkit.tune.data.source import fingerprint

    return _table(source, fingerprint(source), reading)


def pile_table(pile: Pile) -> Table:
    """Return the table that a pile is made from."""
    return _table(pile.source, pile.fingerprint, pile.reading).value


@engine.remembered(max_entries=8)
def guessed(source: str, fingerprint: str, reading: Reading) -> Columns:
    """Return which columns hold text and label, as far as can be guessed."""
    from llmkit.tune.data.columns import guess_columns

    return guess_columns(_table(source, fingerprint, reading).value)


@engine.remembered(max_entries=24)
def frame(pile: Pile) -> pd.DataFrame:
    """Return the rows of a pile after its mendings."""
    from llmkit.tune.data.mend import MENDINGS

    if not pile.mendings:
        return pile_table(pile).frame
    before = replace(pile, mendings=pile.mendings[:-1])
    name, _, more = pile.mendings[-1].partition(":")
    rows = frame(before).value
    if name == LONG:
        context, _, box_id = more.partition(":")
        counted = lengths(before, box_id)
        return rows if counted is None else rows[counted.value <= int(context)]
    return MENDINGS[name](rows, pile_table(pile), pile.columns)


@engine.remembered(max_entries=24)
def labels(pile: Pile) -> pd.Series[str]:
    """Return each row's label, None where there is none."""
    from llmkit.tune.data.columns import labels_of

    return labels_of(frame(pile).value, pile.columns)


@engine.remembered(max_entries=24)
def _findings(pile: Pile, box_id: str, fingerprint: str, context: int, counted: bool) -> tuple[Finding, ...]:
    from llmkit.tune.data.checks import check

    found = lengths(pile, box_id) if counted else None
    return check(
        pile_table(pile),
        frame=frame(pile).value,
        columns=pile.columns,
        lengths=() if found is None else found.value.tolist(),
        context=context,
    )


def findings(pile: Pile, box_id: str, context: int) -> Made[tuple[Finding, ...]]:
    """Return what is to be said about a pile; lengths are among it once they are counted."""
    counted = lengths(pile, box_id) is not None
    return _findings(pile, box_id, engine.fingerprint(box_id), context, counted)


def lengths_job(pile: Pile, box_id: str) -> Mapping[str, object]:
    """Return the settings of the job that counts a pile's tokens in a box."""
    return {
        "source": pile.source,
        "fingerprint": pile.fingerprint,
        "reading": asdict(pile.reading),
        "text": pile.columns.text,
        "box_id": box_id,
        "box_fingerprint": engine.fingerprint(box_id),
    }


def lengths(pile: Pile, box_id: str) -> Made[NDArray[np.int32]] | None:
    """Return the tokens of each row's text [rows]; None as long as a job has to count them first."""
    raw = _raw_lengths(pile, box_id)
    if raw is None:
        return None
    return _lengths(pile, box_id, engine.fingerprint(box_id))


def _raw_lengths(pile: Pile, box_id: str) -> NDArray[np.int32] | None:
    """The tokens of every row as it was read: counted here where that is quick, else found in the job's file."""
    raw = pile.raw
    fingerprint = engine.fingerprint(box_id)
    if characters(raw).value <= INLINE_CHARACTERS:
        return _counted(raw, box_id, fingerprint).value
    from llmkit import jobs

    job = jobs.find("data_lengths", lengths_job(raw, box_id))
    return None if job is None or job.state != "done" else _from_job(job.id).value


@engine.remembered(max_entries=16)
def characters(pile: Pile) -> int:
    """Return how many characters a pile's texts have together."""
    return int(sum(len(text or "") for text in frame(pile).value[pile.columns.text]))


@engine.remembered(max_entries=8)
def _counted(pile: Pile, box_id: str, fingerprint: str) -> NDArray[np.int32]:
    from llmkit.tune.data.checks import token_lengths

    counts = token_lengths(frame(pile).value[pile.columns.text], open_tokenizer(box_id))
    return np.asarray(counts, dtype=np.int32)


@engine.remembered(max_entries=8)
def _from_job(job_id: str) -> NDArray[np.int32]:
    from llmkit import jobs
    from llmkit.tune.data.lengths import FILE

    with np.load(jobs.folder(job_id) / FILE) as file:
        found: NDArray[np.int32] = file["lengths"]
    return found


@engine.remembered(max_entries=24)
def _lengths(pile: Pile, box_id: str, fingerprint: str) -> NDArray[np.int32]:
    """The tokens of what the mendings have left: only texts that a mending rewrote are counted again."""
    from llmkit.tune.data.checks import token_lengths

    raw_frame, raw = frame(pile.raw).value, _raw_lengths(pile, box_id)
    now = frame(pile).value
    assert raw is not None
    places = raw_frame.index.get_indexer(now.index)
    counts = raw[places].copy()
    before, after = raw_frame[pile.columns.text].to_numpy()[places], now[pile.columns.text].to_numpy()
    changed = [at for at, (old, new) in enumerate(zip(before, after, strict=True)) if old is not new and old != new]
    counts[changed] = token_lengths([after[at] for at in changed], open_tokenizer(box_id))
    return counts


@engine.remembered(max_entries=16)
def split(pile: Pile, seed: int, shares: Shares) -> tuple[Part, ...]:
    """Return where each row of a pile belongs."""
    from llmkit.tune.data.split import split as deal

    texts = [text or "" for text in frame(pile).value[pile.columns.text]]
    return deal(texts, list(labels(pile).value), seed=seed, shares=shares)


@engine.remembered(max_entries=16)
def repeated(pile: Pile) -> tuple[int, int]:
    """Return how many rows hold a text that an earlier row holds too, and how many rows there are.

    Case, blanks, width and punctuation do not count.
    """
    from llmkit.tune.data.checks import normalise

    counts = Counter(normalise(text) for text in frame(pile).value[pile.columns.text] if text and text.strip())
    return sum(counts.values()) - len(counts), len(frame(pile).value)


@engine.remembered(max_entries=8)
def _table(source: str, fingerprint: str, reading: Reading) -> Table:
    from llmkit.tune.data.source import open_source

    return open_source(source, reading)
