"""The Content page's first half: the brief, the prompt that it becomes, drafts at several settings, and the check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from components import content_editor as editor
from components import content_engine as found
from components import content_picture as picture
from components import prompts_engine
from components.badge import Badge
from components.classify_engine import languages
from components.figure import draw_note
from components.frame import Page, Verdict, plain, section
from components.generate_engine import Asked, Task
from components.generate_sections import Run
from components.source import draw_source
from components.theme import own_style
from llmkit.write import Brief, Demand, check, lines
from llmkit.write.brief import FIELD_LIMIT, KINDS, LANGS, STRUCTURES, TONES, split_words

TICK_S = 0.3
COLUMNS = (2, 3, 4)
_DRAFTS, _UNSEEN = "_content_drafts", "_content_unseen"
_SEED = "content_seed"
_SEEDS = 2**31 - 1


def draw_brief(page: Page) -> Brief | None:
    """Draw the brief as a form beside the prompt that it becomes; None, and why, where no prompt can be made of it."""
    bench, say = page.bench, page.say
    st.html(own_style("content"))
    topic = found.topic_of(bench.sentence)
    first = found.usual(bench.lang, topic, say("content.must.usual"), say("content.must_not.usual"))
    state: dict[str, tuple[Brief, bool]] = st.session_state.setdefault("_content_given", {})
    if bench.lang not in state:  # once: a field whose usual value changes would be a new, empty one
        opened = found.from_address(first)
        state[bench.lang] = (opened, opened.topic != first.topic)
    given, own_topic = state[bench.lang]
    form, shown = st.columns([1.2, 1], gap="large")
    with form:
        asked = _draw_form(page, given, first, own=given.topic if own_topic else "")
    with shown, page.guard():
        brief = Brief(**asked)
        found.keep_address(brief, first)
        _draw_prompt(page, brief)
        if brief != first:
            page.tick("do.brief")
        return brief
    return None


def _draw_form(page: Page, given: Brief, first: Brief, *, own: str) -> dict[str, Any]:
    """Draw the fields as `given` at first, with the learner's own topic; return what they hold."""
    say, lang = page.say, page.bench.lang

    def choose(name: str, options: Sequence[str]) -> str:
        chosen = st.segmented_control(
            say(f"content.{name}"),
            options,
            default=getattr(given, name),
            required=True,
            format_func=lambda one: say(f"content.{name}.{one}"),
            key=f"content_{name}",
            persist_state="session",
        )
        return str(chosen)

    def line(name: str, value: str, **more: Any) -> str:
        typed = st.text_input(
            say(f"content.{name}"), value, key=f"content_{name}_{lang}", persist_state="session", **more
        )
        return typed or ""

    topic = line("topic", own, placeholder=first.topic, max_chars=FIELD_LIMIT)
    kind = choose("kind", KINDS)
    audience = line("audience", given.audience, max_chars=FIELD_LIMIT)
    tone = choose("tone", TONES)
    least, most = st.slider(
        say("content.length"), *found.LENGTHS, (given.least, given.most), key="content_length", persist_state="session"
    )
    must = line("must", ", ".join(given.must_have), help=say("content.must.help"))
    must_not = line("must_not", ", ".join(given.must_not), help=say("content.must.help"))
    structure = choose("structure", STRUCTURES)
    text_lang = st.segmented_control(
        say("content.lang"),
        LANGS,
        default=given.lang,
        required=True,
        format_func=lambda one: say(f"content.lang.{one}"),
        key=f"content_lang_{lang}",
        persist_state="session",
    )
    return {
        "lang": text_lang,
        "topic": topic.strip() or first.topic,
        "kind": kind,
        "audience": audience,
        "tone": tone,
        "structure": structure,
        "least": least,
        "most": most,
        "must_have": split_words(must),
        "must_not": split_words(must_not),
    }


