"""The notebook's desk: whose it is, the days, the week's plan, the notes and the error log."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from html import escape
from urllib.parse import urlencode

import streamlit as st

from components import kept
from components.badge import Badge
from components.frame import Page, Verdict, plain
from components.kept import link_here, now
from components.note_figure import draw_figure
from components.note_markdown import as_html
from components.theme import own_style
from lessons import registry
from llmkit import journal
from llmkit.journal.text import iso_week

WEEKS = 17
OFFERS = 10
"""Errors offered at a time."""


def draw_profile(page: Page) -> journal.Profile | None:
    """Let a learner choose their notebook; where it cannot be opened, offer the ways out and return None."""
    st.html(own_style("notebook"))
    try:
        known = journal.profiles()
    except journal.JournalError as error:
        _offer_ways_out(page, error)
        return None
    me = kept.whose(known)
    if count := kept.missed():
        st.warning(page.say("notebook.missed", n=count))
    names = {one.id: one.name or page.say("notebook.first") for one in known}
    with st.expander(page.say("notebook.whose", name=plain(names[me.id])), key="notebook_whose"):
        chosen = st.selectbox(
            page.say("notebook.choose"),
            tuple(names),
            index=list(names).index(me.id),
            format_func=lambda one: names.get(one, one),
            key="notebook_profile",
        )
        name = st.text_input(page.say("notebook.new_name"), key="notebook_name")
        if st.button(page.say("notebook.add_profile"), key="notebook_add_profile", disabled=not name):
            with page.guard():
                chosen = journal.make_profile(name).id
    if chosen != me.id:
        kept.choose(chosen)
        st.session_state.pop("notebook_profile", None)
        st.rerun()
    return me


def _offer_ways_out(page: Page, error: journal.JournalError) -> None:
    with page.guard():
        raise error
    copies = journal.backups()
    with st.container(horizontal=True):
        if copies and st.button(page.say("notebook.restore", name=plain(copies[0].stem)), key="notebook_restore"):
            with page.guard():
                journal.restore(copies[0])
                st.rerun()
        if st.button(page.say("notebook.set_aside"), key="notebook_set_aside"):
            with page.guard():
                journal.set_aside()
                st.rerun()


def draw_days(page: Page, me: journal.Profile) -> None:
    """Draw the last weeks as a calendar, with the streak, and the fixed time of the day."""
    import pandas as pd

    active, today = journal.days(me.id), now().date()
    told = journal.streak(active, now())
    start = today - timedelta(days=today.weekday() + 7 * (WEEKS - 1))
    shown = [start + timedelta(days=n) for n in range(7 * WEEKS)]
    cells = "".join(_cell(day, active.get(day, 0), today) for day in shown)
    values = {"current": told.current, "longest": told.longest, "n": len(active)}
    data = pd.DataFrame({"day": [day.isoformat() for day in active], "actions": list(active.values())})
    with page.shown(key="days", badge=Badge.live(), alt=page.say("notebook.days.alt", **values), data=data):
        st.html(
            f'<div class="nb-days"><div class="nb-streak"><b>{told.current}</b>{escape(page.say("notebook.in_a_row"))}'
            f"<br>{escape(page.say('notebook.longest', n=told.longest))}</div>"
            f'<div class="nb-grid" aria-hidden="true">{cells}</div></div>'
        )
    page.count("part.day", len(active))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        at = datetime.strptime(me.daily_at, "%H:%M").time() if me.daily_at else None
        given = st.time_input(page.say("notebook.daily"), value=at, key=f"notebook_daily_{me.id}")
        wanted = given.strftime("%H:%M") if given else ""
        if wanted != me.daily_at:
            me = journal.set_daily(me.id, wanted, me.minutes)
        if me.daily_at:
            st.download_button(
                page.say("notebook.ics"),
                journal.daily_event(
                    me,
                    title=page.say("common.app"),
                    details=page.say("notebook.lead"),
                    address=st.context.url or "",
                ),
                file_name="llm-assembly-guide.ics",
                mime="text/calendar",
                key="notebook_ics",
                on_click="ignore",
            )


def _cell(day: date, actions: int, today: date) -> str:
    kind = "many" if actions > 2 else "some" if actions else "none"
    marks = f"{kind}{' now' if day == today else ''}{' later' if day > today else ''}"
    return f'<span class="{marks}" title="{day.isoformat()}: {actions}"></span>'


def draw_plan(page: Page, me: journal.Profile) -> None:
    """Draw what is planned week by week, one a week; tick what is done."""
    st.html(f"<h2>{escape(page.say('notebook.plan'))}</h2>")
    paper = journal.picked(me.id, iso_week(now().date()))
    with st.container(horizontal=True, vertical_alignment="center"):
        if paper is not None:
            st.markdown(page.say("notebook.plan.paper", title=plain(paper.title)))
        page.lead("papers")
    items = journal.planned(me.id)
    for one in items:
        with st.container(horizontal=True, vertical_alignment="center"):
            key = f"notebook_done_{one.id}"
            label = f"{one.week} · {plain(one.title)}"
            ticked = st.checkbox(label, value=one.done_at is not None, key=key)
            if ticked != (one.done_at is not None):
                journal.set_done(me.id, one.id, ticked, now())
                st.rerun()
            if st.button(page.say("notebook.delete"), key=f"notebook_unplan_{one.id}", type="tertiary"):
                journal.delete_planned(me.id, one.id)
                st.rerun()
    if any(one.week == iso_week(now().date()) for one in items):
        page.tick("do.plan")
    with st.form("notebook_plan", clear_on_submit=True, border=False):
        title = st.text_input(page.say("notebook.plan.what"), key="notebook_plan_title")
        if st.form_submit_button(page.say("notebook.plan.add")):
            with page.guard():
                journal.add_planned(me.id, title, now=now())
                st.rerun()


def draw_notes(page: Page, me: journal.Profile) -> None:
    """Draw the notes, by page or found by words; write one."""
    st.html(f"<h2>{escape(page.say('notebook.notes'))}</h2>")
    with st.form("notebook_write", clear_on_submit=True, border=False):
        text = st.text_area(page.say("notebook.write"), key="notebook_text", height=110)
        if st.form_submit_button(page.say("notebook.keep")):
            with page.guard():
                journal.add_note(me.id, page.step.slug, text, link=link_here(), now=now())
                st.rerun()
    search = st.text_input(page.say("notebook.search"), key="notebook_search")
    found = journal.notes(me.id, search=search)
    page.count("part.note", len(journal.notes(me.id)) if search else len(found))
    if found and not search:
        page.tick("do.write")
    gone = st.session_state.get("_notebook_gone")
    if gone and st.button(page.say("notebook.undo"), key="notebook_undo"):
        with page.guard():
            del st.session_state["_notebook_gone"]
            journal.undelete_note(*gone)
            st.rerun()
    if search and not found:
        st.caption(page.say("notebook.none"))
    for one in found[:50]:
        _draw_note(page, me, one)


def _draw_note(page: Page, me: journal.Profile, one: journal.Note) -> None:
    with st.container(border=True, key=f"notebook_note_{one.id}", gap="xsmall"):
        st.html(as_html(one.text))
        draw_figure(page, me.id, one)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(datetime.fromtimestamp(one.created_at, now().tzinfo).strftime("%Y-%m-%d %H:%M"))
            _lead_back(page, me, one.page, one.link)
            with st.popover(page.say("notebook.edit"), key=f"notebook_edit_{one.id}"):
                text = st.text_area(page.say("notebook.write"), value=one.text, key=f"notebook_again_{one.id}")
                if st.button(page.say("notebook.keep"), key=f"notebook_save_{one.id}"):
                    with page.guard():
                        journal.edit_note(me.id, one.id, text, now())
                        st.rerun()
            if st.button(page.say("notebook.delete"), key=f"notebook_delete_{one.id}", type="tertiary"):
                with page.guard():
                    journal.delete_note(me.id, one.id)
                    st.session_state["_notebook_gone"] = (me.id, one.id)
                    st.rerun()


def _lead_back(page: Page, me: journal.Profile, slug: str, link: str) -> None:
    """Lead to a page as it was: in a window of its own, since this one keeps its own box and sentence."""
    found = [step for step in registry.available() if step.slug == slug]
    if not found or not link:
        page.lead(slug)
        return
    path = slug if found[0] is not registry.STEPS[0] else "./"
    label = f"{found[0].number} {page.say(found[0].key('title'))} ↗"
    st.link_button(label, f"{path}?{link}&{urlencode({kept.PROFILE: me.id})}", type="tertiary")


def draw_mistakes(page: Page, me: journal.Profile) -> None:
    """Draw the error log: what pages have met, to keep or not; what went wrong, why, what mended it; write one down."""
    st.html(f"<h2>{escape(page.say('notebook.mistakes'))}</h2>")
    page.lead("community")
    for one in journal.mistakes(me.id, "offered")[:OFFERS]:
        _draw_offer(page, me, one)
    for one in journal.mistakes(me.id):
        with st.container(border=True, key=f"notebook_mistake_{one.id}", gap="xsmall"):
            if one.code:
                st.markdown(_met(page, one))
            for name, text in (("what", one.what), ("why", one.why), ("mended", one.mended)):
                if text:
                    told = f"<b>{escape(page.say(f'notebook.mistake.{name}'))}</b> <bdi>{escape(text)}</bdi>"
                    st.html(f'<p class="nb-text">{told}</p>')
            with st.container(horizontal=True, vertical_alignment="center"):
                _lead_back(page, me, one.page, one.link)
                if st.button(page.say("notebook.delete"), key=f"notebook_forget_{one.id}", type="tertiary"):
                    journal.delete_mistake(me.id, one.id)
                    st.rerun()
    with st.form("notebook_mistake", clear_on_submit=True, border=False):
        said = {
            name: st.text_input(page.say(f"notebook.mistake.{name}"), key=f"notebook_mistake_{name}")
            for name in ("what", "why", "mended")
        }
        if st.form_submit_button(page.say("notebook.mistake.add")):
            with page.guard():
                journal.add_mistake(
                    me.id, page.step.slug, said["what"], why=said["why"], mended=said["mended"], now=now()
                )
                st.rerun()


def _draw_offer(page: Page, me: journal.Profile, one: journal.Mistake) -> None:
    """Draw an error that a page has met: the learner says why and what mended it, and keeps it, or says no."""
    with st.container(border=True, key=f"notebook_offer_{one.id}", gap="xsmall"):
        st.caption(page.say("notebook.offer", n=one.times))
        st.markdown(_met(page, one))
        with st.container(horizontal=True, vertical_alignment="center"):
            _lead_back(page, me, one.page, one.link)
            with st.popover(page.say("notebook.offer.keep"), key=f"notebook_adopt_{one.id}"):
                said = {
                    name: st.text_input(page.say(f"notebook.mistake.{name}"), key=f"notebook_{name}_{one.id}")
                    for name in ("why", "mended")
                }
                if st.button(page.say("notebook.keep"), key=f"notebook_adopted_{one.id}"):
                    with page.guard():
                        journal.adopt(me.id, one.id, why=said["why"], mended=said["mended"], now=now())
                        st.rerun()
            if st.button(page.say("notebook.offer.dismiss"), key=f"notebook_dismiss_{one.id}", type="tertiary"):
                with page.guard():
                    journal.dismiss(me.id, one.id)
                    st.rerun()


def _met(page: Page, one: journal.Mistake) -> str:
    """Return an error that a page has met as that page said it; its values may come from another's file."""
    try:
        return page.error_text(one.code, one.details)
    except (KeyError, IndexError, ValueError):  # an older guide's error, with other values
        return page.say("common.error.other", code=plain(one.code))


def draw_check(page: Page, me: journal.Profile) -> None:
    """Ask what a day off does to the streak, and count it on the learner's own days."""

    def run() -> Verdict:
        active = {*journal.days(me.id), now().date()}
        before = journal.streak(active, now()).current
        after = journal.streak(active, now() + timedelta(days=2))
        told = page.say("notebook.check.because", before=before, after=after.current, longest=after.longest)
        return Verdict(answer="stays" if after.current == before else "zero", explanation=told)

    options = {name: page.say(f"notebook.check.{name}") for name in ("stays", "zero")}
    page.check("day_off", question=page.say("notebook.check"), options=options, run=run)
