"""Text for pre-training: sources of documents, a held-out part of each, and one long row of tokens.

Documents are taken as they are: nothing is cleaned, lower-cased or converted here.
"""

import hashlib
import lzma
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

END_OF_TEXT = "<|endoftext|>"
HELD_OUT_PERCENT = 2

SMALLEST_VOCAB, LARGEST_VOCAB = 257, 65_536
"""All bytes and the end of a text must be in a vocabulary; ids are kept as 16-bit numbers."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One kind of text.

    Args:
        name: how logs and the model card call it.
        documents: the texts, none empty.
        repeats: how many times an epoch reads each; a small source read more often counts more.

    Raises:
        ValueError: when there is nothing to read, or ``repeats`` is below 1.
    """

    name: str
    documents: tuple[str, ...]
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"{self.name}: repeats must be at least 1, not {self.repeats}")
        if not any(self.documents):
            raise ValueError(f"{self.name}: no text")

    @property
    def train(self) -> list[str]:
        """The documents that are learned from."""
        return [text for text in self.documents if not is_held_out(text)]

    @property
    def held_out(self) -> list[str]:
        """The documents that only measure; a text that appears twice is on one side both times."""
        return [text for text in self.documents if is_held_out(text)]


@dataclass(frozen=True, kw_only=True)
class SourceFigures:
    """How much text a source has.

    Args:
        name: of the source. repeats: how many times an epoch reads it.
        documents, tokens: of the part that is learned from, each document counted once.
        characters: of the same part, in Unicode characters.
        held_out_documents, held_out_tokens, held_out_bytes: of the part that only measures; bytes of UTF-8.
    """

    name: str
    repeats: int
    documents: int
    characters: int
    tokens: int
    held_out_documents: int
    held_out_tokens: int
    held_out_bytes: int

    @classmethod
    def of(
        cls, source: Source, train: Sequence[NDArray[np.uint16]], held_out: Sequence[NDArray[np.uint16]]
    ) -> "SourceFigures":
        """Count a source and its documents' tokens."""
        return cls(
            name=source.name,
            repeats=source.repeats,
            documents=len(train),
            characters=sum(map(len, source.train)),
            tokens=sum(map(len, train)),
            held_out_documents=len(held_out),
            held_out_tokens=sum(map(len, held_out)),
            held_out_bytes=sum(len(text.encode()) for text in source.held_out),
        )


def is_held_out(text: str) -> bool:
    """Whether a document belongs to the held-out part: a property of its text alone, so it never changes side."""
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 100 < HELD_OUT_PERCENT


def read_text(path: Path) -> tuple[str, ...]:
    """Documents of a plain UTF-8 text file (``.xz`` too), separated by blank lines, with any system's line ends.

    Raises:
        ValueError: when the file is not UTF-8, or not what ``.xz`` says.
    """
    data = path.read_bytes()
    try:
        text = (lzma.decompress(data) if path.suffix == ".xz" else data).decode("utf-8-sig")
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text: {error}") from error
    blocks = re.split(r"\n(?:[^\S\n]*\n)+", text.replace("\r\n", "\n").replace("\r", "\n"))
    return tuple(text for text in (block.strip() for block in blocks) if text)


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Tokenizer:
    """Byte-level BPE as GPT-2 has it, its merges learned from these texts.

    Source: Sennrich et al. 2016; Radford et al. 2019, section 2.2. Every text can be written: all 256 bytes are
    in the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(documents: Sequence[str], tokenizer: Tokenizer) -> list[NDArray[np.uint16]]:
    """Each document's token ids, closed by ``<|endoftext|>``."""
    end = tokenizer.token_to_id(END_OF_TEXT)
    encodings = tokenizer.encode_batch_fast(list(documents), add_special_tokens=False)
    return [np.array([*encoding.ids, end], dtype=np.uint16) for encoding in encodings]


def one_row(documents: Sequence[NDArray[np.uint16]], *, seed: int) -> NDArray[np.uint16]:
    """Shuffle the documents and lay them end to end: one epoch's row of tokens."""
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    return np.concatenate([documents[i] for i in order])
