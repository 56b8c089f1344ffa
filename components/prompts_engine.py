"""What the Prompts page asks for: which box, which reviews, the prompts as they are sent, and the jobs' settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from components import engine, tokens_engine
from components.workbench import DEFAULT_BOX
from llmkit import shelf
from llmkit.tokens import Encoding, TokenizerError

if TYPE_CHECKING:
    from llmkit.generate.few_shot import Pool
    from llmkit.generate.prompt import Form, Prompt, Role, Shot, Wording

DATA = {"en": "reviews-en", "zh-TW": "reviews-zh-tw"}
"""The reviews of each language."""

SAMPLES = (16, 32, 64, 128)
ORDERS = (1, 2, 3, 4, 5)
SAMPLE, ORDER_COUNT, SEED = 32, 3, 0
"""Two minutes of smollm2 on two cores: 32 reviews, 3 wordings, 3 orders."""

SAMPLE_KEY, ORDERS_KEY = "prompts_sample", "prompts_orders"
"""Widgets that set the experiment's size; all that draws its result reads them."""

TEXT_LIMIT = 2_000
"""Characters of a review or an instruction that the learner types."""

MAX_NEW_TOKENS = 40

RECORDED = Path(__file__).with_name("prompts_recorded.json")
"""One run of the experiment, as the job returned it: the picture that is there before the learner has run it."""


class PromptError(ValueError):
    """Something typed or chosen on the page cannot be sent.

    Args:
        code: ``review_empty``, ``instruction_empty``, ``typed_too_long`` or ``few_shot_not_run``.
        values: the numbers of the message.
    """

    def __init__(self, code: str, **values: int) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is prompted, and how.

    Args:
        box_id: the box. lang: of the reviews and of the words around them. form: "plain" or "chat".
        sample: held-out reviews. orders: choices and orders of the shots.
    """

    box_id: str
    lang: str
    form: Form
    sample: int = SAMPLE
    orders: int = ORDER_COUNT

    @property
    def data_id(self) -> str:
        """The data box that the reviews come from."""
        return DATA[self.lang]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What must be known of a box before it is asked, from its parts list alone.

    Args:
        causal: whether it goes on with a text at all. limit: tokens of context.
        kv_per_token: bytes that one token's keys and values take in float32.
        layers, kv_heads, head_dim: what that is made of. instruct: whether it has a chat template.
    """

    causal: bool
    limit: int
    kv_per_token: int
    layers: int
    kv_heads: int
    head_dim: int
    instruct: bool


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A prompt as the box reads it.

    Args:
        encoding: its tokens. roles: what each token is part of. shots: which shot, from 0; None for none.
    """

    encoding: Encoding
    roles: tuple[Role, ...]
    shots: tuple[int | None, ...]


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An experiment that was run before, elsewhere.

    Args:
        settings, result: of the job ``few_shot``. device, date, versions: of the process that ran it.
    """

    settings: dict[str, Any]
    result: dict[str, Any]
    device: str
    date: str
    versions: str


def facts(box_id: str) -> Facts:
    """Return what a box's parts list says.

    Raises:
        Exception: with a ``.code``, where it is missing or broken.
    """
    return _facts(box_id, engine.fingerprint(box_id)).value


def promptable(box_id: str) -> tuple[str, ...]:
    """Return the boxes here that go on with a text, those with a chat template first; broken ones are passed over.

    Args:
        box_id: the workbench's own box; among them where it can be prompted.
    """
    from llmkit.reference import BoxError

    found: dict[str, bool] = {}
    for one in engine.boxes_here(DEFAULT_BOX, box_id):
        try:
            known = facts(one)
            tokens_engine.open_tokenizer(one)
        except (BoxError, TokenizerError, shelf.ShelfError):
            continue
        if known.causal:
            found[one] = known.instruct
    return tuple(sorted(found, key=lambda one: (not found[one], one != box_id)))


