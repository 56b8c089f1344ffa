"""Check a table before a model learns from it: each finding with its rows, how bad it is, and what mends it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import regex

from llmkit.tune.data.columns import HELD_OUT, MAX_CLASSES, TRAIN, Columns, labels_of
from llmkit.tune.data.dataset import Table
from llmkit.tune.data.safe_cell import safe_cell

if TYPE_CHECKING:
    import pandas as pd

    from llmkit.tokens import Tokenizer

Severity = Literal["error", "warn", "note"]
Code = Literal[
    "encoding_guessed",
    "encoding_mixed",
    "undecodable",
    "mojibake",
    "ragged",
    "unreadable",
    "text_empty",
    "no_label_column",
    "label_missing",
    "label_variants",
    "label_long",
    "too_many_classes",
    "one_class",
    "rare_class",
    "imbalance",
    "blanks",
    "controls",
    "markup",
    "formula",
    "duplicates",
    "near_duplicates",
    "conflicts",
    "leaks",
    "too_long",
    "few_rows",
]

MOST_ROWS = 20
"""Row numbers that a finding names; the rest is counted."""

FEW_ROWS = 30
LONG_LABEL = 60
FEWEST_OF_A_CLASS = 3
IMBALANCE = 5.0
"""How many times as many rows the largest class may have as the smallest before it is said."""

CONTROL = regex.compile(r"[[\p{Cc}--[\t\n\r]]\u200b\u2028\u2029\u2060\ufeff\u202a-\u202e\u2066-\u2069]", regex.V1)
"""Characters that nobody sees: controls, marks of direction, blanks without width; joiners stay, emoji need them."""

MARKUP = re.compile(r"</?[A-Za-z][^<>]{0,200}>|&(?:[a-z]{2,8}|#\d{1,6});")
MOJIBAKE = re.compile("\ufffd|[ÃÂ][\x80-\xbf]|â€|[äåæçèé][\x80-\xbf\u0152-\u2122]{2}")
"""What UTF-8 looks like when it was read as Latin-1, and the sign for a lost character."""


class _Heard(dict[int, int | None]):
    """A table for `str.translate` that takes punctuation, blanks and controls out; filled as characters come."""

    def __missing__(self, code: int) -> int | None:
        heard = None if unicodedata.category(chr(code))[0] in "PZC" else code
        self[code] = heard
        return heard


_HEARD = _Heard()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found.

    Args:
        code: what it is.
        severity: ``error`` (a model would learn nonsense), ``warn`` (know it, and decide), ``note``.
        rows: the first row numbers, as in the file. count: how many rows in all.
        mend: the name of what mends it, for `data_mend.apply`; empty where nothing does.
        values: further numbers and names.
    """

    code: Code
    severity: Severity
    rows: tuple[int, ...] = ()
    count: int = 0
    mend: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


def normalise(text: str) -> str:
    """What is left of a text when case, blanks, width and punctuation do not count: two with the same are one text.

    >>> normalise("Ｇｏｏｄ  film!") == normalise("good film")
    True
    """
    plain = text.translate(_HEARD)
    if not unicodedata.is_normalized("NFKC", plain):
        plain = unicodedata.normalize("NFKC", plain).translate(_HEARD)
    return plain.casefold() or " ".join(unicodedata.normalize("NFKC", text).split())


