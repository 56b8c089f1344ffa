"""What is new on arXiv: asked for at a press, searched, followed; the week's pick and what is being read."""

from __future__ import annotations

from collections import Counter
from html import escape

import pandas as pd
import streamlit as st

from components.badge import Badge
from components.charts import bars
from components.figure import draw_note
from components.frame import Page, plain, short
from components.kept import now
from components.papers_reading import Desk, draw_reading, this_week
from lessons.milestones import PARTS, milestones
from lessons.part_words import Guess, guess, topics
from llmkit import journal, papers
from llmkit.papers import Listed, Paper

AT_ONCE = 5
"""Papers shown at a time."""
MOST_WORDS = 80
_SHOWN = "_papers_shown"
_ASKED = "_papers_asked"


def draw_shelf(page: Page, desk: Desk) -> None:
    """Draw this week's pick, and what is being read and done."""
    st.html(f"<h2>{escape(page.say('papers.week', week=this_week()))}</h2>")
    picked, all_of_them = desk.picked, desk.readings.values()
    if picked is None:
        draw_note(page.say("papers.week.none"))
    else:
        page.tick("do.pick")
        _draw_kept(page, desk, picked, place="picked")
    for state in ("reading", "done"):
        found = [one for one in all_of_them if one.state == state and one != picked]
        if found:
            with st.expander(page.say(f"papers.shelf.{state}", n=len(found)), key=f"papers_shelf_{state}"):
                for one in found:
                    _draw_kept(page, desk, one, place=state)
    page.count("part.read", sum(one.state == "done" for one in all_of_them))


def _draw_kept(page: Page, desk: Desk, one: journal.Reading, *, place: str) -> None:
    with st.container(border=True, key=f"papers_card_{place}_{one.id}", gap="xsmall"):
        _draw_title(one.title or one.id, one.address)
        draw_note(short(one.authors, 160))
        page.lead(one.step)
        draw_reading(page, desk, one.work, place=place)


def draw_new(page: Page, desk: Desk | None) -> None:
    """Draw the newest papers for a search: those kept, or asked for now when the learner presses."""
    st.html(f"<h2>{escape(page.say('papers.new'))}</h2>")
    words = _draw_search(page, desk)
    listed = papers.last_list(words)
    if st.button(page.say("papers.ask"), key="papers_ask", type="primary"):
        with page.guard():
            listed = _ask(page, words) or listed
    if listed is None and words:
        listed = papers.last_list()
        if listed is not None:
            draw_note(page.say("papers.other_list"))
    if listed is None:
        draw_note(page.say("papers.none_yet", n=len(milestones())))
        page.count("part.new", 0)
        return
    page.count("part.new", len(listed.papers))
    draw_note(_dated(page, listed))
    guesses = {paper.id: guess(paper.title, paper.summary) for paper in listed.papers}
    if listed.papers:
        _draw_parts(page, listed, guesses)
    _draw_list(page, desk, listed, guesses)


def _ask(page: Page, words: str) -> Listed | None:
    """Ask arXiv; a disk that takes nothing is said, all else is the guard's.

    Raises:
        PapersError: no list could be had.
    """
    st.session_state[_SHOWN] = AT_ONCE
    try:
        with st.spinner(page.say("papers.asking")):
            return papers.newest(words)
    except OSError as error:
        st.error(page.say("papers.not_kept", detail=plain(error.strerror or type(error).__name__)))
        return None


def _draw_search(page: Page, desk: Desk | None) -> str:
    """Draw the search and the searches that are followed; return the words."""
    followed = desk.topics if desk is not None else ()
    if followed:
        st.pills(page.say("papers.followed"), followed, key="papers_topic", on_change=_take_topic, format_func=plain)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            page.say("papers.search"), key="papers_words", max_chars=MOST_WORDS, bind="query-params"
        ).strip()
        if desk is not None and words:
            same = words.casefold() in followed
            if st.button(page.say("papers.unfollow" if same else "papers.follow"), key="papers_follow"):
                with page.guard():
                    journal.unfollow(desk.me, words.casefold()) if same else journal.follow(desk.me, words, now())
                    st.rerun()
    return words


