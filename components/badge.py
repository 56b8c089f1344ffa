"""Where a figure's numbers come from: the small print under every picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Literal

from lessons import Words
from llmkit.jobs.recording import RECORDED

Kind = Literal["live", "cached", "recorded"]


@dataclass(frozen=True, kw_only=True)
class Badge:
    """Provenance of the numbers in one figure.

    Make one with `Badge.live()` (computed for this very picture), `Badge.cached()` (computed earlier by
    this app, from the same inputs) or `Badge.recorded(...)` (measured once, elsewhere or before).
    """

    kind: Kind
    device: str = ""
    date: str = ""
    versions: str = ""

    @classmethod
    def live(cls) -> Badge:
        """Numbers that were computed for this picture just now."""
        return cls(kind="live")

    @classmethod
    def cached(cls) -> Badge:
        """Numbers that this app computed before, from the same box, text and settings."""
        return cls(kind="cached")

    @classmethod
    def recorded(cls, *, device: str, date: str, versions: str) -> Badge:
        """Numbers measured once: on which device, when (ISO date), with which versions."""
        return cls(kind="recorded", device=device, date=date, versions=versions)

    @classmethod
    def of_process(cls, made_with: Mapping[str, str], *, live: bool = False) -> Badge:
        """Numbers that a job's process computed, just now, before, or elsewhere; `made_with` is what the job says."""
        made = {name: made_with.get(name, "") for name in ("device", "date", "versions")}
        return cls(kind="recorded" if RECORDED in made_with else "live" if live else "cached", **made)

    def text(self, say: Words) -> str:
        """Return the badge in words, in the language of `say`."""
        origin = " · ".join(piece for piece in (self.device, self.date, self.versions) if piece)
        return " · ".join(piece for piece in (say(f"common.badge.{self.kind}"), origin) if piece)

    def html(self, say: Words) -> str:
        """Return the badge as HTML, its kind readable by style sheets and tests."""
        hint = escape(say(f"common.badge.{self.kind}.hint"))
        return f'<span class="badge badge-{self.kind}" title="{hint}">{escape(self.text(say))}</span>'
