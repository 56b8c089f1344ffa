"""The text that a model learns from nothing: the reviews of a data box, or a file of the learner's own."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from llmkit import shelf
from llmkit.tune.characters import character_tokenizer
from llmkit.tune.corpus import END_OF_TEXT, SMALLEST_VOCAB, train_tokenizer
from llmkit.tune.data.encoding import decode
from llmkit.tune.data.errors import DataError
from llmkit.tune.data.source import read_file
from llmkit.tune.pretrain_errors import PretrainError

Cut = Literal["characters", "bpe"]
CUTS: tuple[Cut, ...] = ("characters", "bpe")

HELD_OUT = 0.1
"""The last tenth of a text only measures."""

MOST_CHARACTERS_READ = 20_000_000
CHUNK = 2_000
"""Characters that are given to the tokenizer at once: a text without a line end must not be one endless word."""

LONGEST_WORD = 400
"""Characters of a word that byte-pair encoding looks at together."""

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_STRANGE_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class OwnText:
    """A text, split: the first nine tenths are learned from, the last tenth only measures.

    Args:
        name: of the box or the file. train, held_out: pieces that are read one after another.
        encoding: of a file; empty for a box. sure: how sure that is, from 0 to 1.
        ends: whether a piece is a document of its own (a review), closed by ``<|endoftext|>``.
        cut_off: characters beyond MOST_CHARACTERS_READ that were left out.
    """

    name: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    encoding: str = ""
    sure: float = 1.0
    ends: bool = False
    cut_off: int = 0

    @property
    def characters(self) -> int:
        """Characters of the part that is learned from."""
        return sum(map(len, self.train))

    @property
    def held_out_characters(self) -> int:
        """Characters of the part that only measures."""
        return sum(map(len, self.held_out))

    @property
    def different(self) -> int:
        """How many different characters there are in what is learned from."""
        return len(set().union(*map(set, self.train)))

    @property
    def opening(self) -> str:
        """What a sample can begin with: how most documents begin, else how the text does."""
        if self.ends:
            starts = Counter(_first_words(piece, words=1, characters=2) for piece in self.train)
            return min(starts, key=lambda start: (-starts[start], start))
        line = next((line for piece in self.train for line in piece.split("\n") if line.strip()), "")
        return _first_words(line, words=2, characters=4)


def open_text(source: str, encoding: str | None = None) -> OwnText:
    """Read a source as text.

    Args:
        source: a data box's id, or ``file:<digest>`` of a file that `source.keep_file` has kept.
        encoding: a key of `encoding.CODECS`, for a file; None to find out.

    Raises:
        ShelfError: the box is not here. DataError: ``data_missing``, ``data_encoding``, ``data_empty``.
        PretrainError: ``pretrain_not_text``, ``pretrain_one_character``.
    """
    if not source.startswith("file:"):
        return _from_box(source)
    name, content = read_file(source)
    return from_bytes(content, name, encoding)


def from_bytes(content: bytes, name: str, encoding: str | None = None) -> OwnText:
    """A file's bytes as text, in whatever encoding it is; see `open_text`."""
    if content.startswith((b"PK\x03\x04", b"PAR1")):
        raise PretrainError("pretrain_not_text", name=name)
    found = decode(content, encoding)
    text = found.text.replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    sample = text[:200_000]
    broken = len(_CONTROL.findall(sample)) + sample.count("\ufffd")
    lines = sample.count("\n") + 1
    if broken > _STRANGE_SHARE * len(sample) or len(found.undecodable) > max(3, lines // 4):
        raise PretrainError("pretrain_not_text", name=name)
    if not text.strip():
        raise DataError("data_empty", name=name)
    kept = text[:MOST_CHARACTERS_READ]
    at = _line_end(kept, int(len(kept) * (1 - HELD_OUT)))
    own = OwnText(
        name=name,
        train=_pieces(kept[:at]),
        held_out=_pieces(kept[at:]),
        encoding=found.encoding,
        sure=found.sure,
        cut_off=len(text) - len(kept),
    )
    _require_choice(own)
    return own


def make_tokenizer(text: OwnText, cut: Cut, vocab_size: int) -> Tokenizer:
    """The tokenizer of a run, learned from what the model will learn from and nothing else.

    Args:
        cut: ``characters``, or ``bpe`` with so many tokens. vocab_size: for ``bpe``; fewer where
            the text gives no more.

    Raises:
        PretrainError: ``pretrain_setting``.
    """
    if cut == "characters":
        return character_tokenizer("".join(text.train))
    if not SMALLEST_VOCAB <= vocab_size <= 32_768:
        raise PretrainError("pretrain_setting", setting="vocab_size", asked=vocab_size, low=SMALLEST_VOCAB, high=32_768)
    return train_tokenizer(_short_words(text.train), vocab_size=vocab_size)


def one_row(text: OwnText, pieces: Sequence[str], tokenizer: Tokenizer) -> NDArray[np.int32]:
    """Pieces of a text as one row of token ids [N]; documents are closed by ``<|endoftext|>``."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    rows = []
    for encoding in tokenizer.encode_batch_fast(list(pieces), add_special_tokens=False):
        rows.append(np.asarray([*encoding.ids, end] if text.ends else encoding.ids, dtype=np.int32))
    return np.concatenate([np.zeros(0, dtype=np.int32), *rows])


def facts(text: OwnText) -> Mapping[str, Any]:
    """What is known of a text, as plain data."""
    return {
        "name": text.name,
        "characters": text.characters,
        "held_out_characters": text.held_out_characters,
        "different": text.different,
        "encoding": text.encoding,
        "pieces": len(text.train) if text.ends else None,
    }


def _from_box(box_id: str) -> OwnText:
    """Reviews in an order that does not change, each once: the same text must not be on both sides."""
    rows = list(dict.fromkeys(row.text for row in shelf.open_data(box_id).rows if row.text.strip()))
    random.Random(0).shuffle(rows)
    at = int(len(rows) * (1 - HELD_OUT))
    text = OwnText(name=box_id, train=tuple(rows[:at]), held_out=tuple(rows[at:]), encoding="UTF-8", ends=True)
    _require_choice(text)
    return text


def _require_choice(text: OwnText) -> None:
    if text.different < 2:
        raise PretrainError("pretrain_one_character", name=text.name, characters=text.characters)


def _first_words(line: str, *, words: int, characters: int) -> str:
    """A few words where blanks part them, else a few characters."""
    found = line.split()
    return " ".join(found[:words])[:16] if len(found) > words else line.strip()[:characters]


def _line_end(text: str, at: int) -> int:
    """The place after the next line end, where there is one near; else `at`: a line stays whole."""
    found = text.find("\n", at, at + CHUNK)
    return at if found < 0 or found + 1 >= len(text) else found + 1


def _pieces(text: str) -> tuple[str, ...]:
    """A text in pieces that together are the text."""
    pieces, at = [], 0
    while at < len(text):
        end = _line_end(text, at + CHUNK) if at + CHUNK < len(text) else len(text)
        pieces.append(text[at:end])
        at = end
    return tuple(pieces)


def _short_words(pieces: Sequence[str]) -> list[str]:
    """Pieces whose words are of a length that merges can be counted in."""
    long = re.compile(rf"(\S{{{LONGEST_WORD}}})(?=\S)")
    return [long.sub(r"\1 ", piece) for piece in pieces]