def check(
    table: Table,
    *,
    frame: "pd.DataFrame | None" = None,
    columns: Columns,
    lengths: Sequence[int] = (),
    context: int = 0,
) -> tuple[Finding, ...]:
    """Look a table over.

    Args:
        table: as it was read.
        frame: what the mendings have left of it; None for all of it.
        columns: which columns hold text and label.
        lengths: tokens of each row's text, in the frame's order, from `token_lengths`; empty to leave that out.
        context: the most tokens that the model takes; 0 for no limit.

    Returns:
        the findings, errors first.
    """
    frame = table.frame if frame is None else frame
    found = [
        *_reading(table, frame),
        *_cells(frame, columns),
        *_labels(frame, columns),
        *_repeats(frame, columns),
        *_lengths(frame, lengths, context),
    ]
    order = {"error": 0, "warn": 1, "note": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def token_lengths(
    texts: Iterable[str | None],
    tokenizer: "Tokenizer",
    *,
    on_progress: Callable[[int], None] = lambda done: None,
    every: int = 1_000,
) -> list[int]:
    """How many tokens each text becomes, the box's own special tokens included; 0 for no text.

    Args:
        texts: any texts; a lone surrogate counts as the sign for a lost character.
        tokenizer: of the box that shall read them.
        on_progress: told how many are done, every so often; what it raises stops the count.
    """

    @lru_cache(maxsize=50_000)
    def length(text: str) -> int:
        return len(tokenizer.encode(text.encode("utf-8", errors="replace").decode("utf-8")))

    counts = []
    for at, text in enumerate(texts, start=1):
        counts.append(length(text) if text else 0)
        if at % every == 0:
            on_progress(at)
    return counts


def _finding(
    code: Code, severity: Severity, rows: Iterable[int], mend: str = "", **values: object
) -> Iterator[Finding]:
    listed = list(rows)
    if listed:
        first = tuple(int(row) for row in listed[:MOST_ROWS])
        yield Finding(code=code, severity=severity, rows=first, count=len(listed), mend=mend, values=values)


def _reading(table: Table, frame: "pd.DataFrame") -> Iterator[Finding]:
    """What was odd about the file itself."""
    here = set(frame.index)
    if table.encoding not in ("", "UTF-8"):
        yield Finding(
            code="encoding_guessed",
            severity="note" if table.sure >= 0.8 else "warn",
            values={"encoding": table.encoding, "sure": f"{table.sure:.0%}"},
        )
    named = ", ".join(sorted({used for row, used in table.otherwise.items() if row in here}))
    mixed = [row for row in table.otherwise if row in here]
    yield from _finding("encoding_mixed", "warn", mixed, "drop_foreign", encodings=named, encoding=table.encoding)
    yield from _finding("undecodable", "error", [row for row in table.undecodable if row in here], "drop_undecodable")
    yield from _finding("ragged", "error", [row for row in table.ragged if row in here], "drop_ragged")
    yield from _finding("unreadable", "note", table.unreadable)


def _cells(frame: "pd.DataFrame", columns: Columns) -> Iterator[Finding]:
    texts = frame[columns.text]
    yield from _finding("text_empty", "error", rows_where(texts, _is_empty), "drop_empty")
    yield from _finding("mojibake", "error", rows_where(texts, MOJIBAKE.search), "redecode")
    yield from _finding("controls", "warn", rows_where(texts, has_controls), "drop_controls")
    yield from _finding("blanks", "note", rows_where(texts, _has_blanks), "trim")
    yield from _finding("markup", "note", rows_where(texts, has_markup), "drop_markup")
    yield from _finding("formula", "note", rows_where(texts, lambda text: safe_cell(text) != text))
    if 0 < len(frame) < FEW_ROWS:
        yield Finding(code="few_rows", severity="warn", count=len(frame))


def _labels(frame: "pd.DataFrame", columns: Columns) -> Iterator[Finding]:
    if columns.label is None:
        yield Finding(code="no_label_column", severity="note")
        return
    labels = labels_of(frame, columns)
    missing = labels.isna()
    yield from _finding("label_missing", "error", frame.index[missing], "drop_unlabelled", column=columns.label)
    counts = Counter(labels[~missing])
    if not counts:
        return
    if len(counts) > MAX_CLASSES:
        yield Finding(code="too_many_classes", severity="error", count=len(counts), values={"column": columns.label})
        return
    yield from _finding("label_long", "warn", labels.index[labels.map(lambda one: len(one or "") > LONG_LABEL)])
    usual = usual_spelling(counts)
    odd = labels.index[labels.map(lambda one: one is not None and usual[one] != one)]
    forms = ", ".join(sorted(with_blanks(one) for one in counts if usual[one] != one)[:5])
    yield from _finding("label_variants", "warn", odd, "merge_labels", forms=forms)
    if len(counts) == 1:
        yield Finding(code="one_class", severity="error", count=len(frame), values={"label": next(iter(counts))})
        return
    rare = {label for label, count in counts.items() if count < FEWEST_OF_A_CLASS}
    names = ", ".join(sorted(map(with_blanks, rare))[:5])
    yield from _finding("rare_class", "error", labels.index[labels.isin(rare)], "drop_rare", labels=names)
    (most, high), *_, (least, low) = counts.most_common()
    if high > IMBALANCE * low:
        values = {"most": with_blanks(most), "high": high, "least": with_blanks(least), "low": low}
        yield Finding(code="imbalance", severity="warn", count=high, values=values)


def _repeats(frame: "pd.DataFrame", columns: Columns) -> Iterator[Finding]:
    """Texts that stand there more than once: the same, nearly the same, under two labels, on both sides."""
    whole = frame[columns.text].fillna("")
    texts = whole[whole.map(lambda text: bool(text.strip()))]
    labels = labels_of(frame.loc[texts.index], columns)
    again = texts.duplicated()
    yield from _finding("duplicates", "warn", texts.index[again], "drop_duplicates")
    keys = texts.map(normalise)
    nearly = keys.duplicated() & ~again
    yield from _finding("near_duplicates", "warn", texts.index[nearly], "drop_near_duplicates")
    different = labels.groupby(keys).nunique()
    yield from _finding("conflicts", "error", texts.index[keys.isin(different.index[different > 1])], "drop_conflicts")
    if columns.part is not None:
        yield from _finding("leaks", "error", leaking(frame, columns), "drop_leaks", column=columns.part)


def _lengths(frame: "pd.DataFrame", lengths: Sequence[int], context: int) -> Iterator[Finding]:
    if context and len(lengths) == len(frame):
        rows = [row for row, length in zip(frame.index, lengths, strict=True) if length > context]
        yield from _finding("too_long", "warn", rows, "drop_long", context=context, longest=max(lengths, default=0))


def leaking(frame: "pd.DataFrame", columns: Columns) -> list[int]:
    """Rows for training whose text also stands among those for testing: {row number}, in the frame's order."""
    if columns.part is None:
        return []
    parts = frame[columns.part].map(lambda part: str(part).strip().lower())
    keys = frame[columns.text].fillna("").map(normalise)
    held_out = set(keys[parts.isin(HELD_OUT)]) - {""}
    return [int(row) for row in frame.index[parts.isin(TRAIN) & keys.isin(held_out)]]


def usual_spelling(counts: Mapping[str, int]) -> dict[str, str]:
    """Each label's most frequent spelling, where only case, width and blanks differ.

    >>> usual_spelling({"pos": 9, "Pos ": 1, "neg": 3})
    {'pos': 'pos', 'Pos ': 'pos', 'neg': 'neg'}
    """
    best: dict[str, str] = {}
    for label in sorted(counts, key=lambda one: (-counts[one], one)):
        best.setdefault(_spelling(label), label)
    return {label: best[_spelling(label)] for label in counts}


def with_blanks(label: str) -> str:
    """A label with the blanks at its ends to be seen.

    >>> with_blanks(" very good ")
    '·very good·'
    """
    stripped = label.strip()
    before = len(label) - len(label.lstrip())
    return "·" * before + stripped + "·" * (len(label) - before - len(stripped)) if stripped else label


def _spelling(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def rows_where(texts: "pd.Series[str]", true: Callable[[str], object]) -> list[int]:
    """Numbers of the rows whose text has a property; a row without a text counts as the empty text."""
    return [int(row) for row, text in zip(texts.index, texts, strict=True) if true(text or "")]


def _is_empty(text: str) -> bool:
    return not (text if text.isprintable() else CONTROL.sub("", text)).strip()


def has_controls(text: str) -> bool:
    """Whether a text holds characters that nobody sees; most texts can be told at a glance."""
    return not text.isprintable() and CONTROL.search(text) is not None


def has_markup(text: str) -> bool:
    """Whether a text holds HTML's tags or entities."""
    return ("<" in text or "&" in text) and MARKUP.search(text) is not None


def _has_blanks(text: str) -> bool:
    return text != text.strip() and bool(text.strip())
