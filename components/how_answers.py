"""What the How it works page computes for the three uses of a model: answers, likeness, reasoning counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from components import engine
from components.engine import Made
from components.how_engine import predictor, token_data
from components.workbench import DEFAULT_BOX

if TYPE_CHECKING:
    from llmkit.reference import Assembled

Floats = NDArray[np.float32]

ANSWER_TOKENS = 48
"""How long an answer may be in the comparison of base and instruct box."""

ENCODER = "minilm-l6"

INSTRUCT = "smollm2-135m-instruct"

Outcome = Literal["helped", "hurt", "unclear"]

Asking = Literal["base", "raw", "chat"]

ASKINGS: tuple[Asking, ...] = ("base", "raw", "chat")


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """What came of asking.

    Args:
        box_id: who was asked. sent: the text that it really read. wrote: what it wrote. ended: whether it stopped
            by itself.
    """

    box_id: str
    sent: str
    wrote: str
    ended: bool


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many questions of one kind, asked in one way, were answered right.

    Args:
        kind, way: which. right, n: of how many.
        low, high: Wilson's 95 % interval of the share. chance: the share that blind guessing gives.
    """

    kind: str
    way: str
    right: int
    n: int
    low: float
    high: float
    chance: float


def here(box_id: str) -> bool:
    """Return whether a box is on this machine."""
    return box_id in engine.boxes_here(DEFAULT_BOX)


def instruct_box(box_id: str) -> str | None:
    """Return the box that answers questions: the learner's own where it has a chat template, else the small one."""
    from llmkit.tokens import ChatTemplate

    own = engine.open_box(box_id)
    if predictor(box_id) == box_id and ChatTemplate.from_folder(own.folder) is not None:
        return box_id
    return INSTRUCT if here(INSTRUCT) else None


def ask(question: str, instruct_id: str) -> Made[dict[Asking, Spoken]]:
    """Ask a base box and an instruct box; the latter once with the bare question, once through its chat template.

    Raises:
        GenerateError: the question is empty or too long for a box.
    """
    return _ask(question, instruct_id, engine.fingerprint(instruct_id), engine.fingerprint(DEFAULT_BOX))


def likeness(texts: tuple[str, ...]) -> Made[Floats]:
    """Return the cosine of each text's vector with each other's, by ENCODER: [N, N].

    Raises:
        TraceError: a text is empty or too long.
    """
    return _likeness(ENCODER, engine.fingerprint(ENCODER), texts)


def count_right(rows: Sequence[Mapping[str, Any]]) -> list[Share]:
    """Return how many answers are right, for each kind and way."""
    from llmkit.generate.reasoning import KINDS, WAYS, questions, wilson

    counted = []
    for kind in KINDS:
        chances = [question.chance for question in questions() if question.kind == kind]
        for way in WAYS:
            own = [row for row in rows if row["kind"] == kind and row["way"] == way]
            right = sum(row["right"] for row in own)
            low, high = wilson(right, len(own))
            chance = sum(chances) / len(chances)
            counted.append(Share(kind=kind, way=way, right=right, n=len(own), low=low, high=high, chance=chance))
    return counted


def compare(rows: Sequence[Mapping[str, Any]]) -> tuple[Outcome, int, int]:
    """Return what asking for steps did to the answers, by McNemar's exact test on the questions that changed.

    Returns:
        "helped" or "hurt" where the change is beyond chance (p < 0.05), else "unclear"; how many questions only the
        steps got right; how many only the plain way did.
    """
    right = {(row["number"], row["way"]): row["right"] for row in rows}
    numbers = {number for number, _ in right}
    gained = sum(right[n, "steps"] and not right[n, "plain"] for n in numbers)
    lost = sum(right[n, "plain"] and not right[n, "steps"] for n in numbers)
    changed = gained + lost
    p = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1)) / 2**changed * 2
    outcome: Outcome = "unclear" if p >= 0.05 else "helped" if gained > lost else "hurt"
    return outcome, gained, lost


@engine.remembered(max_entries=32)
def _ask(question: str, instruct_id: str, fingerprint: str, base_fingerprint: str) -> dict[Asking, Spoken]:
    from llmkit.tokens import ChatTemplate

    box = engine.open_box(instruct_id)
    template = ChatTemplate.from_folder(box.folder)
    chat = question if template is None else template.render([{"role": "user", "content": question}])
    asked: dict[Asking, tuple[Assembled, str]] = {
        "base": (engine.open_box(DEFAULT_BOX), question),
        "raw": (box, question),
        "chat": (box, chat),
    }
    spoken = _speak(box, (question, chat))
    return dict(zip(asked, (*_speak(asked["base"][0], (question,)), *spoken), strict=True))


def _speak(box: Assembled, prompts: tuple[str, ...]) -> list[Spoken]:
    """Let a box go on with each text, greedily and in one batch."""
    from llmkit.generate import generate_batch

    ends = {token.token_id for token in box.tokenizer.added if token.special}
    ids = [box.tokenizer.encode(prompt, specials=False).ids for prompt in prompts]
    made = []
    for prompt, new in zip(prompts, generate_batch(box, ids, max_new_tokens=ANSWER_TOKENS, stop_ids=ends), strict=True):
        ended = bool(new) and new[-1] in ends
        data = b"".join(token_data(box.tokenizer, i) for i in (new[:-1] if ended else new))
        made.append(Spoken(box_id=box.box_id, sent=prompt, wrote=_as_text(data), ended=ended))
    return made


@engine.remembered(max_entries=32)
def _likeness(box_id: str, fingerprint: str, texts: tuple[str, ...]) -> Floats:
    from llmkit.trace.sentence import sentence_vectors

    vectors = sentence_vectors(engine.open_box(box_id), texts)
    cosines: Floats = (vectors @ vectors.T).astype(np.float32)
    return cosines


def _as_text(data: bytes) -> str:
    from llmkit.generate.reasoning import as_text

    return as_text(data).strip()
