"""Extract by rule: the first number, date, e-mail address or web address of a text. No model, so no confidence."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable, Mapping

MOST_CHARACTERS = 20_000
"""So much of a cell is looked at."""

_NUMBER = re.compile(r"(?<![A-Za-z0-9_.])[-+]?\d[\d,]*(?:\.\d+)?")
_DATE = re.compile(
    r"(?<!\d)(?:(?P<roc>民國)\s*(?P<rocyear>\d{2,3})|(?P<year>\d{4}))\s*[-/.年]\s*(?P<month>\d{1,2})\s*[-/.月]"
    r"\s*(?P<day>\d{1,2})(?!\d)"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.+-])[A-Za-z0-9_+-](?:[A-Za-z0-9_.+-]{0,63})@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}"
)
_URL = re.compile(r"(?<![A-Za-z0-9])https?://[^\s<>\"'，。；、）」』】]{3,2000}", re.IGNORECASE)

REPUBLIC = 1911
"""Year 1 of the Republic's calendar is 1912."""


def first_number(text: str) -> str:
    """The first number, thousands' commas taken out.

    >>> first_number("ＮＴ$ 1,990, down from 2,500"), first_number("order A12"), first_number("晚了12天")
    ('1990', '', '12')
    """
    match = _NUMBER.search(_DATE.sub(" ", _plain(text)))
    return match[0].rstrip(",").replace(",", "") if match else ""


def first_date(text: str) -> str:
    """The first date that the calendar has, as YYYY-MM-DD; the Republic's years are turned into ours.

    >>> first_date("on 2026/3/2"), first_date("民國115年3月2日"), first_date("2026-02-30")
    ('2026-03-02', '2026-03-02', '')
    """
    for match in _DATE.finditer(_plain(text)):
        year = int(match["year"]) if match["year"] else int(match["rocyear"]) + REPUBLIC
        try:
            return datetime.date(year, int(match["month"]), int(match["day"])).isoformat()
        except ValueError:
            continue
    return ""


def first_email(text: str) -> str:
    """The first e-mail address.

    >>> first_email("寫信到help@example.com。")
    'help@example.com'
    """
    match = _EMAIL.search(_plain(text))
    return match[0] if match else ""


def first_url(text: str) -> str:
    """The first web address.

    >>> first_url("see https://example.com/a?b=1.")
    'https://example.com/a?b=1'
    """
    match = _URL.search(_plain(text))
    return match[0].rstrip(".,;:!?)") if match else ""


RULES: Mapping[str, Callable[[str], str]] = {
    "number": first_number,
    "date": first_date,
    "email": first_email,
    "url": first_url,
}


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text[:MOST_CHARACTERS])


def words_of(text: str) -> tuple[str, ...]:
    """Words in small letters; of Chinese and Japanese each character is one.

    >>> words_of("The desk，書桌!")
    ('the', 'desk', '書', '桌')
    """
    return tuple(re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+", _plain(text).casefold()))


def in_text(answer: str, text: str) -> bool:
    """Whether every word of an answer stands in the text: what does not was not extracted but made up.

    >>> in_text("The desk.", "I bought the desk"), in_text("a chair", "I bought the desk"), in_text("", "x")
    (True, False, False)
    """
    words = words_of(answer)
    return bool(words) and set(words) <= set(words_of(text))
