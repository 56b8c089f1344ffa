"""What the Tokens page computes, once for all sessions: opened tokenizers, cut sentences, costs. No torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

from components import engine
from components.badge import Badge
from components.engine import Made
from lessons import words
from llmkit import shelf
from llmkit.tokens import (
    ChatTemplate,
    Cost,
    Encoding,
    StepView,
    Tokenizer,
    TokenizerError,
    measure_cost,
    sentence_steps,
)

T = TypeVar("T")

STEP_CHARACTERS = 80
"""Characters of the sentence that the step picture shows; every one may cost four steps."""

REVIEW_ROWS = 500
"""Rows of each review set that are counted: enough for two decimals, and done in a blink."""

PARALLEL = 6
"""Sentences of the lesson that exist in both languages, ``tokens.parallel.1`` and on."""

REVIEWS = {"zh-TW": "reviews-zh-tw", "en": "reviews-en"}
"""The review set of each language."""


def open_tokenizer(box_id: str) -> Tokenizer:
    """Return the box's tokenizer; shared by all sessions.

    Raises:
        Exception: with a ``.code``, where the box or its tokenizer is missing, broken or of another kind.
    """
    return _tokenizer(box_id, engine.fingerprint(box_id)).value


def speaker(boxes: Sequence[str]) -> tuple[str, ChatTemplate] | None:
    """Return the first of some boxes that has a chat template, with it; None where none has.

    A box that cannot be opened is passed over: it is not the one that the page is about.
    """
    for box_id in boxes:
        try:
            template = _template(box_id, engine.fingerprint(box_id)).value
            open_tokenizer(box_id)
        except (TokenizerError, shelf.ShelfError):
            continue
        if template is not None:
            return box_id, template
    return None


def encode(box_id: str, text: str, *, specials: bool) -> Made[Encoding]:
    """Return the text as the box's tokens."""
    return _encoding(box_id, engine.fingerprint(box_id), text, specials)


def steps(box_id: str, text: str) -> Made[tuple[StepView, ...]]:
    """Return the beginning of the text on its way from first pieces to tokens."""
    return _steps(box_id, engine.fingerprint(box_id), text[:STEP_CHARACTERS])


def cost(box_id: str, lang: str, source: str) -> Made[Cost]:
    """Return what a language costs in a box.

    Args:
        box_id: a box on this machine.
        lang: "zh-TW" or "en".
        source: "parallel" (the lesson's sentences) or "reviews" (REVIEW_ROWS rows of the review set, spread
            evenly).
    """
    return _cost(box_id, engine.fingerprint(box_id), lang, source)


def sources_here() -> tuple[str, ...]:
    """Return the texts that can be counted: the lesson's own always, the reviews when both sets are here."""
    here = all(shelf.locate(data_id) is not None for data_id in REVIEWS.values())
    return ("parallel", "reviews") if here else ("parallel",)


def origin(made: Collection[Made[T]]) -> Badge:
    """Return the badge of a picture that shows several values: live as soon as one of them is."""
    badges = [one.badge for one in made]
    return next((badge for badge in badges if badge.kind == "live"), badges[0])


@engine.remembered(max_entries=8)
def _tokenizer(box_id: str, fingerprint: str) -> Tokenizer:
    tokenizer = Tokenizer.from_folder(_folder(box_id))
    engine.settle()
    return tokenizer


@engine.remembered(max_entries=8)
def _template(box_id: str, fingerprint: str) -> ChatTemplate | None:
    return ChatTemplate.from_folder(_folder(box_id))


@engine.remembered(max_entries=64)
def _encoding(box_id: str, fingerprint: str, text: str, specials: bool) -> Encoding:
    return _tokenizer(box_id, fingerprint).value.encode(text, specials=specials)


@engine.remembered(max_entries=32)
def _steps(box_id: str, fingerprint: str, text: str) -> tuple[StepView, ...]:
    return sentence_steps(_tokenizer(box_id, fingerprint).value, text)


@engine.remembered(max_entries=32)
def _cost(box_id: str, fingerprint: str, lang: str, source: str) -> Cost:
    tokenizer = _tokenizer(box_id, fingerprint).value
    if source == "parallel":
        say = words(lang)
        return measure_cost(tokenizer, [say(f"tokens.parallel.{number}") for number in range(1, PARALLEL + 1)])
    rows = shelf.open_data(REVIEWS[lang]).rows
    return measure_cost(tokenizer, [row.text for row in rows[:: max(len(rows) // REVIEW_ROWS, 1)][:REVIEW_ROWS]])


def _folder(box_id: str) -> Path:
    folder = shelf.locate(box_id)
    if folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    return folder
