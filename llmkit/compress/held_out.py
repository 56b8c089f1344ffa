"""Text that the bench measures on: reviews that no box of ours has learned from, cut into windows of tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llmkit import shelf
from llmkit.compress.runner import Ids

TEXTS = {"en": "reviews-en", "zh-TW": "reviews-zh-tw"}
END_OF_TEXT = "<|endoftext|>"


def languages_of(box_id: str) -> tuple[str, ...]:
    """Which languages a box is measured in; of a box that was made here, those of the box it came from."""
    seen: set[str] = set()
    while box_id not in seen:
        seen.add(box_id)
        try:
            known = shelf.entry(box_id).languages
            if known:
                return tuple(one for one in TEXTS if one in known) or ("en",)
            folder = shelf.locate(box_id)
        except shelf.ShelfError:
            break
        from llmkit.shelf.store import read_manifest

        facts = read_manifest(folder) if folder is not None else {}
        box_id = str(facts.get("made_from") or facts.get("tuned_from") or facts.get("base") or box_id)
    return ("en",)


def windows(box_id: str, folder: Path, *, tokens: int, count: int, held_out: bool = True) -> Ids:
    """Windows of held-out text, as many of each language: [count, tokens]; or of all other text.

    Documents are the part of the data boxes that pre-training here holds out; they are laid end to end,
    ``<|endoftext|>`` between where the box has it, else an empty line.

    Raises:
        ShelfError: ``box_missing``, the data box is not here.
    """
    from llmkit.tokens import Tokenizer
    from llmkit.tune.corpus import is_held_out

    tokenizer, languages = Tokenizer.from_folder(folder), languages_of(box_id)
    ends = [token.token_id for token in tokenizer.added if token.content == END_OF_TEXT]
    between = tuple(ends[:1]) or tokenizer.encode("\n\n", specials=False).ids
    rows: list[list[tuple[int, ...]]] = []
    for at, language in enumerate(languages):
        wanted, ids = count // len(languages) + (at < count % len(languages)), list[int]()
        for row in shelf.open_data(TEXTS[language]).rows:
            if len(ids) >= wanted * tokens:
                break
            if is_held_out(row.text) == held_out:
                ids += [*tokenizer.encode(row.text, specials=False).ids, *between]
        rows.append([tuple(ids[n * tokens : (n + 1) * tokens]) for n in range(min(wanted, len(ids) // tokens))])
    return np.array([one for language in rows for one in language], dtype=np.int64).reshape(-1, tokens)
