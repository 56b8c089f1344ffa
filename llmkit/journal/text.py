"""What may stand in a journal: texts without anything that could act, addresses, dates, plain data."""

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any
from urllib.parse import parse_qsl, urlencode

from llmkit.journal.errors import JournalError

MOST_TEXT = 20_000
"""Characters of a note."""
MOST_LINE = 500
"""Characters of a title, of what went wrong, or of a figure's name."""
MOST_NAME = 40
MOST_TOPIC = 80
MOST_JSON = 20_000

_ACTIVE = re.compile(
    r"<\s*/?\s*(?:script|iframe|object|embed|img|svg|math|style|link|meta|base|form|video|audio|source|frame|template)\b"
    r"|<[a-z][^<>]*\son[a-z]+\s*=|(?:javascript|vbscript)\s*:|data\s*:\s*text/html",
    re.IGNORECASE,
)
_CODE = re.compile(r"^(`{3,}|~{3,}).*?^\1[ \t]*$|(?<!`)(`+)(?!`).+?(?<!`)\2(?!`)", re.DOTALL | re.MULTILINE)


def clean(text: str, *, most: int = MOST_TEXT) -> str:
    """Return a text as the journal keeps it: NFC, line ends as ``\\n``, without control characters.

    HTML that could act is refused outside of code: a note shows HTML as text, but a note also leaves the house.

    >>> clean("a\\r\\nb\\x00 <s> `<script>`")
    'a\\nb <s> `<script>`'

    Raises:
        JournalError: ``journal_long`` with the numbers; ``journal_html``.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", errors="replace").decode("utf-8")
    plain = "".join(char for char in plain if char in "\n\t" or unicodedata.category(char) != "Cc")
    plain = unicodedata.normalize("NFC", plain).strip()
    if len(plain) > most:
        raise JournalError("journal_long", length=f"{len(plain):,}", most=f"{most:,}")
    if found := _ACTIVE.search(_CODE.sub(" ", plain)):
        raise JournalError("journal_html", found=found.group()[:40])
    return plain


def required(text: str, *, most: int = MOST_TEXT) -> str:
    """Return `clean` of a text that must say something.

    Raises:
        JournalError: ``journal_empty``, and as `clean`.
    """
    plain = clean(text, most=most)
    if not plain or not any(unicodedata.category(char)[0] not in "ZC" for char in plain):
        raise JournalError("journal_empty")
    return plain


def line(text: str, *, most: int = MOST_LINE) -> str:
    """Return `clean` of a text on one line."""
    return " ".join(clean(text, most=most).split())


def page_slug(slug: str) -> str:
    """Return the name of a page.

    Raises:
        JournalError: ``journal_field`` where it cannot be one.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}|", slug):
        raise JournalError("journal_field", field="page", value=slug[:40])
    return slug


def query(link: str) -> str:
    """Return a page's query string, written anew: nothing of it can leave the query. Whose journal it is is left out.

    >>> query("?box=gpt2-starter&sentence=a b&profile=x&layer=3")
    'box=gpt2-starter&sentence=a+b&layer=3'

    Raises:
        JournalError: ``journal_long``.
    """
    pairs = parse_qsl(link.lstrip("?"), keep_blank_values=True, errors="replace")
    written = urlencode([(key, value) for key, value in pairs if key != "profile"])
    if len(written) > MOST_JSON:
        raise JournalError("journal_long", length=f"{len(written):,}", most=f"{MOST_JSON:,}")
    return written


def quoted(text: str, *, most: int = MOST_LINE) -> str:
    """Return a stranger's text (a paper's title) on one line, cut: it is never refused, and shown as text alone.

    >>> quoted("JavaScript:\\n  a \\x00survey", most=14)
    'JavaScript: a…'
    """
    plain = text.encode("utf-8", errors="replace").decode("utf-8")
    plain = "".join(" " if unicodedata.category(char) == "Cc" else char for char in plain)
    plain = " ".join(unicodedata.normalize("NFC", plain).split())
    return plain if len(plain) <= most else plain[: most - 1].rstrip() + "…"


def figure_key(given: str) -> str:
    """Return a figure's name on its page so that it can be a file's name.

    >>> figure_key("tokens_../=x")
    'tokens_..-x'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", given)[:80]


def paper_id(given: str) -> str:
    """Return the name of a paper: arXiv's number ("1706.03762", "cmp-lg/9404001"), or another's.

    Raises:
        JournalError: ``journal_field``.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}(?:/\d{1,10})?", given, re.ASCII):
        raise JournalError("journal_field", field="paper", value=given[:40])
    return given


def address(given: str) -> str:
    """Return a paper's address: https, and nothing that could leave an attribute; empty where it has none.

    Raises:
        JournalError: ``journal_field``.
    """
    if given and not re.fullmatch(r"https://[a-z0-9.-]+/[\w./~%-]{0,200}", given, re.ASCII):
        raise JournalError("journal_field", field="address", value=given[:40])
    return given


def topic(words: str) -> str:
    """Return the words of a search that is followed: in one line, without capitals.

    Raises:
        JournalError: ``journal_empty``, and as `clean`.
    """
    return required(line(words, most=MOST_TOPIC), most=MOST_TOPIC).casefold()


def week_or_none(week: str) -> str:
    """Return a week as `known_week` does, or nothing where none is given."""
    return known_week(week) if week else ""


def plain_json(values: Mapping[str, Any] | str) -> str:
    """Return plain data as text, its keys sorted.

    Raises:
        JournalError: ``journal_field`` where it is no object of plain data; ``journal_long``.
    """
    try:
        data = json.loads(values) if isinstance(values, str) else dict(values)
        if not isinstance(data, dict):
            raise TypeError
        text = json.dumps(data, sort_keys=True, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise JournalError("journal_field", field="settings", value="JSON") from error
    if len(text) > MOST_JSON:
        raise JournalError("journal_long", length=f"{len(text):,}", most=f"{MOST_JSON:,}")
    return text


def iso_week(day: date) -> str:
    """Return the ISO week of a date.

    >>> iso_week(date(2027, 1, 1))
    '2026-W53'
    """
    year, week, _ = day.isocalendar()
    return f"{year:04d}-W{week:02d}"


def known_week(week: str) -> str:
    """Return a week as it is.

    Raises:
        JournalError: ``journal_field`` where there is no such week.
    """
    try:
        if not re.fullmatch(r"\d{4}-W\d{2}", week, re.ASCII):
            raise ValueError
        date.fromisocalendar(int(week[:4]), int(week[6:]), 1)
    except ValueError as error:
        raise JournalError("journal_field", field="week", value=week[:40]) from error
    return week


def known_day(day: str) -> str:
    """Return a date as ISO writes it ("2026-11-25").

    Raises:
        JournalError: ``journal_field``.
    """
    try:
        if date.fromisoformat(day).isoformat() != day:
            raise ValueError
    except ValueError as error:
        raise JournalError("journal_field", field="day", value=day[:40]) from error
    return day


def known_time(at: str) -> str:
    """Return a time of day ("20:30").

    Raises:
        JournalError: ``journal_field``.
    """
    try:
        if time.fromisoformat(at).strftime("%H:%M") != at:
            raise ValueError
    except ValueError as error:
        raise JournalError("journal_field", field="time", value=at[:40]) from error
    return at


def moment(now: datetime | None) -> datetime:
    """Return the moment that is meant, in the learner's zone; this machine's now where none is given.

    Raises:
        ValueError: it has no zone, so that nobody could tell its day.
    """
    if now is None:
        return datetime.now().astimezone()
    if now.tzinfo is None:
        raise ValueError("a moment needs its time zone")
    return now
