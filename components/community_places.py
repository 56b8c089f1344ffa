"""Places to ask and to learn: all of them on one wall, and those that serve the sheet that the learner is on."""

from __future__ import annotations

from html import escape

import pandas as pd
import streamlit as st

from components.badge import Badge
from components.frame import Page
from components.kept import last_visits
from components.theme import own_style
from lessons import registry
from lessons.places import Place, places, serving
from lessons.registry import Step

STEP = "step"
"""The address's name for the sheet that is asked about."""
_KEY = "community_step"
_CHOSEN = "_community_chosen"
MOST_DOTS = 4


def sheets(page: Page) -> dict[str, Step]:
    """Return the sheets that can be asked about: all but this one."""
    return {step.slug: step for step in registry.available() if step is not page.step}


def draw_choice(page: Page) -> Step:
    """Let the learner say which sheet it is about; at first the one that the address names, or the one just left."""
    st.html(own_style("community"))
    known = sheets(page)
    if _KEY not in st.session_state:
        asked = (st.query_params.get(STEP), *reversed(last_visits()), registry.STEPS[0].slug)
        st.session_state[_KEY] = next(slug for slug in asked if slug in known)
        if st.query_params.get(STEP) in known:
            _choose()
    chosen = st.selectbox(
        page.say("community.step"),
        tuple(known),
        format_func=lambda slug: f"{known[slug].number} {page.say(known[slug].key('title'))}",
        key=_KEY,
        on_change=_choose,
    )
    if st.session_state.get(_CHOSEN):
        page.tick("do.step")
    st.query_params[STEP] = chosen
    return known[chosen]


def _choose() -> None:
    st.session_state[_CHOSEN] = True


def draw_wall(page: Page, step: Step) -> None:
    """Draw every place with how many sheets of each chapter it serves; those that serve this sheet stand on top."""
    first = serving(step.slug, page.bench.lang)
    ordered = (*first, *(one for one in places() if one not in first))
    chapters = [chapter for chapter in registry.CHAPTERS if any(s.chapter == chapter.slug for s in registry.STEPS)]
    counts = [[_served(one, chapter.slug) for chapter in chapters] for one in ordered]
    head = "".join(f"<th>{chapter.number}</th>" for chapter in chapters)
    rows = "".join(
        f'<tr class="{"fits" if one in first else ""}"><th>{escape(one.name)}</th>'
        + "".join(f"<td>{_dot(many)}</td>" for many in row)
        + "</tr>"
        for one, row in zip(ordered, counts, strict=True)
    )
    corner = escape(page.say("community.wall.chapter"))
    data = pd.DataFrame(counts, columns=[f"chapter_{chapter.number}" for chapter in chapters])
    data.insert(0, "place", [one.name for one in ordered])
    data["fits"] = [one in first for one in ordered]
    names = page.say("common.comma").join(one.name for one in first)
    alt = page.say("community.wall.alt", n=len(ordered), fits=len(first), number=step.number, names=names)
    with page.shown(key="wall", badge=Badge.live(), alt=alt, data=data):
        st.html(f'<table class="cm-wall" aria-hidden="true"><tr><th>{corner}</th>{head}</tr>{rows}</table>')
    page.count("part.place", len(ordered))
    page.count("part.fits", len(first))


def _served(place: Place, chapter: str) -> int:
    """How many sheets of a chapter a place serves."""
    return sum(place.rank(step.slug) is not None for step in registry.STEPS if step.chapter == chapter)


def _dot(many: int) -> str:
    return f'<i class="d{min(many, MOST_DOTS)}"></i>' if many else ""


def draw_list(page: Page, step: Step) -> None:
    """Draw the places that serve a sheet, with what each is for; a link opens a window of its own."""
    title = page.say("community.for", number=step.number, title=page.say(step.key("title")))
    st.html(f"<h2>{escape(title)}</h2>")
    for kind in ("ask", "learn"):
        found = [one for one in serving(step.slug, page.bench.lang) if (one.kind == "ask") is (kind == "ask")]
        cards = "".join(_card(page, one) for one in found)
        st.html(f'<h3 class="cm-kind">{escape(page.say(f"community.{kind}"))}</h3><ul class="cm-places">{cards}</ul>')


def _card(page: Page, one: Place) -> str:
    marks = [page.say(f"community.{name}.{getattr(one, name)}") for name in ("kind", "level", "cost")]
    marks += [page.say(f"community.lang.{lang}") for lang in one.lang]
    told = "".join(f"<em>{escape(mark)}</em>" for mark in marks)
    what = one.en if page.bench.lang == "en" else one.zh
    return (
        f'<li><a href="{escape(one.address)}" target="_blank" rel="noopener noreferrer">{escape(one.name)} ↗</a>'
        f"<p>{told}</p><p>{escape(what)}</p></li>"
    )