def usual(box_id: str, boxes: Sequence[str]) -> str:
    """Return the box to prompt as long as nobody has chosen: the workbench's where it was taught to answer, else the
    first that was, else the workbench's."""
    if box_id in boxes and (facts(box_id).instruct or not facts(boxes[0]).instruct):
        return box_id
    return boxes[0]


def wordings(lang: str) -> tuple[Wording, ...]:
    """Return the ways to ask in a language."""
    from llmkit.generate.prompt import wordings as listed

    return listed(lang)


def shot_counts() -> tuple[int, ...]:
    """Return the numbers of shots that the experiment tries."""
    from llmkit.generate.few_shot import SHOTS

    return SHOTS


def pool(choice: Choice) -> Pool:
    """Return the reviews: those that may be shots, and those that are asked about.

    Raises:
        ShelfError: the data box is not here.
    """
    return _pool(choice.data_id, shelf.fingerprint(choice.data_id), choice.lang, choice.sample).value


def sized(choice: Choice) -> Choice:
    """Return the choice with the experiment's size as the learner has set it."""
    state = st.session_state
    sample, orders = state.get(SAMPLE_KEY, SAMPLE), state.get(ORDERS_KEY, ORDER_COUNT)
    return replace(choice, sample=sample, orders=orders)


def recorded(choice: Choice) -> Recorded | None:
    """Return the experiment as it was measured once and shipped, where it is about this very box, reviews and form."""
    made = _recorded(RECORDED.stat().st_mtime_ns).value
    asked = made.settings
    same = (asked["box_id"], asked["lang"], asked["form"]) == (choice.box_id, choice.lang, choice.form)
    return made if same else None


def settings(choice: Choice) -> dict[str, Any]:
    """Return what the job ``few_shot`` is given: everything that changes its result."""
    return {
        **_common(choice),
        "wordings": [asdict(way) for way in wordings(choice.lang)],
        "shots": list(shot_counts()),
        "orders": choice.orders,
    }


def one_settings(choice: Choice, wording: Wording, text: str) -> dict[str, Any]:
    """Return what the job ``few_shot_one`` is given."""
    return {
        **_common(choice),
        "wording": asdict(wording),
        "shots": list(range(max(shot_counts()) + 1)),
        "order": 0,
        "text": text,
    }


def pair_settings(box_id: str, instructions: tuple[str, str], text: str) -> dict[str, Any]:
    """Return what the job ``prompt_pair`` is given; everything typed has been looked at.

    Raises:
        Exception: with a ``.code``, where an instruction is empty or too long for the box.
    """
    from llmkit.generate import GenerateError
    from llmkit.generate.prompt_pair import ask

    limit = facts(box_id).limit - MAX_NEW_TOKENS
    template = _template(box_id, engine.fingerprint(box_id)).value
    for instruction in instructions:
        require_typed(instruction, empty="instruction_empty")
        tokens = len(tokens_engine.open_tokenizer(box_id).encode(ask(instruction, text, template)))
        if tokens > limit:
            raise GenerateError("prompt_too_long", box=box_id, tokens=tokens, limit=limit)
    return {
        "box_id": box_id,
        "fingerprint": engine.fingerprint(box_id),
        "instructions": list(instructions),
        "text": text,
        "max_new_tokens": MAX_NEW_TOKENS,
    }


def require_typed(text: str, *, empty: str) -> str:
    """Return what was typed, without blanks at its ends.

    Raises:
        PromptError: ``empty`` as its code where nothing is left; ``typed_too_long``.
    """
    text = text.strip()
    if not text:
        raise PromptError(empty)
    if len(text) > TEXT_LIMIT:
        raise PromptError("typed_too_long", n=len(text), limit=TEXT_LIMIT)
    return text


def prompt(choice: Choice, wording: Wording, count: int, text: str, *, order: int = 0) -> Prompt:
    """Return a prompt with the first `count` shots of an order."""
    from llmkit.generate.prompt import build

    template = _template(choice.box_id, engine.fingerprint(choice.box_id)).value if choice.form == "chat" else None
    return build(wording, shots(choice, text, order=order)[:count], text, template=template)


