"""What a brief demands, looked for in a text by code: each demand met or missed, and where in the text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from llmkit.write.blocks import blocks
from llmkit.write.brief import Brief
from llmkit.write.find import Span, find, fold, is_han, is_letter

Kind = Literal["written", "length", "must", "must_not", "language", "structure", "repeats", "closed"]

LANGUAGE_SHARE = {"en": 0.9, "zh-TW": 0.5}
"""Share of the words that have to be of the language's script. Chinese texts name foreign things in Latin letters."""

LIST_POINTS = 2
REPEAT_LENGTH = 3
"""A sentence of fewer words may be there twice: "Thank you." is."""

_MAINLAND = frozenset("个据体关机号万与")
"""Characters of Big5 that Taiwan writes otherwise."""

_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")
_CLOSED = re.compile(r"[.!?。！？…~～]\W*\Z")


@dataclass(frozen=True, kw_only=True)
class Demand:
    """One demand, and what the text makes of it.

    Args:
        kind: ``written`` (there is a text), ``length``, ``must`` and ``must_not`` (one word each), ``language``,
            ``structure``, ``repeats`` (no sentence twice), ``closed`` (the last sentence is finished).
        met: whether the text does what is asked.
        word: which one, for ``must`` and ``must_not``; the structure's name for ``structure``.
        found: what was counted: words, points, sentences, characters, times; a share from 0 to 1 for ``language``.
        spans: where: what was asked for, or what offends.
    """

    kind: Kind
    met: bool
    word: str = ""
    found: float = 0.0
    spans: tuple[Span, ...] = field(default=())


def check(text: str, brief: Brief) -> tuple[Demand, ...]:
    """Look for everything that a brief demands. A text of nothing meets nothing.

    Args:
        text: what was written. brief: what was asked for.
    """
    demands = tuple(_check(text, brief))
    if text.strip():
        return demands
    return tuple(Demand(kind=one.kind, met=False, word=one.word) for one in demands)


def count_words(text: str) -> int:
    """Length of a text: each Chinese character is one, each run of other letters and digits is one.

    >>> count_words("Don't panic, it's 3.5 km."), count_words("我有 iPhone 一支。")
    (5, 5)
    """
    return len(words(text))


def words(text: str) -> tuple[Span, ...]:
    """Where the words of a text stand, as `count_words` counts them."""
    made: list[Span] = []
    for at, char in enumerate(text):
        if is_han(char):
            made.append((at, at + 1))
        elif char.isalnum():
            joined = made and (made[-1][1] == at or _joins(text, made[-1][1], at)) and not is_han(text[made[-1][0]])
            if joined:
                made[-1] = (made[-1][0], at + 1)
            else:
                made.append((at, at + 1))
    return tuple(made)


def simplified(text: str) -> tuple[Span, ...]:
    """Where characters stand that Taiwan does not write: Chinese ones that Big5 has not, and eight that it has.

    >>> simplified("这個資料")
    ((0, 1),)
    """
    return tuple((at, at + 1) for at, char in enumerate(text) if is_han(char) and not _in_taiwan(char))


def _check(text: str, brief: Brief) -> Iterator[Demand]:
    count = count_words(text)
    yield Demand(kind="written", met=bool(text.strip()), found=count)
    yield Demand(kind="length", met=brief.least <= count <= brief.most, found=count)
    for word in brief.must_have:
        spans = find(text, word)
        yield Demand(kind="must", met=bool(spans), word=word, found=len(spans), spans=spans)
    for word in brief.must_not:
        spans = find(text, word)
        yield Demand(kind="must_not", met=not spans, word=word, found=len(spans), spans=spans)
    yield _language(text, brief)
    if brief.structure != "prose":
        yield _structure(text, brief)
    again = _repeats(text)
    yield Demand(kind="repeats", met=not again, found=len(again), spans=again)
    yield Demand(kind="closed", met=_CLOSED.search(text.rstrip()) is not None)


def _language(text: str, brief: Brief) -> Demand:
    """By script alone: Chinese characters without simplified ones, or Latin letters."""
    first = [text[start] for start, end in words(text) if any(map(str.isalpha, text[start:end]))]
    own = sum(map(is_han if brief.lang == "zh-TW" else _is_latin, first))
    share = own / len(first) if first else 0.0
    wrong = simplified(text) if brief.lang == "zh-TW" else ()
    return Demand(
        kind="language",
        met=share >= LANGUAGE_SHARE[brief.lang] and not wrong,
        word=brief.lang,
        found=share,
        spans=wrong,
    )


def _structure(text: str, brief: Brief) -> Demand:
    found = blocks(text)
    kinds = ("title",) if brief.structure == "title" else ("point", "number")
    own = [one for one in (found[:1] if brief.structure == "title" else found) if one.kind in kinds]
    least = 1 if brief.structure == "title" else LIST_POINTS
    spans = tuple((one.start, one.end) for one in own)
    return Demand(kind="structure", met=len(own) >= least, word=brief.structure, found=len(own), spans=spans)


def _repeats(text: str) -> tuple[Span, ...]:
    """Where a sentence stands that stood there before."""
    seen: set[str] = set()
    again: list[Span] = []
    for match in _SENTENCE.finditer(text):
        bare = "".join(char for char in fold(match[0]) if char.isalnum() or char == " ").strip()
        if count_words(bare) < REPEAT_LENGTH:
            continue
        if bare in seen:
            start = match.start() + len(match[0]) - len(match[0].lstrip())
            again.append((start, match.end()))
        seen.add(bare)
    return tuple(again)


def _joins(text: str, end: int, at: int) -> bool:
    """Whether one sign between two letters or digits belongs to their word: an apostrophe, a hyphen, a point."""
    return at - end == 1 and text[end] in "'’-.,@_" and is_letter(text[at]) and is_letter(text[end - 1])


def _is_latin(char: str) -> bool:
    return char < "\u0250" or "\u1e00" <= char <= "\u1eff"


def _in_taiwan(char: str) -> bool:
    if char in _MAINLAND:
        return False
    try:
        char.encode("big5")
    except UnicodeEncodeError:
        return False
    return True
