"""Whether an answer is right, told by code: what it reads in the answer, and whether that is what was expected."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from llmkit.generate.reasoning import read_answer

Score = Literal["exact", "contains", "label", "number", "json"]
SCORES: tuple[Score, ...] = get_args(Score)

_ENDS = " \t\r\n.,;:!?。，；：！？、「」『』“”\"'‘’*`()（）[]"


_APART = re.compile(r"(?<![０-９])，|，(?![０-９])")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What code reads in an answer: the text that counts (None for nothing), and whether it is right."""

    read: str | None
    right: bool


def judge(answer: str, expected: str, score: Score, *, labels: Sequence[str] = ()) -> Reading:
    """Read an answer and compare it.

    Args:
        answer: what was written. expected: what is right: a text, a label, a number, or a JSON object.
        score: ``exact`` (the same but for case, width, blanks and signs at the ends), ``contains`` (it stands in the
            answer), ``label`` (the answer begins with it, and with none of the other ``labels``), ``number`` (after
            "answer", else the last one; see ``reasoning.read_answer``), ``json`` (the first JSON object has every
            expected field with that value).

    >>> judge("Positive. I liked it!", "positive", "label", labels=("positive", "negative"))
    Reading(read='positive', right=True)
    >>> judge('Here: {"name": "Amy", "age": 3}', '{"name": "amy"}', "json").right
    True
    """
    if score == "exact":
        read = plain(answer)
        return Reading(read=read or None, right=bool(read) and read == plain(expected))
    if score == "contains":
        found = holds(answer, expected)
        return Reading(read=expected if found else None, right=found)
    if score == "label":
        return _label(answer, expected, labels or (expected,))
    if score == "number":
        number = read_answer(_half_width(answer))
        return Reading(read=number, right=number is not None and number == read_answer(_half_width(expected)))
    return _json(answer, expected)


def plain(text: str) -> str:
    """A text as it is compared: NFKC, no case, single blanks, no signs at its ends.

    >>> plain(" 「Ｐａｒｉｓ」。 ")
    'paris'
    """
    folded = _half_width(text).casefold().replace("臺", "台")
    return " ".join(folded.split()).strip(_ENDS)


def holds(text: str, wanted: str) -> bool:
    """Whether a text holds another as whole words; Chinese has no such ends.

    >>> holds("It is Paris.", "paris"), holds("Parisian", "Paris"), holds("1945", "194"), holds("在台北市", "臺北")
    (True, False, False, True)
    """
    text, wanted = plain(text), plain(wanted)
    if not wanted:
        return False
    before = r"(?<![a-z0-9])" if wanted[0].isascii() and wanted[0].isalnum() else ""
    after = r"(?![a-z0-9])" if wanted[-1].isascii() and wanted[-1].isalnum() else ""
    if wanted[0].isdigit():
        before = r"(?<![a-z0-9])(?<!\d[.,])"
    if wanted[-1].isdigit():
        after = r"(?![a-z0-9])(?![.,]\d)"
    return re.search(before + re.escape(wanted) + after, text) is not None


def json_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text; None where none is whole.

    >>> json_object('Sure! {"a": 1} {"b": 2}'), json_object("{a: 1}")
    ({'a': 1}, None)
    """
    decoder = json.JSONDecoder()
    for at in (found.start() for found in re.finditer(r"\{", text)):
        try:
            value, _ = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def _half_width(text: str) -> str:
    """NFKC; a Chinese comma stays apart from what follows, unless it stands among full-width digits: 102，17 is two."""
    return unicodedata.normalize("NFKC", _APART.sub("， ", text))


def _label(answer: str, expected: str, labels: Sequence[str]) -> Reading:
    begun = plain(answer)
    for label in sorted(labels, key=len, reverse=True):  # "very good" before "very"
        wanted = plain(label)
        if wanted and begun.startswith(wanted) and holds(begun[: len(wanted) + 1], wanted):
            return Reading(read=label, right=wanted == plain(expected))
    return Reading(read=None, right=False)


def _json(answer: str, expected: str) -> Reading:
    found, wanted = json_object(answer), json_object(expected)
    if found is None:
        return Reading(read=None, right=False)
    right = all(plain(str(found.get(name, ""))) == plain(str(value)) for name, value in (wanted or {}).items())
    return Reading(read=json.dumps(found, ensure_ascii=False)[:500], right=right)