def _take_topic() -> None:
    if topic := st.session_state.get("papers_topic"):
        st.session_state["papers_words"] = topic


def _dated(page: Page, listed: Listed) -> str:
    """Say when a list was fetched, how old it is, and how much of it is of this week."""
    fetched = listed.fetched.astimezone(now().tzinfo)
    return page.say(
        "papers.dated",
        when=fetched.strftime("%Y-%m-%d %H:%M"),
        days=max((now() - fetched).days, 0),
        n=len(listed.papers),
        week=len(listed.since()),
    )


def _draw_parts(page: Page, listed: Listed, guesses: dict[str, Guess | None]) -> None:
    """Draw how many papers the guess gives to each part."""
    counts = Counter(found.part if found else "" for found in guesses.values())
    names = [page.say(f"papers.at.{part}") for part in PARTS] + [page.say("papers.guess.none")]
    values = [counts[part] for part in (*PARTS, "")]
    page.figure(
        bars([("", values)], names, x=page.say("papers.guess.axis"), digits=0),
        key="guesses",
        badge=Badge.recorded(device="arXiv", date=listed.fetched.date().isoformat(), versions=""),
        alt=page.say("papers.guess.alt", n=len(listed.papers), none=counts[""]),
        data=pd.DataFrame({"part": names, "papers": values}),
    )
    with st.expander(page.say("papers.guess.how"), key="papers_guess_how"):
        known = [(one.part, guess(one.title)) for one in milestones()]
        right = sum(found is not None and found.part == part for part, found in known)
        draw_note(page.say("papers.guess.said", right=right, all=len(known)))
        rows = "".join(
            f"<tr><td>{escape(page.say(f'papers.at.{topic.part}'))}</td><td>{escape(', '.join(topic.words))}</td></tr>"
            for topic in topics()
        )
        st.html(f'<div class="pp-scroll"><table class="pp-table">{rows}</table></div>')


def _draw_list(page: Page, desk: Desk | None, listed: Listed, guesses: dict[str, Guess | None]) -> None:
    many = max(int(st.session_state.get(_SHOWN, AT_ONCE)), AT_ONCE)
    for paper in listed.papers[:many]:
        _draw_paper(page, desk, paper, guesses[paper.id])
    if many < len(listed.papers):
        st.button(
            page.say("papers.more", n=len(listed.papers) - many),
            key="papers_more",
            on_click=lambda: st.session_state.update({_SHOWN: many + AT_ONCE}),
        )


def _draw_paper(page: Page, desk: Desk | None, paper: Paper, found: Guess | None) -> None:
    with st.container(border=True, key=f"papers_card_new_{paper.id}", gap="xsmall"):
        _draw_title(paper.title, paper.address)
        names = page.say("common.comma").join(paper.authors[:4])
        more = page.say("papers.more_authors", n=len(paper.authors)) if len(paper.authors) > 4 else ""
        draw_note(f"{names}{more} · {paper.published.date().isoformat()} · {paper.category}")
        if paper.summary:
            with st.expander(plain(short(paper.summary, 110)), key=f"papers_summary_{paper.id}"):
                draw_note(paper.summary)
        if found is not None:
            with st.container(horizontal=True, vertical_alignment="center"):
                words = page.say("common.comma").join(found.found[:4])
                draw_note(page.say("papers.guess", part=page.say(f"papers.at.{found.part}"), words=words))
                page.lead(found.step)
        if desk is not None:
            work = journal.Work(
                id=paper.id,
                title=paper.title,
                authors=", ".join(paper.authors),
                address=paper.address,
                step=found.step if found else "",
            )
            draw_reading(page, desk, work, place="new")


def _draw_title(title: str, address: str) -> None:
    """Draw a stranger's title, and lead to the paper in a window of its own."""
    st.markdown(f"**[{plain(title)}]({address})**" if address else f"**{plain(title)}**")
