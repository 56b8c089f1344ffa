"""A tokenizer whose tokens are characters, written as byte-level BPE so that whatever opens GPT-2's opens it, too."""

import json
from collections import Counter
from typing import Any

from tokenizers import Tokenizer

from llmkit.tokens.byte_level_bpe import BYTE_TO_SYMBOL, to_symbols
from llmkit.tune.corpus import END_OF_TEXT

MOST_CHARACTERS = 6_000
"""Characters that get a token each, the most frequent first; the rest are written as their bytes."""


def character_tokenizer(text: str, *, most: int = MOST_CHARACTERS) -> Tokenizer:
    """One token for each character of a text, and 256 bytes for all that it does not hold.

    A character is a word of its own, so no merge crosses one; within it, the bytes of its UTF-8 are merged from left
    to right. Only a character's first bytes stand left of a merge and only one following byte right of it, so no other
    merge is ever possible: every character of the text is one token, every other one its bytes, and nothing is lost.

    Args:
        text: what the characters are taken from. most: at most so many beyond ASCII.

    >>> tokenizer = character_tokenizer("春 day")
    >>> tokenizer.encode("春 day").tokens
    ['æĺ¥', 'Ġ', 'd', 'a', 'y']
    """
    counts = Counter(char for char in text if not char.isascii() and not "\ud800" <= char <= "\udfff")
    kept = [char for char, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]
    vocab = {END_OF_TEXT: 0}
    for byte in range(256):
        vocab[BYTE_TO_SYMBOL[byte]] = len(vocab)
    merges: list[list[str]] = []
    for char in kept:
        data = char.encode()
        for end in range(2, len(data) + 1):
            piece = to_symbols(data[:end])
            if piece not in vocab:
                vocab[piece] = len(vocab)
                merges.append([to_symbols(data[: end - 1]), to_symbols(data[end - 1 : end])])
    return Tokenizer.from_str(json.dumps(_file(vocab, merges)))


def _file(vocab: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    """The ``tokenizer.json`` of these characters."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocab[END_OF_TEXT],
                "content": END_OF_TEXT,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False},
                byte_level,
            ],
        },
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }
