"""The machine and the papers that changed it: the map, one paper opened, the same as a table, and the check."""

from __future__ import annotations

from collections import Counter
from html import escape

import pandas as pd
import streamlit as st

from components.badge import Badge
from components.frame import Page, Verdict
from components.moving import Slider, draw_moving, place
from components.papers_reading import Desk, draw_reading
from components.theme import own_style
from lessons import registry
from lessons.milestones import PARTS, Milestone, milestones
from llmkit import journal

FIRST_OPEN = "1706.03762"
"""Attention Is All You Need lies open at first."""
IN_BLOCK = ("norm", "attention", "feed_forward", "residual")
WHOLE = "engine"


def work_of(paper: Milestone) -> journal.Work:
    """Return a milestone as the journal keeps a paper."""
    return journal.Work(id=paper.id, title=paper.title, authors=paper.authors, address=paper.address, step=paper.step)


def year_slider(page: Page) -> Slider:
    """Return the slider that lets papers appear; it stands at the last year."""
    years = [paper.year for paper in milestones()]
    return Slider(name="papers_year", label=page.say("papers.year"), low=min(years), high=max(years), start=max(years))


def paper_slider(page: Page) -> Slider:
    """Return the slider that opens a paper."""
    known = milestones()
    names = (f"{at + 1} · {one.year} · {one.authors.split(',')[0].split()[-1]}" for at, one in enumerate(known))
    start = next(at for at, one in enumerate(known) if one.arxiv == FIRST_OPEN)
    return Slider(
        name="papers_paper",
        label=page.say("papers.paper"),
        low=0,
        high=len(known) - 1,
        start=start,
        places=tuple(names),
    )


def draw_map(page: Page, desk: Desk | None) -> None:
    """Draw the machine with a lane of years for each part, and the paper that lies open."""
    st.html(own_style("papers"))
    known, sliders = milestones(), (year_slider(page), paper_slider(page))
    year, opened = place(sliders[0]), known[place(sliders[1])]
    counts = Counter(paper.part for paper in known if paper.year <= year)
    listed = page.say("common.comma").join(f"{_name(page, part)} {counts[part]}" for part in PARTS)
    alt = page.say("papers.map.alt", n=counts.total(), year=year, listed=listed, title=opened.title)
    with page.shown(key="map", badge=Badge.live(), alt=alt, data=_table(page, year)):
        draw_moving(
            "papers",
            "milestones",
            key="papers_map",
            name=page.say("papers.map.name"),
            sliders=sliders,
            words={
                **{name: page.say(f"papers.map.{name}") for name in ("told", "read", "cite", "copy_bibtex", "bibtex")},
                "copied": page.say("source.copied"),
            },
            first=sliders[0].low,
            last=sliders[0].high,
            parts=[
                {
                    "name": part,
                    "title": page.say(f"papers.at.{part}"),
                    "block": part in IN_BLOCK,
                    "whole": part == WHOLE,
                }
                for part in PARTS
            ],
            papers=[_sent(page, paper) for paper in known],
        )
    page.count("part.milestone", len(known))
    if year != sliders[0].start:
        page.tick("do.year")
    if place(sliders[1]) != sliders[1].start:
        page.tick("do.open")
    with st.container(horizontal=True, vertical_alignment="center", key="papers_opened"):
        page.lead(opened.step)
        if desk is not None:
            draw_reading(page, desk, work_of(opened), place="map")


def _sent(page: Page, paper: Milestone) -> dict[str, object]:
    return {
        "year": paper.year,
        "part": paper.part,
        "partTitle": _name(page, paper.part),
        "title": paper.title,
        "authors": paper.authors,
        "venue": paper.venue,
        "said": said(page, paper),
        "citation": paper.citation,
        "bibtex": paper.bibtex,
        "address": paper.address,
    }


def _name(page: Page, part: str) -> str:
    return page.say(f"papers.at.{part}")


def said(page: Page, paper: Milestone) -> str:
    """Return what a milestone changed, in the page's language."""
    return paper.en if page.bench.lang == "en" else paper.zh


def _table(page: Page, year: int) -> pd.DataFrame:
    rows = [
        {
            "number": at + 1,
            "year": paper.year,
            "part": _name(page, paper.part),
            "title": paper.title,
            "authors": paper.authors,
            "venue": paper.venue,
            "address": paper.address,
            "changed": said(page, paper),
            "shown": paper.year <= year,
        }
        for at, paper in enumerate(milestones())
    ]
    return pd.DataFrame(rows)


def draw_table(page: Page) -> None:
    """Draw the milestones as a table, for whoever would rather read than look."""
    titles = {step.slug: f"{step.number} {page.say(step.key('title'))}" for step in registry.available()}
    head = "".join(
        f"<th>{escape(page.say(f'papers.table.{name}'))}</th>" for name in ("n", "year", "at", "what", "step")
    )
    rows = "".join(
        f"<tr><td>{at + 1}</td><td>{paper.year}</td><td>{escape(_name(page, paper.part))}</td>"
        f'<td><a href="{escape(paper.address)}" target="_blank" rel="noopener noreferrer">{escape(paper.title)}</a>'
        f"<br><small>{escape(paper.authors)}</small><br>{escape(said(page, paper))}</td>"
        f"<td>{escape(titles.get(paper.step, ''))}</td></tr>"
        for at, paper in enumerate(milestones())
    )
    with st.expander(page.say("papers.table", n=len(milestones())), key="papers_table"):
        st.html(f'<div class="pp-scroll"><table class="pp-table"><thead><tr>{head}</tr></thead>{rows}</table></div>')


def asked_since(year: int) -> int:
    """Return a year near `year` since which one part alone was changed most often."""
    years = sorted({paper.year for paper in milestones()})
    clear = [one for one in years if len(_most(_since(one))) == 1]
    return min(clear, key=lambda one: (abs(one - year), one))


def _since(year: int) -> Counter[str]:
    """Papers by part from a year on; those about the whole machine change no single part."""
    return Counter(paper.part for paper in milestones() if paper.year >= year and paper.part != WHOLE)


def _most(counts: Counter[str]) -> list[str]:
    return [part for part, many in counts.items() if many == max(counts.values())]


def draw_check(page: Page) -> None:
    """Ask which part was changed most often since the year where the slider stands, and count."""
    since = asked_since(place(year_slider(page)))
    options = {part: _name(page, part) for part in PARTS if part != WHOLE}

    def run() -> Verdict:
        counts = _since(since)
        listed = page.say("common.comma").join(f"{options[part]} {many}" for part, many in counts.most_common())
        told = page.say("papers.check.because", since=since, n=counts.total(), listed=listed)
        return Verdict(answer=_most(counts)[0], explanation=told)

    page.check("most", question=page.say("papers.check", since=since), options=options, run=run)
