"""Ways to read a cell. Each reads one text at a time as if there were no other: no cell can change another's answer."""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmkit.analyse.errors import AnalyseError
from llmkit.analyse.found import RULES, in_text
from llmkit.generate.decode import Step
from llmkit.generate.prompt_pair import stop_ids
from llmkit.generate.together import together
from llmkit.reference import Assembled, open_box
from llmkit.tune.ways.asking import Asker
from llmkit.tune.ways.features import Reader
from llmkit.tune.ways.similarity import SCALE, WORDS, label_texts
from llmkit.tune.ways.task import Task, language
from llmkit.tune.ways.way import silent, softmax

MOST_LABELS = 30
MOST_TOKENS = {"answer": 12, "summary": 28}
"""Tokens that are written about a cell, at most."""

MOST_READ = 320
"""Tokens of a cell that are read before something is written about it; less where the box holds less."""

PROMPTS = Path(__file__).with_name("written.toml")


SPARE = 8
"""Tokens that putting a text into a prompt may add."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was read in a text.

    Args:
        text: the answer; "" where there is none. confidence: from 0 to 1; None where a rule has found it.
        in_text: whether its words stand in the text; None where that is no question.
    """

    text: str
    confidence: float | None = None
    in_text: bool | None = None


class Way(Protocol):
    """One way to read.

    Attributes:
        asked: all that changes what `read` gives, but for the text. chunk: texts between two reports.
        kept: whether what is read is worth keeping. limit: tokens of a text that are read; None where it is all.
    """

    asked: Mapping[str, Any]
    chunk: int
    kept: bool
    limit: int | None

    def read(self, texts: Sequence[str]) -> list[bytes]:
        """Read texts, each by itself: slow, and kept."""

    def judge(self, texts: Sequence[str], read: Sequence[bytes]) -> list[Answer]:
        """Make answers of what was read: quick."""


class Rule:
    """Finds by a rule, without a model."""

    chunk = 5_000
    kept = False
    limit: int | None = None

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._rule = RULES[settings["way"]]
        self.asked: Mapping[str, Any] = {"way": settings["way"]}

    def read(self, texts: Sequence[str]) -> list[bytes]:
        return [self._rule(text).encode() for text in texts]

    def judge(self, texts: Sequence[str], read: Sequence[bytes]) -> list[Answer]:
        return [Answer(text=one.decode()) for one in read]


class Vectors:
    """Reads a text as one vector. Labels, tags and clusters all go on from it, so a text is read once for all three."""

    chunk = 64
    kept = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.reader = Reader(settings["box_id"], device=settings["device"])
        self.asked: Mapping[str, Any] = asked_vector(settings)
        self.limit: int | None = self.reader.limit
        self._names, means = labels_of(settings)
        if means:
            self._labels = self.reader.read(label_texts(_task(means))[1])[0]

    def read(self, texts: Sequence[str]) -> list[bytes]:
        return [vector.tobytes() for vector in self.reader.read(texts)[0]]

    def scores(self, read: Sequence[bytes]) -> NDArray[np.float32]:
        """The cosine of each text with each label, [N, L]."""
        return np.asarray(matrix(read) @ self._labels.T, dtype=np.float32)

    def judge(self, texts: Sequence[str], read: Sequence[bytes]) -> list[Answer]:
        if not self._names:
            return []
        probs = softmax(SCALE * self.scores(read).astype(np.float64))
        return _likeliest(self._names, probs)


class Asked:
    """Asks which label fits: the labels' own probabilities after the question."""

    chunk = 8
    kept = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._names, means = labels_of(settings)
        self._asker = Asker(settings["box_id"], wording=settings["wording"], device=settings["device"])
        self._asker.prepare(_task(means))
        self.limit: int | None = self._asker.limit
        self.asked: Mapping[str, Any] = asked_prompt(settings)

    def read(self, texts: Sequence[str]) -> list[bytes]:
        return [one.tobytes() for one in self._asker.ask(texts, silent)[0]]

    def judge(self, texts: Sequence[str], read: Sequence[bytes]) -> list[Answer]:
        return _likeliest(self._names, matrix(read))


