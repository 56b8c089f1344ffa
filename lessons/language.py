"""The words of the guide: `lessons/text/*.toml`, both languages side by side."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

TEXT_FOLDER = Path(__file__).parent / "text"

LANGUAGES: Mapping[str, str] = MappingProxyType({"zh-TW": "zh", "en": "en"})
"""The guide's languages, each with its column in the TOML files."""

DEFAULT_LANGUAGE = "zh-TW"


@dataclass(frozen=True, kw_only=True)
class Words:
    """Everything the guide says in one language.

    Call it with a key and the values that its text names:

    >>> say = words("en")
    >>> say("common.minutes", n=20)
    '20 min'

    Raises:
        KeyError: the key is in no file.
    """

    lang: str
    texts: Mapping[str, str] = field(repr=False)

    def __call__(self, key: str, /, **values: object) -> str:
        text = self.texts[key]
        return text.format(**values) if values else text

    def __contains__(self, key: str) -> bool:
        return key in self.texts


def words(lang: str) -> Words:
    """Return the words of `lang` ("zh-TW" or "en").

    Raises:
        KeyError: the guide does not speak that language.
    """
    column = LANGUAGES[lang]
    return Words(lang=lang, texts=_column(column, _stamp()))


def read_catalogue(path: Path) -> dict[str, dict[str, str]]:
    """Read one file of text: key (without the file's name) → {"zh": …, "en": …}.

    Raises:
        ValueError: an entry is not a table of strings.
    """
    with path.open("rb") as file:
        entries = tomllib.load(file)
    for key, entry in entries.items():
        if not isinstance(entry, dict) or not all(isinstance(text, str) for text in entry.values()):
            raise ValueError(f'{path.name}: [{key}] is not a table of strings; quote dotted keys: ["{key}.x"]')
    return entries


def _stamp() -> tuple[tuple[str, int], ...]:
    """The files of text and when each last changed: an edit shows at the next rerun."""
    return tuple((str(path), path.stat().st_mtime_ns) for path in sorted(TEXT_FOLDER.glob("*.toml")))


@cache
def _column(column: str, stamp: tuple[tuple[str, int], ...]) -> Mapping[str, str]:
    texts: dict[str, str] = {}
    for name, _ in stamp:
        path = Path(name)
        for key, entry in read_catalogue(path).items():
            texts[f"{path.stem}.{key}"] = entry[column]
    return MappingProxyType(texts)
