"""The Content page's pictures as HTML: the prompt with its fields, a draft with what was found in it, what is met."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise

from components.generate_text import readable
from lessons import Words
from llmkit.write import Brief, Demand, Line

_BAD = ("must_not", "repeats", "language")
_GOOD = ("must",)


def prompt(lines: Sequence[Line], say: Words) -> str:
    """Return the prompt: one row a line, with the field that it comes from."""
    rows = "".join(
        f'<li class="ct-{line.field}"><b>{escape(say(f"content.field.{line.field}"))}</b>'
        f"<span><bdi>{readable(line.text.encode(errors='replace'))}</bdi></span></li>"
        for line in lines
    )
    return f'<ol class="ct-prompt">{rows}</ol>'


def card(
    title: str,
    text: str,
    demands: Sequence[Demand],
    brief: Brief,
    say: Words,
    *,
    foot: str = "",
    waiting: bool = False,
) -> str:
    """Return one draft: its text with what was found in it, and each demand met or missed.

    Args:
        title: which draft. text: what was written. demands: what `check` found; none where nothing is to be judged yet.
        foot: one line below. waiting: draw a cursor.
    """
    cursor = '<i class="ct-cursor"></i>' if waiting else ""
    met = sum(one.met for one in demands)
    count = f"<strong>{met}/{len(demands)}</strong>" if demands else ""
    return (
        f'<article class="ct-card"><header><h3>{escape(title)}</h3>{count}</header>'
        f'<p class="ct-text" lang="{brief.lang}"><bdi>{marked(text, demands, say)}</bdi>{cursor}</p>'
        f"{checklist(demands, brief, say)}<footer>{escape(foot)}</footer></article>"
    )


def checklist(demands: Sequence[Demand], brief: Brief, say: Words) -> str:
    """Return each demand with a sign and a word: met or missed."""
    rows = "".join(
        f'<li class="{"met" if one.met else "missed"}"><i aria-hidden="true">{"✓" if one.met else "✗"}</i>'
        f"<span><b>{escape(say('content.met' if one.met else 'content.missed'))}</b> "
        f"<bdi>{escape(told(one, brief, say))}</bdi></span></li>"
        for one in demands
    )
    return f'<ul class="ct-demands">{rows}</ul>' if rows else ""


def told(one: Demand, brief: Brief, say: Words) -> str:
    """Return what was asked for and what was counted, in words."""
    word = say(f"content.structure.{one.word}") if one.kind == "structure" else one.word
    word = say(f"content.lang.{one.word}") if one.kind == "language" else word
    found = f"{one.found:.0%}" if one.kind == "language" else f"{one.found:.0f}"
    return say(f"content.demand.{one.kind}", word=word, n=found, least=brief.least, most=brief.most)


def marked(text: str, demands: Sequence[Demand], say: Words) -> str:
    """Return a text as HTML, what a demand found in it marked: by colour, by line and by sign."""
    edges = {0, len(text)}
    for one in demands:
        edges.update(edge for span in one.spans for edge in span)
    made = ""
    places = sorted(edges)
    for start, end in pairwise(places):
        html = readable(text[start:end].encode(errors="replace"))
        here = [one for one in demands if any(first <= start and end <= last for first, last in one.spans)]
        bad = next((one for one in here if one.kind in _BAD), None)
        good = next((one for one in here if one.kind in _GOOD), None)
        shown = bad or good
        if shown is None:
            made += html
            continue
        name = escape(say(f"content.mark.{shown.kind}"))
        sign, kind = ("✗", "bad") if bad else ("✓", "good")
        made += f'<mark class="ct-{kind}" title="{name}">{html}<sup aria-label="{name}">{sign}</sup></mark>'
    return made
