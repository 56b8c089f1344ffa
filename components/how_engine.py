"""What the How it works page reads, once for all sessions: surprise, the game, four stages of training."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components import embeddings_engine, engine
from components.engine import Made
from components.workbench import DEFAULT_BOX
from llmkit.tokens import Encoding, Tokenizer, visible

if TYPE_CHECKING:
    from llmkit.reference import Assembled
    from llmkit.trace.surprise import Surprise

Floats = NDArray[np.float32]

MAX_TOKENS = 160
"""Tokens of the sentence that the strips show."""

TOP = 40
"""Likeliest tokens kept at each place: what the game draws its wrong answers from."""

OPTIONS = 4
"""Answers that the game offers: the true one, and the model's likeliest others."""

NEW_TOKENS = 20
"""How far a checkpoint goes on with the sentence."""


Stage = Literal["untrained", "001pct", "010pct", "trained"]
STAGES: tuple[Stage, ...] = ("untrained", "001pct", "010pct", "trained")
"""The bundled box from its first weights to its last; the middle two are its checkpoints' folders."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Tokens that share a character, or one token by itself: what is read and guessed as one.

    Args:
        start, end: half-open span of tokens.
        shown: their bytes put together, made visible.
    """

    start: int
    end: int
    shown: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """A text as a box reads it, token by token.

    Args:
        box_id: who reads. vocab_size: among how many tokens it guesses.
        labels: T tokens, made visible. groups: what belongs together.
        found: bits, ranks and likeliest tokens.
        bits_per_byte: of all tokens but the first, by the bytes of UTF-8 that they stand for.
        bits_per_char: the same by characters; a character that the first token holds a part of is not counted.
    """

    box_id: str
    vocab_size: int
    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    found: Surprise
    bits_per_byte: float
    bits_per_char: float

    @property
    def id(self) -> str:
        """Changes whenever the picture does."""
        return digest([self.box_id, self.labels, self.found.bits.tolist()])


@dataclass(frozen=True, kw_only=True, eq=False)
class Growth:
    """One text, read by the bundled box at four stages of its training.

    Args:
        labels, groups: the text's tokens; all stages cut alike.
        found: stage → what it expected.
        prompt: the text's beginning, which each stage goes on with, made visible.
        went_on: stage → its greedy continuation, made visible. ended: stage → whether it ended the text itself.
        vocab_size: V; a model that knows nothing needs log2 V bits a token.
    """

    labels: tuple[str, ...]
    groups: tuple[Group, ...]
    found: dict[Stage, Surprise]
    prompt: str
    went_on: dict[Stage, str]
    ended: dict[Stage, bool]
    vocab_size: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Training:
    """The bundled box's training as it was recorded.

    Args:
        tokens, bits: [N], tokens learned from, and the training loss in bits a token.
        held_out: source → its [M, 2] tokens and bits on text that was never learned from.
        kept: stage → tokens learned from by then.
        device, date, versions: of the machine; what the file does not say is empty.
    """

    tokens: Floats
    bits: Floats
    held_out: dict[str, Floats]
    kept: dict[Stage, int]
    device: str
    date: str
    versions: str


def digest(data: Any) -> str:
    """Return a name for plain data that changes whenever the data do."""
    return hashlib.blake2b(json.dumps(data).encode(), digest_size=8).hexdigest()


def predictor(box_id: str) -> str:
    """Return the box itself where it predicts the next token, else the one that comes with the guide."""
    config = engine.open_box(box_id).config
    return box_id if config.causal and config.unembedding else DEFAULT_BOX


def read(box_id: str, text: str) -> Made[Read]:
    """Read a text with `predictor(box_id)`.

    Raises:
        TraceError: it has fewer than two tokens, or more than MAX_TOKENS.
    """
    chosen = predictor(box_id)
    return _read(chosen, engine.fingerprint(chosen), text)


def growth(text: str) -> Made[Growth]:
    """Read a text with the bundled box before training, at 1 %, at 10 % and at the end.

    Raises:
        TraceError: as for `read`.
    """
    return _growth(engine.fingerprint(DEFAULT_BOX), text)


def training() -> Training:
    """Return what was recorded when the bundled box was trained."""
    return _training(engine.fingerprint(DEFAULT_BOX)).value


