"""What the journal hears of a visit: a step ticked, a check passed, a note, an error that a page showed.

Each is written once a session, when it is new; drawing a page again writes nothing. A journal that cannot be opened
stops no page: what it did not hear is counted, and the notebook says so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from components import audience
from llmkit import journal
from llmkit.journal.progress import Kind

PROFILE = "profile"
"""The address's name for whose journal it is."""
_CHOSEN = "_profile"
_VISITED = "_visited"
_MISSED = "_journal_missed"
_OFFERED = "_journal_offered"
_BEFORE = "_journal_before"


def now() -> datetime:
    """Return this moment in the reader's own zone."""
    try:
        return datetime.now(ZoneInfo(st.context.timezone or ""))
    except (ZoneInfoNotFoundError, ValueError):
        return datetime.now().astimezone()


def link_here() -> str:
    """Return what the address bar asks for, so that a note leads back to it."""
    return urlencode([(key, value) for key in st.query_params for value in st.query_params.get_all(key)])


def visited(slug: str) -> None:
    """Remember how the sheet `slug` was set when it was last drawn, for a question about it."""
    seen: dict[str, str] = st.session_state.setdefault(_VISITED, {})
    seen.pop(slug, None)
    seen[slug] = link_here()  # at the end: the last one is the one that was just left


def last_visits() -> dict[str, str]:
    """Return each sheet that this session has drawn with what its address asked for, the last one at the end."""
    return dict(st.session_state.get(_VISITED, {}))


def choose(profile_id: str) -> None:
    """Say whose journal it is from now on, in this session and in the address."""
    st.session_state[_CHOSEN] = st.query_params[PROFILE] = profile_id


def whose(known: tuple[journal.Profile, ...] | None = None) -> journal.Profile:
    """Return whose journal it is: chosen in this session, else in the address, else the first.

    Args:
        known: the profiles, where the caller has read them already.

    Raises:
        JournalError: the journal cannot be opened.
    """
    known = known or journal.profiles()
    asked = st.session_state.get(_CHOSEN) or st.query_params.get(PROFILE)
    found = next((one for one in known if one.id == asked), known[0])
    if found.id != asked and (guest := audience.label()) is not None:
        # a room shares one machine: each guest has a journal, and the host's is nobody else's
        found = next((one for one in known if one.name == guest), None) or journal.make_profile(guest)
        choose(found.id)
        return found
    if found.id == asked:
        st.session_state[_CHOSEN] = found.id  # the address forgets it when a page is turned
    return found


def passed(slug: str, kind: Kind, name: str, *, today: bool = True) -> None:
    """Tell the journal that a step ("do.cut") was ticked or a check passed on the page `slug`.

    Args:
        today: whether the learner did it just now, so that the day counts.
    """
    _tell(lambda: journal.pass_by(whose().id, slug, kind, name, now(), counts=today))


def met(slug: str, error: Exception) -> None:
    """Offer the journal's error log what went wrong on the page `slug`, once a session."""
    if isinstance(error, journal.JournalError):
        return
    mark = (slug, getattr(error, "code", ""), repr(getattr(error, "values", None)))
    offered: set[tuple[str, str, str]] = st.session_state.setdefault(_OFFERED, set())
    if mark not in offered:
        offered.add(mark)
        _tell(lambda: journal.offer(whose().id, error, page=slug, link=link_here(), now=now()))


def before() -> frozenset[tuple[str, str]]:
    """Return what was ticked in earlier sessions, as pairs of page and step; read once for each profile."""
    asked = (st.session_state.get(_CHOSEN) or st.query_params.get(PROFILE), audience.label())
    read: tuple[object, frozenset[tuple[str, str]]] | None = st.session_state.get(_BEFORE)
    if audience.is_joining():
        return frozenset()
    if read is None or read[0] != asked:
        try:
            ticked = frozenset((one.page, one.name) for one in journal.progress(whose().id) if one.kind == "step")
        except (journal.JournalError, OSError, sqlite3.Error):
            return frozenset()  # the notebook says what is wrong with the journal
        read = st.session_state[_BEFORE] = (asked, ticked)
    return read[1]


def missed() -> int:
    """Return how many things of this session the journal did not hear."""
    return int(st.session_state.get(_MISSED, 0))


def _tell(write: Callable[[], object]) -> None:
    if audience.is_joining():
        return  # whose journal it is will be known in a moment
    try:
        write()
    except (journal.JournalError, OSError, sqlite3.Error):
        st.session_state[_MISSED] = missed() + 1
