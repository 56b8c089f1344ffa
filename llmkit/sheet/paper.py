"""The assembly sheet on one A4 page, as PDF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

FONT = "MSung-Light"
"""Traditional Chinese by name, not in the file: every reader has a face for it, and the file stays small."""

MARGIN, PLATE = 42.0, 46.0
GAP, WIDE_GAP = 9.0, 26.0
"""Points. PLATE is the least height of a stage's plate; the gap is wide where there is room."""

BOLD = "Helvetica-Bold"
"""For numbers of steps: they are digits alone."""

LINE_PT, SMALL_PT, HEAD_PT = 9.0, 8.0, 26.0
LEADING = 12.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One plate of the sheet.

    Args:
        number: of the step that it was done in ("2-5"). title: what was done. facts: name and value of each figure.
        when: the day, and where it was measured; may be empty.
    """

    number: str
    title: str
    facts: Sequence[tuple[str, str]]
    when: str = ""


def pdf(title: str, subtitle: str, lines: Sequence[Line], *, foot: str) -> bytes:
    """Return the sheet: plates one under the other along an axis, as an exploded drawing is; always one page.

    Args:
        title: the box's name. subtitle: in a line. lines: in their order. foot: the small print.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont
    from reportlab.pdfgen.canvas import Canvas

    pdfmetrics.registerFont(UnicodeCIDFont(FONT))
    out = io.BytesIO()
    page = Canvas(out, pagesize=A4, invariant=True)
    page.setTitle(_clean(title))
    width, height = A4
    y = _head(page, _clean(title), _clean(subtitle), width, height)
    wrapped = [(line, _wrap(page, _facts(line), width - 2 * MARGIN - 76)) for line in lines]
    heights = [max(PLATE, 30 + LEADING * len(rows)) for _, rows in wrapped]
    room = y - MARGIN - 24
    gap = min(max((room - sum(heights)) / max(len(heights), 1), GAP), WIDE_GAP)
    scale = min(1.0, room / max(sum(heights) + gap * len(heights), 1.0))
    page.saveState()
    page.translate(0, y)
    page.scale(1.0, scale)
    _axis(page, sum(heights) + gap * (len(heights) - 1))
    top = 0.0
    for (line, rows), tall in zip(wrapped, heights, strict=True):
        _plate(page, line, rows, top, tall, width)
        top -= tall + gap
    page.restoreState()
    page.setFont(FONT, SMALL_PT)
    page.drawString(MARGIN, MARGIN - 8, _cut(page, _clean(foot), SMALL_PT, width - 2 * MARGIN))
    page.showPage()
    page.save()
    return out.getvalue()


def _head(page: Canvas, title: str, subtitle: str, width: float, height: float) -> float:
    """Draw the title; return where the plates begin."""
    y = height - MARGIN - HEAD_PT
    page.setFont(FONT, HEAD_PT)
    page.drawString(MARGIN, y, _cut(page, title, HEAD_PT, width - 2 * MARGIN))
    page.setFont(FONT, LINE_PT + 2)
    page.drawString(MARGIN, y - 20, _cut(page, subtitle, LINE_PT + 2, width - 2 * MARGIN))
    page.setLineWidth(3)
    page.line(MARGIN, y - 30, width - MARGIN, y - 30)
    return y - 44


def _axis(page: Canvas, length: float) -> None:
    """Draw the dashed axis along which the plates were taken apart."""
    page.setLineWidth(1)
    page.setDash(4, 3)
    page.line(MARGIN + 30, 0, MARGIN + 30, -length)
    page.setDash()


def _plate(page: Canvas, line: Line, rows: Sequence[str], top: float, tall: float, width: float) -> None:
    page.setLineWidth(1.6)
    page.setFillGray(1)
    page.rect(MARGIN, top - tall, width - 2 * MARGIN, tall, fill=1)
    page.setFillGray(0)
    page.setFont(BOLD, 20)
    page.drawString(MARGIN + 12, top - tall / 2 - 7, _clean(line.number))
    page.setFont(FONT, LINE_PT + 3)
    page.drawString(MARGIN + 66, top - 17, _cut(page, _clean(line.title), LINE_PT + 3, width - 2 * MARGIN - 240))
    page.setFont(FONT, SMALL_PT)
    page.drawRightString(width - MARGIN - 8, top - 16, _cut(page, _clean(line.when), SMALL_PT, 230))
    page.setFont(FONT, LINE_PT)
    for at, row in enumerate(rows):
        page.drawString(MARGIN + 66, top - 31 - LEADING * at, row)


def _facts(line: Line) -> list[str]:
    return [f"{_clean(name)} {_clean(value)}" for name, value in line.facts]


def _wrap(page: Canvas, pieces: Sequence[str], width: float) -> list[str]:
    """Lay pieces into rows that are not wider than `width`."""
    rows: list[str] = []
    for piece in pieces:
        piece = _cut(page, piece, LINE_PT, width)
        longer = f"{rows[-1]}   {piece}" if rows else piece
        if rows and page.stringWidth(longer, FONT, LINE_PT) <= width:
            rows[-1] = longer
        else:
            rows.append(piece)
    return rows


def _cut(page: Canvas, text: str, size: float, width: float) -> str:
    """Return as much of a text as fits."""
    if page.stringWidth(text, FONT, size) <= width:
        return text
    while text and page.stringWidth(text + "…", FONT, size) > width:
        text = text[:-1]
    return text + "…"


def _clean(text: str) -> str:
    """Return a text on one line, without what a page cannot show: names come from outside."""
    return " ".join("".join(char if char.isprintable() and ord(char) < 0x10000 else " " for char in text).split())