def shuffled_bits(box_id: str, text: str) -> Made[tuple[float, float, str]]:
    """Return the bits of the text's tokens as they stand and with its words shuffled, and the shuffled text.

    Both are bits a token over all but the first.

    Raises:
        TraceError, OrderError: the text is too short or too long.
    """
    chosen = predictor(box_id)
    return _shuffled_bits(chosen, engine.fingerprint(chosen), text)


def count_words(box_id: str, text: str) -> int:
    """Return into how many words `shuffled_bits` would cut the text."""
    from llmkit.trace.order import word_spans

    return len(word_spans(embeddings_engine.encode(predictor(box_id), text)))


def turns(read: Read) -> list[dict[str, Any]]:
    """Return the game: for each group but the first, what is offered, what is right and what the model guessed.

    A character spread over tokens is one turn. The wrong answers are the model's likeliest that are whole characters;
    the order of the answers tells nothing.
    """
    tokenizer = engine.open_box(read.box_id).tokenizer
    special = {token.token_id for token in tokenizer.added if token.special}
    made: list[dict[str, Any]] = []
    for group in read.groups[1:]:
        rows = range(group.start - 1, group.end - 1)
        likeliest = [int(i) for i in read.found.top_ids[rows.start]]
        data = [token_data(tokenizer, i) for i in likeliest]
        wrong = [visible(one) for i, one in zip(likeliest, data, strict=True) if i not in special and _is_text(one)]
        wrong = [label for label in dict.fromkeys(wrong) if label != group.shown][: OPTIONS - 1]
        offered = sorted([group.shown, *wrong], key=lambda label: _scatter(read.id, group.start, label))
        bits = float(read.found.bits[rows.start : rows.stop].sum())
        made.append(
            {
                "start": group.start,
                "end": group.end,
                "shown": group.shown,
                "pieces": list(read.labels[group.start : group.end]),
                "bits": bits,
                "options": offered,
                "right": offered.index(group.shown),
                "guess": visible(data[0]),
                "guessP": float(read.found.top_probs[rows.start, 0]),
                "hit": bool(read.found.hits[rows.start : rows.stop].all()),
            }
        )
    return made


def strip_rows(found: Sequence[Surprise], box_id: str, top: int = 4) -> list[dict[str, Any]]:
    """Return what a strip shows of each reading: bits, ranks and the likeliest tokens at each place."""
    tokenizer = engine.open_box(box_id).tokenizer
    return [
        {
            "bits": [round(float(b), 3) for b in one.bits],
            "ranks": one.ranks.tolist(),
            "tops": [
                [[visible(token_data(tokenizer, int(i))), round(float(p), 4)] for i, p in zip(ids, ps, strict=True)]
                for ids, ps in zip(one.top_ids[:, :top], one.top_probs[:, :top], strict=True)
            ],
        }
        for one in found
    ]


def strip_frame(labels: Sequence[str], rows: dict[str, Surprise]) -> pd.DataFrame:
    """Return bits and rank of each token but the first, one column a reading."""
    frame = pd.DataFrame({"token": list(labels[1:])})
    for name, one in rows.items():
        frame[f"bits_{name}"], frame[f"rank_{name}"] = one.bits, one.ranks
    return frame


@engine.remembered(max_entries=32)
def _read(box_id: str, fingerprint: str, text: str) -> Read:
    from llmkit.trace.surprise import surprise

    box = engine.open_box(box_id)
    encoding = _encode(box_id, box, text)
    found = surprise(box, encoding.ids, top=TOP)
    total = float(found.bits.sum())
    first = encoding.offsets[0][1]
    return Read(
        box_id=box_id,
        vocab_size=box.config.vocab_size,
        labels=encoding.labels,
        groups=_groups(encoding),
        found=found,
        bits_per_byte=total / max(sum(map(len, encoding.token_bytes[1:])), 1),
        bits_per_char=total / max(len(text) - first, 1),
    )


