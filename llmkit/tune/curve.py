"""The loss curve of a run: with few points for whoever looks on, and as an SVG picture drawn from its log."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, MARGIN = 720, 360, 48
COLOURS = ("#d4572a", "#1f6f8b", "#5b8c3a", "#8a5fb0", "#a67c00")

POINTS = 300
"""Points of a loss that are kept: beyond, each is the mean of several steps."""


def thin(curve: Sequence[tuple[int, float | None]], points: int = POINTS) -> list[list[float | None]]:
    """A curve of at most so many points, each the mean of neighbouring steps, at the last of them.

    >>> thin([(1, 1.0), (2, 3.0), (3, None), (4, 5.0)], points=2)
    [[2, 2.0], [4, 5.0]]
    """
    size = max(1, math.ceil(len(curve) / points))
    thinned: list[list[float | None]] = []
    for first in range(0, len(curve), size):
        group = curve[first : first + size]
        known = [loss for _, loss in group if loss is not None]
        thinned.append([group[-1][0], sum(known) / len(known) if known else None])
    return thinned


def draw_curve(log: Sequence[Mapping[str, Any]]) -> str:
    """Training loss in grey, and the held-out loss of each source, over the tokens seen.

    Args:
        log: rows with ``tokens``, ``loss`` and ``held_out`` (None where it was not measured); not empty.
    """
    names = list(next((row["held_out"] for row in log if row["held_out"]), {}))
    lines = {"training": [(row["tokens"], row["loss"]) for row in log]}
    for name in names:
        lines[name] = [(row["tokens"], row["held_out"][name]) for row in log if row["held_out"]]
    losses = [loss for points in lines.values() for _, loss in points]
    low, high, most = int(min(losses)), int(max(losses)) + 1, log[-1]["tokens"]

    def place(tokens: float, loss: float) -> tuple[float, float]:
        across, up = tokens / most, (loss - low) / (high - low)
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    ]
    for loss in range(low, high + 1):
        (x1, y), (x2, _) = place(0, loss), place(most, loss)
        parts.append(f'<path d="M{x1:.1f} {y:.1f}H{x2:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x1 - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{loss}</text>')
    for quarter in range(5):
        x, y = place(most * quarter / 4, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{most * quarter / 4e6:.1f}M</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">tokens seen</text>')
    parts.append(f'<text x="{MARGIN}" y="20">loss, nats per token</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = "#999999" if number == 0 else COLOURS[(number - 1) % len(COLOURS)]
        parts.append(_line(colour, (place(*point) for point in points)))
        y = MARGIN + 16 * number
        parts.append(f'<text x="{WIDTH - MARGIN}" y="{y}" text-anchor="end" fill="{colour}">{_escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _line(colour: str, points: Iterable[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
