"""Split texts by a seed: training, validation, test; each class in its share, one text never on two sides."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from llmkit.tune.data.checks import normalise
from llmkit.tune.data.errors import DataError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
BARE_FIRST: tuple[Part, ...] = ("train", "test", "validation")
"""Which part a class of very few texts goes to first."""

FEWEST = 6
"""Different texts that a split needs."""


def split(
    texts: Sequence[str],
    labels: Sequence[str | None],
    *,
    seed: int,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> tuple[Part, ...]:
    """Say for every row where it belongs.

    Rows whose texts are the same but for case, blanks, width and punctuation stay together. Which goes where follows
    from the seed and the text alone: the order of the rows and what else is among them change little, and the same
    seed gives the same split on any machine.

    Args:
        texts, labels: one a row; a label may be None.
        seed: any whole number.
        shares: of training, validation and test; they add up to 1.

    Raises:
        DataError: ``data_too_few`` where there are too few different texts.
        ValueError: the shares do not add up.
    """
    if abs(sum(shares) - 1) > 1e-9 or min(shares) < 0:
        raise ValueError(f"shares must add up to 1, not {sum(shares)}")
    groups: dict[str, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        groups[normalise(text)].append(row)
    if len(groups) < FEWEST:
        raise DataError("data_too_few", n=len(groups), limit=FEWEST)
    classes: dict[str | None, list[str]] = defaultdict(list)
    for key, rows in groups.items():
        classes[Counter(labels[row] for row in rows).most_common(1)[0][0]].append(key)
    answer: list[Part] = ["train"] * len(texts)
    for keys in classes.values():
        for key, part in _deal(keys, {key: len(groups[key]) for key in keys}, seed, shares).items():
            for row in groups[key]:
                answer[row] = part
    return tuple(answer)


def _deal(keys: Sequence[str], sizes: Mapping[str, int], seed: int, shares: Sequence[float]) -> dict[str, Part]:
    """Deal one class's texts out: those that stand there often first, to the part that lacks most; the rest by seed."""
    wanted = _counts(sum(sizes.values()), shares)
    bare = [part for part in BARE_FIRST if wanted[part]]
    dealt: dict[str, Part] = {}
    order = sorted(keys, key=lambda key: (-sizes[key], _rank(key, seed)))
    for left, key in zip(range(len(order), 0, -1), order, strict=True):
        size = sizes[key]
        if left <= len(bare):
            part = bare[0]
        elif size == 1:
            part = next((part for part in reversed(PARTS) if wanted[part] > 0), "train")
        else:
            part = max(PARTS, key=lambda part: (wanted[part] >= size, wanted[part]))
        wanted[part] -= size
        dealt[key] = part
        if part in bare:
            bare.remove(part)
    return dealt


def _counts(rows: int, shares: Sequence[float]) -> dict[Part, int]:
    """How many rows of a class each part shall have: largest remainders, at least one where it has a share."""
    exact = [rows * share for share in shares]
    counts = [int(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda at: counts[at] - exact[at])
    for at in order[: rows - sum(counts)]:
        counts[at] += 1
    for at, share in enumerate(shares):
        counts[at] = max(counts[at], 1) if share > 0 else 0
    return dict(zip(PARTS, counts, strict=True))


def _rank(key: str, seed: int) -> bytes:
    text = key.encode("utf-8", errors="replace")
    return hashlib.blake2b(text, key=str(seed).encode()[:64], digest_size=8).digest()