@engine.remembered(max_entries=16)
def _growth(fingerprint: str, text: str) -> Growth:
    from llmkit.generate import stream
    from llmkit.trace.surprise import surprise

    boxes = {stage: _stage(fingerprint, stage).value for stage in STAGES}
    box = boxes["trained"]
    encoding = _encode(DEFAULT_BOX, box, text)
    groups = _groups(encoding)
    cut = groups[max(len(groups) // 2, 1)].start if len(groups) > 1 else len(encoding)
    ends = {token.token_id for token in box.tokenizer.added if token.special}
    went_on: dict[Stage, str] = {}
    ended: dict[Stage, bool] = {}
    for stage, one in boxes.items():
        ids = [s.token_id for s in stream(one, encoding.ids[:cut], max_new_tokens=NEW_TOKENS, stop_ids=ends)]
        ended[stage] = bool(ids) and ids[-1] in ends
        written = ids[:-1] if ended[stage] else ids
        went_on[stage] = visible(b"".join(token_data(box.tokenizer, i) for i in written))
    return Growth(
        labels=encoding.labels,
        groups=groups,
        found={stage: surprise(one, encoding.ids) for stage, one in boxes.items()},
        prompt=visible(b"".join(encoding.token_bytes[:cut])),
        went_on=went_on,
        ended=ended,
        vocab_size=box.config.vocab_size,
    )


@engine.remembered(max_entries=8)
def _stage(fingerprint: str, stage: Stage) -> Assembled:
    """Return the bundled box at a stage of its training."""
    box = engine.open_box(DEFAULT_BOX)
    if stage == "trained":
        return box
    if stage == "untrained":
        from llmkit.tune.untrained import untrained

        made = untrained(box)
    else:
        from llmkit.reference import open_folder

        made = open_folder(box.folder / "checkpoints" / stage, dtype=box.dtype, device=str(box.device))
    engine.settle()
    return made


@engine.remembered(max_entries=2)
def _training(fingerprint: str) -> Training:
    folder = engine.open_box(DEFAULT_BOX).folder
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    measured = [row for row in log if row["held_out"]]
    by_folder = {kept["folder"].removeprefix("checkpoints/"): kept["tokens"] for kept in facts["kept"]}
    machine = facts["machine"]
    return Training(
        tokens=np.asarray([row["tokens"] for row in log], dtype=np.float32),
        bits=_bits([row["loss"] for row in log]),
        held_out={
            name: np.stack([_column(measured, "tokens"), _bits([row["held_out"][name] for row in measured])], axis=1)
            for name in measured[0]["held_out"]
        },
        kept={
            "untrained": int(log[0]["tokens"]),
            "001pct": by_folder["001pct"],
            "010pct": by_folder["010pct"],
            "trained": facts["end"]["tokens"],
        },
        device=f"{machine['cpu']} ×{machine['cores']}",
        date=str(machine.get("date", "")),
        versions=f"torch {machine['torch']}",
    )


@engine.remembered(max_entries=32)
def _shuffled_bits(box_id: str, fingerprint: str, text: str) -> tuple[float, float, str]:
    from llmkit.trace.order import shuffle_words
    from llmkit.trace.surprise import surprise

    box = engine.open_box(box_id)
    encoding = _encode(box_id, box, text)
    order = shuffle_words(encoding, seed=0)
    mixed = [encoding.ids[at] for at in order]
    shown = visible(b"".join(encoding.token_bytes[at] for at in order))
    return surprise(box, encoding.ids).mean_bits, surprise(box, mixed).mean_bits, shown


def _encode(box_id: str, box: Assembled, text: str) -> Encoding:
    from llmkit.trace import TraceError

    encoding = embeddings_engine.encode(box_id, text)
    limit = min(MAX_TOKENS, box.config.max_seq_len)
    if len(encoding) > limit:
        raise TraceError("text_too_long", tokens=len(encoding), limit=limit)
    if len(encoding) < 2:
        raise TraceError("text_short", tokens=len(encoding), limit=limit)
    return encoding


def _groups(encoding: Encoding) -> tuple[Group, ...]:
    return tuple(
        Group(start=start, end=end, shown=visible(b"".join(encoding.token_bytes[start:end])))
        for start, end in encoding.groups
    )


def _is_text(data: bytes) -> bool:
    """Whether a token is whole characters, something that a person can guess."""
    try:
        return bool(data.decode().strip())
    except UnicodeDecodeError:
        return False


def token_data(tokenizer: Tokenizer, token_id: int) -> bytes:
    """Return a token's bytes; none where the model has more rows than the tokenizer has tokens."""
    try:
        return tokenizer.token_bytes(token_id)
    except KeyError:
        return b""


def _scatter(*seed: object) -> bytes:
    """An order that is the same every time and that nobody can foresee."""
    return hashlib.blake2b(repr(seed).encode(), digest_size=8).digest()


def _bits(nats: Sequence[float]) -> Floats:
    return (np.asarray(nats, dtype=np.float64) / math.log(2)).astype(np.float32)


def _column(rows: Sequence[dict[str, Any]], name: str) -> Floats:
    return np.asarray([row[name] for row in rows], dtype=np.float32)
