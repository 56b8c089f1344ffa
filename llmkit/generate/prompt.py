"""Prompts: an instruction, examples with their answers ("shots"), and the question, put together as they are sent."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from llmkit.tokens import ChatTemplate

Form = Literal["plain", "chat"]
"""``plain``: one text, as a base box reads it. ``chat``: each shot a turn, in the box's template."""
FORMS: tuple[Form, ...] = get_args(Form)

Role = Literal["template", "instruction", "shot", "label", "question"]
"""What a piece of a prompt is; ``template`` is what the chat template adds."""

_FILE = Path(__file__).with_name("wordings.toml")


@dataclass(frozen=True, kw_only=True)
class Wording:
    """One way to ask whether a text is negative or positive.

    Args:
        id: its name among those of its language. lang: "en" or "zh-TW".
        instruction: stands first; may be empty.
        question: holds ``{text}``; the same for shots and for what is asked.
        labels: the answers: negative, positive; or any others.
        blank: between question and label. end: closes a shot. Both only in ``plain`` prompts.
    """

    id: str
    lang: str
    instruction: str
    question: str
    labels: tuple[str, ...]
    blank: str
    end: str

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Wording":
        """Read one back from plain data, such as a job's settings."""
        return cls(**{**data, "labels": tuple(data["labels"])})

    def ask(self, text: str) -> str:
        """The question about one text. Braces in the text are text."""
        return self.question.replace("{text}", text)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """An example with its answer.

    Args:
        text: the review. label: its place among the labels: 0 negative, 1 positive.
    """

    text: str
    label: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A run of the prompt.

    Args:
        text: as it is sent. role: what it is. shot: which shot it belongs to, from 0; None for none.
    """

    text: str
    role: Role
    shot: int | None = None


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A prompt and the answers that are compared.

    Args:
        pieces: in order; their texts together are the prompt.
        answers: what each label would add to it, in the labels' order.
        specials: whether the box's own first token still has to be put before it; a template writes its own.
    """

    pieces: tuple[Piece, ...]
    answers: tuple[str, ...]
    specials: bool

    @property
    def text(self) -> str:
        """The prompt exactly as it is sent."""
        return "".join(piece.text for piece in self.pieces)


@cache
def wordings(lang: str) -> tuple[Wording, ...]:
    """Return the ways to ask in a language ("en", "zh-TW")."""
    listed = tomllib.loads(_FILE.read_text(encoding="utf-8"))["wording"]
    return tuple(Wording.from_dict(entry) for entry in listed if entry["lang"] == lang)


def build(wording: Wording, shots: Sequence[Shot], text: str, *, template: ChatTemplate | None = None) -> Prompt:
    """Put a prompt together.

    With more shots of the same order it begins alike, so what was read of a shorter one need not be read again.

    Args:
        wording: how to ask. shots: the examples, in order. text: what is asked about.
        template: the box's, for a ``chat`` prompt; None for a ``plain`` one.

    Raises:
        TokenizerError: ``chat_template_broken``.
    """
    if template is None:
        return _plain(wording, shots, text)
    first = f"{wording.instruction}\n\n" if wording.instruction else ""
    messages: list[dict[str, str]] = []
    for shot in shots:
        messages.append({"role": "user", "content": first + wording.ask(shot.text)})
        messages.append({"role": "assistant", "content": wording.labels[shot.label]})
        first = ""
    messages.append({"role": "user", "content": first + wording.ask(text)})
    return Prompt(
        pieces=_find(template.render(messages), _contents(wording, shots, text)),
        answers=wording.labels,
        specials=False,
    )


def _plain(wording: Wording, shots: Sequence[Shot], text: str) -> Prompt:
    pieces: list[Piece] = []
    if wording.instruction:
        pieces.append(Piece(text=f"{wording.instruction}\n\n", role="instruction"))
    for at, shot in enumerate(shots):
        pieces.append(Piece(text=wording.ask(shot.text), role="shot", shot=at))
        pieces.append(Piece(text=wording.blank + wording.labels[shot.label], role="label", shot=at))
        pieces.append(Piece(text=wording.end, role="shot", shot=at))
    pieces.append(Piece(text=wording.ask(text), role="question"))
    answers = tuple(wording.blank + label for label in wording.labels)
    return Prompt(pieces=tuple(pieces), answers=answers, specials=True)


def _contents(wording: Wording, shots: Sequence[Shot], text: str) -> list[Piece]:
    """What the template is given, in the order in which it writes it."""
    pieces = [Piece(text=wording.instruction, role="instruction")] if wording.instruction else []
    for at, shot in enumerate(shots):
        pieces.append(Piece(text=wording.ask(shot.text), role="shot", shot=at))
        pieces.append(Piece(text=wording.labels[shot.label], role="label", shot=at))
    return [*pieces, Piece(text=wording.ask(text), role="question")]


def _find(written: str, contents: Sequence[Piece]) -> tuple[Piece, ...]:
    """Find what a template was given in what it wrote; all else is the template's own.

    A template may trim or change what it is given: what cannot be found stays the template's, and nothing is lost.
    """
    pieces: list[Piece] = []
    done = 0
    for piece in contents:
        at = written.find(piece.text.strip(), done) if piece.text.strip() else -1
        if at < 0:
            continue
        if at > done:
            pieces.append(Piece(text=written[done:at], role="template"))
        done = at + len(piece.text.strip())
        pieces.append(Piece(text=written[at:done], role=piece.role, shot=piece.shot))
    if done < len(written):
        pieces.append(Piece(text=written[done:], role="template"))
    return tuple(pieces)
