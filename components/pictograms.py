"""Line-art pictograms, drawn for this guide: black line on white, following the text's colour."""

from __future__ import annotations

from html import escape
from typing import Literal
from urllib.parse import quote

from lessons import Words

# Each drawing fills a 64 × 64 sheet: its lines, then the detail that takes the accent colour.
_DRAWINGS = {
    "box": (
        '<path d="M8 22 32 10l24 12v24L32 58 8 46Z"/><path d="M8 22l24 12 24-12M32 34v24"/>',
        '<path d="M20 16l24 12v9"/>',
    ),
    "scissors": (
        '<circle cx="15" cy="48" r="8"/><circle cx="15" cy="16" r="8"/><path d="M21 43 54 14M21 21l33 29"/>',
        '<path d="M44 32h4m5 0h4m5 0h0" stroke-dasharray="4 5"/>',
    ),
    "brick": (
        '<path d="M6 28h52v26H6Z"/><path d="M6 41h52M24 28v13M44 41v13M14 41v13"/>',
        '<path d="M12 28v-8h10v8M27 28v-8h10v8M42 28v-8h10v8"/>',
    ),
    "label": (
        '<path d="M6 32 22 14h34a2 2 0 0 1 2 2v32a2 2 0 0 1-2 2H22Z"/><circle cx="20" cy="32" r="4"/>',
        '<path d="M32 26h18M32 38h12"/>',
    ),
    "connector": (
        '<path d="M6 32h12M18 20h12v24H18a4 4 0 0 1-4-4V24a4 4 0 0 1 4-4Z"/>'
        '<path d="M42 20h4a4 4 0 0 1 4 4v16a4 4 0 0 1-4 4h-4ZM50 32h8"/>',
        '<path d="M30 26h8M30 38h8"/>',
    ),
    "bulb": (
        '<path d="M32 6a18 18 0 0 0-11 32c3 3 4 5 4 8h14c0-3 1-5 4-8A18 18 0 0 0 32 6Z"/><path d="M25 52h14M28 58h8"/>',
        '<path d="M26 26l6 6 6-6M32 32v14"/>',
    ),
    "engine": (
        '<path d="M32 6v8M32 50v8M6 32h8M50 32h8M13.6 13.6l5.7 5.7"/>'
        '<path d="M44.7 44.7l5.7 5.7M50.4 13.6l-5.7 5.7"/>'
        '<path d="M19.3 44.7l-5.7 5.7"/>'
        '<circle cx="32" cy="32" r="18"/>',
        '<circle cx="32" cy="32" r="9"/>',
    ),
    "wheel": (
        '<path d="M52 20A24 24 0 1 0 56 36"/><path d="M54 8v13H41"/>',
        '<path d="M26 22v20l16-10Z"/>',
    ),
    "pencil": (
        '<path d="M10 54l4-14L44 10l10 10-30 30Z"/><path d="M38 16l10 10"/>',
        '<path d="M14 40l10 10"/>',
    ),
    "write": (
        '<path d="M8 14h48M8 28h36M8 42h18"/>',
        '<path d="M32 37v12M40 42h4m6 0h6"/>',
    ),
    "clock": (
        '<circle cx="32" cy="32" r="25"/>',
        '<path d="M32 16v16l11 8"/>',
    ),
    "computer": (
        '<path d="M8 10h48v34H8Z"/><path d="M24 54h16M32 44v10"/>',
        '<path d="M16 34l8-8 6 6 14-14"/>',
    ),
    "network": (
        '<path d="M6 24a38 38 0 0 1 52 0M15 34a25 25 0 0 1 34 0M23.5 43.5a13 13 0 0 1 17 0"/>',
        '<circle cx="32" cy="53" r="3"/>',
    ),
    "notebook": (
        '<path d="M14 6h36v52H14Z"/><path d="M8 16h10M8 27h10M8 38h10M8 49h10"/>',
        '<path d="M26 20h16M26 31h16M26 42h9"/>',
    ),
    "patience": (
        '<path d="M10 28h36v12a16 16 0 0 1-16 16h-4a16 16 0 0 1-16-16ZM46 31h4a7 7 0 0 1 0 14h-5"/>',
        '<path d="M20 20c-4-5 4-7 0-13M30 20c-4-5 4-7 0-13"/>',
    ),
    "warning": (
        '<path d="M32 8 60 56H4Z"/>',
        '<path d="M32 26v15M32 48v1"/>',
    ),
    "check": (
        '<circle cx="32" cy="32" r="25"/>',
        '<path d="M20 33l9 9 16-19"/>',
    ),
    "todo": (
        '<circle cx="32" cy="32" r="25"/>',
        "",
    ),
    "data": (
        '<ellipse cx="32" cy="14" rx="22" ry="7"/><path d="M10 14v36c0 4 10 7 22 7s22-3 22-7V14"/>',
        '<path d="M10 32c0 4 10 7 22 7s22-3 22-7"/>',
    ),
    "sliders": (
        '<path d="M14 6v52M32 6v52M50 6v52"/><path d="M8 20h12v8H8ZM26 38h12v8H26ZM44 14h12v8H44Z"/>',
        '<path d="M11 24h6M29 42h6M47 18h6"/>',
    ),
    "pinch": (
        '<path d="M24 24h16v16H24Z"/><path d="M6 6l12 12M18 8v10H8M58 58 46 46M46 56V46h10"/>',
        '<path d="M58 6 46 18M46 8v10h10M6 58l12-12M18 56V46H8"/>',
    ),
    "snow": (
        '<path d="M32 6v52M10 19l44 26M54 19 10 45"/>',
        '<path d="M25 11l7 7 7-7M25 53l7-7 7 7"/>',
    ),
    "lock": (
        '<path d="M12 28h40v28H12ZM20 28v-9a12 12 0 0 1 24 0v9"/>',
        '<path d="M32 38v8"/>',
    ),
    "paper": (
        '<path d="M14 6h26l12 12v40H14Z"/><path d="M40 6v12h12M22 30h22M22 39h22M22 48h14"/>',
        '<path d="M22 20h10"/>',
    ),
    "people": (
        '<circle cx="22" cy="20" r="9"/><path d="M6 56V44a8 8 0 0 1 8-8h16a8 8 0 0 1 8 8v12"/>',
        '<path d="M38 10h20v16H48l-6 6v-6h-4Z"/>',
    ),
    "chat": (
        '<path d="M8 10h48v32H30L18 54V42H8Z"/>',
        '<path d="M18 22h28M18 31h18"/>',
    ),
    "question": (
        '<circle cx="32" cy="32" r="25"/>',
        '<path d="M24 25a8 8 0 1 1 11 8c-2 1-3 3-3 6M32 46v1"/>',
    ),
}

