"""Ask a box that goes on with a text: which label is the likeliest to come next? With or without examples before."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from llmkit.generate import GenerateError
from llmkit.generate.few_shot import cut_prompts
from llmkit.generate.prompt import Shot, Wording, build, wordings
from llmkit.generate.score import answer_logprobs, read_prefix
from llmkit.reference import open_box
from llmkit.tune.ways.similarity import WORDS
from llmkit.tune.ways.task import Task, short_labels
from llmkit.tune.ways.way import Probs, Tick, softmax

MOST_TOKENS = 256
"""Where a text in a prompt is cut; less where the box reads less."""

SHOT_TOKENS = 64
"""An example is cut there: sixteen long ones would fill a small box."""

FEWEST_TOKENS = 16
"""There must be room for so much of a text; where there is not, examples are left out."""

BATCH = 8
SPARE = 8
"""Tokens that cutting a text in two places may add."""


class Asker:
    """Asks about a text, the labels' summed log-probabilities as its answer.

    Args:
        box_id: a box that predicts the next token. wording: which words to ask in. device: where it runs.

    Raises:
        GenerateError: ``no_next_token``.

    Source: Brown et al. 2020, "Language Models are Few-Shot Learners"; `llmkit.generate.score`.
    """

    def __init__(self, box_id: str, *, wording: str, device: str = "cpu") -> None:
        self._box = open_box(box_id, device=device)
        if not self._box.config.causal:
            raise GenerateError("no_next_token", box=box_id)
        self._wording = wording
        self.limit = MOST_TOKENS
        self.cut = 0
        self.weights_bytes = sum(p.numel() * p.element_size() for p in self._box.model.parameters())

    def prepare(self, task: Task, shots: Sequence[Shot] = ()) -> int:
        """Take the labels' words and the examples; return how many examples there is room for."""
        self._way = words(task, self._wording)
        self._shots = tuple(replace(shot, text=self.shorten(shot.text, SHOT_TOKENS)[0]) for shot in shots)
        while True:
            prompt = build(self._way, self._shots, "")
            taken = len(self._box.tokenizer.encode(prompt.text + max(prompt.answers, key=len)))
            room = self._box.config.max_seq_len - taken - SPARE
            if room >= FEWEST_TOKENS or not self._shots:
                break
            self._shots = self._shots[: len(self._shots) // 2]
        self.limit = min(MOST_TOKENS, max(room, FEWEST_TOKENS))
        return len(self._shots)

    def ask(self, texts: Sequence[str], tick: Tick) -> Probs:
        """The labels' probabilities among themselves, [1, N, L].

        Raises:
            GenerateError: ``prompt_too_long``: the labels alone fill the box.
        """
        short = [self.shorten(text, self.limit) for text in texts]
        self.cut = sum(cut for _, cut in short)
        shared, questions = cut_prompts(self._box, [build(self._way, self._shots, text) for text, _ in short])
        prefix = read_prefix(self._box, shared)
        scores = []
        for start in range(0, len(questions), BATCH):
            scores += answer_logprobs(self._box, prefix, questions[start : start + BATCH])
            tick(len(questions[start : start + BATCH]))
        return softmax(np.stack(scores))[None]

    def shorten(self, text: str, tokens: int) -> tuple[str, bool]:
        """A text's first tokens, and whether any were cut off. Line breaks and blanks become one blank each.

        Raises:
            TokenizerError: the text cannot be cut into tokens.
        """
        text = " ".join(text.split())
        encoding = self._box.tokenizer.encode(text, specials=False)
        if len(encoding) <= tokens:
            return text, False
        return text[: encoding.offsets[tokens - 1][1]].strip(), True


def words(task: Task, wording: str) -> Wording:
    """The words to ask in: those of the Prompts page for negative and positive, else words that name the labels."""
    if task.rated:
        listed = {way.id: way for way in wordings(task.lang)}
        return listed[wording]
    labels = short_labels(task.labels)
    for entry in tomllib.loads(WORDS.read_text(encoding="utf-8"))["question"][task.lang]:
        if entry["id"] == wording:
            named = entry["instruction"].replace("{labels}", ", ".join(labels))
            return Wording(**{**entry, "lang": task.lang, "instruction": named, "labels": labels})
    raise KeyError(wording)


def choose_shots(task: Task, count: int, *, seed: int) -> tuple[Shot, ...]:
    """Examples from the training rows: labels in turn, so that every label that fits is there, then mixed.

    Args:
        task: shots come from its training rows alone. count: how many. seed: of choice and order.
    """
    generator = random.Random(seed)
    rows = list(zip(task.train, task.numbers(task.train), strict=True))
    generator.shuffle(rows)
    turns = {label: [row for row, at in rows if at == label] for label in range(len(task.labels))}
    order = [label for label in turns if turns[label]]
    generator.shuffle(order)
    chosen: list[Shot] = []
    for turn in range(count):
        for label in order:
            if len(chosen) < count and turn < len(turns[label]):
                chosen.append(Shot(text=turns[label][turn].text, label=label))
    generator.shuffle(chosen)
    return tuple(chosen)
