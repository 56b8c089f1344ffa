"""A learner's prepared set whose labels can be learned from one word."""

from __future__ import annotations

from llmkit.tune.data.prepared import PreparedRow, keep

GOOD, BAD = ("good", "lovely", "funny", "strong"), ("bad", "awful", "boring", "weak")
PARTS = ("train", "train", "train", "train", "train", "train", "validation", "test")


def rows(n: int = 96, labels: tuple[str, str] = ("no", "yes")) -> list[PreparedRow]:
    """Texts whose label is told by one word, in three parts."""
    return [
        PreparedRow(
            f"{'so ' * (at % 5)}{(BAD, GOOD)[at % 2][at // 2 % 4]} {at}", labels[at % 2], PARTS[at // 2 % 8], at
        )
        for at in range(n)
    ]


def kept(given: list[PreparedRow], name: str = "told.csv") -> str:
    return keep(
        given, name=name, text="text", label="label", threshold=None, mendings=(), seed=0, shares=(0.8, 0.1, 0.1)
    ).id