def _draw_prompt(page: Page, brief: Brief) -> None:
    """Draw the prompt, each line with the field that it comes from."""
    made = lines(brief)
    page.count("part.line", len(made))
    page.count("part.demand", len(check("", brief)))
    alt = page.say("content.prompt.alt", n=len(made), text="\n".join(line.text for line in made))
    table = pd.DataFrame([{"field": line.field, "line": line.text} for line in made])
    st.header(page.say("content.prompt.title"))
    with page.shown(key="prompt", badge=Badge.live(), alt=alt, data=table):
        st.html(picture.prompt(made, page.bench.say))
    draw_source(page, lines)


def draw_writer(page: Page, brief: Brief) -> Task | None:
    """Return the prompt as the workbench's box reads it; None, and the way out, where it writes nothing."""
    bench = page.bench
    st.header(page.say("content.drafts.title"))
    with page.guard(), st.spinner(page.say("content.opening")):
        if not found.writes(bench.box_id):
            st.info(page.say("content.no_writer", box=plain(bench.box_id)))
            page.lead("unbox")
            return None
        task = found.task(bench.box_id, "\n".join(line.text for line in lines(brief)))
        if not prompts_engine.facts(bench.box_id).instruct:
            draw_note(page.say("content.base", box=bench.box_id))
        known = languages(bench.box_id)
        if known and brief.lang not in known:
            draw_note(page.say("content.foreign", box=bench.box_id, lang=page.say(f"content.lang.{brief.lang}")))
        with st.expander(page.say("content.sent", n=len(task.ids))):
            st.code(task.text, language=None, wrap_lines=True)
        return task
    return None


