"""The daily time as a file that any calendar reads."""

import re
from datetime import UTC, datetime, timedelta

from llmkit.journal.errors import JournalError
from llmkit.journal.profiles import Profile
from llmkit.journal.text import moment

LINE_OCTETS = 75


def daily_event(profile: Profile, *, title: str, details: str, address: str = "", now: datetime | None = None) -> bytes:
    """Return an event that comes back every day at the profile's fixed time, with an alarm, as iCalendar.

    The time is a floating one ("20:30 wherever you are"), so no time zone has to be described. The first day is
    today where the time is still to come, else tomorrow.

    Args:
        title, details: what the calendar shows. address: of the page; left out unless http or https.
        now: in the learner's zone.

    Raises:
        JournalError: ``journal_field`` where the profile has no fixed time.

    Source: RFC 5545, sections 3.1 (lines), 3.3.5 (form 1), 3.3.11 (text), 3.6.1 and 3.6.6.
    """
    if not profile.daily_at:
        raise JournalError("journal_field", field="time", value="")
    when = moment(now)
    hour, minute = map(int, profile.daily_at.split(":"))
    first = when.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)
    if first <= when.replace(tzinfo=None):
        first += timedelta(days=1)
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//LLM Assembly Guide//journal//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        f"UID:{profile.id}-daily@llm-assembly-guide",
        f"DTSTAMP:{when.astimezone(UTC):%Y%m%dT%H%M%SZ}",
        f"DTSTART:{first:%Y%m%dT%H%M%S}",
        f"DURATION:PT{profile.minutes}M",
        "RRULE:FREQ=DAILY",
        f"SUMMARY:{escape_text(title)}",
        f"DESCRIPTION:{escape_text(details)}",
        *([f"URL:{address}"] if re.fullmatch(r"https?://[!-~]+", address) else []),
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        f"DESCRIPTION:{escape_text(title)}",
        "TRIGGER:PT0M",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return b"".join(fold(one) + b"\r\n" for one in lines)


def escape_text(text: str) -> str:
    r"""Return a text as a TEXT value.

    >>> escape_text("a,b;c\\d\ne")
    'a\\,b\\;c\\\\d\\ne'
    """
    written = text.replace("\\", "\\\\").replace(";", r"\;").replace(",", r"\,")
    written = re.sub(r"\r\n?|\n", r"\\n", written)
    return re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", written)


def fold(line: str) -> bytes:
    """Return a content line in UTF-8, broken so that none is longer than 75 octets; no character is torn.

    >>> [len(piece) for piece in fold("中" * 30).split(b"\\r\\n")]
    [75, 16]
    """
    pieces, piece = [], b""
    for char in line:
        octets = char.encode("utf-8", errors="replace")
        if len(piece) + len(octets) > LINE_OCTETS:
            pieces.append(piece)
            piece = b" "
        piece += octets
    return b"\r\n".join([*pieces, piece])