class Written:
    """Lets the box write a few words about a text, always the likeliest next token.

    An answer's confidence is the probability of exactly this answer; a summary's is the mean (geometric) of its tokens.
    """

    chunk = 8
    kept = True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._box = open_box(settings["box_id"], device=settings["device"])
        self._together = together(self._box)
        self._way = settings["way"]
        self._most = MOST_TOKENS[self._way]
        question = " ".join(str(settings.get("question", "")).split())
        if self._way == "answer" and not question:
            raise AnalyseError("read_no_question")
        prompt = tomllib.loads(PROMPTS.read_text(encoding="utf-8"))[self._way][settings["lang"]]
        self._before, self._behind = (prompt["before"] + prompt["cell"]).split("{text}")
        self._behind = self._behind.replace("{question}", question)
        self._specials = stop_ids(self._box)
        self._stops = self._specials | _line_ends(self._box)
        room = self._box.config.max_seq_len - len(self._ids("")) - self._most - SPARE
        self._room = max(min(MOST_READ, room), SPARE)
        self.limit: int | None = self._room
        self.asked: Mapping[str, Any] = asked_prompt(settings)

    def read(self, texts: Sequence[str]) -> list[bytes]:
        prompts = [self._ids(self._cut(text)) for text in texts]
        streams = [self._together.stream(prompt, max_new_tokens=self._most, stop_ids=self._stops) for prompt in prompts]
        return [json.dumps(self._one(list(stream))).encode() for stream in streams]

    def judge(self, texts: Sequence[str], read: Sequence[bytes]) -> list[Answer]:
        answers = []
        for text, one in zip(texts, map(json.loads, read), strict=True):
            given = in_text(one["text"], text) if self._way == "answer" else None
            answers.append(Answer(text=one["text"], confidence=one["confidence"], in_text=given))
        return answers

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self._box.tokenizer.encode(self._before + text + self._behind).ids)

    def _cut(self, text: str) -> str:
        """The text on one line, so that it is one example and no more; its first tokens."""
        text = " ".join(text.split())
        encoding = self._box.tokenizer.encode(text, specials=False)
        return text if len(encoding) <= self._room else text[: encoding.offsets[self._room - 1][1]]

    def _one(self, steps: Sequence[Step]) -> dict[str, Any]:
        """The line that was written, and how sure; a character that was cut in two is left out."""
        ids = [step.token_id for step in steps if step.token_id not in self._specials]
        whole = b"".join(map(self._box.tokenizer.token_bytes, ids))
        text = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode(whole).strip().split("\n")[0]
        total = sum(step.logprob for step in steps)
        sure = total if self._way == "answer" else total / max(len(steps), 1)
        return {"text": " ".join(text.split()), "confidence": math.exp(sure)}


def make(settings: Mapping[str, Any]) -> Way:
    """Make the way that a job's settings name; boxes are opened here.

    Raises:
        AnalyseError: ``read_no_labels``, ``read_too_many_labels``, ``read_no_question``; GenerateError, BoxError.
    """
    way = settings["way"]
    if way in RULES:
        return Rule(settings)
    if way in ("classify", "tag"):
        require_labels(settings)
    if way in ("answer", "summary"):
        return Written(settings)
    return Asked(settings) if way == "classify" and settings["by"] == "prompt" else Vectors(settings)


def asked_vector(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What changes a text's vector."""
    return {"way": "vector", "box": settings["fingerprint"], "device": settings["device"]}


def asked_prompt(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What changes a box's answer, but for the text."""
    names = ("way", "fingerprint", "device", "labels", "wording", "question", "lang")
    words = hashlib.blake2b(PROMPTS.read_bytes() + WORDS.read_bytes(), digest_size=8).hexdigest()
    return {"words": words, **{name: settings[name] for name in names if name in settings}}


def asked_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What changes a reading, but for the text; as `make(settings).asked`, with no box opened."""
    way = settings["way"]
    if way in RULES:
        return {"way": way}
    prompted = way in ("answer", "summary") or (way == "classify" and settings["by"] == "prompt")
    return asked_prompt(settings) if prompted else asked_vector(settings)


def labels_of(settings: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The labels, and what the box is told of each: ``配送 = delivery`` is called 配送 and read as delivery."""
    names, means = [], []
    for line in settings.get("labels", ()):
        name, _, meaning = line.partition("=")
        name = " ".join(name.split())
        if name and name not in names:
            names.append(name)
            means.append(" ".join(meaning.split()) or name)
    return tuple(names), tuple(means)


def require_labels(settings: Mapping[str, Any]) -> None:
    """Raise ``read_no_labels`` or ``read_too_many_labels``."""
    names, _ = labels_of(settings)
    if len(names) < (2 if settings["way"] == "classify" else 1):
        raise AnalyseError("read_no_labels", n=len(names))
    if len(names) > MOST_LABELS:
        raise AnalyseError("read_too_many_labels", n=len(names), limit=MOST_LABELS)


def matrix(read: Sequence[bytes]) -> NDArray[np.float32]:
    """Vectors that were kept, [N, D]."""
    return np.frombuffer(b"".join(read), dtype=np.float32).reshape(len(read), -1)


def _task(means: Sequence[str]) -> Task:
    """Labels as the ways to classify of task A take them; the language is the labels', whatever the cells hold."""
    return Task(labels=tuple(means), train=(), validation=(), test=(), lang=language(means), asked=0)


def _likeliest(names: Sequence[str], probs: NDArray[np.float32]) -> list[Answer]:
    best = probs.argmax(-1)
    return [Answer(text=names[at], confidence=float(row[at])) for at, row in zip(best.tolist(), probs, strict=True)]


def _line_ends(box: Assembled) -> frozenset[int]:
    """The tokens that hold a line's end: an answer is one line."""
    found = set()
    for at in range(box.config.vocab_size):
        with contextlib.suppress(KeyError):  # a row of the table that is no token's
            if b"\n" in box.tokenizer.token_bytes(at):
                found.add(at)
    return frozenset(found)