NAMES = tuple(_DRAWINGS)


Size = Literal["small", "medium", "big", "large"]


def picture(name: str, *, size: Size = "medium", label: str = "") -> str:
    """Return the pictogram as HTML; `style` must be on the page.

    It is a mask filled with the text's colour, because `st.html` takes drawings out of what it is given.

    Args:
        name: one of NAMES.
        size: as tall as a line of text, a button, a card, or the sheet's head.
        label: what a screen reader says; empty where the text beside it already says it.

    Raises:
        KeyError: no pictogram has that name.
    """
    if name not in _DRAWINGS:
        raise KeyError(name)
    spoken = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    return f'<span class="pictogram {size} p-{name}" {spoken}></span>'


def tool(name: str, say: Words) -> str:
    """Return one of the five tools: its pictogram with its name below, as HTML."""
    return f'<span class="tool">{picture(name)}<span>{escape(say(f"common.tool.{name}"))}</span></span>'


def style() -> str:
    """Return the style rules that hold the drawings: for each pictogram its lines and its accented detail."""
    return "\n".join(
        f".p-{name} {{ --lines: {_mask(lines)}; --detail: {_mask(detail)}; }}"
        for name, (lines, detail) in _DRAWINGS.items()
    )


def _mask(shapes: str) -> str:
    drawing = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" fill="none" stroke="black" stroke-width="3.2" '
        f'stroke-linecap="round" stroke-linejoin="round">{shapes}</svg>'
    )
    return f"url('data:image/svg+xml,{quote(drawing)}')"
