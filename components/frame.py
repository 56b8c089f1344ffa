"""The manual sheet: the frame of every page. `CONTRIBUTING.md`, "Write a page", shows one in use."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from components import audience, figure, kept, note_box, pictograms, present, workbench
from components.badge import Badge
from components.drawn import Drawn
from components.workbench import Workbench
from lessons import Words, registry
from lessons.registry import Step

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from streamlit.delta_generator import DeltaGenerator

P = ParamSpec("P")
T = TypeVar("T")


_ASKING = "community"
"""The step where a sheet can be asked about."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found out when it ran.

    Args:
        answer: the option that turned out right, one of the keys of the check's options.
        explanation: why, with the numbers that the run gave, in the page's language.
    """

    answer: str
    explanation: str


@dataclass(kw_only=True)
class Page:
    """One sheet while it is being drawn; `sheet` makes it.

    Args:
        drawn: the figures that stand on it.
    """

    step: Step
    bench: Workbench
    drawn: Drawn = field(default_factory=Drawn, init=False, repr=False)
    _kit: DeltaGenerator = field(init=False, repr=False)
    _sections: int = field(default=0, init=False, repr=False)
    _drawn: bool = field(default=False, init=False, repr=False)
    _words: Words = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._words = self.bench.say  # once a page: asking for it looks whether the files have changed

    def say(self, key: str, /, **values: object) -> str:
        """Return a text of the guide in the page's language: `page.say("tokens.title")`.

        Raises:
            KeyError: the key is in no file of `lessons/text`.
        """
        return self._words(key, **values)

    def lead(self, slug: str) -> None:
        """Link to another step, where it can be opened: `page.lead("unbox")`."""
        for step in registry.available():
            if step.slug == slug:
                st.page_link(step.script, label=f"{step.number} {self.say(step.key('title'))}")

    def count(self, part: str, number: int) -> None:
        """Write into the parts list how many of `part` ("part.token") are needed, as the page found out."""
        counts = self._state("counts")
        if counts.get(part) != number:
            counts[part] = number
            self._update_kit()

    def tick(self, do: str) -> None:
        """Tick a *do* step ("do.cut") because the learner has done it; it stays ticked, and the journal hears of it."""
        if do not in self.step.do:
            raise KeyError(do)
        done = self._state("done")
        if do not in done:
            done[do] = 1
            is_opening = not self._drawn and not self._state("seen")  # what lay there is nothing done today
            kept.passed(self.step.slug, "step", do, today=not is_opening)
            self._update_kit()

    def figure(self, drawing: go.Figure, *, key: str, badge: Badge, alt: str, data: pd.DataFrame) -> None:
        """Draw a Plotly figure with its badge, its text alternative and its numbers as CSV.

        Args:
            drawing: the figure; type size, margins and colours are set here. Give it uint8 or float32 arrays.
            key: unique on the page; also the CSV's name.
            badge: where the numbers come from.
            alt: the picture in words.
            data: the numbers drawn.
        """
        with self.shown(key=key, badge=badge, alt=alt, data=data):
            figure.draw_plotly(drawing, key=key, alt=alt)

    @contextmanager
    def shown(self, *, key: str, badge: Badge, alt: str, data: pd.DataFrame | None) -> Iterator[None]:
        """Frame a picture that is not Plotly's: draw it inside `with page.shown(...):`."""
        key, say = f"{self.step.slug}_{key}", self.bench.say
        with figure.shown(key=key, badge=badge, alt=alt, data=data, say=say):
            yield
        if data is not None:
            self.drawn.add(key, badge=badge.text(say), alt=alt, data=data)

    def warn(self) -> None:
        """Draw the warning triangle with what people break here (`<slug>.warning`)."""
        text = escape(self.say(self.step.key("warning")))
        label = self.say("common.warning")
        st.html(f'<aside class="warning">{pictograms.picture("warning", label=label)}<p>{text}</p></aside>')

    def check(self, name: str, *, question: str, options: Mapping[str, str], run: Callable[[], Verdict]) -> None:
        """Ask, let the learner predict, run, explain. The answer is whatever `run` finds on this very workbench.

        Args:
            name: unique on the page ("next_token").
            question: the question, in the page's language.
            options: answer → its text in the page's language.
            run: computes the answer from the model; called when the learner presses run.
        """
        state = self._state(f"check_{name}")
        asked = (self.bench, question, tuple(options.items()))
        if state.get("asked") != asked:
            state.clear()
            state["asked"] = asked
        with st.container(border=True, key=f"check_{self.step.slug}_{name}"):
            icon = pictograms.picture("question")
            st.html(f'<h2 class="check-title">{icon}{escape(self.say("common.check"))}</h2>')
            widget = f"guess_{self.step.slug}_{name}"
            for_all = audience.question_id(self.step.slug, name, tuple(options))
            guess = st.radio(
                question,
                tuple(options),
                index=None,
                format_func=lambda option: options.get(option, option),
                key=widget,
                on_change=audience.tell,
                args=(for_all, widget),
            )
            waits = guess is None and not present.is_on()  # on a stage the room guesses
            if st.button(self.say("common.check.run"), key=f"run_{self.step.slug}_{name}", disabled=waits):
                with self.guard():
                    state["guess"], state["verdict"] = guess, run()
                    if guess is not None:
                        self._score(name, guess == state["verdict"].answer)
            audience.draw_bars(self, for_all, options, state["verdict"].answer if "verdict" in state else None)
            if "verdict" in state:
                self._explain(state["guess"], state["verdict"], options)

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Show a learner's error (an exception with a `.code`) as a message with the way out; let others pass."""
        try:
            yield
        except Exception as error:
            code = getattr(error, "code", None)
            if not isinstance(code, str):
                raise
            kept.met(self.step.slug, error)
            st.error(self.error_text(code, getattr(error, "values", {})))

    def error_text(self, code: str, values: Mapping[str, object]) -> str:
        """Return what went wrong and the way out, as Markdown in the page's language."""
        key = f"common.error.{code}"
        if key in self.bench.say:
            return self.say(key, **{name: plain(value) for name, value in values.items()})
        return self.say("common.error.other", code=plain(code))

    def _explain(self, guess: str | None, verdict: Verdict, options: Mapping[str, str]) -> None:
        right = guess == verdict.answer
        said = "shown" if guess is None else "right" if right else "wrong"
        line = self.say(f"common.check.{said}", answer=options[verdict.answer])
        (st.success if right else st.info)(f"{line}  \n{verdict.explanation}")
        if guess is None:
            return  # nobody has guessed
        scores = self._scores()
        st.caption(self.say("common.check.score", right=sum(scores.values()), all=len(scores)))

    def _score(self, name: str, right: bool) -> None:
        scores, mine = self._scores(), f"{self.step.slug}.{name}"
        if right and not scores.get(mine):
            kept.passed(self.step.slug, "check", name)
        scores[mine] = right

    def _scores(self) -> dict[str, bool]:
        scores: dict[str, bool] = st.session_state.setdefault("_scores", {})
        return scores

    def _state(self, name: str) -> dict[str, Any]:
        """What this session remembers about this page under `name`."""
        state: dict[str, Any] = st.session_state.setdefault(f"_sheet_{self.step.slug}_{name}", {})
        return state

    def draw_head(self) -> None:
        """Draw number, title and pictogram, then parts list, tools, minutes and do steps."""
        chapter = next(chapter for chapter in registry.CHAPTERS if chapter.slug == self.step.chapter)
        st.html(
            '<header class="sheet-head">'
            f'<div class="step-number">{self.step.number}</div>'
            f'<div class="sheet-title"><p>{escape(self.say(f"common.chapter.{chapter.slug}"))}</p>'
            f"<h1>{escape(self.say(self.step.key('title')))}</h1>"
            f"<p>{escape(self.say(self.step.key('lead')))}</p></div>"
            f"{pictograms.picture(self.step.pictogram, size='large')}</header>"
        )
        self._kit = st.empty()
        self._draw_kit()

    def _update_kit(self) -> None:
        """Draw the parts list again; a section may not draw outside itself, so the whole page does it."""
        if self._drawn:
            _let_others_first()
            st.rerun()
        elif not self._sections:
            self._draw_kit()

    @contextmanager
    def _section(self, number: int | None = None) -> Iterator[None]:
        """Know that what is drawn now belongs to a section, and to which; guard it."""
        self._sections += 1
        if self._drawn:  # the learner has moved something in this very part
            audience.touch(self.step.slug)
        try:
            with self.drawn.inside(number), self.guard():
                yield
        finally:
            self._sections -= 1

    def _draw_kit(self) -> None:
        """Draw parts list, tools, minutes and do steps into their place under the head."""
        counts, done, say = self._state("counts"), self._state("done"), self.say
        rows = "".join(
            f"<tr><td>{escape(say(self.step.key(part.key)))}</td>"
            f"<td>{_times(counts.get(part.key, part.count))}</td><td>{part.number}</td></tr>"
            for part in self.step.parts
        )
        head = "".join(f"<th>{escape(say(f'common.parts.{name}'))}</th>" for name in ("part", "count", "number"))
        tools = "".join(pictograms.tool(name, self.bench.say) for name in self.step.tools)
        tick = pictograms.picture("check", size="small", label=say("common.done"))
        before = {name for page, name in kept.before() if page == self.step.slug}
        do = "".join(
            f'<li class="{"done" if name in done else "before" if name in before else "open"}">'
            f"{tick if name in before or name in done else ''}"
            f"<span>{escape(say(self.step.key(name)))}</span></li>"
            for name in self.step.do
        )
        minutes = escape(say("common.minutes", n=self.step.minutes))
        self._kit.html(
            f'<div class="kit"><table class="parts"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
            f'<div class="tools"><div>{tools}</div><p class="minutes">{minutes}</p></div>'
            f'<ol class="do">{do}</ol></div>'
        )

    def close(self) -> None:
        """Draw what the sections have counted and ticked; from now on they are drawn by themselves."""
        self._draw_kit()
        self._drawn = True
        self._state("seen")["once"] = True

    def draw_foot(self) -> None:
        """Draw the notes and the way to the previous and the next step."""
        note_box.draw_note_box(self)
        self._draw_way_out()
        before, after = registry.neighbours(self.step)
        with st.container(horizontal=True, horizontal_alignment="distribute", key="turn"):
            for name, target in (("previous", before), ("next", after)):
                with st.container(key=f"go_{name}", width="content"):
                    if target is not None:
                        title = self.say(target.key("title"))
                        st.page_link(target.script, label=self.say(f"common.{name}", number=target.number, title=title))
        st.caption(self.say("common.keys"))

    def _draw_way_out(self) -> None:
        """Lead to where this sheet can be asked about, and remember how it was set, for the question."""
        asking = registry.step(_ASKING)
        if self.step is asking:
            return
        kept.visited(self.step.slug)
        if registry.can_open(asking):
            st.page_link(asking.script, label=self.say("common.ask_more"), query_params={"step": self.step.slug})