@section
def draw_drafts(page: Page, task: Task, brief: Brief) -> None:
    """Write two to four drafts at once, each at its own temperature; each is checked as it grows."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        count = st.segmented_control(
            page.say("content.columns"),
            COLUMNS,
            default=COLUMNS[1],
            required=True,
            key="content_columns",
            bind="query-params",
            persist_state="session",
        )
        seed = st.number_input(
            page.say("content.seed"),
            0,
            _SEEDS,
            0,
            key=_SEED,
            bind="query-params",
            persist_state="session",
            width=160,
        )
        start = st.button(page.say("content.write"), key="content_start", type="primary")
        if st.button(page.say("content.again"), key="content_again", on_click=_next_seed):
            start = True
    columns = st.columns(int(count or COLUMNS[1]))
    asked = []
    for at, column in enumerate(columns):
        temperature = column.slider(
            page.say("content.temperature"),
            0.0,
            2.0,
            found.TEMPERATURES[at],
            0.1,
            key=f"content_t{at}",
            bind="query-params",
            persist_state="session",
        )
        asked.append(found.asked(task, brief, temperature, int(seed)))
    drafts = _settle(asked, found.compared(page.bench.box_id, brief), start=start)
    page.count("part.draft", len(drafts))
    if not drafts:
        draw_note(page.say("content.ready", n=len(columns), tokens=asked[0].length))
        return
    if [one.asked for one in drafts] != asked:
        draw_note(page.say("content.older"))
    _watch(page, drafts, brief)


def _next_seed() -> None:
    st.session_state[_SEED] = (int(st.session_state.get(_SEED) or 0) + 1) % _SEEDS


def _settle(asked: Sequence[Asked], compared: Sequence[Asked], *, start: bool) -> list[Run]:
    """Return the drafts that are shown: those that the learner has had written.

    Drafts of another box or brief are stopped and go; those at other settings stay until the learner starts anew. What
    the check compares is written along with them, and not shown.
    """
    drafts: list[Run] = st.session_state.setdefault(_DRAFTS, [])
    unseen: list[Run] = st.session_state.setdefault(_UNSEEN, [])
    old = bool(drafts) and drafts[0].asked.task != asked[0].task
    if start or old:
        _stop_all()
        drafts.clear()
        unseen.clear()
    if start:
        drafts.extend(map(found.write, asked))
        unseen.extend(found.write(one) for one in compared if one not in asked)
    return drafts


def _watch(page: Page, drafts: Sequence[Run], brief: Brief) -> None:
    """Draw the drafts: again and again while one is being written, then once, with what can be done with them."""
    if not any(found.is_writing(draft) for draft in drafts):
        _draw_finished(page, drafts, brief)
        return

    @st.fragment(run_every=TICK_S)
    def watch() -> None:
        with page._section():
            # on_click is heard even where this redrawing is cut off by the next one
            st.button(page.say("content.stop"), key="content_stop", type="primary", on_click=_stop_all)
            for draft, column in zip(drafts, st.columns(len(drafts)), strict=True):
                with column:
                    _draw_card(page, draft, brief)
            if not any(found.is_writing(draft) for draft in drafts):
                st.rerun()

    watch()


def _stop_all() -> None:
    for draft in (*st.session_state.get(_DRAFTS, ()), *st.session_state.get(_UNSEEN, ())):
        found.stop(draft)


def _draw_finished(page: Page, drafts: Sequence[Run], brief: Brief) -> None:
    """Draw finished drafts with their numbers, each with a button that keeps it."""
    judged = [(text := found.text_of(draft.asked.task, draft.read()), check(text, brief)) for draft in drafts]
    rows = [
        {"draft": at, "temperature": draft.asked.sampling.temperature, "demand": one.kind, "word": one.word}
        | {"met": one.met, "found": one.found}
        for at, (draft, (_, demands)) in enumerate(zip(drafts, judged, strict=True), start=1)
        for one in demands
    ]
    listed = page.say("common.comma").join(
        page.say("content.draft.alt", n=at, met=sum(one.met for one in demands), all=len(demands))
        for at, (_, demands) in enumerate(judged, start=1)
    )
    badge = Badge.cached() if all(draft.cached for draft in drafts) else Badge.live()
    with page.shown(key="drafts", badge=badge, alt=listed, data=pd.DataFrame(rows)):
        for at, (draft, column) in enumerate(zip(drafts, st.columns(len(drafts)), strict=True)):
            with column:
                _draw_card(page, draft, brief)
                text = judged[at][0]
                st.button(
                    page.say("content.keep"),
                    key=f"content_keep_{at}",
                    disabled=not text,
                    on_click=editor.take,
                    args=(text, brief, draft.asked.task.box_id),
                    width="stretch",
                )
    draw_note(page.say("content.method"))
    page.tick("do.drafts")
    if editor.has_new():
        st.rerun()  # the editor stands outside this section


def _draw_card(page: Page, draft: Run, brief: Brief) -> None:
    """Draw one draft as far as it is; only what has ended is judged as a whole."""
    written = draft.read()
    text = found.text_of(draft.asked.task, written)
    seconds = written.seconds[-1] if written.seconds else 0.0
    foot = page.say("content.foot", tokens=len(written.steps), seconds=f"{seconds:.1f}")
    if written.state == "stopped":
        foot = page.say("content.stopped", foot=foot)
    title = page.say("content.draft", temperature=f"{draft.asked.sampling.temperature:.1f}")
    shown = check(text, brief)
    st.html(picture.card(title, text, shown, brief, page.bench.say, foot=foot, waiting=written.state == "writing"))


def draw_check(page: Page, brief: Brief) -> None:
    """Ask whether the whole brief gets a better text than its first line, answered from both texts."""
    page.check(
        "brief",
        question=page.say("content.check.question", line=plain(lines(brief)[0].text)),
        options={name: page.say(f"content.check.{name}") for name in ("brief", "same", "line")},
        run=lambda: _verdict(page, brief),
    )


def _verdict(page: Page, brief: Brief) -> Verdict:
    """Count what both texts meet."""
    short, whole = found.compare(page.bench.box_id, brief)
    few, many = _met(short), _met(whole)
    explanation = page.say(
        "content.check.because",
        line=len(few),
        brief=len(many),
        all=len(whole),
        missed=_listed(page, whole, brief) or page.say("content.nothing"),
    )
    answer = "same" if len(few) == len(many) else "brief" if len(many) > len(few) else "line"
    return Verdict(answer=answer, explanation=explanation)


def _met(demands: Sequence[Demand]) -> list[Demand]:
    return [one for one in demands if one.met]


def _listed(page: Page, demands: Sequence[Demand], brief: Brief) -> str:
    """Name the demands that were missed."""
    missed = [plain(picture.told(one, brief, page.bench.say)) for one in demands if not one.met]
    return page.say("common.comma").join(missed)
