"""The sentence as tokens: HTML that is built here, every character of the text escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from lessons import Words
from llmkit.tokens import Encoding, Glyph, Merge, StepPiece, StepView, glyphs, visible
from llmkit.tokens.byte_level_bpe import to_bytes

SHOWN_TOKENS = 300
"""Tokens in one picture; more would be wallpaper. The CSV holds them all."""

_TINTS = 4


def token_row(encoding: Encoding, say: Words, *, limit: int = SHOWN_TOKENS) -> str:
    """Draw a sentence cut into tokens, each with its id; those that share a character stand in one frame.

    Args:
        encoding: the tokens.
        say: the words of the page's language.
        limit: draw at most this many tokens (a group is never cut in two).

    Returns:
        HTML.
    """
    drawn: list[str] = []
    last = 0
    for start, end in encoding.groups:
        if end > limit:
            break
        boxes = "".join(_token(encoding, at, say) for at in range(start, end))
        if end > start + 1:
            boxes = _frame(b"".join(encoding.token_bytes[start:end]), boxes)
        elif lost := _lost(encoding, start):
            boxes = _frame(lost.encode(), boxes, lost=True)
        drawn.append(boxes)
        last = end
    rest = note(say("tokens.picture.more", shown=last, all=len(encoding))) if last < len(encoding) else ""
    return f'<div class="tok-row">{"".join(drawn)}</div>{rest}'


def note(text: str) -> str:
    """A line below a picture, as HTML."""
    return f'<p class="tok-note">{escape(text)}</p>'


def step_data(views: Sequence[StepView]) -> dict[str, Any]:
    """Return a sentence's steps for `js/moving_tokens.js`: each state of a word once, and what each step changes.

    Args:
        views: the sentence after 0, 1, 2, … steps.

    Returns:
        ``glyphs``: what there is to draw, each a run of [kind, text]; ``states``: of words, each a list of
        groups of pieces [glyphs, state, rank], a group of several under their ``whole``; ``first``: each word's
        state at the start; ``changes``: for each step [word, state] of those it changes.
    """
    drawn: dict[bytes, int] = {}
    states: dict[str, int] = {}

    def shown(data: bytes) -> int:
        return drawn.setdefault(data, len(drawn))

    def state(word: tuple[StepPiece, ...], view: StepView) -> int:
        groups = []
        for group in _step_groups(word):
            pieces = [[shown(piece.data), piece.state, _rank(piece, view)] for piece in group]
            whole = shown(b"".join(piece.data for piece in group)) if len(group) > 1 else None
            groups.append({"whole": whole, "pieces": pieces})
        return states.setdefault(json.dumps(groups), len(states))

    first = [state(word, views[0]) for word in views[0].words]
    changes = [
        [
            [at, state(word, view)]
            for at, (word, old) in enumerate(zip(view.words, before.words, strict=True))
            if word != old
        ]
        for before, view in pairwise(views)
    ]
    return {
        "glyphs": [[[glyph.kind, glyph.shown] for glyph in glyphs(data)] for data in drawn],
        "states": [json.loads(groups) for groups in states],
        "first": first,
        "changes": changes,
    }


def describe_step(view: StepView, say: Words, *, step: int, last: int) -> str:
    """Say in one line what this step did, for the eye and for a screen reader."""
    event = view.event
    if event is None:
        return say("tokens.steps.none", last=last)
    if isinstance(event, Merge):
        left, right = to_bytes(event.left), to_bytes(event.right)
        return say(
            "tokens.steps.merge",
            step=step,
            last=last,
            rank=event.rank,
            left=visible(left),
            right=visible(right),
            new=visible(left + right),
        )
    if event.found:
        return say("tokens.steps.found", step=step, last=last, piece=visible(event.piece.encode()))
    unknown = any(piece.state == "unknown" for piece in view.words[view.word or 0])
    key = "tokens.steps.unknown" if unknown else "tokens.steps.missing"
    return say(key, step=step, last=last, piece=visible(event.piece.encode()))


def columns(cards: Iterable[tuple[str, str, str]]) -> str:
    """Draw pictures side by side, below each other where there is no room.

    Args:
        cards: for each its title and its line of numbers (both plain text), and its picture (HTML).
    """
    drawn = (
        f'<section class="tok-card"><h3>{escape(title)}</h3>{note(line)}{picture}</section>'
        for title, line, picture in cards
    )
    return f'<div class="tok-columns">{"".join(drawn)}</div>'


def bars(rows: Sequence[tuple[str, str, Sequence[tuple[str, float, str]]]]) -> str:
    """Draw numbers as bars on one common scale that begins at 0.

    Args:
        rows: for each group its title, a line of text, and its bars: each a label, a number >= 0 and a
            remark. The second bar of a group is hatched, so that colour is not the only sign.
    """
    top = max((number for *_, group in rows for _, number, _ in group), default=0.0) or 1.0
    drawn = []
    for title, line, group in rows:
        lines = "".join(
            f'<div class="tok-bar"><span>{escape(label)}</span><div><i class="tok-fill tok-fill-{at}" '
            f'style="width:{100 * number / top:.1f}%"></i></div><b>{number:.2f}</b>'
            f"<small>{escape(remark)}</small></div>"
            for at, (label, number, remark) in enumerate(group)
        )
        drawn.append(
            f'<section class="tok-bars"><h3>{escape(title)} <small>{escape(line)}</small></h3>{lines}</section>'
        )
    return "".join(drawn)


def _token(encoding: Encoding, at: int, say: Words) -> str:
    """One token: its glyphs and its id."""
    special = encoding.special[at]
    data = encoding.token_bytes[at]
    start, end = encoding.offsets[at]
    key = "tokens.hover.special" if special else "tokens.hover"
    hover = say(
        key,
        at=at,
        id=encoding.ids[at],
        piece=visible(encoding.pieces[at].encode()),
        bytes=" ".join(f"{byte:02X}" for byte in data[:24]) + ("…" if len(data) > 24 else ""),
        start=start,
        end=end,
    )
    tint = "tok-special" if special else f"tok-{at % _TINTS}"
    inside = _glyphs(data) or '<span class="tok-empty">∅</span>'
    mark = '<span class="tok-join">##</span>' if encoding.pieces[at] == "##" + data.decode(errors="replace") else ""
    shown = f"<bdi>{mark}{inside}</bdi><small>{encoding.ids[at]}</small>"
    return f'<span class="tok {tint}" title="{escape(hover)}">{shown}</span>'


def _lost(encoding: Encoding, at: int) -> str:
    """The text that an unknown token stands for; empty where the token says what the text says."""
    start, end = encoding.offsets[at]
    text = encoding.text[start:end]
    return text if encoding.special[at] and text.strip() != encoding.pieces[at] else ""


def _frame(whole: bytes, boxes: str, *, lost: bool = False) -> str:
    """Tokens that share characters, or one that lost them, under the characters themselves."""
    kind = "tok-whole tok-lost" if lost else "tok-whole"
    return f'<span class="tok-group"><bdi class="{kind}">{_glyphs(whole)}</bdi><span>{boxes}</span></span>'


def _step_groups(word: tuple[StepPiece, ...]) -> list[list[StepPiece]]:
    """A word's pieces; those that begin inside a character stand with the piece before."""
    groups: list[list[StepPiece]] = []
    for piece in word:
        inside_character = 0x80 <= piece.data[0] < 0xC0
        if groups and inside_character:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _rank(piece: StepPiece, view: StepView) -> int | None:
    return view.event.rank if piece.state == "new" and isinstance(view.event, Merge) else None


def _glyphs(data: bytes) -> str:
    return "".join(_glyph(glyph) for glyph in glyphs(data))


def _glyph(glyph: Glyph) -> str:
    shown = escape(glyph.shown)
    return shown if glyph.kind == "text" else f'<span class="tok-{glyph.kind}">{shown}</span>'