def section(draw: Callable[Concatenate[Page, P], T]) -> Callable[Concatenate[Page, P], T | None]:
    """Decorate a function that draws a part of a page: it is drawn again by itself when a widget of its own changes.

    A learner's error inside becomes a message there; the rest of the page stays as it is. The function's answer is
    the page's only while the whole page is drawn, so what others need does not belong into a section.
    """

    @st.fragment
    @functools.wraps(draw)
    def guarded(page: Page, number: int, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        with page._section(number):
            return draw(page, *args, **kwargs)
        return None

    @functools.wraps(draw)
    def called(page: Page, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        return guarded(page, page.drawn.next_section(), *args, **kwargs)

    return called


def _let_others_first() -> None:
    """Stop here if a link was pressed meanwhile: a rerun that is asked for now would stay on this page.

    Streamlit looks at every element that is drawn; drawn inside a section, one more would replace what stands there.
    """
    context = get_script_run_ctx()
    if context is not None:
        context.yield_check()


def plain(value: object) -> str:
    """Return a value as text that Markdown leaves as it is: names come from outside and may hold anything."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|$~:])", r"\\\1", str(value)[:200])


def short(text: str, most: int = 24) -> str:
    """Return a text on one line, and short: it comes from a learner's file and may be of any length.

    >>> short("very \\n good", 8)
    'very go…'
    """
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _times(count: int | None) -> str:
    """Return a count as a parts list prints it, a dash where nobody has counted yet."""
    return "–" if count is None else f"{count:,}×"


def done_steps() -> frozenset[str]:
    """Return the slugs of the steps whose every *do* step was ticked, today or before."""
    state, before = st.session_state, kept.before()
    return frozenset(
        step.slug
        for step in registry.STEPS
        if all((step.slug, do) in before or do in state.get(f"_sheet_{step.slug}_done", ()) for do in step.do)
    )


@contextmanager
def sheet(slug: str) -> Iterator[Page]:
    """Draw the frame of the step `slug` around whatever the page draws inside the `with` block.

    A learner's error (an exception with a `.code`) inside the block becomes a message; the frame stays whole.
    """
    page = Page(step=registry.step(slug), bench=workbench.current())
    page.draw_head()
    with page.guard():
        yield page
    page.draw_foot()
    page.close()
