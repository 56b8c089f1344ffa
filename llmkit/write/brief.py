"""A brief: what is ordered from a box that writes, and the prompt that says so, line by line."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from llmkit.write.errors import WriteError
from llmkit.write.find import fold

Lang = Literal["en", "zh-TW"]
Kind = Literal["post", "email", "product", "notice"]
Tone = Literal["friendly", "formal", "playful", "plain"]
Structure = Literal["prose", "title", "list"]
Field = Literal["task", "audience", "tone", "length", "must", "must_not", "structure", "language"]

LANGS: tuple[Lang, ...] = get_args(Lang)
KINDS: tuple[Kind, ...] = get_args(Kind)
TONES: tuple[Tone, ...] = get_args(Tone)
STRUCTURES: tuple[Structure, ...] = get_args(Structure)

MOST_WORDS = 12
"""Words that a text must or must not hold, at most."""

FIELD_LIMIT = 200
"""Characters of one field: a brief is a few lines, and a small box's context is short."""

_FILE = Path(__file__).with_name("brief.toml")


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What is ordered.

    Args:
        lang: of the text. topic: what it is about. kind, tone, structure: of what sort.
        audience: who reads it; empty for nobody in particular.
        least, most: its length in words; each Chinese character is one.
        must_have, must_not: words that the text holds, and that it does not.

    Raises:
        WriteError: ``brief_topic_empty``, ``brief_length``, ``brief_too_many_words``, ``brief_too_long`` or
            ``brief_conflict``.
    """

    lang: Lang
    topic: str
    kind: Kind = "post"
    audience: str = ""
    tone: Tone = "friendly"
    structure: Structure = "prose"
    least: int = 30
    most: int = 60
    must_have: tuple[str, ...] = ()
    must_not: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.topic.strip():
            raise WriteError("brief_topic_empty")
        if not 1 <= self.least <= self.most:
            raise WriteError("brief_length", least=self.least, most=self.most)
        for words in (self.must_have, self.must_not):
            if len(words) > MOST_WORDS:
                raise WriteError("brief_too_many_words", n=len(words), limit=MOST_WORDS)
        longest = max(map(len, (self.topic, self.audience, *self.must_have, *self.must_not)))
        if longest > FIELD_LIMIT:
            raise WriteError("brief_too_long", n=longest, limit=FIELD_LIMIT)
        refused = {fold(word) for word in self.must_not}
        for word in self.must_have:
            if fold(word) in refused:
                raise WriteError("brief_conflict", word=word)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the prompt, and the field of the brief that it comes from."""

    field: Field
    text: str


def lines(brief: Brief) -> tuple[Line, ...]:
    """Return the prompt line by line; a field that asks for nothing has no line.

    >>> [line.text for line in lines(Brief(lang="en", topic="tea", must_have=("hot", "cup")))][3:]
    ['Use these words: hot, cup.', 'Write in English. Give the text alone.']
    """
    return tuple(_lines(brief, _words(brief.lang)))


def prompt(brief: Brief) -> str:
    """Return what is asked for, as one text."""
    return "\n".join(line.text for line in lines(brief))


def split_words(typed: str) -> tuple[str, ...]:
    """Return the words of a line, each once: commas of any kind part them.

    >>> split_words("tea, green tea、茶；tea")
    ('tea', 'green tea', '茶')
    """
    return tuple(dict.fromkeys(" ".join(word.split()) for word in re.split(r"[,，、;；\n]", typed) if word.strip()))


def _lines(brief: Brief, say: Mapping[str, Any]) -> Iterator[Line]:
    def line(field: Field, **values: object) -> Line:
        return Line(field=field, text=say[field].format(**values))

    yield line("task", kind=say["kind"][brief.kind], topic=_one_line(brief.topic))
    if brief.audience.strip():
        yield line("audience", audience=_one_line(brief.audience))
    yield line("tone", tone=say["tones"][brief.tone])
    yield line("length", least=brief.least, most=brief.most)
    if brief.must_have:
        yield line("must", words=say["comma"].join(map(_one_line, brief.must_have)))
    if brief.must_not:
        yield line("must_not", words=say["comma"].join(map(_one_line, brief.must_not)))
    if brief.structure != "prose":
        yield Line(field="structure", text=say["structure"][brief.structure])
    yield line("language")


def _one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _words(lang: Lang) -> Mapping[str, Any]:
    words: Mapping[str, Any] = tomllib.loads(_FILE.read_text(encoding="utf-8"))[lang]
    return words