def shots(choice: Choice, text: str, *, order: int = 0) -> tuple[Shot, ...]:
    """Return the shots of one order, without the text that is asked about."""
    from llmkit.generate.few_shot import choose

    return choose(pool(choice), order=order, seed=SEED, without=text)


def sent(box_id: str, prompt: Prompt) -> Sent:
    """Return a prompt cut into tokens, each with what it is part of: where it begins decides."""
    tokenizer = tokens_engine.open_tokenizer(box_id)
    encoding = tokenizer.encode(prompt.text, specials=prompt.specials)
    ends: list[int] = []
    for piece in prompt.pieces:
        ends.append((ends[-1] if ends else 0) + len(piece.text))
    roles: list[Role] = []
    places: list[int | None] = []
    at = 0
    for start, end in encoding.offsets:
        if start == end:  # put around the text by the box itself
            roles.append("template")
            places.append(None)
            continue
        while ends[at] <= start:
            at += 1
        roles.append(prompt.pieces[at].role)
        places.append(prompt.pieces[at].shot)
    return Sent(encoding=encoding, roles=tuple(roles), shots=tuple(places))


def token_counts(choice: Choice) -> tuple[int, ...]:
    """Return how long the experiment's first prompt is with each number of shots, in tokens."""
    counts = _counts(choice, engine.fingerprint(choice.box_id), shelf.fingerprint(choice.data_id))
    return counts.value


def medians(runs: Iterable[dict[str, Any]]) -> dict[int, float]:
    """Return each number of shots that ran, with the median accuracy."""
    from llmkit.generate.few_shot import median_accuracy

    return dict(median_accuracy(list(runs)))


def _common(choice: Choice) -> dict[str, Any]:
    return {
        "box_id": choice.box_id,
        "fingerprint": engine.fingerprint(choice.box_id),
        "data_id": choice.data_id,
        "data_fingerprint": shelf.fingerprint(choice.data_id),
        "lang": choice.lang,
        "form": choice.form,
        "sample": choice.sample,
        "seed": SEED,
    }


@engine.remembered(max_entries=1)
def _recorded(changed_ns: int) -> Recorded:
    return Recorded(**json.loads(RECORDED.read_text(encoding="utf-8")))


@engine.remembered(max_entries=16)
def _facts(box_id: str, fingerprint: str) -> Facts:
    from llmkit.reference.config_file import read_config
    from llmkit.tokens import ChatTemplate

    folder = shelf.locate(box_id)
    if folder is None:
        raise shelf.ShelfError("box_missing", box=box_id)
    _, config = read_config(folder, unembedding=False)
    return Facts(
        causal=config.causal,
        limit=config.max_seq_len,
        kv_per_token=2 * config.n_layers * config.n_kv_heads * config.head_dim * 4,
        layers=config.n_layers,
        kv_heads=config.n_kv_heads,
        head_dim=config.head_dim,
        instruct=ChatTemplate.from_folder(folder) is not None,
    )


@engine.remembered(max_entries=8)
def _template(box_id: str, fingerprint: str) -> Any:
    from llmkit.tokens import ChatTemplate

    folder = shelf.locate(box_id)
    return None if folder is None else ChatTemplate.from_folder(folder)


@engine.remembered(max_entries=8)
def _pool(data_id: str, fingerprint: str, lang: str, sample: int) -> Pool:
    from llmkit.generate.few_shot import read_reviews, split

    made = split(read_reviews(data_id, lang), sample=sample, seed=SEED)
    engine.settle()
    return made


@engine.remembered(max_entries=32)
def _counts(choice: Choice, fingerprint: str, data_fingerprint: str) -> tuple[int, ...]:
    text = pool(choice).held_out[0].text
    way = wordings(choice.lang)[0]
    return tuple(len(sent(choice.box_id, prompt(choice, way, k, text)).encoding) for k in shot_counts())
