"""Bytes to text: which encoding a file has, how sure that is, and which of its lines have another one.

UTF-8 and UTF-16 prove themselves; of the others the one whose characters people really write is taken: Taiwan's and
China's frequent characters stand in the first levels of Big5 and GB 2312, and a wrong reading leaves them at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from llmkit.tune.data.errors import DataError

CODECS: Mapping[str, str] = {
    "UTF-8": "utf-8-sig",
    "UTF-16": "utf-16",
    "Big5": "cp950",
    "GB18030": "gb18030",
    "Latin-1": "cp1252",
}
"""Encodings by the name that people know, each with Python's codec (CP950 and CP1252 hold Big5 and Latin-1)."""

LEGACY = ("Big5", "GB18030", "Latin-1")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig", "UTF-8"), (b"\xff\xfe", "utf-16", "UTF-16"), (b"\xfe\xff", "utf-16", "UTF-16"))
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z")
_HIGH = re.compile(rb"[\x80-\xff]+")
SHARPNESS = 8
"""Scores are raised to this before they are weighed: 0.98 against 0.5 leaves no doubt, 0.6 against 0.5 does."""

SAMPLE_BYTES = 200_000
"""Bytes that are looked at to tell legacy encodings apart."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A file's text.

    Args:
        text: all of it; a byte that no encoding explains is written as ``\\xNN``.
        encoding: its name, a key of CODECS.
        sure: from 0 to 1; 1 where the bytes prove it.
        otherwise: lines (1-based) that are in another encoding than the rest, with its name.
        undecodable: lines (1-based) that are in none.
    """

    text: str
    encoding: str
    sure: float
    otherwise: Mapping[int, str] = field(default_factory=dict)
    undecodable: tuple[int, ...] = ()


def decode(content: bytes, encoding: str | None = None) -> Decoded:
    """Turn a file's bytes into text.

    Args:
        content: the file.
        encoding: a key of CODECS; None to find out.

    Raises:
        DataError: ``data_encoding`` when the encoding asked for does not fit, with the line.
    """
    if encoding is not None:
        return _as_asked(content, encoding)
    for bom, codec, name in _BOMS:
        if content.startswith(bom):
            try:
                return Decoded(text=content.decode(codec), encoding=name, sure=1.0)
            except UnicodeDecodeError:
                if name == "UTF-16":
                    raise DataError("data_encoding", encoding=name, row=1) from None
                content = content.removeprefix(bom)
    if wide := _utf_16_without_bom(content):
        return Decoded(text=content.decode(wide), encoding="UTF-16", sure=0.9)
    try:
        return Decoded(text=content.decode("utf-8"), encoding="UTF-8", sure=1.0)
    except UnicodeDecodeError:
        return _line_by_line(content)


def _as_asked(content: bytes, encoding: str) -> Decoded:
    codec = CODECS[encoding]
    if encoding == "UTF-16" and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        codec = "utf-16-le"
    try:
        return Decoded(text=content.decode(codec), encoding=encoding, sure=1.0)
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError("data_encoding", encoding=encoding, row=row) from error


def _line_by_line(content: bytes) -> Decoded:
    """A file that is not UTF-8 as a whole: one encoding for most lines, others named."""
    lines = [match.group() for match in _LINE.finditer(content)]
    unicode_lines, foreign = 0, []
    for at, line in enumerate(lines):
        if line.isascii():
            continue
        if _reads(line, "utf-8"):
            unicode_lines += 1
        else:
            foreign.append(at)
    scores = score(b"".join(lines[at] for at in foreign)[:SAMPLE_BYTES])
    legacy = max(LEGACY, key=lambda name: scores[name])
    sharp = {name: value**SHARPNESS for name, value in scores.items()}
    sure = sharp[legacy] / sum(sharp.values()) if scores[legacy] else 0.0
    main = "UTF-8" if unicode_lines >= len(foreign) else legacy
    pieces, otherwise, undecodable = [], {}, []
    order = [main, *(name for name in ("UTF-8", legacy, *LEGACY[:2]) if name != main)]
    for at, line in enumerate(lines):
        used = next((name for name in order if _reads(line, CODECS[name])), None)
        if used is None:
            undecodable.append(at + 1)
            pieces.append(line.decode("utf-8", errors="backslashreplace"))
            continue
        if used != main:
            otherwise[at + 1] = used
        pieces.append(line.decode("utf-8" if used == "UTF-8" else CODECS[used]))
    return Decoded(
        text="".join(pieces),
        encoding=main,
        sure=round(sure, 3),
        otherwise=otherwise,
        undecodable=tuple(undecodable),
    )


def score(sample: bytes) -> dict[str, float]:
    """How much a sample looks like each legacy encoding: the share of its characters that people write, 0 to 1."""
    scores = {}
    for name in ("Big5", "GB18030"):
        text = sample.decode(CODECS[name], errors="replace")
        strange = [char for char in text if not char.isascii()]
        scores[name] = sum(char in _frequent() for char in strange) / len(strange) if strange else 0.0
    runs = _HIGH.findall(sample)
    alone = sum(len(run) for run in runs if len(run) == 1)
    letters = sum(
        run.decode("cp1252", errors="replace").isalpha() or run in (b"\x92", b"\x93", b"\x94", b"\x96", b"\x97")
        for run in runs
        if len(run) == 1
    )
    total = sum(len(run) for run in runs)
    scores["Latin-1"] = min(alone, letters) / total if total else 0.0
    return scores


@cache
def _frequent() -> frozenset[str]:
    """Characters of Big5's and GB 2312's first levels, with their punctuation."""
    found: set[str] = set()
    for codec, lows in (("big5", (*range(0x40, 0x7F), *range(0xA1, 0xFF))), ("gb2312", tuple(range(0xA1, 0xFF)))):
        highs = range(0xA4, 0xC7) if codec == "big5" else range(0xB0, 0xD8)
        for high in (0xA1, 0xA2, 0xA3, *highs):
            found.update(bytes((high, low)).decode(codec, errors="ignore") for low in lows)
    return frozenset(found - {""})


def _reads(line: bytes, codec: str) -> bool:
    try:
        line.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _utf_16_without_bom(content: bytes) -> str | None:
    """The codec of a UTF-16 file without its mark: every line ends in one zero byte more than it should."""
    head = content[:20_000]
    if len(content) % 2 or b"\x00" not in head:
        return None
    low, high = head[0::2].count(0), head[1::2].count(0)
    if min(low, high) * 20 > max(low, high):
        return None
    codec = "utf-16-le" if high > low else "utf-16-be"
    ends = head.count(b"\n\x00" if high > low else b"\x00\n")
    plausible = ends or max(low, high) > len(head) // 8
    return codec if plausible and _reads(content, codec) else None
